"""Which content lies in which pack, as far as is known here.

The packs of the store are the truth. What was read of their directories is kept in a local cache
of *segments*: files of sorted entries, memory-mapped and searched by interpolation. A new segment
is combined with its neighbour while they are of similar size, so there are only a few. Missing
knowledge costs deduplication, never correctness; wrong knowledge would cost more, so a segment
carries a digest of itself.

On a bucket each object that is read costs a moment, and a project may have thousands of packs.
There an id is looked for where few requests are most likely to find it: in the packs that a hint
names, in the merged directories, then in the directories of the packs themselves (design/0007).
"""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import NamedTuple

from thence.errors import DataDamaged, Denied, FormatTooNew, NotFound, StorageError
from thence.model.ids import Digest
from thence.store.base import Bytes, Store
from thence.vault.hints import read_hints
from thence.vault.lookup import look_up
from thence.vault.merged import Merged
from thence.vault.pack import pack_key, parse_pack_key, read_directory
from thence.vault.parallel import ahead
from thence.vault.segment import Location, Segment, combine, of_packs

__all__ = ["Directory", "Kept", "Location"]

_LOG = logging.getLogger(__name__)
_RATIO = 4
_AT_ONCE = 16
_BATCH = 256
# So many directories are read as fast as merged ones are listed and read.
_FEW = 16
# Bytes of ids from where on importing numpy, 130 ms, costs less than it saves.
_MANY_IDS = 32 * 10_000


class Kept(NamedTuple):
    """Which of many ids are in packs that stay.

    Attributes:
        packs: Those that hold them.
        missing: The others, by their numbers, in order.
    """

    packs: set[bytes]
    missing: list[int]


