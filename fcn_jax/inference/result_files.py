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
from fcn_jax.inference.answers import answer
from fcn_jax.inference.certainty import as_16_bits, confidence, entropy, softmax
from fcn_jax.inference.large_files.strips import check_png, png_rows
from fcn_jax.labels import LabelKind
from fcn_jax.report.palette import coloured, voc_palette
from fcn_jax.report.pictures import laid_over, overlay

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
        kinds: what the outputs are, by name ("" for the only one), where they are no classes of
            pixels.
        note: called with the target and the answers, by name, of outputs for the whole image.
    """

    palette: Any = None
    overlay: bool = True
    background: Any = False
    probabilities: bool = False
    confidence: bool = False
    entropy: bool = False
    kinds: Mapping[str, LabelKind] = dataclasses.field(default_factory=dict)
    note: Callable[[Path, dict[str, Any]], None] = lambda *_: None

    @property
    def scores(self) -> bool:
        """Whether scores are needed, and not only labels."""
        others = any(kind is not LabelKind.CLASSES for kind in self.kinds.values())
        return self.probabilities or self.confidence or self.entropy or others

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs of pixels; "" for a net of one output."""
        names = (name for name, _ in zip_named(self.palette))
        return tuple(name for name in names if name not in self.of_image)

    @property
    def of_image(self) -> dict[str, LabelKind]:
        """The outputs for the whole image."""
        kinds = LabelKind.CLASS, LabelKind.ATTRIBUTES
        return {name: kind for name, kind in self.kinds.items() if kind in kinds}

    def is_numbers(self, output: str) -> bool:
        """Whether an output is a number at every pixel."""
        return self.kinds.get(output) is LabelKind.NUMBERS

    def files(self, target: Path) -> list[Path]:
        """The files that are written for an image.

        Args:
            target: `FOLDER/NAME.png`, the label's file. Each of several outputs has its own:
                `FOLDER/NAME_OUTPUT.png`.
        """
        files = []
        for output, label in zip(self.outputs, self.labels(target), strict=True):
            ends = [".png"] + ["_overlay.png"] * self.overlay
            if not self.is_numbers(output):
                ends += ["_probabilities.npy"] * self.probabilities
                ends += ["_confidence.png"] * self.confidence + ["_entropy.png"] * self.entropy
            files += [label.with_name(label.stem + end) for end in ends]
        return files

    def labels(self, target: Path) -> list[Path]:
        """Of these files, the labels."""
        stems = [f"{target.stem}_{name}" if name else target.stem for name in self.outputs]
        return [target.with_name(f"{stem}.png") for stem in stems]


class ResultFiles:
    """A context in which `write` adds rows from the top down; the files appear at its end.

    For each output: the label, a palette PNG whose values are the classes; the overlay, an RGB PNG;
    the probabilities, an `.npy` of float32 (h, w, k), which sum to 1 at every pixel; confidence and
    entropy, gray PNGs of 16 bits in which 65535 is 1.

    Numbers, such as depth in metres: a gray PNG of 16 bits, in thousandths (millimetres), 0 to
    65.535; the overlay has them in colours, 10 and more in yellow. Outputs for the whole image have
    no file; they go to `Style.note`.
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
        self._target = target
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
        if kinds := self._style.of_image:
            named = dict(zip_named(result))
            self._style.note(self._target, {n: answer(named[n], k) for n, k in kinds.items()})
        for place, output in enumerate(self._style.outputs):
            found = result[output] if output else result
            for rows in _parts(found):
                self._write_output(place, output, shown[rows], found[rows])

    def _write_output(self, place: int, output: str, shown: np.ndarray, found: np.ndarray) -> None:
        if self._style.is_numbers(output):
            self._write_numbers(place, shown, found[..., 0])
            return
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

    def _write_numbers(self, place: int, shown: np.ndarray, found: np.ndarray) -> None:
        if len(self._writers) == place:
            enter, size = self._stack.enter_context, self._size
            writers: list[Any] = [enter(png_rows(next(self._files), size, sixteen_bits=True))]
            if self._style.overlay:
                writers.append(enter(png_rows(next(self._files), size)))
            self._writers.append(writers)
        thousandths = np.rint(np.nan_to_num(found) * 1000)
        self._writers[place][0](np.clip(thousandths, 0, 65535).astype(np.uint16))
        if self._style.overlay:
            self._writers[place][1](laid_over(shown, coloured(found, _DEPTH_OF_WHITE / 1000), 0.5))

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
