"""Weights and images that follow from a name alone, for comparisons with nets of torch."""

import zlib

import numpy as np


def array(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One array of a state dict, float32, in torch's layout.

    Normal numbers from the crc32 of its name. Kernels and matrices keep the variance of what a ReLU
    leaves over; normalisations stay near the identity.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    values = rng.standard_normal(shape, dtype=np.float32)
    kind = name.rpartition(".")[2]
    if len(shape) in (2, 4):
        return values * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    if kind == "running_var":
        return 1 + np.abs(values) / 4
    return values / 8 + {"weight": 1, "layer_scale": 0.5}.get(kind, 0)


def state_dict(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Arrays of these shapes; `num_batches_tracked` is a count."""
    return {
        name: np.zeros((), np.int64) if name.endswith("_tracked") else array(name, tuple(shape))
        for name, shape in shapes.items()
    }


def image(rows: int, columns: int, *, batch: int = 1) -> np.ndarray:
    """A normalised image, (batch, rows, columns, 3)."""
    rng = np.random.default_rng((rows, columns))
    return rng.standard_normal((batch, rows, columns, 3), dtype=np.float32)


MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
"""ImageNet's, of red, green and blue in 0..1."""


def photograph(rows: int, columns: int) -> np.ndarray:
    """A uint8 image with waves and noise, (rows, columns, 3)."""
    rng = np.random.default_rng((columns, rows))
    y, x = np.mgrid[:rows, :columns]
    waves = [np.sin(y / a + x / b) for a, b in ((9, 23), (-17, 12), (31, 7))]
    noise = rng.normal(0, 15, (rows, columns, 3))
    return np.clip(128 + 90 * np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)
