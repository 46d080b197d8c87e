"""What scores each output: what the recipe gives, or what fits the labels of the data set."""

from collections.abc import Mapping
from typing import Any

from fcn_jax.data.kinds import label_kinds
from fcn_jax.data.named import zip_named
from fcn_jax.data.source import Source
from fcn_jax.labels import LabelKind
from fcn_jax.metrics import AttributeAccuracy, ClassAccuracy, DepthErrors, Evaluator


def evaluators_of(source: Source, given: Mapping[str, Evaluator] | None) -> dict[str, Evaluator]:
    """The evaluator of each output whose labels are no classes of pixels, or that has one given.

    Args:
        source: says what its labels are.
        given: by output; "" for the only output.

    Raises:
        ValueError: an evaluator is given for an output that is not there; or one is needed.
    """
    kinds = zip_named(label_kinds(source), source.num_classes)
    given = dict(given or {})
    if unknown := set(given) - {name for name, *_ in kinds}:
        names = ", ".join(repr(name) for name, *_ in kinds)
        raise ValueError(f"evaluators of {sorted(unknown)}; the data set's outputs are {names}")
    chosen = {name: given.get(name) or _default(name, kind, k) for name, kind, k in kinds}
    return {name: evaluator for name, evaluator in chosen.items() if evaluator is not None}


def _default(name: str, kind: LabelKind, k: int) -> Any:
    if kind is LabelKind.CLASS:
        return ClassAccuracy(num_classes=k)
    if kind is LabelKind.ATTRIBUTES:
        return AttributeAccuracy(num_attributes=k)
    if kind is LabelKind.NUMBERS and k == 1:
        return DepthErrors()
    if kind is LabelKind.NUMBERS:
        raise ValueError(
            f"{name or 'the output'} has {k} numbers at every pixel, and no errors of that are "
            "known here; give the recipe's `evaluators` one, as docs/scores.md shows"
        )
    return None
