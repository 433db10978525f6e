"""A file that is being written: room for it is made before, and zeros become holes."""

import ctypes
import errno
import functools
import os
from collections.abc import Callable, Sequence

from thence.store.base import Bytes

__all__ = ["ZEROS", "NewFile", "is_hole", "zeros"]

ZEROS = bytes(256 * 1024)
"""What a hole reads as; no chunk is longer."""

_KEEP_SIZE = 1  # linux/falloc.h
# Every system takes so many parts in one call.
_PARTS = 512
# Making room is a call of its own, which small pieces do not pay back.
_WORTH_ROOM = 1024 * 1024


def zeros(length: int) -> memoryview:
    """That many zeros, which `is_hole` knows again without looking at them."""
    return memoryview(ZEROS)[:length] if length <= len(ZEROS) else memoryview(bytes(length))


def is_hole(piece: Bytes) -> bool:
    """Whether a piece was made by `zeros`."""
    return isinstance(piece, memoryview) and piece.obj is ZEROS


class NewFile:
    """Writes pieces to an empty file, one after the other.

    Room is made for a list of pieces at once: a full disk is noticed before it is written to, and
    the file system chooses its blocks once. (Writing 1 GiB to ext4 took half of the processor time
    on a quiet machine, and as long as without on a busy one.)

    Args:
        descriptor: Of the file; stays open.
    """

    def __init__(self, descriptor: int) -> None:
        self._file = descriptor
        self._written = 0
        self.size_bytes = 0

    def write(self, pieces: Sequence[Bytes]) -> None:
        """Append pieces.

        Raises:
            OSError: As the operating system says.
        """
        run: list[Bytes] = []
        length = 0
        for piece in pieces:
            if is_hole(piece):
                self._put(run, length)
                self.size_bytes += length + len(piece)
                run, length = [], 0
            else:
                run.append(piece)
                length += len(piece)
        self._put(run, length)
        self.size_bytes += length

    def end(self) -> None:
        """Give the file its size, where it ends with a hole.

        Raises:
            OSError: As the operating system says.
        """
        if self._written < self.size_bytes:
            os.ftruncate(self._file, self.size_bytes)

    def _put(self, run: list[Bytes], length: int) -> None:
        if not run:
            return
        at = self.size_bytes
        if length >= _WORTH_ROOM:
            _make_room(self._file, at, length)
        for start in range(0, len(run), _PARTS):
            some = run[start : start + _PARTS]
            left = sum(map(len, some))
            done = os.pwritev(self._file, some, at)
            at += done
            left -= done
            if left:  # a signal, or a disk that is nearly full
                rest = memoryview(b"".join(some))[-left:]
                while rest:
                    done = os.pwrite(self._file, rest, at)
                    at += done
                    rest = rest[done:]
        self._written = at


def _make_room(file: int, start: int, length: int) -> None:
    allocate = _fallocate()
    # Where it cannot be done, posix_fallocate would write each block, and twice is not faster.
    if allocate is not None and allocate(file, _KEEP_SIZE, start, length):
        number = ctypes.get_errno()
        if number in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise OSError(number, os.strerror(number))


@functools.cache
def _fallocate() -> Callable[[int, int, int, int], int] | None:
    try:
        function = ctypes.CDLL(None, use_errno=True).fallocate64
    except (AttributeError, OSError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    function.restype = ctypes.c_int
    return function
