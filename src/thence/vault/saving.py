"""From files to trees: walk, ask the stat cache, read what changed."""

import heapq
import os
import stat
import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from thence.model.ids import Digest
from thence.model.progress import Progress, silent
from thence.store.failures import failures_of
from thence.vault.content import ContentInfo
from thence.vault.folders import Folder, Walk, look
from thence.vault.statcache import FACTS, KnownTree, StatCache, Table, is_racy, without_times
from thence.vault.tree import ODD, TreeEntry, encode_row
from thence.vault.writer import Writer

__all__ = ["Gathered", "Held", "Run", "gather", "hash_changed", "runs"]

_REPORT_EVERY_S = 0.1
_LARGEST = 200
# So many files are handed to the writer at once, and so many ids are looked up at once.
_WINDOW = 8192
_PIECE = 1 << 20
_UNREAD = bytes(32)


class Held(Protocol):
    """Tells what the store holds already."""

    def missing(self, digests: bytes) -> Sequence[int]:
        """Which of these contents, 32 bytes each, the store does not hold, by their numbers."""

    def has_packs(self, packs: Collection[bytes]) -> bool:
        """Whether these packs are all in the store, and will stay."""


class Gathered(NamedTuple):
    """A tree whose content is written, though not yet flushed.

    Attributes:
        largest: The largest of its files, no links; up to 200. None where there is `known`.
        skipped: Sockets, pipes and devices, which have no content.
        read_files: How many files had to be read; the stat cache knew the others.
        ignored: Paths that rules left out; a folder, ending with `/`, stands for all in it.
        empty_folders: How many folders hold nothing, which a tree does not keep.
        fingerprint: Of the folders, for `StatCache.note_tree`.
        known: What was noted of this fingerprint, where the store still has all of it.
    """

    tree: Digest
    size: int
    files: int
    largest: tuple[TreeEntry, ...]
    skipped: tuple[str, ...] = ()
    read_files: int = 0
    ignored: tuple[str, ...] = ()
    empty_folders: int = 0
    fingerprint: bytes = b""
    known: KnownTree | None = None


def gather(
    paths: Sequence[Path],
    writer: Writer,
    stats: StatCache,
    *,
    held: Held,
    root: Path | None = None,
    progress: Progress = silent,
) -> Gathered:
    """Write the files below the paths and their tree.

    One folder gives its content at the root of the tree, one file its base name; several paths are
    put side by side under their base names.

    Args:
        paths: Files or folders.
        writer: Takes the content; the caller flushes it.
        stats: Tells which files did not change, and learns the others, also when this is stopped.
        held: Tells whether the store holds what the stat cache names.
        root: The folder of the project whose rules of what is ignored hold; None ignores nothing.
        progress: Is told files and bytes done so far, now and then, by any thread.

    Raises:
        NotFound: A path does not exist.
        Denied: A file or folder may not be read.
        Conflict: A file changed while it was read.
        InvalidInput: Two paths have the same base name, or a rule cannot be understood.
        StorageError: Reading or writing failed.
    """
    walk = look(paths, stats, root=root)
    found = (walk.special, 0, walk.ignored, walk.empty_folders)
    if not any(folder.to_read for folder in walk.folders()):
        _keep(walk, stats)
        fingerprint = walk.fingerprint()
        known = stats.tree(fingerprint)
        if known is not None and known.packs and held.has_packs(known.packs):
            return Gathered(
                Digest(known.tree), known.size, known.files, (), *found, fingerprint, known
            )
    _want_missing(walk, held)
    report = _Report(progress, sum(map(_size_to_read, walk.folders())))
    writer.on_read = report.add
    try:
        read_files = _read(walk, writer, report)
    except BaseException:
        # What was read by then need not be read by the next try, as far as it was published.
        _keep(walk, stats, is_whole=False)
        stats.save()
        raise
    finally:
        writer.on_read = lambda size: None
    report.end()
    _keep(walk, stats)
    total = _Total()
    info = writer.put_pieces(_in_pieces(map(total.add, runs(walk))))
    stats.save()  # now, since of a million files it takes the memory that the writer wants next
    return Gathered(
        info.digest,
        total.size,
        total.files,
        total.largest(),
        walk.special,
        read_files,
        walk.ignored,
        walk.empty_folders,
        walk.fingerprint(),
    )


