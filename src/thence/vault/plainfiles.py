"""Whole files in a cache, to which folders have links: however many there are, they take one room.

Each file is named by the digest of its bytes and is read-only. It was verified when it was made; a
table says what it looked like then. Who changes a file through a hard link changes the file of the
cache too, so one that looks otherwise is read again before it is used, and one with other bytes is
dropped and made anew. Programs have files of their own, as permissions belong to the file and not
to its names.
"""

import errno
import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from thence.errors import NotFound, StorageError
from thence.model.ids import Digest
from thence.store.failures import failures_of
from thence.vault.leftovers import temporary_name
from thence.vault.statcache import signature

__all__ = ["DEFAULT_LIMIT", "LinkKind", "PlainFiles"]

DEFAULT_LIMIT = 10 * 1024**3
_FICLONE = 0x40049409  # linux/fs.h
_NO_REFLINK = frozenset(
    {errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV, errno.ENOSYS, errno.EPERM}
)
_NO_HARD_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
# Digest, signature, and when it was used last.
_ROW = struct.Struct("<16s3qQQq")
_USED_AT = _ROW.size - 8
_ROWS = 1 << 18
_TRIES = 5
_ROOM = 0.9


class LinkKind(StrEnum):
    """How a file is tied to that of the cache."""

    REFLINK = "reflink"
    HARD = "hard"

    @property
    def words(self) -> str:
        """Several of them, as people say it."""
        return "reflinks" if self is LinkKind.REFLINK else "hard links"


class _Unused(NamedTuple):
    used_ns: int
    size_bytes: int
    path: Path


