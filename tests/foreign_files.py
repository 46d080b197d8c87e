"""Writes files as other programs do, for the readers of `fcn_jax.weights.foreign`."""

import contextlib
import io
import struct
import tracemalloc
import zipfile

import numpy as np

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


@contextlib.contextmanager
def little_memory(most=1 << 20):
    """Fails if the block allocates more bytes, numpy's included."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def varint(number):
    done = b""
    while number > 127:
        done, number = done + bytes([number & 127 | 128]), number >> 7
    return done + bytes([number])


def field(number, content):
    """A length-delimited field, or a varint if the content is an int."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(array, *, old=False, packed=True, double=False):
    """A BlobProto; `old` with four axes, as in the VGG release of 2014."""
    array = np.asarray(array)
    if old:
        axes = (1,) * (4 - array.ndim) + array.shape
        shape = b"".join(field(i, n) for i, n in enumerate(axes, 1))
    else:
        dims = [field(1, b"".join(map(varint, array.shape)))] if packed else [
            field(1, n) for n in array.shape
        ]  # fmt: skip
        shape = field(7, b"".join(dims))
    number, dtype, wire = (8, "<f8", 1) if double else (5, "<f4", 5)
    numbers = array.astype(dtype)
    if packed:
        return shape + field(number, numbers.tobytes())
    tag = varint(number << 3 | wire)
    return shape + b"".join(tag + one.tobytes() for one in numbers.ravel())


def caffemodel(blobs, *, v1=False, **fields):
    """A NetParameter with these layers, and one without arrays before them."""
    layer, name, arrays = (2, 4, 6) if v1 else (100, 1, 7)
    done = field(1, b"net") + field(layer, field(name, b"data"))
    for key, values in blobs.items():
        content = field(name, key.encode())
        content += b"".join(field(arrays, blob(a, old=v1, **fields)) for a in values)
        done += field(layer, content)
    return done


class Name(str):
    """A name in a pickle: `module attribute`."""


class Call(tuple):
    """A name and its arguments."""


class Reference(tuple):
    """Something outside the pickle that it refers to."""


def operations(value):
    """The operations of a pickle that build a value."""
    if isinstance(value, Name):
        return b"c" + value.replace(" ", "\n").encode() + b"\n"
    if isinstance(value, Call):
        return operations(value[0]) + operations(tuple(value[1:])) + b"R"
    if isinstance(value, Reference):
        return operations(tuple(value)) + b"Q"
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        length = value.bit_length() // 8 + 1
        return b"\x8a" + bytes([length]) + value.to_bytes(length, "little", signed=True)
    if isinstance(value, dict):
        pairs = b"".join(operations(k) + operations(v) for k, v in value.items())
        return b"}(" + pairs + b"u"
    opening, closing = (b"(", b"t") if isinstance(value, tuple) else (b"](", b"e")
    return opening + b"".join(map(operations, value)) + closing


def pickled(value):
    return b"\x80\x02" + operations(value) + b"."


def storage(key, array):
    kinds = {"float32": "Float", "int64": "Long", "float64": "Double", "bfloat16": "BFloat16"}
    name = Name(f"torch {kinds[str(array.dtype)]}Storage")
    return Reference(("storage", name, key, "cpu", array.size))


def tensor(key, array, *, offset=0, shape=None, strides=None):
    """A tensor as a pickle describes it; the complete array by default."""
    steps = tuple(n // array.itemsize for n in array.strides)
    view = (offset, shape or array.shape, steps if strides is None else strides)
    backward = (False, Call((Name("collections OrderedDict"),)))
    return Call((Name("torch._utils _rebuild_tensor_v2"), storage(key, array), *view, *backward))


def archive(value, arrays):
    """A `.pth` since PyTorch 1.6; `value` is pickled, unless it is already a pickle."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("net/data.pkl", value if isinstance(value, bytes) else pickled(value))
        file.writestr("net/byteorder", "little")
        for key, array in arrays.items():
            file.writestr(f"net/data/{key}", array.tobytes("A"))
        file.writestr("net/version", "3\n")
    return made.getvalue()


def stream(value, arrays):
    """A `.pth` of before PyTorch 1.6."""
    system = {"protocol_version": PROTOCOL, "little_endian": True}
    parts = [pickled(part) for part in (MAGIC, PROTOCOL, system)]
    parts += [value if isinstance(value, bytes) else pickled(value), pickled(list(arrays))]
    numbers = [struct.pack("<q", a.size) + a.tobytes("A") for a in arrays.values()]
    return b"".join(parts + numbers)


def state_dict(arrays):
    """Tensors by name and their storages by key."""
    kept = {str(i): array for i, array in enumerate(arrays.values())}
    return {name: tensor(str(i), array) for i, (name, array) in enumerate(arrays.items())}, kept