def hash_changed(walk: Walk, stats: StatCache, digest_of: Callable[[Path], Digest]) -> None:
    """Read what changed, so that a walk has all digests, without writing anything.

    Raises:
        NotFound: A file went meanwhile.
        Denied: A file may not be read.
        StorageError: Reading failed.
    """
    try:
        for folder in walk.folders():
            if not folder.to_read:
                continue
            folder.open_up()
            names = os.fsdecode(folder.names).split("/")
            for at in folder.to_read:
                path, started = folder.path_of(names[at]), time.time_ns()
                facts = bytes(folder.facts[at * FACTS : at * FACTS + FACTS])
                if _is_link(facts):
                    target = _target(path)
                    info = ContentInfo(Digest.of(target), len(target))
                else:
                    size = int.from_bytes(facts[8:16], "little")
                    info = ContentInfo(digest_of(Path(path)), size)
                _learn(folder, at, facts, info, started)
    except BaseException:
        _keep(walk, stats, is_whole=False)
        stats.save()
        raise
    _keep(walk, stats)


def _want_missing(walk: Walk, held: Held) -> None:
    """Have read again what the stat cache knows and the store does not hold."""
    batch: list[Folder] = []
    count = 0
    for folder in walk.folders():
        if len(folder.to_read) == len(folder):
            continue
        batch.append(folder)
        count += len(folder)
        if count >= _WINDOW * 16:
            _want(batch, held)
            batch, count = [], 0
    _want(batch, held)


def _want(folders: list[Folder], held: Held) -> None:
    missing = held.missing(b"".join(folder.digests for folder in folders))
    at, begin = 0, 0
    for folder in folders:
        end = begin + len(folder)
        upto = bisect_left(missing, end, at)
        if upto > at:
            # Those that are to be read anyway have no digest yet, so they are missing too.
            folder.to_read = array("Q", (one - begin for one in missing[at:upto]))
        at, begin = upto, end


def _size_to_read(folder: Folder) -> int:
    if not folder.to_read:
        return 0
    numbers = array("q")
    numbers.frombytes(folder.facts)
    return sum(numbers[6 * at + 1] for at in folder.to_read if not stat.S_ISLNK(numbers[6 * at]))


class _Wanted(NamedTuple):
    folder: Folder
    at: int
    facts: bytes
    path: str


def _wanted(walk: Walk, writer: Writer) -> Iterator[_Wanted]:
    """The files to read; links are read at once."""
    for folder in walk.folders():
        if not folder.to_read:
            continue
        folder.open_up()
        names = os.fsdecode(folder.names).split("/")
        for at in folder.to_read:
            path = folder.path_of(names[at])
            facts = bytes(folder.facts[at * FACTS : at * FACTS + FACTS])
            if _is_link(facts):
                started = time.time_ns()
                info = writer.put_bytes(_target(path))
                _learn(folder, at, facts, info, started)
            else:
                yield _Wanted(folder, at, facts, path)


def _read(walk: Walk, writer: Writer, report: "_Report") -> int:
    """Write what must be read; tells how many files that were."""
    done = 0
    window: list[_Wanted] = []

    def read_window() -> None:
        nonlocal done
        started = time.time_ns()
        written = writer.put_files([one.path for one in window])
        for one, info in zip(window, written, strict=True):
            _learn(one.folder, one.at, one.facts, info, started)
            done += 1
            report.files = done
        window.clear()

    for one in _wanted(walk, writer):
        window.append(one)
        if len(window) == _WINDOW:
            read_window()
    read_window()
    return done


def _learn(folder: Folder, at: int, facts: bytes, info: ContentInfo, read_at_ns: int) -> None:
    if info.size_bytes != int.from_bytes(facts[8:16], "little") or is_racy(facts, read_at_ns):
        facts = without_times(facts, info.size_bytes)
    folder.learn(at, facts, info.digest.raw)


def _is_link(facts: bytes) -> bool:
    return stat.S_ISLNK(int.from_bytes(facts[:8], "little"))


def _target(path: str) -> bytes:
    with failures_of(f"cannot read {path}", about=path):
        return os.fsencode(os.readlink(path))


def _keep(walk: Walk, stats: StatCache, *, is_whole: bool = True) -> None:
    """Give the stat cache what was found; rows that were not read are noted as such."""
    for folder in walk.folders():
        if folder.table is not None:
            continue
        facts, digests = bytes(folder.facts), bytes(folder.digests)
        if not is_whole:
            facts = b"".join(
                facts[at * FACTS : at * FACTS + FACTS]
                if digests[at * 32 : at * 32 + 32] != _UNREAD
                else without_times(facts[at * FACTS : at * FACTS + FACTS], 0)
                for at in range(len(folder))
            )
        table = Table.of(folder.names, facts, digests)
        folder.close(table)
        if folder.key is not None:
            stats.put(folder.key, table)
        else:
            stats.put_file(folder.path, table)