class PlainFiles:
    """The cache. May be used from any thread, and by several processes.

    Args:
        folder: Where it is; made when it is needed.
        digest_of: Computes the digest of a file.
        limit_bytes: When files that nothing is linked to come to more than this, those that were
            not used for longest go. Files with hard links take no room of their own, and stay.
        clock_ns: Tells the time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        digest_of: Callable[[Path], Digest],
        limit_bytes: int = DEFAULT_LIMIT,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._clock_ns = clock_ns
        self._folder = folder
        self._digest_of = digest_of
        self._limit_bytes = limit_bytes

    def kind_for(self, folder: Path, wanted: LinkKind | None) -> LinkKind:
        """The best kind of link from the cache into a folder, found by making one.

        Args:
            folder: Where links are to be made, or anything above it that is there.
            wanted: This kind, or none.

        Raises:
            StorageError: None is possible.
            Denied: The cache or the folder may not be written to.
        """
        while not folder.is_dir():
            folder = folder.parent
        token = temporary_name()
        source, target = self._folder / token, folder / token
        with failures_of(f"cannot link into {folder}", about=str(folder)):
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                source.touch(exist_ok=False)
                for kind in (wanted,) if wanted else (LinkKind.REFLINK, LinkKind.HARD):
                    if _make(kind, source, str(target), executable=False):
                        return kind
            finally:
                source.unlink(missing_ok=True)
                target.unlink(missing_ok=True)
        if os.stat(self._folder).st_dev != os.stat(folder).st_dev:
            why = f"It is on another file system than {self._folder}."
            hint = "Get them without --link, or have the project on the same file system."
        else:
            hint = "Get them without --link, or with --link for whatever is possible."
            why = f"The file system has no {wanted.words}." if wanted else "It has no such links."
        raise StorageError(
            f"files in {folder} cannot be links",
            why=why,
            hint=hint,
            about=str(folder),
        )

    def link(
        self,
        digest: Digest,
        path: str,
        make: Callable[[Path], None],
        *,
        executable: bool,
        kind: LinkKind,
    ) -> bool:
        """Make a file that is tied to the one of the cache; False where that has too many links.

        Args:
            digest: Of the bytes.
            path: Where; there must be nothing.
            make: Writes the bytes, verified, to a new file; is called if the cache has none.
            executable: Whether it is a program.
            kind: How.

        Raises:
            StorageError: The disk is full.
            Denied: The cache may not be written to.
        """
        source = self._path(digest, executable=executable)
        for _ in range(_TRIES):
            with failures_of(f"cannot keep {source}", about=str(source)):
                whole = self._whole(source, digest) or self._put(source, make, executable)
                try:
                    made = _make(kind, source, path, executable=executable)
                    self._note(source, digest, whole)
                except FileNotFoundError:
                    continue  # another process made room
                return made
        raise StorageError(
            f"{source} is removed as often as it is made",
            why="Other processes make room in the cache of links.",
            hint="Allow more with THENCE_LINK_CACHE_SIZE=50GB.",
            about=str(source),
        )

    def make_room(self) -> None:
        """Remove what was not used for longest, where there is more than there is room for."""
        found: list[_Unused] = []
        for path in self._folder.glob("??/*"):
            with suppress(OSError):
                facts = path.lstat()
                if facts.st_nlink == 1:
                    found.append(_Unused(self._used_ns(path), facts.st_size, path))
        total = sum(one.size_bytes for one in found)
        if total <= self._limit_bytes:
            return
        for one in sorted(found):
            with suppress(OSError):
                if one.path.lstat().st_nlink == 1:
                    one.path.unlink()
            total -= one.size_bytes
            if total <= _ROOM * self._limit_bytes:
                return

    def forget(self, digests: Iterable[Digest]) -> None:
        """Remove files with these contents: they were erased. Links to them stay where they are."""
        for digest in digests:
            for executable in (False, True):
                with suppress(OSError):
                    self._path(digest, executable=executable).unlink()

    def _path(self, digest: Digest, *, executable: bool) -> Path:
        name = f"{digest.hex}{'x' if executable else ''}"
        return self._folder / name[:2] / name

    def _whole(self, source: Path, digest: Digest) -> os.stat_result | None:
        """What the file of the cache looks like, if it has the right bytes."""
        try:
            facts = source.lstat()
            if self._row(source)[:_USED_AT] == _row_of(facts, digest):
                return facts
            right = self._digest_of(source) == digest
            if right and signature(source.lstat()) == signature(facts):
                return facts
            source.unlink()
        except (FileNotFoundError, NotFound):
            pass
        return None

    def _put(self, source: Path, make: Callable[[Path], None], executable: bool) -> os.stat_result:
        source.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / temporary_name()
        try:
            make(temporary)
            temporary.chmod(0o555 if executable else 0o444)
            facts = temporary.lstat()
            temporary.replace(source)
            return facts
        finally:
            temporary.unlink(missing_ok=True)

    def _note(self, source: Path, digest: Digest, whole: os.stat_result) -> None:
        """Take down what a file looks like now, as to link it changed it, and that it was used."""
        facts = source.lstat()
        if _written(facts) != _written(whole):
            return  # replaced by another process, or written to through another of its names
        with suppress(OSError):  # it only costs time to read the file again
            table = os.open(self._folder / "table", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                used = self._clock_ns().to_bytes(8, "little", signed=True)
                os.pwrite(table, _row_of(facts, digest) + used, _place(source))
            finally:
                os.close(table)

    def _used_ns(self, source: Path) -> int:
        """When a file was used last; 0 where another one has its place in the table."""
        row = self._row(source)
        if len(row) < _ROW.size or row[:16] != bytes.fromhex(source.name[:32]):
            return 0
        return int.from_bytes(row[_USED_AT:], "little", signed=True)

    def _row(self, source: Path) -> bytes:
        try:
            table = os.open(self._folder / "table", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return os.pread(table, _ROW.size, _place(source))
        finally:
            os.close(table)


def _row_of(facts: os.stat_result, digest: Digest) -> bytes:
    return _ROW.pack(digest.raw[:16], *signature(facts), 0)[:_USED_AT]


def _written(facts: os.stat_result) -> tuple[int, int, int]:
    """What is another where a file was written to or replaced; links do not change it."""
    return facts.st_size, facts.st_ino, facts.st_mtime_ns


def _place(source: Path) -> int:
    at = int(source.name[:8], 16) + source.name.endswith("x")
    return at % _ROWS * _ROW.size


def _make(kind: LinkKind, source: Path, path: str, *, executable: bool) -> bool:
    """Make a link; False where the file system cannot, or not one more of this file."""
    if kind is LinkKind.HARD:
        try:
            os.link(source, path, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NO_HARD_LINK:
                return False
            raise
        return True
    origin = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        target = os.open(path, _NEW_FILE, 0o777 if executable else 0o666)
        try:
            fcntl.ioctl(target, _FICLONE, origin)
        except OSError as error:
            os.unlink(path)
            if error.errno in _NO_REFLINK:
                return False
            raise
        finally:
            os.close(target)
    finally:
        os.close(origin)
    return True
