"""Protocol buffers' wire format: the fields of a message, as views of its bytes.

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
        The field's number with an int for a varint; a memoryview for a string, message or packed
        array; a float array for numbers of 4 or 8 bytes, where neighbours of one field come as
        one array, so that unpacked millions take no time.

    Raises:
        ValueError: the bytes are no message, or end within a field.
    """
    at = 0
    while at < len(message):
        begun = at
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise ValueError(f"a field without a number at byte {begun}")
        if kind == VARINT:
            value, at = _varint(message, at)
            yield number, value
        elif kind == BYTES:
            length, at = _varint(message, at)
            if length > len(message) - at:
                raise ValueError(
                    f"{length} bytes announced at byte {begun}, {len(message) - at} left"
                )
            yield number, message[at : at + length]
            at += length
        elif kind in FLOATS:
            values = _neighbours(message, begun, at - begun, FLOATS[kind])
            yield number, values
            at = begun + len(values) * (at - begun + FLOATS[kind].itemsize)
        else:
            raise ValueError(f"a field of unknown kind {kind} at byte {begun}")


def varints(packed: memoryview) -> list[int]:
    """The numbers of a packed array of varints."""
    numbers, at = [], 0
    while at < len(packed):
        number, at = _varint(packed, at)
        numbers.append(number)
    return numbers


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number, seven bits a byte, the lowest first; and where it ends."""
    number = 0
    for i in range(10):  # 64 bits
        if at + i >= len(data):
            raise ValueError(f"the bytes end within the number at byte {at}")
        byte = data[at + i]
        number |= (byte & 127) << (7 * i)
        if byte < 128:
            return number, at + i + 1
    raise ValueError(f"a number of more than 64 bits at byte {at}")


def _neighbours(message: memoryview, at: int, tag: int, dtype: np.dtype) -> np.ndarray:
    """The floats from `at` on that stand in a row, each behind the same tag of `tag` bytes."""
    record = np.dtype([("tag", np.uint8, tag), ("value", dtype)])
    count = (len(message) - at) // record.itemsize
    if not count:
        raise ValueError(f"the bytes end within the number at byte {at}")
    records = np.frombuffer(message, record, count, at)
    # Blocks twice as long each time: a row is found in time proportional to its own length.
    done, block = 1, 64
    while done < count:
        same = np.all(records["tag"][done : done + block] == records["tag"][0], axis=-1)
        if not same.all():
            done += int(np.argmin(same))
            break
        done, block = done + len(same), 2 * block
    return records["value"][:done]
