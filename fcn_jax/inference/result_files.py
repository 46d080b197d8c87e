"""The files of an image's prediction, written some rows at a time: all complete, or none."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from fcn_jax.atomic import draft, naming
from fcn_jax.data.named import primary, zip_named
from fcn_jax.inference.certainty import as_16_bits, confidence, entropy, softmax
from fcn_jax.inference.large_files.strips import check_png, png_rows
from fcn_jax.report.palette import voc_palette
from fcn_jax.report.pictures import overlay

_PART_BYTES = 1 << 25  # of the numbers that are worked on at a time
_DEPTH_OF_WHITE = 10_000  # millimetres, where depth is drawn in gray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Style:
    """What is written of a prediction, and how it looks.

    Attributes:
        palette: colours by label, uint8 (256, 3) RGB; None is VOC's. By output's name if the net
            has several outputs.
        overlay: whether to write the image with the colours of its classes.
        background: whether the overlay colours label 0 too, where it is a class like the others;
            by output's name as `palette`.
        probabilities: whether to write the probability of every class.
        confidence: whether to write that of the predicted class.
        entropy: whether to write the entropy of the probabilities (see `certainty.entropy`).
    """

    palette: Any = None
    overlay: bool = True
    background: Any = False
    probabilities: bool = False
    confidence: bool = False
    entropy: bool = False

    @property
    def scores(self) -> bool:
        """Whether scores are needed, and not only labels."""
        return self.probabilities or self.confidence or self.entropy

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs' names; "" for a net of one output."""
        return tuple(name for name, _ in zip_named(self.palette))

    def files(self, target: Path) -> list[Path]:
        """The files that are written for an image.

        Args:
            target: `FOLDER/NAME.png`, the label's file. Each of several outputs has its own:
                `FOLDER/NAME_OUTPUT.png`.
        """
        ends = [".png"] + ["_overlay.png"] * self.overlay
        ends += ["_probabilities.npy"] * self.probabilities
        ends += ["_confidence.png"] * self.confidence + ["_entropy.png"] * self.entropy
        return [label.with_name(label.stem + e) for label in self.labels(target) for e in ends]

    def labels(self, target: Path) -> list[Path]:
        """Of these files, the labels."""
        stems = [f"{target.stem}_{name}" if name else target.stem for name in self.outputs]
        return [target.with_name(f"{stem}.png") for stem in stems]


class ResultFiles:
    """A context in which `write` adds rows from the top down; the files appear at its end.

    For each output: the label, a palette PNG whose values are the classes; the overlay, an RGB PNG;
    the probabilities, an `.npy` of float32 (h, w, k), which sum to 1 at every pixel; confidence and
    entropy, gray PNGs of 16 bits in which 65535 is 1.
    """

    def __init__(self, target: Path | str, size: tuple[int, int], style: Style, *, images: Any):
        """Writes nothing yet.

        Args:
            target: see `Style.files`.
            size: rows and columns of the image.
            style: what is written.
            images: the files that are read, by name if there are several.

        Raises:
            ValueError: if the target does not end in `.png`, or a file to write is one to read.
        """
        target = Path(target)
        check_png(target)
        self._size, self._style, self._stack = size, style, contextlib.ExitStack()
        read = {Path(path).resolve() for _, path in zip_named(images)}
        for file in style.files(target):
            if file.resolve() in read:
                raise ValueError(
                    f"{file}: expected another file than the image, which it would replace"
                )
        self._files = iter(style.files(target))
        self._writers: list[list[Callable[[Any], None]]] = []

    def __enter__(self) -> "ResultFiles":
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def write(self, image: Any, result: Any) -> None:
        """Adds some rows.

        Args:
            image: their pixels, by name if there are several inputs.
            result: their labels, or their scores if the style needs them; by output's name if there
                are several outputs.
        """
        shown = picture(image)
        for place, output in enumerate(self._style.outputs):
            found = result[output] if output else result
            for rows in _parts(found):
                self._write_output(place, output, shown[rows], found[rows])

    def _write_output(self, place: int, output: str, shown: np.ndarray, found: np.ndarray) -> None:
        palette, background = (
            given[output] if isinstance(given, Mapping) else given
            for given in (self._style.palette, self._style.background)
        )
        palette = voc_palette() if palette is None else palette
        if len(self._writers) == place:
            self._writers.append(list(self._opened(palette, found.shape[-1])))
        writers = iter(self._writers[place])
        label = found.argmax(-1).astype(np.uint8) if self._style.scores else found
        next(writers)(label)
        if self._style.overlay:
            next(writers)(overlay(shown, label, palette=palette, background=background))
        if not self._style.scores:
            return
        probabilities = softmax(found)
        if self._style.probabilities:
            next(writers)(probabilities)
        if self._style.confidence:
            next(writers)(as_16_bits(confidence(probabilities)))
        if self._style.entropy:
            next(writers)(as_16_bits(entropy(probabilities)))

    def _opened(self, palette: np.ndarray, classes: int) -> Iterator[Callable[[Any], None]]:
        """The writers of one output, as in `Style.files`."""
        enter, size = self._stack.enter_context, self._size
        yield enter(png_rows(next(self._files), size, palette))
        if self._style.overlay:
            yield enter(png_rows(next(self._files), size))
        if self._style.probabilities:
            yield enter(npy_rows(next(self._files), (*size, classes)))
        for _ in range(self._style.confidence + self._style.entropy):
            yield enter(png_rows(next(self._files), size, sixteen_bits=True))


def _parts(array: np.ndarray) -> Iterator[slice]:
    """Rows to work on at a time: an overlay takes 80 bytes of a pixel, an entropy 20 of a class."""
    bytes_of_row = array.shape[1] * (80 + 20 * (array.shape[2] if array.ndim == 3 else 0))
    step = max(_PART_BYTES // bytes_of_row, 1)
    for start in range(0, len(array), step):
        yield slice(start, start + step)


def picture(image: Any) -> UInt8[np.ndarray, "h w 3"]:
    """The first input as RGB; depth in gray, black is missing and white 10 metres or more."""
    first = primary(image)
    if first.shape[-1] == 3:
        return first
    gray = np.minimum(first[..., :1].astype(np.float32) * (255 / _DEPTH_OF_WHITE), 255)
    return np.repeat(gray.astype(np.uint8), 3, axis=-1)


@contextlib.contextmanager
def npy_rows(path: Path, shape: tuple[int, ...]) -> Iterator[Callable[[np.ndarray], None]]:
    """Gives a function that adds rows to an `.npy` file of float32, written atomically."""
    with draft(path) as part, part.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)

        def write(rows: np.ndarray) -> None:
            with naming(path):
                file.write(rows.astype("<f4", copy=False).tobytes())

        yield write
