"""Merged directories: what many packs of a bucket hold, in few objects.

An object `directories/<level>/<64 hex digits>` is a segment (see `thence.vault.segment`); the
digits are its seal. Each says the same as the directories at the ends of the packs that it names,
so that a client that knows nothing reads a hundredth of the objects. Writers make one of level 1
for every 64 packs that none covers, and one of the next level for every 16 of a level, and delete
what they replaced. Two that do so at once write the same twice: nothing is wrong then, and the next
one clears up. All of it may be deleted at any time.
"""

import logging
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from thence.errors import AlreadyExists, NotFound
from thence.store.base import Bytes, Store
from thence.vault.parallel import ahead
from thence.vault.segment import Segment, combine

__all__ = ["Merged"]

_LOG = logging.getLogger(__name__)
PACKS = 64
FAN = 16
_MOST_PACKS = PACKS * FAN
# What a client merges it has in memory: a million entries are 64 MB.
_LARGEST = 256 * 1024 * 1024
_LARGEST_READ = 1024 * 1024 * 1024
_AT_ONCE = 4
_TRIES = 3
# Whoever reads one reads the entries of packs that are gone as well.
_STALE = 0.25
_KEY = re.compile(r"directories/([1-9])/([0-9a-f]{64})")
_COVER = re.compile(r"([1-9])-([0-9a-f]{64})\.covers")


class _Name(NamedTuple):
    level: int
    digits: str

    @property
    def key(self) -> str:
        return f"directories/{self.level}/{self.digits}"


class Merged:
    """Reads and writes the merged directories of a store. Not for use by several threads.

    Which ones were read, and which packs they cover, is remembered in a local folder.

    Args:
        store: A bucket.
        folder: Where to remember.
    """

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._covers: dict[_Name, frozenset[bytes]] = {}
        self._sizes: dict[_Name, int] = {}
        self._damaged: set[_Name] = set()

    def covered(self) -> set[bytes]:
        """The packs that a merged directory covers, as far as is known here."""
        self._remembered()
        return {pack for packs in self._covers.values() for pack in packs}

    def fetch(self) -> Iterator[Segment]:
        """Those that were not read before; each counts as read when the next one is asked for.

        Damaged ones are passed over with a warning.

        Raises:
            StorageError: The store failed.
        """
        self._remembered()
        for _ in range(_TRIES):
            listed = self._listed()
            for name in [name for name in self._covers if name not in listed]:
                self._forget(name)
            new = [
                name for name in listed if name not in self._covers and name not in self._damaged
            ]
            vanished = False
            for name, segment in zip(new, self._read(new), strict=True):
                if segment is None:
                    vanished = True
                elif segment.seal.hex() != name.digits:
                    self._pass_over(name)
                else:
                    yield segment
                    self._remember(name, segment.packs)
            if not vanished:
                return  # else somebody replaced some of them by others meanwhile

    def wanted(self, known: Collection[bytes]) -> bool:
        """Whether so many packs are covered by none that it is time to `publish`."""
        return len(known) > PACKS and len(set(known) - self.covered()) > PACKS

    def publish(self, segments: Sequence[Segment], known: Collection[bytes]) -> None:
        """Cover the packs that none covers, and merge what there is too much of.

        Args:
            segments: Hold the entries of all known packs.
            known: The packs that are in the store.

        Raises:
            StorageError: The store failed; whatever was done by then does no harm.
            Denied: The store may not be written to.
        """
        left = sorted(set(known) - self.covered())
        for at in range(0, len(left), _MOST_PACKS):
            some = left[at : at + _MOST_PACKS]
            if len(some) > PACKS:
                self._put(1 if len(some) < _MOST_PACKS else 2, combine(segments, set(some)))
        for level in range(1, 9):
            self._merge(level, segments, set(known))
        for name in list(self._covers):
            if self._is_covered_by_another(name):
                self._delete(name)

    def sweep(self, there: Collection[bytes]) -> int:
        """Delete those that were read here and of whose packs more than a quarter are gone.

        Raises:
            StorageError: The store failed.
            Denied: The store may not be written to.
        """
        packs = set(there)
        stale = [
            name
            for name, covered in self._covers.items()
            if len(covered - packs) > len(covered) * _STALE
        ]
        for name in stale:
            self._delete(name)
        return len(stale)

    def _merge(self, level: int, segments: Sequence[Segment], known: set[bytes]) -> None:
        small = _LARGEST // FAN
        there = [n for n in self._covers if n.level == level and self._sizes.get(n, 0) <= small]
        there.sort()
        while len(there) >= FAN:
            some, there = there[:FAN], there[FAN:]
            packs = set().union(*(self._covers[name] for name in some)) & known
            self._put(level + 1, combine(segments, packs))
            for name in some:
                self._delete(name)

    def _is_covered_by_another(self, name: _Name) -> bool:
        """Never true both ways, so that of two that are equal one stays, whoever clears up."""
        mine = self._covers[name]
        return any(
            mine < packs or (mine == packs and name < other)
            for other, packs in self._covers.items()
            if other != name
        )

    def _put(self, level: int, parts: Sequence[Bytes]) -> None:
        segment = Segment(b"".join(parts))
        name = _Name(level, segment.seal.hex())
        with suppress(AlreadyExists):
            self._store.create(name.key, parts)
        self._sizes[name] = len(segment.data)
        self._remember(name, segment.packs)

    def _listed(self) -> dict[_Name, int]:
        self._sizes = {}
        for info in self._store.list("directories/"):
            found = _KEY.fullmatch(info.key)
            if found and info.size_bytes <= _LARGEST_READ:
                self._sizes[_Name(int(found[1]), found[2])] = info.size_bytes
        return dict(self._sizes)

    def _read(self, names: Sequence[_Name]) -> Iterator[Segment | None]:
        def read(name: _Name) -> Segment | None:
            try:
                data = self._store.get(name.key)
            except NotFound:
                return None
            return Segment.parse(data) or _NOTHING

        return ahead(read, names, at_once=_AT_ONCE)

    def _pass_over(self, name: _Name) -> None:
        _LOG.warning("a damaged merged directory is passed over: %s", name.key)
        self._damaged.add(name)

    def _delete(self, name: _Name) -> None:
        self._store.delete(name.key)
        self._forget(name)

    def _remembered(self) -> None:
        with suppress(OSError):
            for path in self._folder.glob("*.covers"):
                found = _COVER.fullmatch(path.name)
                if found is None or (name := _Name(int(found[1]), found[2])) in self._covers:
                    continue
                with suppress(OSError):
                    body = path.read_bytes()
                    self._covers[name] = frozenset(
                        body[at : at + 32] for at in range(0, len(body) // 32 * 32, 32)
                    )

    def _remember(self, name: _Name, packs: Sequence[bytes]) -> None:
        self._covers[name] = frozenset(packs)
        with suppress(OSError):  # then it is read once more, by the next process
            path = self._path(name)
            temporary = path.with_suffix(".new")
            temporary.write_bytes(b"".join(packs))
            temporary.replace(path)

    def _forget(self, name: _Name) -> None:
        self._covers.pop(name, None)
        with suppress(OSError):
            self._path(name).unlink()

    def _path(self, name: _Name) -> Path:
        return self._folder / f"{name.level}-{name.digits}.covers"

    def forget(self) -> None:
        """Forget which ones were read."""
        for name in list(self._covers):
            self._forget(name)


_NOTHING = Segment(b"\0" * 52)
