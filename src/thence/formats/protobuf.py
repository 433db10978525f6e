"""Messages of Protocol Buffers, read and compared without their compiled classes.

A `Schema` says which fields a message has and what they mean, so that a difference can be named.
Fields that it does not name are compared by their bytes: nothing is passed over that is not known.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from thence.formats.tally import Tally, show

__all__ = ["BYTES", "EIGHT", "FOUR", "VARINT", "Message", "Messages", "Slot", "fields", "parse"]

VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5

_DEEPEST = 100
_MOST_FIELDS = 10_000_000

Field = tuple[int, int, int, int]
"""Number, kind, and where it begins and ends; of a varint, its value and where it ends."""

Message = dict[int, list[Any]]
"""The values of each field: whole numbers, and the bytes of all else."""


class Slot(NamedTuple):
    """A field of a message.

    Attributes:
        kind: `int`, `float`, `double`, `text`, `bytes`, `skip` for what is not compared, or the
            name of a message.
        key: Number of the field that tells one message from the others, where their order means
            nothing; else they are compared in order.
    """

    name: str
    kind: str
    key: int | None = None


Schema = Mapping[str, Mapping[int, Slot]]
Special = Callable[[Tally, str, Message, Message], None]


class Messages:
    """Compares messages into a tally.

    Floating-point numbers may deviate as the tolerance says; whole numbers are exact, because they
    are shapes, counts and choices.

    Args:
        special: Compares messages of these names in ways of its own, once they are parsed.
    """

    def __init__(
        self, tally: Tally, schema: Schema, special: Mapping[str, Special] | None = None
    ) -> None:
        self._tally = tally
        self._schema = schema
        self._special = special or {}

    def compare(
        self, kind: str, where: str, original: Any, reproduced: Any, depth: int = 0
    ) -> None:
        """Compare two messages in bytes.

        Raises:
            IndexError: One of them is no message.
        """
        if original == reproduced:
            return
        if isinstance(original, int) or isinstance(reproduced, int):
            raise IndexError("a number where a message should be")
        if depth > _DEEPEST:
            raise IndexError("nested too deeply")
        first, second = parse(original), parse(reproduced)
        if kind in self._special:
            self._special[kind](self._tally, where, first, second)
        else:
            self.parsed(kind, where, first, second, depth)

    def parsed(
        self, kind: str, where: str, first: Message, second: Message, depth: int = 0
    ) -> None:
        """Compare two messages, field by field.

        Raises:
            IndexError: Something in them is not what the schema says.
        """
        slots = self._schema[kind]
        for number in sorted(first.keys() | second.keys()):
            slot = slots.get(number, Slot(f"field {number}", "bytes"))
            at = f"{where}.{slot.name}" if where else slot.name
            one, other = first.get(number, []), second.get(number, [])
            if slot.kind == "skip":
                if one != other:
                    self._tally.passes_over(f"ignored {slot.name}")
            elif slot.kind in self._schema or slot.kind in self._special:
                self._nested(slot, at, one, other, depth)
            else:
                self._plain(slot.kind, at, one, other)

    def _nested(
        self, slot: Slot, where: str, original: list[Any], reproduced: list[Any], depth: int
    ) -> None:
        if slot.key is not None:
            self._keyed(slot, where, original, reproduced, depth)
            return
        several = len(original) > 1 or len(reproduced) > 1
        for index, (one, other) in enumerate(zip(original, reproduced, strict=False)):
            self.compare(
                slot.kind, f"{where}[{index}]" if several else where, one, other, depth + 1
            )
        if len(original) != len(reproduced):
            self._tally.differs(f"{where}: {len(original)} -> {len(reproduced)}")

    def _keyed(
        self, slot: Slot, where: str, original: list[Any], reproduced: list[Any], depth: int
    ) -> None:
        assert slot.key is not None
        if original == reproduced:
            return
        first, second = (_by_key(entries, slot.key) for entries in (original, reproduced))
        if len(first) != len(original) or len(second) != len(reproduced):
            self._nested(slot._replace(key=None), where, original, reproduced, depth)
            return
        for key, one in first.items():
            at = f"{where}[{key.decode(errors='replace')}]"
            if key in second:
                self.compare(slot.kind, at, one, second[key], depth + 1)
            else:
                self._tally.differs(f"{at}: there -> missing")
        for key in second:
            if key not in first:
                self._tally.differs(f"{where}[{key.decode(errors='replace')}]: missing -> there")

    def _plain(self, kind: str, where: str, original: list[Any], reproduced: list[Any]) -> None:
        first, second = _values(kind, original), _values(kind, reproduced)
        several = len(first) > 1 or len(second) > 1
        for index, (one, other) in enumerate(zip(first, second, strict=False)):
            if one is other:
                continue
            at = f"{where}[{index}]" if several else where
            if isinstance(one, float) and isinstance(other, float):
                self._tally.number(at, one, other)
            elif one != other:
                self._tally.differs(f"{at}: {show(one)} -> {show(other)}")
        if len(first) != len(second):
            self._tally.differs(f"{where}: {len(first)} -> {len(second)} values")


def parse(data: Any) -> Message:
    """The fields of a message.

    Raises:
        IndexError: It is none.
    """
    found: Message = {}
    for count, (number, kind, begin, end) in enumerate(fields(data, 0, len(data))):
        if count > _MOST_FIELDS:
            raise IndexError("too many fields")
        found.setdefault(number, []).append(begin if kind == VARINT else data[begin:end])
    return found


def fields(data: Any, position: int, end: int) -> Iterator[Field]:
    """The fields of a message (Protocol Buffers, Encoding).

    Raises:
        IndexError: It is none.
    """
    while position < end:
        key, position = _varint(data, position)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, position = _varint(data, position)
            yield number, kind, value, position
            continue
        if kind == BYTES:
            length, position = _varint(data, position)
        elif kind in {FOUR, EIGHT}:
            length = 4 if kind == FOUR else 8
        else:
            raise IndexError(kind)
        if position + length > end:
            raise IndexError(position)
        yield number, kind, position, position + length
        position += length


def _varint(data: Any, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise IndexError(position)


def _packed(data: Any) -> Iterator[int]:
    """Whole numbers that were written one after another."""
    position = 0
    while position < len(data):
        value, position = _varint(data, position)
        yield value


def _values(kind: str, given: list[Any]) -> list[Any]:
    """The values of a plain field; repeated ones may be packed into one, or not."""
    found: list[Any] = []
    for one in given:
        if isinstance(one, int):
            found.append(_signed(one))
        elif kind == "int":
            found.extend(map(_signed, _packed(one)))
        elif kind in {"float", "double"}:
            form = "f" if kind == "float" else "d"
            size = struct.calcsize(form)
            if len(one) % size:
                raise IndexError("no whole number of numbers")
            found.extend(struct.unpack(f"<{len(one) // size}{form}", one))
        elif kind == "text":
            found.append(bytes(one).decode(errors="backslashreplace"))
        else:
            found.append(bytes(one))
    return found


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _by_key(messages: list[Any], key: int) -> dict[bytes, Any]:
    found = {}
    for one in messages:
        value = parse(one).get(key, [b""])[-1] if not isinstance(one, int) else b""
        found[value if isinstance(value, bytes) else bytes(value)] = one
    return found
