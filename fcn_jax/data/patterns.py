"""Images and labels found by patterns such as `train/*.png`, and matched by what `*` stands for."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from pathlib import Path
from typing import NamedTuple

from fcn_jax.data.errors import DataError, few, legible
from fcn_jax.data.lists import nfc
from fcn_jax.data.walk import walk

# In a regular expression. A name without a `{stem}` has its last `*` for it.
_WILDCARDS = {
    "**/": "((?:[^/]+/)*)",
    "**": "(.*)",
    "*": "([^/]*)",
    "?": "[^/]",
    "{stem}": "(?P<stem>[^/]*)",
}
_TOKENS = re.compile(r"(\*\*/|\*\*|\*|\?|\{stem\})")
_ANY_ENDING = r"\.[^./]+"


class Found(NamedTuple):
    """A file that a pattern means.

    Attributes:
      path: The file.
      name: Its path below `fixed_folder`, without ending.
      key: What the wildcards stand for, in parts; the last one is the stem.
    """

    path: Path
    name: str
    key: tuple[str, ...]


def is_pattern(text: str) -> bool:
    """Whether a text is a pattern, and not a folder."""
    return any(sign in text for sign in "*?{")


def fixed_folder(pattern: str) -> str:
    """The folders of a pattern before its first wildcard; a folder is itself."""
    return _split(pattern)[0]


def find(root: Path, pattern: str, endings: Container[str]) -> list[Found]:
    """The files that a pattern means, sorted.

    `*` stands for any text in a name, `**` for any folders, `?` for one letter, `{stem}` for a `*`
    that is the image's stem. `{stem}` alone looks into sub-folders too. A pattern that ends in `*`,
    `.*` or `{stem}` means any ending.

    Args:
      root: The data folder.
      pattern: Below it; or a folder, for all files in it and below.
      endings: Endings of files that count, in lower case.

    Raises:
      DataError: The folder is missing, or the pattern has an unknown `{name}`.
    """
    fixed, rest = _split(pattern)
    folder = root / fixed
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; it is that of the pattern {pattern!r}.")
    wanted, found = _expression(rest, pattern), []
    for path in walk(folder, endings).files:
        relative = path.relative_to(folder)
        if match := wanted.fullmatch(relative.as_posix()):
            groups = list(match.groups(default=""))
            if stem := match.groupdict().get("stem"):
                groups.remove(stem)
                groups.append(stem)
            key = [part for group in groups for part in group.split("/") if part]
            name = legible(relative.with_suffix("").as_posix())
            found.append(Found(path, name, tuple(nfc(legible(part)) for part in key)))
    return found


def matched(images: Iterable[Found], labels: Iterable[Found]) -> dict[str, Path]:
    """The label of each image, by the image's name; images without a label are left out.

    A label belongs to the image with the same stem. Of several, the one that shares most of the
    folders above it, from the last one on.

    Raises:
      DataError: Two labels fit an image equally well, or two images have one label.
    """
    by_stem: dict[str, list[Found]] = {}
    for label in labels:
        by_stem.setdefault("".join(label.key[-1:]), []).append(label)
    chosen: dict[str, Path] = {}
    owner: dict[Path, Found] = {}
    for image in images:
        candidates = by_stem.get("".join(image.key[-1:]), [])
        shared = [_shared(image.key, label.key) for label in candidates]
        best = [c for c, n in zip(candidates, shared, strict=True) if n == max(shared)]
        if len(best) > 1:
            raise DataError(
                f"{legible(image.path)}: two labels fit: {few((legible(b.path) for b in best), 3)}."
                " Give a narrower pattern: --labels."
            )
        if best and (other := owner.setdefault(best[0].path, image)) is not image:
            raise DataError(
                f"{legible(best[0].path)}: is the label of two images, {legible(other.path)} and "
                f"{legible(image.path)}. Give narrower patterns: --images, --labels."
            )
        chosen |= {image.name: best[0].path} if best else {}
    return chosen


def apart(
    images: list[Found], labels: list[Found], image_pattern: str, label_pattern: str
) -> tuple[list[Found], list[Found]]:
    """Images and labels without the files that both patterns mean, which the narrower one keeps."""
    both = {found.path for found in images} & {found.path for found in labels}
    narrow = len(_TOKENS.sub("", label_pattern)) >= len(_TOKENS.sub("", image_pattern))
    kept = [found for found in (images if narrow else labels) if found.path not in both]
    return (kept, labels) if narrow else (images, kept)


def _shared(mine: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many parts two keys share, from the last one on."""
    count = 0
    for a, b in zip(reversed(mine), reversed(other), strict=False):
        if a != b:
            break
        count += 1
    return count


def _split(pattern: str) -> tuple[str, str]:
    """A pattern's folders before its first wildcard, and the rest."""
    if not is_pattern(pattern):
        return pattern, "**/*"
    parts = pattern.split("/")
    first = next(n for n, part in enumerate(parts) if is_pattern(part))
    fixed, rest = "/".join(parts[:first]), parts[first:]
    if "{stem}" in pattern and "*" not in pattern:  # labels lie in the images' sub-folders
        rest.insert(-1, "**")
    return fixed or ("/" if first else "."), "/".join(rest)


def _expression(rest: str, pattern: str) -> re.Pattern[str]:
    ending = ""
    if rest.endswith(".*"):
        rest, ending = rest[:-2], _ANY_ENDING
    elif rest.endswith(("*", "{stem}")):
        ending = _ANY_ENDING
    tokens = _TOKENS.split(rest)
    if wrong := re.search(r"\{.*?\}|[{}]", "".join(t for t in tokens if t not in _WILDCARDS)):
        raise DataError(f"{pattern!r}: expected {{stem}}, found {wrong[0]}.")
    if tokens.count("{stem}") > 1:
        raise DataError(f"{pattern!r}: expected one {{stem}}, found several.")
    return re.compile("".join(_WILDCARDS.get(t) or re.escape(t) for t in tokens) + ending)
