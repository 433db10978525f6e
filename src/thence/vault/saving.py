"""From files to trees: walk, ask the stat cache, read what changed."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from thence.errors import InvalidInput
from thence.model.ids import Digest
from thence.store.failures import failures_of
from thence.vault import tree
from thence.vault.statcache import StatCache
from thence.vault.tree import Found, TreeEntry
from thence.vault.writer import Writer

__all__ = ["Gathered", "gather", "hash_tree"]

_REPORT_EVERY_S = 0.1


class Gathered(NamedTuple):
    """A tree whose content is written, though not yet flushed.

    Attributes:
        skipped: Sockets, pipes and devices, which have no content.
        read_files: How many files had to be read; the stat cache knew the others.
    """

    tree: Digest
    size: int
    files: int
    entries: tuple[TreeEntry, ...]
    skipped: tuple[str, ...]
    read_files: int


def gather(
    paths: Sequence[Path],
    writer: Writer,
    stats: StatCache,
    *,
    known: Callable[[Digest], bool],
    skip: Callable[[Path], bool] = lambda _: False,
    progress: Callable[[int, int], None] = lambda files, size: None,
) -> Gathered:
    """Write the files below the paths and their tree.

    One folder gives its content at the root of the tree, one file its base name; several paths are
    put side by side under their base names.

    Args:
        paths: Files or folders.
        writer: Takes the content; the caller flushes it.
        stats: Tells which files did not change, and learns the others.
        known: Tells whether the store holds a content that the stat cache names.
        skip: Is asked of every file and folder below the paths.
        progress: Is told files and bytes done so far, now and then, by any thread.

    Raises:
        NotFound: A path does not exist.
        Denied: A file or folder may not be read.
        Conflict: A file changed while it was read.
        InvalidInput: Two paths have the same base name.
        StorageError: Reading or writing failed.
    """
    found: list[Found] = []
    skipped: list[str] = []
    for item in _find_all(paths, skip):
        if item.special:
            skipped.append(item.relative)
        else:
            found.append(item)
    entries: list[TreeEntry | None] = [None] * len(found)
    to_read: list[int] = []
    for index, item in enumerate(found):
        if item.link:
            target = os.fsencode(os.readlink(item.path))
            info = writer.put_bytes(target)
            entries[index] = TreeEntry(item.relative, info.size_bytes, info.digest, link=True)
            continue
        digest = stats.find(item.path.absolute(), item.stat)
        if digest is not None and known(digest):
            entries[index] = TreeEntry(
                item.relative, item.stat.st_size, digest, executable=item.executable
            )
        else:
            to_read.append(index)
    report = _Report(progress)
    writer.on_read = report.add
    started = time.time_ns()
    written = writer.put_files([found[index].path for index in to_read])
    for done, (index, info) in enumerate(zip(to_read, written, strict=True), 1):
        item = found[index]
        entries[index] = TreeEntry(
            item.relative, info.size_bytes, info.digest, executable=item.executable
        )
        if info.size_bytes == item.stat.st_size:
            stats.remember(item.path.absolute(), item.stat, info.digest, read_at_ns=started)
        report.files = done
    writer.on_read = lambda size: None
    report.end()
    complete = [entry for entry in entries if entry is not None]
    info = writer.put_bytes(tree.encode(complete))
    return Gathered(
        info.digest,
        sum(entry.size for entry in complete),
        len(complete),
        tuple(complete),
        tuple(skipped),
        len(to_read),
    )


class _Report:
    """Counts what the threads of a writer have read, and tells of it now and then."""

    def __init__(self, progress: Callable[[int, int], None]) -> None:
        self.files = 0
        self._progress = progress
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
            self._progress(self.files, self._size)

    def end(self) -> None:
        if self.files:
            self._progress(self.files, self._size)


def _find_all(paths: Sequence[Path], skip: Callable[[Path], bool]) -> Iterator[Found]:
    names: set[str] = set()
    for path in paths:
        with failures_of(f"cannot read {path}", about=str(path)):
            if len(paths) == 1:
                yield from tree.walk(path, skip=skip)
                continue
            base = path.resolve().name
            if base in names:
                raise InvalidInput(
                    f"two of the paths are called {base!r}",
                    why="Together in one artifact they would overwrite each other.",
                    hint="Save the folder that holds them, or save them one by one.",
                )
            names.add(base)
            for item in tree.walk(path, skip=skip):
                inside = path.is_dir()
                yield item._replace(relative=f"{base}/{item.relative}" if inside else base)


def hash_tree(
    path: Path,
    stats: StatCache,
    digest_of: Callable[[Path], Digest],
    *,
    skip: Callable[[Path], bool] = lambda _: False,
) -> Iterable[TreeEntry]:
    """The entries that saving a path would give, without writing anything.

    Raises:
        NotFound: The path does not exist.
        Denied: A file or folder may not be read.
        StorageError: Reading failed.
    """
    for item in _find_all([path], skip):
        if item.special:
            continue
        if item.link:
            target = os.fsencode(os.readlink(item.path))
            yield TreeEntry(item.relative, len(target), Digest.of(target), link=True)
            continue
        digest = stats.find(item.path.absolute(), item.stat)
        if digest is None:
            started = time.time_ns()
            digest = digest_of(item.path)
            stats.remember(item.path.absolute(), item.stat, digest, read_at_ns=started)
        yield TreeEntry(item.relative, item.stat.st_size, digest, executable=item.executable)
