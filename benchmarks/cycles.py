"""A TPU compiler's own estimates, read from the text of a compiled program.

The compiler writes `estimated_cycles` beside most operations. An operation without an estimate is
bounded below by the bytes that it moves, so that no work can hide in such an operation. Arrays in
the chip's fast memory, and copies that run beside other work, do not count as bytes moved. The body
of a loop counts as often as it runs.
"""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from fcn_jax.planning.collectives import array_bytes

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \([^\n]*\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_OPERATION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*?) ([\w\-]+)\((.*)$", re.MULTILINE)
_ARRAY = re.compile(r"\w+\[[\d,]*\](?:\{[^}]*\})?")
_FAST_MEMORY = re.compile(r"S\([1-9]\d*\)")
_PART = re.compile(r"[\w.]+(?:\([^/]*\))?")

# These do nothing that takes time, or run beside other operations.
_FREE = frozenset(
    "parameter constant bitcast tuple get-tuple-element after-all partition-id replica-id "
    "opt-barrier copy-start copy-done slice-start slice-done".split()
)
_FREE_CALLS = frozenset(("ConcatBitcast", "AllocateBuffer"))  # they name memory, and move nothing


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation of a compiled program.

    Attributes:
        kind: XLA's name, such as `fusion`.
        source: path of the JAX function that it comes from; empty where the compiler added it.
        cycles: the compiler's estimate for all runs; None where it gives none.
        moved: bytes that it reads from and writes to the chip's main memory, in all runs.
    """

    kind: str
    source: str
    cycles: int | None
    moved: int


def operations(text: str) -> list[Operation]:
    """What a program does, in the order of its text; the text is `compiled.as_text()`.

    Raises:
        ValueError: the text has no entry, or a loop whose number of runs is not in its text.
    """
    bodies = {name: body for _, name, body in _COMPUTATION.findall(text)}
    entries = [name for entry, name, _ in _COMPUTATION.findall(text) if entry]
    if len(entries) != 1:
        raise ValueError(
            f"expected the text of a compiled program, with one ENTRY; found {entries}"
        )
    return list(_operations(bodies, entries[0], 1))


def _operations(bodies: dict[str, str], name: str, runs: int) -> Iterator[Operation]:
    lines = _OPERATION.findall(bodies[name])
    sizes = {operation: _moved(result) for operation, result, _, _ in lines}
    for operation, result, kind, rest in lines:
        if kind == "while":
            again = runs * _runs_of_loop(bodies, operation, rest)
            yield from _operations(bodies, _called(rest, "body"), again)
        elif kind == "call":
            yield from _operations(bodies, _called(rest, "to_apply"), runs)
        elif kind not in _FREE and not any(f'"{free}"' in rest for free in _FREE_CALLS):
            cycles = re.search(r'"estimated_cycles":"(\d+)"', rest)
            source = re.search(r'op_name="([^"]*)"', rest)
            arguments = re.findall(r"%([\w.\-]+)", rest.partition(")")[0])
            moved = _moved(result) + sum(sizes.get(argument, 0) for argument in arguments)
            yield Operation(
                kind=kind,
                source=source[1] if source else "",
                cycles=runs * int(cycles[1]) if cycles else None,
                moved=runs * moved,
            )


def _called(rest: str, role: str) -> str:
    found = re.search(rf"\b{role}=%?([\w.\-]+)", rest)
    assert found, rest
    return found[1]


def _runs_of_loop(bodies: dict[str, str], name: str, rest: str) -> int:
    """A loop of `lax.scan` or `lax.map` ends when its counter reaches the one constant."""
    limits = re.findall(r"\bconstant\((\d+)\)", bodies[_called(rest, "condition")])
    if len(limits) != 1:
        raise ValueError(f"{name}: expected a loop up to one constant, found {limits}")
    return int(limits[0])


def _moved(shape: str) -> int:
    """Bytes of the arrays of a result that lie in the chip's main memory."""
    arrays = _ARRAY.findall(shape)
    return sum(array_bytes(array) for array in arrays if not _FAST_MEMORY.search(array))


def layer(source: str) -> str:
    """The layer that a path of JAX functions belongs to.

    `jit(step)/transpose(jvp(FCN))/trunk/trunk._stage/conv1_1/add` is `conv1_1, gradient`. What
    belongs to no layer is `loss` inside a differentiated function, and `rest` elsewhere.
    """
    wrapped = [part for part in source.split("/") if "(" in part]
    parts = [part for part in source.split("/")[:-1] if _is_layer(part)]
    differentiated = any("jvp(" in part for part in wrapped)
    name = parts[0] if parts else "loss" if differentiated else "rest"
    return f"{name}, gradient" if any("transpose(" in part for part in wrapped) else name


def _is_layer(part: str) -> bool:
    """Whether a part of a path names a layer: not a transformation, method, class or container."""
    plain = part.isidentifier() and part[0].islower()
    return plain and part not in ("trunk", "while", "body", "cond", "closed_call")


@dataclasses.dataclass(frozen=True)
class Share:
    """What the operations of one layer take together.

    Attributes:
        cycles: the compiler's estimates.
        unknown: kinds of the operations without an estimate that move bytes.
        moved: bytes of all operations.
        moved_unknown: bytes of those without an estimate.
    """

    cycles: int
    unknown: frozenset[str]
    moved: int
    moved_unknown: int


def by_layer(found: Iterable[Operation]) -> dict[str, Share]:
    """The operations of each layer together, in the order in which layers first appear."""
    groups: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in found:
        groups[layer(operation.source)].append(operation)
    return {name: together(group) for name, group in groups.items()}


def together(found: Iterable[Operation]) -> Share:
    """Some operations as one."""
    found = list(found)
    unknown = [o for o in found if o.cycles is None and o.moved]
    return Share(
        cycles=sum(o.cycles or 0 for o in found),
        unknown=frozenset(o.kind for o in unknown),
        moved=sum(o.moved for o in found),
        moved_unknown=sum(o.moved for o in unknown),
    )


def bounded_cycles(share: Share, bandwidth: float, clock: float) -> float:
    """The estimates, and for operations without one the least cycles in which their bytes move.

    Args:
        share: of a layer or a whole program.
        bandwidth: bytes/s of the chip's main memory.
        clock: cycles/s.
    """
    return share.cycles + share.moved_unknown / bandwidth * clock
