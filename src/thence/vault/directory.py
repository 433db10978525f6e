"""Which content lies in which pack, as far as is known here.

The packs of the store are the truth. What was read of their directories is kept in a local cache
of *segments*: files of sorted entries, memory-mapped and searched by interpolation (ids are
uniform, so two or three probes find one). A new segment is merged with its neighbour while they
are of similar size, so there are only a few. Missing knowledge costs deduplication, never
correctness; wrong knowledge would cost more, so a segment carries a digest of itself.
"""

import logging
import mmap
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from heapq import merge
from pathlib import Path
from threading import RLock
from typing import NamedTuple

from blake3 import blake3

from thence.errors import DataDamaged, NotFound
from thence.store.base import Store
from thence.vault.pack import (
    ENTRY,
    ENTRY_SIZE,
    HEADER,
    DirectoryEntry,
    pack_key,
    parse_pack_key,
    read_directory,
    to_entry,
)

__all__ = ["Directory", "Location"]

_LOG = logging.getLogger(__name__)
_MAGIC = b"THNCSEG2"
# Magic, and BLAKE3 of all that follows: number of packs, number of entries, packs, entries.
_HEAD = struct.Struct("<8s32s")
_COUNTS = struct.Struct("<IQ")
_FIRST_PACK = _HEAD.size + _COUNTS.size
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
        """Map a segment file; None where it is not as it was written.

        Checked once: 64 MB, which is a million entries, take 17 ms.
        """
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < _FIRST_PACK:
                return None
            rows = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        magic, seal = _HEAD.unpack_from(rows)
        pack_count, count = _COUNTS.unpack_from(rows, _HEAD.size)
        start = _FIRST_PACK + 32 * pack_count
        with memoryview(rows) as view, view[_HEAD.size :] as sealed:
            whole = magic == _MAGIC and size == start + count * ENTRY_SIZE
            whole = whole and blake3(sealed).digest() == seal
        if not whole:
            rows.close()
            return None
        packs = [rows[i : i + 32] for i in range(_FIRST_PACK, start, 32)]
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

    def rows(self, numbers: list[int | None]) -> Iterator[bytes]:
        """The entries, with new numbers for their packs; None leaves a pack out."""
        for at in range(self._start, len(self._rows), ENTRY_SIZE):
            row = self._rows[at : at + ENTRY_SIZE]
            number = numbers[_PACK_INDEX.unpack_from(row, _PACK_AT)[0]]
            if number is not None:
                yield _numbered(row, number)


def _merged(older: _Segment, newer: _Segment) -> tuple[list[bytes], Iterator[bytes]]:
    """Packs and rows of both, each pack once: two processes may have learned the same."""
    packs = list(older.packs)
    known = set(packs)
    numbers: list[int | None] = []
    for pack in newer.packs:
        numbers.append(None if pack in known else len(packs))
        if pack not in known:
            packs.append(pack)
            known.add(pack)
    return packs, merge(older.rows(list(range(len(older.packs)))), newer.rows(numbers))


def _numbered(row: bytes, number: int) -> bytes:
    return row[:_PACK_AT] + _PACK_INDEX.pack(number) + row[_PACK_AT + 4 :]


class Directory:
    """Finds ids. May be used from any thread, and by several processes with one cache folder.

    Attributes:
        damaged: Packs whose directories could not be read by the last `refresh`, and why. What
            lies in them counts as missing, so that saving it again repairs it.
    """

    def __init__(
        self, store: Store, cache: Path, *, new_name: Callable[[], str], remote: bool = False
    ) -> None:
        self._store = store
        self._remote = remote
        self._folder = cache / "directories"
        self._new_name = new_name
        self._lock = RLock()
        self._segments: list[_Segment] | None = None
        self.damaged: dict[bytes, DataDamaged] = {}

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
                segments.append(self._write(*_merged(older, newer)))
                for old in (newer, older):
                    _remove(old.path)
            self._segments = segments

    def refresh(self) -> None:
        """Read the directories of packs that came since, and forget packs that went.

        Raises:
            FormatTooNew: A pack was written by a newer thence.
            StorageError: The store cannot be listed, or a pack not be read.
        """
        found_keys = (parse_pack_key(info.key) for info in self._store.list("packs/"))
        there = {pack for pack in found_keys if pack is not None}
        with self._lock:
            known = self.packs()
            if known - there:
                self.forget()
                known = set()
            new = sorted(there - known)
            found = []
            self.damaged = {}
            for pack in new:
                try:
                    found.append((pack, read_directory(self._store, pack)))
                except NotFound:
                    continue  # collected between the listing and now
                except DataDamaged as error:
                    # One damaged pack must not make all the others useless.
                    _LOG.warning("%s: %s", error.what, error.why)
                    self.damaged[pack] = error
            self.add(found)

    def forget(self) -> None:
        """Drop the cache; the next `refresh` reads everything again."""
        with self._lock:
            for path in self._paths():
                _remove(path)
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
                except OSError:
                    continue  # another process merged it; its content is in a newer one
                if segment is None:
                    _remove(path)
                else:
                    found.append(segment)
            self._segments = sorted(found, key=lambda s: -s.count)
        return self._segments

    def _write(self, packs: list[bytes], rows: Iterable[bytes]) -> _Segment:
        body = b"".join(rows)
        counts = _COUNTS.pack(len(packs), len(body) // ENTRY_SIZE) + b"".join(packs)
        seal = blake3(counts).update(body).digest()
        path = self._folder / f"{self._new_name()}.segment"
        temporary = path.with_suffix(".new")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                file.writelines((_HEAD.pack(_MAGIC, seal), counts, body))
            temporary.rename(path)
            segment = _Segment.load(path)
        except OSError:
            _remove(temporary)
            segment = None  # a cache that cannot be written costs time, not correctness
        return segment or _Segment(packs, body, 0, None)


def _remove(path: Path | None) -> None:
    """Remove a file of the cache; where it cannot be, another process did, or it costs time."""
    if path is not None:
        with suppress(OSError):
            path.unlink()
