"""Canonical JSON: one sequence of bytes for one value, so that records can be named by digest.

The rules (normative text: docs/format/spec-1.md, section "Canonical JSON"):

1. Keys are sorted by code point, no spaces, UTF-8, no escapes beyond those that JSON requires.
2. Floats are the shortest digits that round-trip, written as Python's `repr` writes them.
   NaN and the infinities are `{"$f": "NaN"}`, `{"$f": "Infinity"}`, `{"$f": "-Infinity"}`.
3. Integers beyond ±2^53 are `{"$i": "digits"}`.
4. A key of the user's that begins with `$` gets one more `$`.
5. Times are RFC 3339 in UTC with six digits after the point.
6. Fields that hold their default are left out of records.
7. Lists and mappings are nested at most 100 deep, so that every reader can follow.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any, NamedTuple, TypeVar

import msgspec

from thence.errors import DataDamaged, InvalidInput
from thence.model.ids import Digest, RunId
from thence.model.names import Alias, ArtifactName

__all__ = [
    "Member",
    "convert",
    "decode",
    "encode",
    "format_time",
    "from_plain",
    "join",
    "members",
    "to_plain",
]

T = TypeVar("T")

_SAFE = 1 << 53
_DEEPEST = 100
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_PARSERS: dict[type, Callable[[str], object]] = {
    Digest: Digest.parse,
    RunId: RunId,
    ArtifactName: ArtifactName,
    Alias: Alias,
}
# Python reads and writes no longer integers as text (CVE-2020-10735).
_MAX_DIGITS = 4300
_INTEGER = re.compile(rf"-?[0-9]{{1,{_MAX_DIGITS}}}")


_to_text = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
).encode


class Member(NamedTuple):
    """A member of an object in canonical form.

    Attributes:
        value: What it says.
        data: Its bytes.
    """

    value: Any
    data: bytes


def format_time(moment: datetime) -> str:
    """RFC 3339, UTC, microseconds: `2026-11-23T10:00:00.000000Z`.

    Raises:
        InvalidInput: The moment has no time zone, or its year in UTC is not one of 1 to 9999.
    """
    if moment.tzinfo is None:
        raise InvalidInput(f"a time without a zone: {moment}", hint="Use datetime.now(UTC).")
    try:
        utc = moment.astimezone(UTC)
    except OverflowError as error:
        raise InvalidInput(f"a time out of range: {moment}") from error
    # Not strftime: %Y of the year 1 is "1" on Linux.
    return f"{utc.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def to_plain(value: Any) -> Any:
    """The value as what JSON has: dict, list, str, int, float, bool, None.

    Raises:
        InvalidInput: It holds something that JSON has not; the message says where.
    """
    return _plain(value, "", 0)


def _plain(value: Any, where: str, depth: int) -> Any:
    kind = type(value)
    if kind is str:
        return _text(value, where)
    if kind is bool or value is None:
        return value
    if kind is int:
        return value if -_SAFE <= value <= _SAFE else {"$i": _digits(value, where)}
    if kind is float:
        return value if math.isfinite(value) else {"$f": _name_non_finite(value)}
    if depth > _DEEPEST:
        raise InvalidInput(
            "cannot be kept in a record: it is nested too deeply",
            why=f"Lists and mappings in records are nested at most {_DEEPEST} deep.",
        )
    if isinstance(value, msgspec.Struct):
        return _struct(value, where, depth)
    if isinstance(value, Mapping):
        return {_key(k, where): _plain(v, f"{where}.{k}", depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)]
    if isinstance(value, Enum):
        return _plain(value.value, where, depth)
    if isinstance(value, Digest):
        return str(value)
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, date):
        return value.isoformat()
    for base in (str, int, float):
        if isinstance(value, base):
            return _plain(base(value), where, depth)
    raise InvalidInput(
        f"cannot be kept in a record: {kind.__name__} at {where or 'the top'}",
        why="Records hold text, numbers, booleans, lists and mappings.",
    )


def _struct(value: msgspec.Struct, where: str, depth: int) -> dict[str, Any]:
    config = value.__struct_config__
    out: dict[str, Any] = {}
    if config.tag_field is not None:
        out[config.tag_field] = config.tag
    for field in msgspec.structs.fields(value):
        item = getattr(value, field.name)
        if field.default is not msgspec.NODEFAULT and item == field.default:
            continue
        if field.default_factory is not msgspec.NODEFAULT and item == field.default_factory():
            continue
        out[field.encode_name] = _plain(item, f"{where}.{field.name}", depth + 1)
    return out


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise InvalidInput(
            f"a key that is not text: {key!r} at {where or 'the top'}",
            why="Keys in records are text.",
        )
    text = _text(str(key), where)
    return f"${text}" if text.startswith("$") else text


def _text(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"text that is not Unicode at {where or 'the top'}: {text!r}",
            why="It holds a lone surrogate, as the names of some old files do.",
        ) from error
    return text


def _digits(value: int, where: str) -> str:
    if value.bit_length() > 3 * _MAX_DIGITS:
        raise InvalidInput(f"an integer of too many digits at {where or 'the top'}")
    return str(value)


def _name_non_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def encode(value: Any, *, depth: int = 0) -> bytes:
    """The canonical bytes of a value.

    >>> encode({"b": 1.0, "a": [float("inf"), 2**60, None]})
    b'{"a":[{"$f":"Infinity"},{"$i":"1152921504606846976"},null],"b":1.0}'

    Args:
        value: What to write.
        depth: In how many others it will lie.

    Raises:
        InvalidInput: It cannot be written as JSON.
    """
    return _to_text(_plain(value, "", depth)).encode()


def from_plain(value: Any) -> Any:
    """The inverse of `to_plain` for what JSON cannot say itself.

    Raises:
        DataDamaged: An escape that the rules do not know, or too deep a nesting.
    """
    return _from_plain(value, 0)


def _from_plain(value: Any, depth: int) -> Any:
    if not isinstance(value, (list, dict)):
        return value
    if depth > _DEEPEST:
        raise DataDamaged("a record that is nested too deeply")
    if isinstance(value, list):
        return [_from_plain(item, depth + 1) for item in value]
    if len(value) == 1:
        ((key, item),) = value.items()
        if key == "$f" and isinstance(item, str) and item in _NON_FINITE:
            return _NON_FINITE[item]
        if key == "$i" and isinstance(item, str) and _INTEGER.fullmatch(item):
            return int(item)
    out = {}
    for key, item in value.items():
        if key.startswith("$") and not key.startswith("$$"):
            raise DataDamaged(f"an unknown escape in a record: {key!r}")
        out[key[1:] if key.startswith("$$") else key] = _from_plain(item, depth + 1)
    return out


def decode(data: bytes | bytearray | memoryview, shape: type[T]) -> T:
    """Read canonical (or any) JSON into a shape; fields that the shape has not are passed over.

    Raises:
        DataDamaged: It is not JSON, or not of that shape.
    """
    try:
        plain = from_plain(json.loads(bytes(data)))
    except UnicodeDecodeError as error:
        raise _misshapen(shape, "It is not JSON, nor any other text.") from error
    except json.JSONDecodeError as error:
        raise _misshapen(shape, f"It is not JSON: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise _misshapen(shape, str(error)) from error
    return convert(plain, shape)


def convert(value: Any, shape: type[T]) -> T:
    """What JSON says as a shape; fields that the shape has not are passed over.

    Raises:
        DataDamaged: It is not of that shape.
    """
    try:
        return msgspec.convert(value, shape, dec_hook=_from_text)
    except (ValueError, RecursionError, InvalidInput) as error:
        raise _misshapen(shape, str(error)) from error


def _misshapen(shape: type, why: str) -> DataDamaged:
    return DataDamaged(f"not a {getattr(shape, '__name__', 'record')} record", why=why)


def _from_text(shape: type, value: Any) -> Any:
    if shape in _PARSERS and isinstance(value, str):
        return _PARSERS[shape](value)
    raise DataDamaged(f"cannot read {value!r} as {shape.__name__}")


def members(data: bytes) -> dict[str, Member]:
    """The members of an object, which must be in canonical form.

    Raises:
        DataDamaged: It is no object, or there is another spelling for what it says.
    """
    try:
        raw = _DECODER.decode(data.decode())
        # Most objects have no escape, and then `to_plain(from_plain(raw))` is only a costly `raw`.
        plain = b'"$' not in data and data.count(b"[") + data.count(b"{") <= _DEEPEST
        values = raw if plain else from_plain(raw)
        if type(values) is not dict:
            raise DataDamaged("not a JSON object")
        found = {
            key: Member(value, _to_text(value if plain else _plain(value, key, 1)).encode())
            for key, value in values.items()
        }
        canonical = join({key: member.data for key, member in found.items()})
    except (ValueError, RecursionError, InvalidInput) as error:
        raise DataDamaged("not canonical JSON", why=str(error)) from error
    if canonical != data:
        raise DataDamaged("not canonical JSON", why="It can be written otherwise.")
    return found


def join(encoded: Mapping[str, bytes]) -> bytes:
    """The canonical bytes of an object whose members are encoded already."""
    # Sorted as they are written: by code point, after escaping.
    written = sorted((_key(key, ""), data) for key, data in encoded.items())
    return b"{%b}" % b",".join(b"%b:%b" % (_to_text(key).encode(), data) for key, data in written)


def _whole(digits: str) -> int:
    value = int(digits)
    if not -_SAFE <= value <= _SAFE:
        raise ValueError(f"an integer beyond 2^53: {digits[:40]}")
    return value


_DECODER = json.JSONDecoder(parse_int=_whole)
