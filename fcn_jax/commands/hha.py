"""`python -m fcn_jax hha`."""

import os
import sys
from pathlib import Path

from tyro.conf import Positional


def hha(
    depth: Positional[tuple[Path, ...]],
    /,
    out: Path = Path("hha"),
    unit: float = 0.001,
    raw: Path | None = None,
    camera: tuple[float, float, float, float] | None = None,
    workers: int | None = None,
    overwrite: bool = False,
) -> None:
    """Encode depth as HHA: an RGB PNG of disparity, height and angle with gravity for each.

    Args:
        depth: 16-bit depth PNGs, or folders of them.
        out: folder for the results.
        unit: metres in one step of the stored depth; 0.001 is millimetres.
        raw: if DEPTH is filled: folder of the unfilled depth under the same names. Its pixels of 0
            are not used for the normals.
        camera: fx fy cx cy in pixels, the first pixel's centre at 0; NYUDv2's by default, for
            480x640 and for 425x560.
        workers: processes; as many as the machine has cores by default.
        overwrite: make every file again, even if it exists.
    """
    from fcn_jax.prepare.hha import Camera, write_hha
    from fcn_jax.runs.messages import messages

    with messages(debug=False):
        names = ("fx", "fy", "cx", "cy")
        written = write_hha(
            depth,
            out,
            camera=Camera(**dict(zip(names, camera, strict=True))) if camera else None,
            unit=unit,
            raw=raw,
            overwrite=overwrite,
            workers=(os.cpu_count() or 1) if workers is None else workers,
            progress=sys.stdout.isatty(),
        )
    for failure in written.failures:
        print(f"error: {failure.path}: {failure.reason}", file=sys.stderr)
    print(f"{len(written.made)} made and {len(written.kept)} kept in {out}")
    sys.exit(1 if written.failures else 0)