class Directory:
    """Finds ids. May be used from any thread, and by several processes with one cache folder.

    Args:
        store: Where the packs are.
        cache: A local folder.
        new_name: Gives a name that no file has.
        remote: Whether the store is a bucket.

    Attributes:
        damaged: Packs whose directories could not be read by the last `refresh`, and why. What
            lies in them counts as missing, so that saving it again repairs it.
        newer: Packs that a newer thence wrote, as far as the last `refresh` could tell. What lies
            in them counts as missing too; see `refuse_newer`.
    """

    def __init__(
        self, store: Store, cache: Path, *, new_name: Callable[[], str], remote: bool = False
    ) -> None:
        self._store = store
        self._folder = cache / "directories"
        self._new_name = new_name
        self._lock = RLock()  # of what is known; never held while the store is asked
        self._asking = RLock()  # of the questions to the store
        self._segments: list[Segment] | None = None
        self._merged = Merged(store, self._folder) if remote else None
        self._begun = 0
        self._done = 0
        # Merged directories may name packs that went; until the next listing nobody can tell.
        self._unseen: set[bytes] = set()
        self.damaged: dict[bytes, DataDamaged] = {}
        self.newer: dict[bytes, FormatTooNew] = {}

    def find(self, wanted: bytes) -> Location | None:
        """Where an id lies, or None where this cache does not know it; see `look_for`."""
        with self._lock:
            for segment in self._loaded():
                if location := segment.find(wanted):
                    return location
        return None

    def find_kept(self, wanted: bytes, avoid: Collection[bytes] = ()) -> Location | None:
        """Where an id lies in a pack that will stay; for those who write and name it then.

        Args:
            wanted: The id.
            avoid: Packs that are condemned: what lies only there is not found.
        """
        with self._lock:
            for segment in self._loaded():
                location = segment.find(wanted)
                if location is None:
                    continue
                if self._stays(location, avoid):
                    return location
                for other in segment.find_each(wanted):
                    if self._stays(other, avoid):
                        return other
        return None

    def find_all_kept(self, ids: bytes, avoid: Collection[bytes] = ()) -> Kept:
        """As `find_kept` for many ids of 32 bytes each, at once."""
        packs: set[bytes] = set()
        missing: list[int] = []
        one_by_one: Iterable[int] = range(len(ids) // 32)
        if len(ids) >= _MANY_IDS:
            with self._lock:
                unseen = {*avoid, *self._unseen}
                packs, missing, one_by_one = look_up(
                    self._loaded(), ids, counts=lambda pack: pack not in unseen
                )
        for at in one_by_one:
            where = self.find_kept(ids[at * 32 : at * 32 + 32], avoid)
            if where is None:
                missing.append(at)
            else:
                packs.add(where.pack)
        return Kept(packs, sorted(missing))

    def _stays(self, location: Location, avoid: Collection[bytes]) -> bool:
        return location.pack not in avoid and location.pack not in self._unseen

    def __contains__(self, wanted: bytes) -> bool:
        return self.find(wanted) is not None

    def look_for(self, wanted: bytes, *, is_root: bool = False) -> Location | None:
        """Where an id lies, asking the store where this cache does not know it.

        Args:
            wanted: The id.
            is_root: Whether there may be a hint of that name, as there is for a content.

        Raises:
            StorageError: The store failed.
        """
        where = self.find(wanted)
        if where is None and is_root:
            self.learn(Digest(wanted))
            where = self.find(wanted)
        if where is None and self._merged is not None and not self._done:
            with self._asking:
                self._fetch_merged(self._merged, None)
            where = self.find(wanted)
        if where is None:
            self.refresh()
            where = self.find(wanted)
        return where

    def packs(self) -> set[bytes]:
        """The packs that are known here."""
        with self._lock:
            return {pack for segment in self._loaded() for pack in segment.packs}

    def segments(self) -> list[Segment]:
        """What is known here, in segments that stay as they are; each pack is in one of them."""
        with self._lock:
            return list(self._loaded())

    def packs_with(self, ids: Iterable[bytes]) -> set[bytes]:
        """The packs that hold some of these ids, as far as is known here; for a hint."""
        found = map(self.find, ids)
        return {where.pack for where in found if where is not None}

    def add(self, packs: Iterable[tuple[bytes, bytes]]) -> None:
        """Learn the directories of packs, given as (pack id, directory)."""
        items = list(packs)
        if items:
            self._adopt(of_packs(items))

    def learn(self, root: Digest) -> None:
        """Read the directories of the packs that hints of a root name; none on a local store.

        A hint is only a hint: packs that are gone or cannot be read are passed over.

        Raises:
            StorageError: The store failed.
        """
        if self._merged is None:
            return
        known = self.packs()
        new = [pack for pack in read_hints(self._store, root) if pack not in known]
        self._read(new, damaged={}, newer={})

    def refresh(self) -> None:
        """Read the directories of packs that came since, and forget packs that went.

        Of several threads that ask at once, one does it.

        Raises:
            StorageError: The store cannot be listed, or a pack not be read.
        """
        asked = self._begun
        with self._asking:
            if self._done > asked:
                return  # by another thread, which began after this one asked
            self._begun += 1
            number = self._begun
            known = self.packs()  # before the listing: what comes meanwhile is not gone
            found_keys = (parse_pack_key(info.key) for info in self._store.list("packs/"))
            there = {pack for pack in found_keys if pack is not None}
            if gone := known - there:
                self._drop(gone)
            with self._lock:
                self._unseen = set()
            if self._merged is not None and len(there - known) > _FEW:
                self._fetch_merged(self._merged, there)
            damaged: dict[bytes, DataDamaged] = {}
            newer: dict[bytes, FormatTooNew] = {}
            self._read(sorted(there - self.packs()), damaged, newer)
            self.damaged, self.newer = damaged, newer
            self._done = number

    def refuse_newer(self) -> None:
        """For who must know all that there is, or did not find something.

        Raises:
            FormatTooNew: A pack was written by a newer thence; what is in it is not known.
        """
        for error in self.newer.values():
            raise error

    def publish_merged(self) -> None:
        """Merge directories of packs where there are many of them; nothing on a local store.

        To be called after writing. It fails with a warning only: what was written is there.
        """
        merged = self._merged
        if merged is None:
            return
        with self._asking:
            if not merged.wanted(self.packs()):
                return
            try:
                self._fetch_merged(merged, None)
                with self._lock:
                    segments = list(self._loaded())
                known = {pack for segment in segments for pack in segment.packs}
                if merged.wanted(known):
                    merged.publish(segments, known)
            except (StorageError, Denied) as error:
                _LOG.warning("directories could not be merged: %s (%s)", error.what, error.why)

    def sweep_merged(self) -> int:
        """Delete merged directories of packs that are gone mostly; how many. None on a local store.

        Raises:
            StorageError: The store failed.
            Denied: It may not be written to.
        """
        if self._merged is None:
            return 0
        with self._asking:
            return self._merged.sweep(self.packs())

    def forget(self) -> None:
        """Drop the cache; the next `refresh` reads everything again."""
        with self._asking, self._lock:
            for path in self._paths():
                _remove(path)
            self._segments = []
            if self._merged is not None:
                self._merged.forget()

    def key_of(self, location: Location) -> str:
        """The key of the pack that holds a location."""
        return pack_key(location.pack)

    def _read(
        self,
        packs: Sequence[bytes],
        damaged: dict[bytes, DataDamaged],
        newer: dict[bytes, FormatTooNew],
    ) -> None:
        """Read the directories of these packs; those that cannot be read go to the other two."""

        def read(pack: bytes) -> tuple[bytes, bytes | DataDamaged | FormatTooNew | None]:
            try:
                return pack, read_directory(self._store, pack)
            except NotFound:
                return pack, None  # collected meanwhile
            except (DataDamaged, FormatTooNew) as error:
                return pack, error

        found: list[tuple[bytes, bytes]] = []
        for pack, result in ahead(read, packs, at_once=1 if self._merged is None else _AT_ONCE):
            if isinstance(result, DataDamaged):
                # One damaged pack must not make all the others useless.
                _LOG.warning("%s: %s", result.what, result.why)
                damaged[pack] = result
            elif isinstance(result, FormatTooNew):
                _LOG.warning("%s", result.what)
                newer[pack] = result
            elif result is not None:
                found.append((pack, result))
            if len(found) == _BATCH:
                self.add(found)
                found = []
        self.add(found)

    def _fetch_merged(self, merged: Merged, there: set[bytes] | None) -> None:
        """Read the merged directories that are new here.

        Args:
            merged: Where they are.
            there: The packs that are in the store, where that is known.
        """
        for segment in merged.fetch():
            packs = set(segment.packs)
            new = packs - self.packs()
            if there is not None:
                new &= there
            if there is None:
                with self._lock:
                    self._unseen |= new
            if new == packs:
                self._adopt([memoryview(segment.data)])
            elif new:
                self._adopt(combine([segment], new))

    def _drop(self, gone: set[bytes]) -> None:
        with self._lock:
            kept = []
            for segment in self._loaded():
                stay = set(segment.packs) - gone
                if len(stay) == len(segment.packs):
                    kept.append(segment)
                    continue
                if stay:
                    kept.append(self._write(combine([segment], stay)))
                _remove(segment.path)
            self._segments = kept

    def _adopt(self, parts: Sequence[Bytes]) -> None:
        with self._lock:
            segments = [*self._loaded(), self._write(parts)]
            while len(segments) > 1 and segments[-2].count < _RATIO * max(segments[-1].count, 1):
                last = [segments.pop()]
                # All that are to be combined at once: each by each would copy them many times.
                size = last[0].count
                while segments and segments[-1].count < _RATIO * max(size, 1):
                    size += segments[-1].count
                    last.append(segments.pop())
                segments.append(self._write(combine(last)))
                for old in last:
                    _remove(old.path)
            self._segments = segments

    def _paths(self) -> list[Path]:
        try:
            return sorted(self._folder.glob("*.segment"))
        except OSError:
            return []

    def _loaded(self) -> list[Segment]:
        if self._segments is None:
            found = []
            for path in self._paths():
                try:
                    segment = Segment.load(path)
                except OSError:
                    continue  # another process merged it; its content is in a newer one
                if segment is None:
                    _remove(path)
                else:
                    found.append(segment)
            self._segments = sorted(found, key=lambda s: -s.count)
        return self._segments

    def _write(self, parts: Sequence[Bytes]) -> Segment:
        path = self._folder / f"{self._new_name()}.segment"
        temporary = path.with_suffix(".new")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                file.writelines(parts)
            temporary.rename(path)
            segment = Segment.load(path)
        except OSError:
            _remove(temporary)
            segment = None  # a cache that cannot be written costs time, not correctness
        return segment or Segment(b"".join(parts))


def _remove(path: Path | None) -> None:
    """Remove a file of the cache; where it cannot be, another process did, or it costs time."""
    if path is not None:
        with suppress(OSError):
            path.unlink()
