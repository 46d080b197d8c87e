"""The files of an image: one, or one for each input of a net."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fcn_jax.data.images import AS_STORED, ImageOptions
from fcn_jax.data.named import as_plain, zip_named
from fcn_jax.data.readers import image_size, read_depth, read_image
from fcn_jax.data.walk import image_endings, walk
from fcn_jax.inference.large_files.strips import read_depth_strips, read_strips, row_window
from fcn_jax.inference.memory import any_size, check_decodable

AnyPaths = Path | str | Mapping[str, Path]
"""The file of an image, or those of its inputs by name."""
Rows = Callable[[int, int], Any]
"""Gives the rows from `start` to before `stop` of an image, of each input by name."""


class OtherInputs:
    """Finds the files of an image's other inputs: they have its name, up to the ending.

    Of several files of that name, the one whose subfolder is that of the image counts.
    """

    def __init__(self, inputs: Iterable[str], given: Mapping[str, Path]):
        """Lists the files.

        Args:
            inputs: names of the net's inputs, or none if it has one; the images are the first.
            given: a folder, or a file, for each other input by name.

        Raises:
            ValueError: if `given` are not the net's other inputs, or one of them is not there.
        """
        first, *others = [*inputs] or [""]
        if set(others) != set(given):
            expected = "".join(f" --input {name}=FOLDER" for name in others)
            takes = f"{first} (the images) and {', '.join(others)}" if others else "one image"
            raise ValueError(
                f"this net takes {takes}: expected{expected or ' no --input'}, found inputs "
                f"{', '.join(given) or 'none'}."
            )
        self._first, self.folders = first, dict(given)
        self._files: dict[str, dict[str, list[Path]]] = {}
        for name, path in given.items():
            if not path.exists():
                raise ValueError(f"--input {name}={path}: there is no such file or folder")
            files = walk(path, image_endings()).files if path.is_dir() else [path]
            self._files[name] = by_stem = {}
            for file in files:
                by_stem.setdefault(file.stem, []).append(file)

    @property
    def files(self) -> list[Path]:
        """All files that may be read."""
        return [
            file for stems in self._files.values() for files in stems.values() for file in files
        ]

    def of(self, image: Path) -> AnyPaths:
        """The files of an image by input; the image itself if the net has one input.

        Raises:
            ValueError: if an input has no file of this name, or several.
        """
        if not self._files:
            return image
        others = {name: self._one(image, name) for name in self._files}
        return {self._first: image, **others}

    def _one(self, image: Path, name: str) -> Path:
        root, files = self.folders[name], self._files[name].get(image.stem, [])
        if not root.is_dir():
            files = [root]
        folder = image.resolve().parent.parts

        def beside(file: Path) -> bool:
            inside = file.relative_to(root).parent.parts if root.is_dir() else ()
            return folder[len(folder) - len(inside) :] == inside

        fitting = [file for file in files if beside(file)]
        deepest = max((len(file.parts) for file in fitting), default=0)
        fitting = [file for file in fitting if len(file.parts) == deepest]
        if len(fitting) != 1:
            found = ", ".join(str(file) for file in files) or "none"
            raise ValueError(
                f"expected one file {image.stem}.* in {root} for {name}, found {found}"
            )
        return fitting[0]


class InputFiles:
    """Reads the files of images for a net.

    Args:
        inputs: channels of each input by name: an input of one channel is depth, uint16 (h, w, 1),
            millimetres in a 16-bit gray PNG; others are uint8 (h, w, 3), RGB. Nothing for a net of
            one input.
        options: what image files do not say of their pixels.
    """

    def __init__(self, inputs: Mapping[str, int], options: ImageOptions = AS_STORED):
        self.inputs, self.options = inputs, options

    def read(self, paths: AnyPaths) -> Any:
        """The pixels of an image, by name if there are several inputs.

        Raises:
            ValueError: if a file is missing, damaged, not of its kind, or too large for the memory.
        """
        return as_plain({name: self._read(name, path) for name, path in _files(paths)})

    def _read(self, name: str, path: Path) -> np.ndarray:
        with any_size():
            check_decodable(path, image_size(path), "they are read at once")
            if self._is_depth(name):
                return read_depth(path)
            return read_image(path, options=self.options)

    def open_rows(self, paths: AnyPaths) -> tuple[tuple[int, int], Rows]:
        """Rows and columns of an image, and what reads its rows once, from the top down.

        Raises:
            ValueError: as `read`, or the inputs differ in size.
        """
        sizes, windows = {}, {}
        for name, path in _files(paths):
            depth = self._is_depth(name)
            size, strips = read_depth_strips(path) if depth else read_strips(path, self.options)
            sizes[path], windows[name] = size, row_window(strips)

        def rows(start: int, stop: int) -> Any:
            return as_plain({name: window(start, stop) for name, window in windows.items()})

        return _common(sizes), rows

    def _is_depth(self, name: str) -> bool:
        return self.inputs.get(name) == 1


def size_of(paths: AnyPaths) -> tuple[int, int]:
    """Rows and columns of an image, from the headers of its files.

    Raises:
        ValueError: if the inputs differ in size, or a file is missing or not an image.
    """
    return _common({path: upright_size(path) for _, path in _files(paths)})


def upright_size(path: Path) -> tuple[int, int]:
    """Rows and columns of one file, from its header, of any size."""
    with any_size():
        return image_size(path)


def _files(paths: AnyPaths) -> list[tuple[str, Path]]:
    named = dict(paths) if isinstance(paths, Mapping) else paths
    return [(name, Path(path)) for name, path in zip_named(named)]


def _common(sizes: Mapping[Path, tuple[int, int]]) -> tuple[int, int]:
    """The size of all files."""
    if len(set(sizes.values())) != 1:
        found = ", ".join(f"{path} {h}x{w}" for path, (h, w) in sizes.items())
        raise ValueError(f"expected inputs of one size, found {found}.")
    return next(iter(sizes.values()))
