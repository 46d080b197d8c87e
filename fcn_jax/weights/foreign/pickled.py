"""Reads pickles that hold tensors and plain values, without running anything in them.

A pickle is a program for a small stack machine, and Python's own machine imports and calls what
the program names. This machine imports nothing and calls only its own functions: it looks names up
in a table of what PyTorch's state dicts need, and it knows only the operations that they use.

Source: CPython Lib/pickletools.py (operations), torch/_utils.py (how tensors are rebuilt).
"""

import dataclasses
import pickletools
import struct
from collections.abc import Callable
from typing import Any

from fcn_jax.weights.foreign.tensors import TYPES, Storage, Tensor

# Far above any state dict (some 25 steps a tensor), far below what would fill a memory.
MOST_STEPS, MOST_TEXT, MOST_INTEGER = 1_000_000, 1 << 16, 32


@dataclasses.dataclass(frozen=True)
class _StorageType:
    type_name: str


def _ordered_dict(pairs: Any = ()) -> dict:
    """A dictionary; Python 2 passed its items as an argument, Python 3 sets them afterwards."""
    new: dict = {}
    for pair in pairs:
        _set_item(new, *pair)
    return new


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    return Tensor(storage, offset, shape, strides)


KNOWN: dict[str, Any] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _rebuild_tensor,  # before PyTorch 0.4
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
}
KNOWN |= {f"torch.{name}": _StorageType(dtype) for name, dtype in TYPES.items()}
KNOWN |= {f"torch.cuda.{name}": _StorageType(dtype) for name, dtype in TYPES.items()}
"""What each name that a pickle may contain stands for."""

_MARK = object()


@dataclasses.dataclass(frozen=True)
class Unpickled:
    """What a pickle held.

    Attributes:
        value: None, truth values, numbers, strings, tuples, lists, dictionaries and `Tensor`s.
        end: the byte after the pickle.
        storages: all storages that it refers to, by key.
    """

    value: Any
    end: int
    storages: dict[str, Storage]


def read_pickle(data: memoryview, start: int = 0) -> Unpickled:
    """Reads the pickle that begins at byte `start`.

    Raises:
        ValueError: the bytes are not a pickle of protocol 2 to 5, end early, or ask for something
            else, which the message names.
    """
    machine = _Machine(data, start)
    try:
        return Unpickled(machine.run(), machine.at, machine.storages)
    except (IndexError, TypeError, KeyError) as error:
        # An empty stack, a wrong number of arguments, an unknown memo: no pickler writes these.
        raise ValueError(f"damaged pickle at byte {machine.at}: {error}") from error


def _set_item(target: Any, key: Any, value: Any) -> None:
    if type(target) is not dict or type(key) not in (str, int):
        raise ValueError(f"an item for a {type(target).__name__} under a {type(key).__name__}")
    target[key] = value


