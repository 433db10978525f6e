"""Writing the files of a version into a folder, each whole or not at all."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import NamedTuple

from thence.errors import Interrupted, NotFound, StorageError, ThenceError
from thence.model.progress import Progress
from thence.store.base import Bytes
from thence.store.failures import failure_of
from thence.vault.content import Content
from thence.vault.directory import Location
from thence.vault.leftovers import temporary_name
from thence.vault.pack import BlockKind
from thence.vault.plainfiles import LinkKind, PlainFiles
from thence.vault.tree import TreeEntry

__all__ = ["Links", "Restorer"]

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
# So many files are looked up at once: their places take 50 MB.
_AT_ONCE = 64 * 1024
# Writing small files is work of the kernel: more threads do not make it less.
_THREADS = 2


class Links(NamedTuple):
    """How files are made where they are to be links."""

    files: PlainFiles
    kind: LinkKind


class _Job(NamedTuple):
    """Files that come out of one block; without a block, one file of any size."""

    where: Location | None
    files: list[tuple[TreeEntry, Location | None]]


class Restorer:
    """Writes files under names of its own and renames them: nobody sees a part of a file.

    Small contents that lie in one block are read, decoded and cut at once: a file then costs
    little more than what the file system takes for it.

    Args:
        content: Where the bytes come from.
        folder: Where the files go; its folders must be there.
        progress: Is told files and bytes done so far, by any thread.
        total: How many bytes there are in all.
        links: Makes files that are links to those of a cache; None writes all of them.
    """

    def __init__(
        self,
        content: Content,
        folder: Path,
        *,
        progress: Progress,
        total: int,
        links: Links | None = None,
    ) -> None:
        self._links = links
        self._content = content
        self._folder = os.fspath(folder)
        self._progress = progress
        self._total = total
        self._files = 0
        self._size = 0
        self._lock = threading.Lock()
        self._stopped = False
        self._token = f"{temporary_name()}-"
        self._numbers = count()

    def write(self, entries: Sequence[TreeEntry], chosen: Sequence[int]) -> None:
        """Write the entries at these places.

        Raises:
            NotFound: A content is not in the store.
            DataDamaged: A content is damaged; that file is not written.
            Denied: The folder may not be written to.
            StorageError: The disk is full.
        """
        workers = min(_THREADS, os.cpu_count() or 1)
        with ThreadPoolExecutor(workers, thread_name_prefix="thence-get") as pool:
            for start in range(0, len(chosen), _AT_ONCE):
                some = [entries[at] for at in chosen[start : start + _AT_ONCE]]
                for batch in self._content.in_batches([entry.digest for entry in some]):
                    self._do(pool, self._jobs([some[at] for at in batch]), 2 * workers)

    def _jobs(self, entries: list[TreeEntry]) -> Iterator[_Job]:
        places = self._content.places(entry.digest for entry in entries)
        blocks: dict[tuple[bytes, int, int], _Job] = {}
        for entry in entries:
            where = None if entry.link else places.get(entry.digest.raw)
            if where is None or where.entry.kind is not BlockKind.WHOLE:
                key = (where.pack, where.entry.offset, -1) if where else (b"", len(blocks), -1)
                while key in blocks:
                    key = (key[0], key[1], key[2] - 1)  # the same content under another name
                blocks[key] = _Job(None, [(entry, None)])
            else:
                key = (where.pack, where.entry.offset, where.entry.stored_length)
                blocks.setdefault(key, _Job(where, [])).files.append((entry, where))
        for key in sorted(blocks):
            yield blocks.pop(key)

    def _do(self, pool: ThreadPoolExecutor, jobs: Iterator[_Job], queued: int) -> None:
        waiting: deque[Future[None]] = deque()
        try:
            for job in jobs:
                if len(waiting) >= queued:
                    waiting.popleft().result()
                waiting.append(pool.submit(self._work, job))
            while waiting:
                waiting.popleft().result()
        except BaseException:
            self._stopped = True
            for left in waiting:
                left.cancel()
            raise

    def _work(self, job: _Job) -> None:
        block = None
        if job.where is not None:
            with suppress(NotFound):  # it moved; each of its files is looked for again
                block = memoryview(self._content.block(job.where))
        size = 0
        for entry, where in job.files:
            if self._stopped:
                raise Interrupted("writing files was stopped")
            data = None if block is None or where is None else _cut(block, where)
            if data is None:
                self._write_alone(entry)
            else:
                self._put_whole(entry, data)
                size += entry.size
        if job.where is not None:
            self._count(len(job.files), size)

    def _write_alone(self, entry: TreeEntry) -> None:
        content = self._content
        if entry.link:
            target = content.read(entry.digest)
            self._put(entry, lambda path: os.symlink(target, path))
            self._count(1, entry.size)
            return

        told = 0

        def tell(size: int) -> None:
            nonlocal told
            told += size
            if self._stopped:
                raise Interrupted("writing files was stopped")
            self._count(0, size)

        def write(path: str) -> None:
            content.write_to(entry.digest, Path(path), executable=entry.executable, tell=tell)

        self._put(entry, self._linked(entry, write))
        self._count(1, entry.size - told)

    def _put_whole(self, entry: TreeEntry, data: Bytes) -> None:
        self._put(entry, self._linked(entry, lambda path: _write(path, data, entry)))

    def _linked(self, entry: TreeEntry, write: Callable[[str], None]) -> Callable[[str], None]:
        """What makes a file: a link to the file of a cache where links are wanted."""
        links = self._links
        if links is None or not entry.size:
            return write

        def make(path: str) -> None:
            if not links.files.link(
                entry.digest,
                path,
                lambda kept: write(str(kept)),
                executable=entry.executable,
                kind=links.kind,
            ):
                write(path)  # one file has at most 65,000 names on ext4

        return make

    def _put(self, entry: TreeEntry, make: Callable[[str], None]) -> None:
        """Make a file under another name and give it its own."""
        target = f"{self._folder}/{entry.path}"
        temporary = f"{target[: target.rindex('/')]}/{self._token}{next(self._numbers)}"
        try:
            make(temporary)
            try:
                os.rename(temporary, target)
            except IsADirectoryError:
                _remove_empty_folders(target)
                os.rename(temporary, target)
            if self._links is not None:
                with suppress(FileNotFoundError):
                    os.unlink(temporary)  # rename does nothing where both are one file
        except BaseException as error:
            with suppress(OSError):
                os.unlink(temporary)
            if isinstance(error, OSError) and not isinstance(error, ThenceError):
                raise failure_of(error, f"cannot write {target}", about=target) from error
            raise

    def _count(self, files: int, size: int) -> None:
        with self._lock:
            self._files += files
            self._size += size
            self._progress(self._files, self._size, self._total)


def _cut(block: memoryview, where: Location) -> memoryview | None:
    """The bytes of a content in its block; None where they are not what they should be."""
    entry = where.entry
    data = block[entry.inner : entry.inner + entry.raw_length]
    return data if sha256(data).digest() == entry.id else None


def _write(path: str, data: Bytes, entry: TreeEntry) -> None:
    try:
        descriptor = os.open(path, _NEW_FILE, 0o777 if entry.executable else 0o666)
    except FileNotFoundError as error:
        raise StorageError(
            f"cannot write {path}", why="There is no such folder.", about=path
        ) from error
    try:
        done = os.write(descriptor, data)
        while done < len(data):
            done += os.write(descriptor, data[done:])
    finally:
        os.close(descriptor)


def _remove_empty_folders(target: str) -> None:
    for path, _, _ in os.walk(target, topdown=False):
        os.rmdir(path)