class Run(NamedTuple):
    """Files of one folder that follow each other in a tree."""

    prefix: str
    names: list[str]
    modes: "array[int]"
    sizes: "array[int]"
    digests: bytes

    def rows(self) -> str:
        """Their rows, each with its line feed."""
        digits = self.digests.hex()
        flags = map(_flags, self.modes)
        if ODD.search(self.prefix) or ODD.search("/".join(self.names)):
            return b"".join(map(encode_row, self.entries())).decode()
        return "".join(
            [
                f'["{self.prefix}{name}",{size},"{flag}","{digits[at : at + 64]}"]\n'
                for name, size, flag, at in zip(
                    self.names, self.sizes, flags, range(0, len(digits), 64), strict=True
                )
            ]
        )

    def entries(self) -> Iterator[TreeEntry]:
        """The same as entries of a tree."""
        return map(self.entry, range(len(self.names)))

    def entry(self, at: int) -> TreeEntry:
        """One of them."""
        flags = _flags(self.modes[at])
        digest = Digest(self.digests[at * 32 : at * 32 + 32])
        path = self.prefix + self.names[at]
        return TreeEntry(path, self.sizes[at], digest, flags == "x", flags == "l")


_KINDS: dict[int, str] = {}


def _flags(mode: int) -> str:
    if (flags := _KINDS.get(mode)) is None:
        flags = "l" if stat.S_ISLNK(mode) else "x" if mode & stat.S_IXUSR else ""
        _KINDS[mode] = flags
    return flags


def runs(walk: Walk) -> Iterator[Run]:
    """The files of a walk in the order of the tree; all must have been read."""
    pending: list[Iterator[Folder | Run]] = [iter(walk.roots)]
    while pending:
        item = next(pending[-1], None)
        if item is None:
            pending.pop()
        elif isinstance(item, Run):
            yield item
        else:
            pending.append(_runs(item))


def _runs(folder: Folder) -> Iterator[Folder | Run]:
    """A folder's files, and between them the folders in it, by the order of their paths."""
    count = len(folder)
    raw = folder.names.split(b"/") if count else []
    names = os.fsdecode(folder.names).split("/")
    numbers = array("q")
    numbers.frombytes(folder.facts)
    digests = folder.digests

    def run(start: int, end: int) -> Run:
        return Run(
            folder.prefix,
            names[start:end],
            numbers[6 * start : 6 * end : 6],
            numbers[6 * start + 1 : 6 * end : 6],
            bytes(digests[32 * start : 32 * end]),
        )

    start = 0
    for child in folder.below:
        end = bisect_left(raw, os.fsencode(child.name + "/"), start)
        if end > start:
            yield run(start, end)
        yield child
        start = end
    if start < count:
        yield run(start, count)


class _Total:
    """Counts what goes by, and keeps the largest."""

    def __init__(self) -> None:
        self.files = 0
        self.size = 0
        self._largest: list[tuple[int, int, TreeEntry]] = []

    def add(self, run: Run) -> Run:
        self.size += sum(run.sizes)
        heap = self._largest
        low = heap[0][0] if len(heap) == _LARGEST else -1
        if max(run.sizes) > low:
            for at, size in enumerate(run.sizes):
                if size <= low or _flags(run.modes[at]) == "l":
                    continue
                item = (size, -(self.files + at), run.entry(at))
                if len(heap) < _LARGEST:
                    heapq.heappush(heap, item)
                else:
                    heapq.heapreplace(heap, item)
                low = heap[0][0] if len(heap) == _LARGEST else -1
        self.files += len(run.names)
        return run

    def largest(self) -> tuple[TreeEntry, ...]:
        return tuple(entry for _, _, entry in sorted(self._largest, reverse=True))


def _in_pieces(found: Iterable[Run]) -> Iterator[bytes]:
    waiting: list[str] = []
    size = 0
    for run in found:
        text = run.rows()
        waiting.append(text)
        size += len(text)
        if size >= _PIECE:
            yield "".join(waiting).encode()
            waiting, size = [], 0
    yield "".join(waiting).encode()


class _Report:
    """Counts what the threads of a writer have read, and tells of it now and then."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.files = 0
        self._progress = progress
        self._total = total
        self._size = 0
        self._next = time.monotonic() + _REPORT_EVERY_S
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        with self._lock:
            self._size += size
            now = time.monotonic()
            if now < self._next:
                return
            self._next = now + _REPORT_EVERY_S
            self._progress(self.files, self._size, self._total)

    def end(self) -> None:
        if self.files:
            self._progress(self.files, self._size, self._total)
