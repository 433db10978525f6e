"""Which content lies in which pack, as far as is known here.

The packs of the store are the truth. What was read of their directories is kept in a local cache
of *segments*: files of sorted entries, memory-mapped and searched by interpolation (ids are
uniform, so two or three probes find one). A new segment is merged with its neighbour while they
are of similar size, so there are only a few. Missing knowledge costs deduplication, never
correctness.
"""

import mmap
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from pathlib import Path
from threading import RLock
from typing import NamedTuple

from thence.errors import NotFound
from thence.store.base import Store
from thence.vault.pack import (
    ENTRY,
    ENTRY_SIZE,
    HEADER,
    DirectoryEntry,
    pack_key,
    read_directory,
    to_entry,
)

__all__ = ["Directory", "Location"]

_MAGIC = b"THNCSEG1"
_HEAD = struct.Struct("<8sIQ")
_PACK_INDEX = struct.Struct("<I")
# The six bytes that are zero in a pack hold the number of the pack in a segment.
_PACK_AT = 58
_RATIO = 4


class Location(NamedTuple):
    """Where an id lies."""

    pack: bytes
    entry: DirectoryEntry


class _Segment:
    """A sorted run of entries of some packs."""

    def __init__(
        self, packs: list[bytes], rows: "mmap.mmap | bytes", start: int, path: Path | None
    ):
        self.packs = packs
        self.path = path
        self._rows = rows
        self._start = start
        self.count = (len(rows) - start) // ENTRY_SIZE

    @classmethod
    def load(cls, path: Path) -> "_Segment | None":
        """Map a segment file; None where it is not whole."""
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < _HEAD.size:
                return None
            rows = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        magic, pack_count, count = _HEAD.unpack_from(rows)
        start = _HEAD.size + 32 * pack_count
        if magic != _MAGIC or size != start + count * ENTRY_SIZE:
            rows.close()
            return None
        packs = [rows[i : i + 32] for i in range(_HEAD.size, start, 32)]
        return cls(packs, rows, start, path)

    def find(self, wanted: bytes) -> Location | None:
        rows, start = self._rows, self._start
        low, high = 0, self.count
        target = int.from_bytes(wanted[:8])
        low_key, high_key = 0, 1 << 64
        while low < high:
            guess = low + (target - low_key) * (high - low) // (high_key - low_key + 1)
            guess = min(max(guess, low), high - 1)
            at = start + guess * ENTRY_SIZE
            found = rows[at : at + 32]
            if found == wanted:
                return self._location(at)
            key = int.from_bytes(found[:8])
            if found < wanted:
                low, low_key = guess + 1, min(key, target)
            else:
                high, high_key = guess, max(key, target)
        return None

    def _location(self, at: int) -> Location:
        row = self._rows[at : at + ENTRY_SIZE]
        (number,) = _PACK_INDEX.unpack_from(row, _PACK_AT)
        return Location(self.packs[number], to_entry(ENTRY.unpack(row)))

    def rows(self, offset: int) -> Iterator[bytes]:
        """The entries, with `offset` added to their pack numbers."""
        for at in range(self._start, len(self._rows), ENTRY_SIZE):
            row = self._rows[at : at + ENTRY_SIZE]
            (number,) = _PACK_INDEX.unpack_from(row, _PACK_AT)
            yield _numbered(row, number + offset)


def _numbered(row: bytes, number: int) -> bytes:
    return row[:_PACK_AT] + _PACK_INDEX.pack(number) + row[_PACK_AT + 4 :]


class Directory:
    """Finds ids. May be used from any thread, and by several processes with one cache folder."""

    def __init__(self, store: Store, cache: Path, *, new_name: Callable[[], str]) -> None:
        self._store = store
        self._folder = cache / "directories"
        self._new_name = new_name
        self._lock = RLock()
        self._segments: list[_Segment] | None = None

    def find(self, wanted: bytes) -> Location | None:
        """Where an id lies, or None where this cache does not know it; see `refresh`."""
        with self._lock:
            for segment in self._loaded():
                if location := segment.find(wanted):
                    return location
        return None

    def __contains__(self, wanted: bytes) -> bool:
        return self.find(wanted) is not None

    def packs(self) -> set[bytes]:
        """The packs that are known here."""
        with self._lock:
            return {pack for segment in self._loaded() for pack in segment.packs}

    def add(self, packs: Iterable[tuple[bytes, bytes]]) -> None:
        """Learn the directories of packs, given as (pack id, directory)."""
        items = list(packs)
        if not items:
            return
        rows = sorted(
            _numbered(directory[at : at + ENTRY_SIZE], number)
            for number, (_, directory) in enumerate(items)
            for at in range(HEADER.size, len(directory), ENTRY_SIZE)
        )
        with self._lock:
            segments = [*self._loaded(), self._write([pack for pack, _ in items], rows)]
            while len(segments) > 1 and segments[-2].count < _RATIO * max(segments[-1].count, 1):
                newer, older = segments.pop(), segments.pop()
                merged = self._write(
                    older.packs + newer.packs,
                    merge(older.rows(0), newer.rows(len(older.packs))),
                )
                segments.append(merged)
                for old in (newer, older):
                    if old.path is not None:
                        old.path.unlink(missing_ok=True)
            self._segments = segments

    def refresh(self) -> None:
        """Read the directories of packs that came since, and forget packs that went.

        Raises:
            DataDamaged: A directory cannot be read.
            StorageError: The store cannot be listed.
        """
        there = {bytes.fromhex(info.key.rpartition("/")[2]) for info in self._store.list("packs/")}
        with self._lock:
            known = self.packs()
            if known - there:
                self.forget()
                known = set()
            new = sorted(there - known)
            found = []
            for pack in new:
                try:
                    found.append((pack, read_directory(self._store, pack)))
                except NotFound:
                    continue  # collected between the listing and now
            self.add(found)

    def forget(self) -> None:
        """Drop the cache; the next `refresh` reads everything again."""
        with self._lock:
            for path in self._paths():
                path.unlink(missing_ok=True)
            self._segments = []

    def key_of(self, location: Location) -> str:
        """The key of the pack that holds a location."""
        return pack_key(location.pack)

    def _paths(self) -> list[Path]:
        try:
            return sorted(self._folder.glob("*.segment"))
        except OSError:
            return []

    def _loaded(self) -> list[_Segment]:
        if self._segments is None:
            found = []
            for path in self._paths():
                try:
                    segment = _Segment.load(path)
                except FileNotFoundError:
                    continue  # another process merged it; its content is in a newer one
                if segment is None:
                    path.unlink(missing_ok=True)
                else:
                    found.append(segment)
            self._segments = sorted(found, key=lambda s: -s.count)
        return self._segments

    def _write(self, packs: list[bytes], rows: Iterable[bytes]) -> _Segment:
        body = b"".join(rows)
        head = _HEAD.pack(_MAGIC, len(packs), len(body) // ENTRY_SIZE) + b"".join(packs)
        path = self._folder / f"{self._new_name()}.segment"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".new")
            temporary.write_bytes(head + body)
            temporary.rename(path)
            segment = _Segment.load(path)
        except OSError:
            segment = None  # a cache that cannot be written costs time, not correctness
        return segment or _Segment(packs, body, 0, None)
