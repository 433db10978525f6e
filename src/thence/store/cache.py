"""`Cache`: what was read of a pack stays on this machine, so that it is not fetched again."""

import logging
import os
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, TypeVar

from blake3 import blake3

from thence.store.base import Bytes, Store
from thence.store.wrap import Around

__all__ = ["DEFAULT_LIMIT", "PAGE", "Cache"]

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")
PAGE = 512 * 1024
"""A pack is kept in pages of this size: a block of 256 KiB then costs at most one page more than
itself, and a content of a gigabyte is 2,000 files and not 13,000."""
DEFAULT_LIMIT = 10 * 1024**3
_PACKS = "packs/"
_SEAL = 32
# How each pack ends (docs/format/spec-1.md). An answer that was cut short does not, and must not
# be taken for a short pack.
_END = b"THNCPACK"
# Looking through the folder costs some 10 us a page, so it is done once for many new ones.
_LOOK_EVERY = 64 * 1024 * 1024
_ROOM = 0.9


class _Page(NamedTuple):
    used_s: float
    size_bytes: int
    path: Path


class Cache(Around):
    """Keeps pages of packs, which never change, in a folder. All else goes to the store.

    A page that was damaged on this machine is fetched again. Any number of processes may share the
    folder. A folder that cannot be written costs time, nothing else.

    Args:
        store: Where the calls go.
        folder: For the pages; made when the first is kept.
        limit_bytes: When the pages come to more than this, those that were not used for longest go.
    """

    def __init__(self, store: Store, folder: Path, *, limit_bytes: int = DEFAULT_LIMIT) -> None:
        super().__init__(store)
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._since_look = (
            _LOOK_EVERY  # earlier processes may have left more than there is room for
        )

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """As `Store.get_range`; from the folder as far as it is there."""
        if not key.startswith(_PACKS) or start < 0 or length <= 0:
            data = self._store.get_range(key, start, length)
            is_whole = 0 <= len(data) < length == -start and data.endswith(_END)
            if key.startswith(_PACKS) and is_whole:
                # Whoever looks for the end of a small pack has all of it, and reads it next.
                for number in range(-(-len(data) // PAGE)):
                    self._keep(key, number, data[number * PAGE : (number + 1) * PAGE])
            return data
        first, last = start // PAGE, (start + length - 1) // PAGE
        pages: dict[int, bytes] = {}
        for number in range(first, last + 1):
            if (page := self._load(key, number)) is not None:
                pages[number] = page
        for begin, end in _runs([n for n in range(first, last + 1) if n not in pages]):
            data = self._store.get_range(key, begin * PAGE, (end - begin) * PAGE)
            for number in range(begin, end):
                page = data[(number - begin) * PAGE : (number - begin + 1) * PAGE]
                pages[number] = page
                if len(page) == PAGE or page.endswith(_END):
                    self._keep(key, number, page)
        whole = b"".join(pages[number] for number in range(first, last + 1))
        skipped = start - first * PAGE
        return whole[skipped : skipped + length]

    def create(self, key: str, parts: Sequence[Bytes]) -> None:
        """As `Store.create`; a small pack is kept, as whoever saved it mostly looks at it."""
        self._store.create(key, parts)
        if key.startswith(_PACKS) and sum(map(len, parts)) <= PAGE:
            self._keep(key, 0, b"".join(parts))

    def keep_only(self, packs: Collection[str]) -> None:
        """Remove the pages of all packs but these, by their keys: what was erased must not stay."""
        names = {key.rpartition("/")[2] for key in packs}
        for path in self._folder.glob("??/*"):
            if path.name.partition("-")[0] not in names:
                with suppress(OSError):
                    path.unlink()

    def _call(
        self, name: str, key: str, call: Callable[[], _T], sent: Sequence[Bytes] | Path = ()
    ) -> _T:
        return call()

    def _path(self, key: str, number: int) -> Path:
        name = key.rpartition("/")[2]
        return self._folder / name[:2] / f"{name}-{number}"

    def _load(self, key: str, number: int) -> bytes | None:
        path = self._path(key, number)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        page = data[_SEAL:]
        if blake3(page).digest() != data[:_SEAL]:
            _LOG.info("a damaged page of the cache is fetched again: %s", path)
            return None
        with suppress(OSError):
            os.utime(path)
        return page

    def _keep(self, key: str, number: int, page: bytes) -> None:
        if not page:
            return  # there is nothing behind the end of a pack
        path = self._path(key, number)
        temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.writelines((blake3(page).digest(), page))
            temporary.replace(path)
        except OSError as error:
            _LOG.info("a page is not kept in the cache: %s", error)
            with suppress(OSError):
                temporary.unlink()
            return
        with self._lock:
            self._since_look += len(page)
            if self._since_look < _LOOK_EVERY:
                return
            self._since_look = 0
        self._make_room()

    def _make_room(self) -> None:
        pages = sorted(self._pages())
        total = sum(page.size_bytes for page in pages)
        if total <= self._limit_bytes:
            return
        for page in pages:
            with suppress(OSError):
                page.path.unlink()
            total -= page.size_bytes
            if total <= _ROOM * self._limit_bytes:
                return

    def _pages(self) -> Iterator[_Page]:
        for path in self._folder.glob("??/*"):
            with suppress(OSError):
                facts = path.stat()
                yield _Page(facts.st_mtime, facts.st_size, path)


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Neighbours as (first, one past the last)."""
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        found = [number for _, number in run]
        yield found[0], found[-1] + 1
