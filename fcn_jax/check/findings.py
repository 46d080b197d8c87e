"""What a check finds."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found in a data set.

    Attributes:
      kind: A short name, the same for every finding of its kind; docs/check.md has them all.
      severity: "wrong": training would be wrong, or would stop. "look": a person should look.
      found: What was found, with counts and names; a sentence.
      means: What it probably means; a sentence.
      mend: The option or the action that mends it; a sentence.
      options: The options that read the data as they are, such as ("--ignore", "11"); ("",) if
        none does.
      label_map: The lines of the label map that `options` call FILE; "".
      examples: Names of examples that show it, the best first.
      notes: Lines under the pictures of `examples`, one for each; or ().
      beside: For each of `examples` another one to show beside it; or ().
      undo: Steps that turn the labels of `examples` back (see `edges.TURNS`); "".
    """

    kind: str
    severity: Literal["wrong", "look"]
    found: str
    means: str
    mend: str
    options: tuple[str, ...] = ()
    label_map: str = ""
    examples: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    undo: str = ""


def number(count: int, what: str) -> str:
    """A count in words: `1 label`, `3 labels`, `2 classes`."""
    return f"{count} {what}" + ("" if count == 1 else "es" if what.endswith("s") else "s")


def have(count: int, one: str = "has", many: str = "have") -> str:
    """The form of a verb that fits a count."""
    return one if count == 1 else many
