"""The rows of a result, counted and hashed as a program fetches them.

The encoding: each row is a JSON array in ASCII without blanks, and a newline after it; SHA-256 of
all of them. NULL is `null`; numbers are as JSON has them (floats in their shortest form), texts are
strings, bytes `{"bytes":"<hex>"}`, decimal numbers `{"decimal":"1.50"}`, dates and times
`{"time":"<ISO 8601>"}`, arrays are arrays, and all else is `{"<type>":"<as text>"}`. Of rows that
are mappings or objects of a program's own, the values count, else the text.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["Rows", "encoded"]

_BATCH = 256


def _other(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"bytes": bytes(value).hex()}
    if hasattr(value, "isoformat"):
        return {"time": value.isoformat()}
    name = type(value).__name__
    if name == "Decimal":
        return {"decimal": str(value)}
    if hasattr(value, "tolist"):  # of NumPy
        return value.tolist()
    return {name: str(value)}


def _encoder() -> Callable[[Any], str]:
    """JSON; the part of it that is written in C, made once, is five times as fast for a row."""
    plain = json.JSONEncoder(separators=(",", ":"), default=_other)
    try:
        from json.encoder import (  # type: ignore[attr-defined]
            c_make_encoder,
            encode_basestring_ascii,
        )

        fast = c_make_encoder(
            None, _other, encode_basestring_ascii, None, ":", ",", False, False, True
        )
        if "".join(fast([1, "a"], 0)) == plain.encode([1, "a"]):
            return lambda values: "".join(fast(values, 0))
    except (ImportError, TypeError):
        pass  # another Python
    return plain.encode


_encode = _encoder()


def encoded(row: Any) -> bytes:
    r"""A row as it is hashed.

    >>> encoded((1, "a", None, b"x"))
    b'[1,"a",null,{"bytes":"78"}]\n'
    """
    if isinstance(row, (list, tuple)):
        values: Any = row
    elif hasattr(row, "keys") and hasattr(row, "__getitem__"):
        values = [row[key] for key in row.keys()]  # noqa: SIM118 - sqlite3.Row is no mapping
    elif hasattr(row, "__iter__") and not isinstance(row, (str, bytes)):
        values = list(row)
    else:
        values = [row]
    try:
        text = _encode(values)
    except (
        TypeError,
        ValueError,
        RecursionError,
    ):  # keys of a nested mapping that JSON has not, circles
        text = _encode([str(values)])
    return text.encode("ascii") + b"\n"


class Rows:
    """Rows that pass."""

    def __init__(self) -> None:
        import hashlib

        self._hash = hashlib.sha256()
        self._waiting: list[Any] = []
        self.count = 0

    def add(self, row: Any) -> None:
        """One row; tuples cannot change any more and wait for others."""
        self.count += 1
        if type(row) is tuple:
            self._waiting.append(row)
            if len(self._waiting) < _BATCH:
                return
            self._flush()
        else:
            self._flush()
            self._hash.update(encoded(row))

    def extend(self, rows: Iterable[Any]) -> None:
        """Several."""
        for row in rows:
            self.add(row)

    def _flush(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self._hash.update(b"".join(map(encoded, waiting)))

    def digest(self) -> str:
        """Of all rows until now."""
        self._flush()
        return self._hash.hexdigest()
