"""Which recipes were proven to make the content that they are filed under.

A content is named by its SHA-256, and its recipe names chunks by their BLAKE3. Whoever has once
compared the SHA-256 of all bytes knows that this recipe makes this content: from then on the chunks
prove the content, and BLAKE3 takes a quarter of the time. What is kept here is 64 bytes a content:
its digest, and a seal of both digest and recipe. A recipe with other bytes has another seal, and
the SHA-256 decides.

The file is a table of fixed size in which the digest says where its proof stands; a later one takes
the place of an earlier one. So neither locks nor sorting are needed, and a damaged or lost proof
costs time only.
"""

import os
import threading
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from thence.store.base import Bytes

__all__ = ["Proofs"]

_ROW = 64
# 16 MiB, of which the file system keeps only what is written.
_ROWS = 1 << 18


class Proofs:
    """Proofs in one local file. May be used from any thread, and by several processes.

    Args:
        path: The file; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._file: int | None = None
        self._path = path
        self._lock = threading.Lock()

    def knows(self, digest: bytes, recipe: Bytes) -> bool:
        """Whether a recipe was seen to make the content of this digest."""
        file = self._opened()
        if file is None:
            return False
        try:
            return os.pread(file, _ROW, _place(digest)) == _row(digest, recipe)
        except OSError:
            return False

    def note(self, digest: bytes, recipe: Bytes) -> None:
        """Note that the SHA-256 of what a recipe makes was computed, and is this."""
        file = self._opened()
        if file is not None:
            with suppress(OSError):  # it is only a cache
                os.pwrite(file, _row(digest, recipe), _place(digest))

    def _opened(self) -> int | None:
        if self._path is None or self._file is not None:
            return self._file
        with self._lock:
            if self._file is None:
                with suppress(OSError):
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                if self._file is None:
                    self._path = None  # nobody asks a folder again that cannot be written
        return self._file

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)


def _row(digest: bytes, recipe: Bytes) -> bytes:
    return digest + blake3(digest).update(recipe).digest()


def _place(digest: bytes) -> int:
    return int.from_bytes(digest[:4]) % _ROWS * _ROW