class _Machine:
    """The stack machine: reads from the data, and has a method for each kind of operation."""

    def __init__(self, data: memoryview, at: int):
        self.data, self.at = data, at
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def run(self) -> Any:
        for _ in range(MOST_STEPS):
            operation = self.take(1)[0]
            if operation == ord("."):
                return self.stack.pop()
            step = STEPS.get(operation)
            if step is None:
                names = {ord(code.code): code.name for code in pickletools.opcodes}
                name = names.get(operation, f"byte {operation}")
                raise ValueError(f"a pickle with operation {name}, which no state dict has")
            step(self)
        raise ValueError(f"a pickle of more than {MOST_STEPS} steps")

    def take(self, length: int) -> memoryview:
        if length > len(self.data) - self.at:
            raise ValueError(f"{length} bytes wanted at byte {self.at}, and the file ends before")
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self, code: str) -> Any:
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def text(self, length: int) -> str:
        if length > MOST_TEXT:
            raise ValueError(f"a text of {length} bytes; at most {MOST_TEXT} are expected")
        return str(self.take(length), "utf-8")

    def line(self) -> str:
        start = self.at
        while self.take(1) != b"\n":
            if self.at - start > MOST_TEXT:
                raise ValueError("a name without an end")
        return str(self.data[start : self.at - 1], "utf-8")

    def integer(self, length: int) -> int:
        if length > MOST_INTEGER:
            raise ValueError(f"an integer of {length} bytes; at most {MOST_INTEGER} are expected")
        return int.from_bytes(self.take(length), "little", signed=True)

    def pop_to_mark(self) -> list[Any]:
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def pop(self, count: int) -> tuple:
        return tuple(self.stack.pop() for _ in range(count))[::-1]

    def look_up(self, module: Any, name: Any) -> Any:
        full = f"{module}.{name}" if type(module) is type(name) is str else "something without name"
        if full not in KNOWN:
            raise ValueError(
                f"a pickle that asks for {full[:100]!r}, which is not read: only tensors, numbers,"
                " text and containers are; save the state dict alone"
            )
        return KNOWN[full]

    def reduce(self) -> None:
        function, arguments = self.pop(2)
        if not callable(function) or type(arguments) is not tuple:
            raise ValueError("a call of something that is not a function")
        self.stack.append(function(*arguments))

    def build(self) -> None:
        """Ignores the attributes of a dictionary (the versions of a state dict)."""
        target, _ = self.pop(2)
        if type(target) is not dict:
            raise ValueError(f"attributes for a {type(target).__name__}")
        self.stack.append(target)

    def persistent(self) -> None:
        kind, storage_type, key, _, count, *view = self.stack.pop()
        valid = kind == "storage" and type(storage_type) is _StorageType and type(key) is str
        if not valid or type(count) is not int or count < 0 or view not in ([], [None]):
            raise ValueError("a reference to something that is not a storage of the file")
        self.storages[key] = Storage(key, storage_type.type_name, count)
        self.stack.append(self.storages[key])

    def set_items(self) -> None:
        items = self.pop_to_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            _set_item(self.stack[-1], key, value)

    def append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError(f"an element for a {type(self.stack[-1]).__name__}")
        self.stack[-1].extend(items)

    def remember(self, index: int) -> None:
        self.memo[index] = self.stack[-1]


Step = Callable[[_Machine], Any]


def _push(value: Callable[[_Machine], Any]) -> Step:
    return lambda m: m.stack.append(value(m))


STEPS: dict[int, Step] = {
    0x80: lambda m: m.take(1),  # PROTO
    0x95: lambda m: m.take(8),  # FRAME: how much to read ahead
    ord("N"): _push(lambda m: None),
    0x88: _push(lambda m: True),
    0x89: _push(lambda m: False),
    ord("J"): _push(lambda m: m.number("<i")),
    ord("K"): _push(lambda m: m.number("<B")),
    ord("M"): _push(lambda m: m.number("<H")),
    0x8A: _push(lambda m: m.integer(m.number("<B"))),
    ord("G"): _push(lambda m: m.number(">d")),
    ord("U"): _push(lambda m: m.text(m.number("<B"))),
    ord("T"): _push(lambda m: m.text(m.number("<I"))),
    ord("X"): _push(lambda m: m.text(m.number("<I"))),
    0x8C: _push(lambda m: m.text(m.number("<B"))),
    0x8D: _push(lambda m: m.text(m.number("<Q"))),
    ord("("): _push(lambda m: _MARK),
    ord(")"): _push(lambda m: ()),
    0x85: _push(lambda m: m.pop(1)),
    0x86: _push(lambda m: m.pop(2)),
    0x87: _push(lambda m: m.pop(3)),
    ord("t"): _push(lambda m: tuple(m.pop_to_mark())),
    ord("]"): _push(lambda m: []),
    ord("}"): _push(lambda m: {}),
    ord("a"): lambda m: m.append([m.stack.pop()]),
    ord("e"): lambda m: m.append(m.pop_to_mark()),
    ord("s"): lambda m: _set_item(m.stack[-3], *m.pop(2)),
    ord("u"): _Machine.set_items,
    ord("q"): lambda m: m.remember(m.number("<B")),
    ord("r"): lambda m: m.remember(m.number("<I")),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("h"): _push(lambda m: m.memo[m.number("<B")]),
    ord("j"): _push(lambda m: m.memo[m.number("<I")]),
    ord("c"): _push(lambda m: m.look_up(m.line(), m.line())),
    0x93: _push(lambda m: m.look_up(*m.pop(2))),
    ord("Q"): _Machine.persistent,
    ord("R"): _Machine.reduce,
    ord("b"): _Machine.build,
}
"""The operations that pickles of state dicts consist of; every other one is refused."""
