"""Notes: what a program is heard to do besides touching files, told to who observes it.

The protocol: a note is a four-byte length and a JSON object `{"kind": …, "pid": …, "image": …, …}`.
Nobody answers; where nobody listens any more, notes are dropped and the program goes on.
"""

from __future__ import annotations

import os
from _thread import allocate_lock

try:
    # The package json needs milliseconds to be imported, at the start of each Python.
    from _json import encode_basestring_ascii as _quoted
except ImportError:
    from json.encoder import encode_basestring_ascii as _quoted

from .identity import image
from .wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Tell = Callable[[str, "dict[str, Any]"], None]

__all__ = ["NOTES", "Notes", "encode"]

NOTES = "notes"
_LONGEST = 1 << 20


class Notes:
    """The connection to who listens; one for each process, also after a fork.

    Args:
        folder: In which the socket is.
    """

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, NOTES)
        self._pid = -1
        self._reset()

    def _reset(self) -> None:
        # Another thread of the parent may have held the lock when it forked.
        self._lock = allocate_lock()
        self._wire: Wire | None = None
        self._lost = False
        self._pid = os.getpid()

    def tell(self, kind: str, fields: dict[str, Any]) -> None:
        """Tell it; what cannot be said in JSON is said in its `str`."""
        pid = os.getpid()
        if pid != self._pid:
            self._reset()
        note = {"kind": kind, "pid": pid, "image": image(), **fields}
        data = encode(note).encode("ascii")
        if len(data) <= _LONGEST:
            with self._lock:
                self._send(len(data).to_bytes(4, "big") + data)

    def _send(self, message: bytes) -> None:
        if self._lost:
            return
        try:
            if self._wire is None:
                self._wire = Wire(self._path)
            self._wire.send(message)
        except OSError:
            self._lose()
        except BaseException:
            # Ctrl-C in the middle of a note: what follows could not be told from its rest.
            self._lose()
            raise

    def _lose(self) -> None:
        self._lost = True
        if self._wire is not None:
            self._wire.close()


def encode(value: Any) -> str:
    """A value as JSON in ASCII; what JSON has no form for as its `str`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return str(_quoted(value))
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float) and value - value == 0:
        return float.__repr__(value)
    if isinstance(value, dict):
        pairs = (f"{_quoted(str(key))}:{encode(one)}" for key, one in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(encode, value)) + "]"
    try:
        return str(_quoted(str(value)[:1000]))
    except Exception:
        return str(_quoted(f"<{type(value).__name__}>"))
