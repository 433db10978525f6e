"""The rows of a result, counted and hashed as a program fetches them.

The encoding: SHA-256 of the rows as one JSON array of arrays, in ASCII without blanks. NULL is
`null`; numbers are as JSON has them (floats in their shortest form), texts are strings, arrays are
arrays and mappings objects. Bytes are `{"bytes":"sha256:<hex>"}`, and texts of more than 1,000
characters `{"text":"sha256:<hex>"}`, of their UTF-8. Decimal numbers are `{"decimal":"1.50"}`,
dates and times `{"time":"<ISO 8601>"}`, and all else of known libraries is
`{"<type>":"<as text>"}`. Of rows that are mappings, the values count.

Objects of a program's own are not looked into, as that would run code of it; a result with such has
no digest. Only the first 100,000 rows are hashed.
"""

from __future__ import annotations

from itertools import chain
from sys import getsizeof

from .known import is_known

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = ["HASHED_AT_MOST", "Rows", "encoded"]

HASHED_AT_MOST = 100_000
# Rows wait for others, as hashing several at once costs half; but no great ones.
_BATCH = 256
_BATCH_BYTES = 1 << 20
_LONG_TEXT = 1_000
_PIECE = 1 << 16
# What JSON, or the hook for bytes, encodes as it is.
_PLAIN = frozenset({type(None), bool, int, float, str, bytes})
_TUPLES = frozenset({tuple})
_DRIVERS = ("duckdb", "_duckdb", "polars", "psycopg", "psycopg2", "pyarrow")


class _ForeignError(Exception):
    """A value whose text only code of the program's own can tell."""


def _digest(pieces: Any) -> str:
    import hashlib

    found = hashlib.sha256()
    for piece in pieces:
        found.update(piece)
    return "sha256:" + found.hexdigest()


def _long(text: str) -> str:
    """The digest of a text, without its copy in UTF-8."""
    cut = (text[at : at + _PIECE] for at in range(0, len(text), _PIECE))
    return _digest(piece.encode("utf-8", "surrogatepass") for piece in cut)


def _bytes(value: Any) -> dict[str, str]:
    return {"bytes": _digest((value,))}


def _encoder() -> Callable[[Any], str]:
    """JSON; by the part of it that is written in C, if there is one."""
    from json import encoder

    quoted = encoder.encode_basestring_ascii

    def text(value: str) -> str:
        return quoted(value) if len(value) <= _LONG_TEXT else f'{{"text":"{_long(value)}"}}'

    odd = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}

    def number(value: float) -> str:
        shown = float.__repr__(value)
        return odd.get(shown, shown)

    make: Any = getattr(encoder, "c_make_encoder", None)
    if make is not None:
        made = make(None, _bytes, text, None, ":", ",", False, False, True)
    else:  # another Python
        make = encoder._make_iterencode  # type: ignore[attr-defined]  # noqa: SLF001
        made = make(None, _bytes, text, None, number, ":", ",", False, False, True)
    return lambda rows: "".join(made(rows, 0))


_encode = _encoder()


def _values(row: Any) -> tuple[Any, ...]:
    """Of one row, plain; without calling anything that a subclass defines."""
    if issubclass(type(row), tuple):
        values: Any = tuple.__iter__(row)
    elif issubclass(type(row), list):
        values = list.__iter__(row)
    elif issubclass(type(row), dict):
        values = dict.values(row)
    elif type(row) in _PLAIN:
        values = (row,)
    elif type(row).__module__ == "sqlite3" and type(row).__name__ == "Row":
        values = row
    else:
        raise _ForeignError
    return tuple(map(_plain, values))


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if issubclass(type(value), (bytearray, memoryview, bytes)):
        return _bytes(value)
    if issubclass(type(value), list):
        return [_plain(one) for one in list.__iter__(value)]
    if issubclass(type(value), tuple):
        return [_plain(one) for one in tuple.__iter__(value)]
    if issubclass(type(value), dict):
        return {_name(key): _plain(one) for key, one in dict.items(value)}
    if issubclass(type(value), str):
        return str.__str__(value)
    if issubclass(type(value), int):
        return int.__int__(value)
    if issubclass(type(value), float):
        return float.__float__(value)
    if not is_known(kind, *_DRIVERS):
        raise _ForeignError
    if hasattr(value, "isoformat"):
        return {"time": value.isoformat()}
    if kind.__name__ == "Decimal":
        return {"decimal": str(value)}
    if hasattr(value, "tolist"):  # of NumPy
        found = value.tolist()
        return {kind.__name__: str(found)} if type(found) is kind else _plain(found)
    return {kind.__name__: str(value)}


def _name(key: Any) -> str:
    if issubclass(type(key), str):
        return str.__str__(key)
    if type(key) in _PLAIN or is_known(type(key)):
        return str(key)
    raise _ForeignError


def encoded(rows: Sequence[Any]) -> bytes:
    """Rows as they are hashed.

    >>> encoded([(1, "a", None), (2.5, "b", True)])
    b'[[1,"a",null],[2.5,"b",true]]'
    """
    return _encode([_values(row) for row in rows]).encode("ascii")


class Rows:
    """Rows that pass.

    Attributes:
        count: How many there were.
    """

    def __init__(self) -> None:
        import hashlib

        self.count = 0
        self._most = HASHED_AT_MOST
        self._hash = hashlib.sha256(b"[")
        self._hashed = 0
        self._waiting: list[tuple[Any, ...]] = []
        self._size = 0

    def add(self, row: Any) -> None:
        """One row."""
        self.count = count = self.count + 1
        if count > self._most:
            return
        try:
            if type(row) is not tuple or not _PLAIN.issuperset(map(type, row)):
                row = _values(row)
            self._waiting.append(row)
            self._size += sum(map(getsizeof, row))
            if self._size > _BATCH_BYTES or len(self._waiting) >= _BATCH:
                waiting, self._waiting = self._waiting, []
                self._size = 0
                self._update(waiting)
        except Exception:
            self._give_up()

    def extend(self, rows: Sequence[Any], *, uncounted: int = 0) -> None:
        """Several.

        Args:
            rows: A list or a tuple: who has that holds them all.
            uncounted: How many more there were behind these, if these are as many as are hashed.
        """
        wanted = max(0, min(len(rows), self._most - self.count))
        self.count += len(rows) + uncounted
        try:
            waiting, self._waiting = self._waiting, []
            self._update(waiting)
            for at in range(0, wanted, _BATCH):
                some = rows[at : min(at + _BATCH, wanted)]
                is_plain = _TUPLES.issuperset(map(type, some)) and _PLAIN.issuperset(
                    map(type, chain.from_iterable(some))
                )
                self._update(some if is_plain else [_values(row) for row in some])
        except Exception:
            self._give_up()

    def _update(self, rows: Sequence[Any]) -> None:
        if rows:
            text = _encode(rows)[1:-1]
            self._hash.update(("," + text if self._hashed else text).encode("ascii"))
            self._hashed += len(rows)

    def _give_up(self) -> None:
        """From now on they are counted; there is no digest."""
        self._most = -1
        self._waiting = []

    def digest(self) -> tuple[str | None, int]:
        """Of the rows until now, and of how many of these, from the first."""
        try:
            waiting, self._waiting = self._waiting, []
            self._update(waiting)
        except Exception:
            self._give_up()
        if self._most < 0:
            return None, 0
        whole = self._hash.copy()
        whole.update(b"]")
        return whole.hexdigest(), self._hashed
