"""Reading a content a stretch at a time, together with the ends of its chunks."""

import errno
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from thence.store.base import Bytes
from thence.vault import chunk

__all__ = ["STRETCH", "Stretch", "of_bytes", "of_file", "of_pieces"]

# Two of them fit the second-level cache of a core. Each costs two changes of thread.
STRETCH = 2 * 1024 * 1024
# A hole of a file is worth looking at from here on; what is shorter is read.
_HOLE = 2 * STRETCH


class Stretch(NamedTuple):
    """A piece of a content that ends where a chunk ends.

    Attributes:
        ends: Of its chunks; the last is the length of the piece.
        last: No other stretch follows.
        blank: It has nothing but zeros, and all its chunks are equal to those of other blank ones.
        buffer: What the data lies in, to be read into again; None where that is not allowed.
    """

    data: memoryview
    ends: list[int]
    last: bool = False
    blank: bool = False
    buffer: bytearray | None = None


def of_bytes(data: Bytes) -> Iterator[Stretch]:
    """A content that is in memory, as one stretch."""
    yield Stretch(memoryview(data), chunk.cut(data), last=True)


def of_pieces(pieces: Iterable[Bytes]) -> Iterator[Stretch]:
    """A content that comes in pieces of any length."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        if len(buffer) >= STRETCH:
            data = memoryview(bytes(buffer))
            sure = chunk.cut(data)[:-1]
            yield Stretch(data[: sure[-1]], sure)
            buffer = bytearray(data[sure[-1] :])
    data = memoryview(bytes(buffer))
    yield Stretch(data, chunk.cut(data), last=True)


def of_file(descriptor: int, facts: os.stat_result, buffers: list[bytearray]) -> Iterator[Stretch]:
    """A content that is read from the beginning of a file; its long holes are not read.

    Args:
        descriptor: Of the file, at its beginning.
        facts: What `fstat` says of it.
        buffers: Where free buffers are taken from. The caller puts back those of stretches that it
            is done with.
    """
    sparse = facts.st_size - facts.st_blocks * 512 >= _HOLE and hasattr(os, "SEEK_DATA")
    if sparse:
        # OpenZFS has told of holes where data was that had not been written back (openzfs#15526).
        os.fsync(descriptor)
    carry, in_hole, position = b"", False, 0
    while True:
        hole = _hole(descriptor, position, facts.st_size) if sparse else 0
        if hole >= _HOLE and in_hole:
            length = len(carry) + hole
            yield from _blank(length)
            carry, in_hole = bytes(length % _blank_chunk().length), False
            position = os.lseek(descriptor, position + hole, os.SEEK_SET)
            continue
        buffer = buffers.pop() if buffers else bytearray(STRETCH)
        view = memoryview(buffer)
        filled = len(carry)
        view[:filled] = carry
        if hole >= _HOLE:
            view[filled:] = _zeros()[filled:]
            position = os.lseek(descriptor, position + len(view) - filled, os.SEEK_SET)
            filled, in_hole = len(view), True
        else:
            in_hole = False
        while filled < len(view) and (got := os.readv(descriptor, [view[filled:]])):
            filled += got
            position += got
        data = view[:filled].toreadonly()
        ends = chunk.cut(data)
        if filled < len(view):
            yield Stretch(data, ends, last=True, buffer=buffer)
            return
        # The last end is where the buffer ended, which is no cut of the file.
        sure = ends[:-1]
        carry = bytes(data[sure[-1] :])
        yield Stretch(data[: sure[-1]], sure, buffer=buffer)


def _hole(descriptor: int, position: int, size: int) -> int:
    """How many bytes from here on are a hole."""
    try:
        data = os.lseek(descriptor, position, os.SEEK_DATA)
    except OSError as error:
        # ENXIO: there is no data after this. Anything else: the file system does not tell.
        return size - position if error.errno == errno.ENXIO else 0
    os.lseek(descriptor, position, os.SEEK_SET)
    return data - position


class _BlankChunk(NamedTuple):
    length: int
    ends: list[int]


@lru_cache(maxsize=1)
def _zeros() -> memoryview:
    return memoryview(bytes(STRETCH))


@lru_cache(maxsize=1)
def _blank_chunk() -> _BlankChunk:
    """A cut depends on nothing but what follows the cut before, so zeros are cut alike for ever."""
    length = chunk.cut(_zeros())[0]
    return _BlankChunk(length, list(range(length, STRETCH + 1, length)))


def _blank(length: int) -> Iterator[Stretch]:
    one, ends = _blank_chunk()
    left = length // one
    while left:
        count = min(left, len(ends))
        yield Stretch(_zeros()[: count * one], ends[:count], blank=True)
        left -= count
