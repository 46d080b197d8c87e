"""Reads the fields of a message in protocol buffers' wire format, as views of its bytes.

Source: protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
FLOATS = {FIXED64: np.dtype("<f8"), FIXED32: np.dtype("<f4")}

Value = int | memoryview | np.ndarray


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Number and value of each field, in the order of the file; nothing is copied.

    Args:
        message: the bytes of one message.

    Yields:
        The field's number, and its value: an int for a varint; a memoryview for a string, a
        message or a packed array; a float array for numbers of 4 or 8 bytes. Consecutive numbers
        of one field are one array, so that millions of unpacked numbers are read fast.

    Raises:
        ValueError: the bytes are not a message, or end within a field.
    """
    at = 0
    while at < len(message):
        start = at
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise ValueError(f"a field without a number at byte {start}")
        if kind == VARINT:
            value, at = _varint(message, at)
            yield number, value
        elif kind == BYTES:
            length, at = _varint(message, at)
            left = len(message) - at
            if length > left:
                raise ValueError(f"{length} bytes announced at byte {start}, {left} left")
            yield number, message[at : at + length]
            at += length
        elif kind in FLOATS:
            tag_size = at - start
            values = _consecutive(message, start, tag_size, FLOATS[kind])
            yield number, values
            at = start + len(values) * (tag_size + FLOATS[kind].itemsize)
        else:
            raise ValueError(f"a field of unknown kind {kind} at byte {start}")


def varints(packed: memoryview) -> list[int]:
    """The numbers of a packed array of varints."""
    numbers, at = [], 0
    while at < len(packed):
        number, at = _varint(packed, at)
        numbers.append(number)
    return numbers


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number at a byte, and where it ends; seven bits per byte, the lowest first."""
    number = 0
    for i in range(10):  # 64 bits
        if at + i >= len(data):
            raise ValueError(f"the bytes end within the number at byte {at}")
        byte = data[at + i]
        number |= (byte & 127) << (7 * i)
        if byte < 128:
            return number, at + i + 1
    raise ValueError(f"a number of more than 64 bits at byte {at}")


def _consecutive(message: memoryview, at: int, tag_size: int, dtype: np.dtype) -> np.ndarray:
    """The floats that follow one another from byte `at`, each after the same tag."""
    record = np.dtype([("tag", np.uint8, tag_size), ("value", dtype)])
    count = (len(message) - at) // record.itemsize
    if not count:
        raise ValueError(f"the bytes end within the number at byte {at}")
    records = np.frombuffer(message, record, count, at)
    # Each block is twice as long as the last: the time is proportional to the numbers found.
    found, block = 1, 64
    while found < count:
        same = np.all(records["tag"][found : found + block] == records["tag"][0], axis=-1)
        if not same.all():
            found += int(np.argmin(same))
            break
        found, block = found + len(same), 2 * block
    return records["value"][:found]
