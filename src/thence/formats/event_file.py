"""Reads event files of TensorBoard, which many libraries write: their records, and the scalars.

An event file is a sequence of records of TensorFlow (TFRecord): the length as 8 bytes, its masked
CRC-32C, the data, and the masked CRC-32C of that. The data is a message `Event` of Protocol
Buffers, of which only what leads to scalars is read:

======================  ======================================================================
`Event`                 1 wall_time (double), 2 step (varint), 5 summary
`Summary`               1 value, repeated
`Summary.Value`         1 tag, 2 simple_value (float), 8 tensor
`TensorProto`           1 dtype (1 float, 2 double), 2 shape, 4 content, 5 float_val, 6 double_val
======================  ======================================================================
"""

import io
import struct
from collections.abc import Callable, Iterator
from functools import cache
from typing import BinaryIO, NamedTuple

from thence.formats.protobuf import BYTES, EIGHT, FOUR, VARINT, fields

__all__ = ["Damaged", "Scalar", "crc32c", "read_records", "read_scalars"]

# Those of images and the like; reading their checksums in Python would take seconds.
_LONG = 4096
_MASK = 0xA282EAD8
_DTYPES = {1: ("<f", 5), 2: ("<d", 6)}


class Damaged(ValueError):
    """A record is not what was written."""


class Scalar(NamedTuple):
    """One value of a metric.

    Attributes:
        wall_s: When, in seconds since 1970.
    """

    tag: str
    step: int
    wall_s: float
    value: float


def read_scalars(data: bytes) -> Iterator[Scalar]:
    """The scalars of an event file; a last record that was cut off is passed over.

    Raises:
        Damaged: A checksum does not fit; what was read until then is good.
    """
    position = 0
    for record in read_records(io.BytesIO(data), len(data)):
        try:
            yield from _scalars(record)
        except (IndexError, struct.error, UnicodeDecodeError) as error:
            raise Damaged(f"the record at byte {position:,} is no event") from error
        position += len(record) + 16


def read_records(file: BinaryIO, size: int, *, whole: bool = False) -> Iterator[bytes]:
    """The records of a file that has so many bytes.

    Args:
        file: At its beginning.
        size: Of the file.
        whole: A last record that was cut off is damage; else it is passed over, as the file may
            still be written.

    Raises:
        Damaged: A checksum does not fit; what was read until then is good.
    """
    check = _checker()
    position = 0
    while position + 12 <= size:
        head = file.read(12)
        length = int.from_bytes(head[:8], "little")
        if crc32c(head[:8]) != int.from_bytes(head[8:], "little"):
            raise Damaged(f"the length of the record at byte {position:,} is damaged")
        if position + 16 + length > size:
            break
        record, sums = file.read(length), file.read(4)
        if check(record, int.from_bytes(sums, "little")):
            raise Damaged(f"the record at byte {position:,} is damaged")
        yield record
        position += 16 + length
    if whole and position != size:
        raise Damaged(f"the record at byte {position:,} is cut off")


def crc32c(data: bytes) -> int:
    """The masked CRC-32C of TFRecord."""
    table = _table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return _masked(crc ^ 0xFFFFFFFF)


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


@cache
def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


def _checker() -> Callable[[bytes, int], bool]:
    """Tells whether a record is damaged; without a compiled library, only of short ones."""
    try:
        import google_crc32c
    except ImportError:
        return lambda record, expected: len(record) <= _LONG and crc32c(record) != expected
    value = google_crc32c.value
    return lambda record, expected: _masked(int(value(record))) != expected


def _scalars(event: bytes) -> Iterator[Scalar]:
    wall_s, step = 0.0, 0
    summary = None
    for number, kind, begin, end in fields(event, 0, len(event)):
        if number == 1 and kind == EIGHT:
            wall_s = struct.unpack_from("<d", event, begin)[0]
        elif number == 2 and kind == VARINT:
            step = begin - (1 << 64) if begin >> 63 else begin
        elif number == 5 and kind == BYTES:
            summary = (begin, end)
    if summary is not None:
        for number, kind, begin, end in fields(event, *summary):
            if number == 1 and kind == BYTES and (found := _value(event, begin, end)) is not None:
                yield Scalar(found[0], step, wall_s, found[1])


def _value(event: bytes, begin: int, end: int) -> tuple[str, float] | None:
    tag, value = "", None
    for number, kind, first, last in fields(event, begin, end):
        if number == 1 and kind == BYTES:
            tag = event[first:last].decode()
        elif number == 2 and kind == FOUR:
            value = struct.unpack_from("<f", event, first)[0]
        elif number == 8 and kind == BYTES:
            value = _tensor(event, first, last)
    return (tag, value) if tag and value is not None else None


def _tensor(event: bytes, begin: int, end: int) -> float | None:
    """The number in a tensor that has no dimensions."""
    found = list(fields(event, begin, end))
    dtype = next((first for number, _, first, _ in found if number == 1), 0)
    if dtype not in _DTYPES:
        return None
    form, field = _DTYPES[dtype]
    size = struct.calcsize(form)
    for number, kind, first, last in found:
        if number == 2 and any(one == 2 for one, *_ in fields(event, first, last)):
            return None  # it has dimensions
        if number in {4, field} and kind == BYTES and last - first == size:
            return float(struct.unpack_from(form, event, first)[0])
        if number == field and kind in {FOUR, EIGHT}:
            return float(struct.unpack_from(form, event, first)[0])
    return None
