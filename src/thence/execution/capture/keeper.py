"""Copies of files as they were at one moment, in the spool."""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from thence.execution.capture.classify import is_short_text

__all__ = ["Keeper", "Kept", "Redact", "Signature"]

Redact = Callable[[Path, bytes], bytes | None]
"""Replaces secrets in the bytes of a file; None where it found none."""

_FICLONE = 0x40049409
_CHUNK = 1 << 20
_TEXT_LIMIT = 1 << 20
_SMALL = 1 << 16
_TRIES = 3


class Signature(NamedTuple):
    """Tells that a file has changed without reading it.

    The time of the last status change is in it because programs such as `cp -p` forge the time of
    the last write.
    """

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Signature":
        """The signature in a stat result."""
        return cls(
            status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )


class Kept(NamedTuple):
    """What became of keeping a file.

    Attributes:
        number: Of the copy: its name in the folder; None where there is none.
        why_not: `unreadable`, `vanished`, `special`, `no-space`; None where there is a copy.
        redacted: Secrets in the copy were replaced.
        unstable: The file changed while it was copied, each time we tried.
    """

    number: int | None
    why_not: str | None
    status: os.stat_result | None
    redacted: bool = False
    unstable: bool = False


class Keeper:
    """Keeps copies as `<folder>/<number>`. Not for several threads at once."""

    def __init__(self, folder: Path, redact: Redact, *, first_number: int = 1) -> None:
        self._folder = folder
        self._redact = redact
        self._next = first_number
        self._no_clone: set[int] = set()

    def path(self, number: int) -> Path:
        """Where a copy is."""
        return self._folder / str(number)

    def keep(self, path: str) -> Kept:
        """Copy a file as it is now; cheap where the file system can share blocks."""
        try:
            # Not blocking: a named pipe may stand where a file was.
            source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return Kept(None, "vanished", None)
        except OSError:
            return Kept(None, "unreadable", None)
        try:
            return self._keep_open(path, source)
        finally:
            os.close(source)

    def _keep_open(self, path: str, source: int) -> Kept:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode):
            return Kept(None, "special", status)
        number = self._next
        self._next += 1
        destination = f"{self._folder}/{number}"
        redacted = False
        try:
            for _ in range(_TRIES):
                redacted = self._copy(path, source, destination, status)
                before, status = status, os.fstat(source)
                if Signature.of(before) == Signature.of(status):
                    return Kept(number, None, status, redacted=redacted)
            return Kept(number, None, status, redacted=redacted, unstable=True)
        except OSError as error:
            _forget(destination)
            full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
            return Kept(None, "no-space" if full else "unreadable", status)

    def _copy(self, path: str, source: int, destination: str, status: os.stat_result) -> bool:
        if status.st_size <= _TEXT_LIMIT and is_short_text(path):
            data = _read_all(source, status.st_size)
            clean = self._redact(Path(path), data)
            _write_all(destination, data if clean is None else clean)
            return clean is not None and clean != data
        if status.st_size <= _SMALL:
            _write_all(destination, _read_all(source, status.st_size))
            return False
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        target = os.open(destination, flags, 0o600)
        try:
            if not self._clone(source, target, status.st_dev):
                _copy_bytes(source, target)
        finally:
            os.close(target)
        return False

    def _clone(self, source: int, target: int, device: int) -> bool:
        if device in self._no_clone:
            return False
        try:
            fcntl.ioctl(target, _FICLONE, source)
        except OSError:
            self._no_clone.add(device)
            return False
        return True


def _copy_bytes(source: int, target: int) -> None:
    offset = 0
    try:
        while copied := os.copy_file_range(source, target, 1 << 30, offset, offset):
            offset += copied
    except (OSError, AttributeError):
        # Not across these file systems, or not of Linux: go on by hand from where it stopped.
        pass
    else:
        if offset:  # some virtual file systems copy nothing and say that this is all
            return
    os.lseek(target, offset, os.SEEK_SET)
    while chunk := os.pread(source, _CHUNK, offset):
        offset += len(chunk)
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(target, rest) :]


def _read_all(source: int, size: int) -> bytes:
    data = os.pread(source, size + 1, 0)
    if len(data) < size or len(data) > size:
        parts = [data]
        while chunk := os.pread(source, _CHUNK, sum(map(len, parts))):
            parts.append(chunk)
        data = b"".join(parts)
    return data


def _write_all(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
    finally:
        os.close(fd)


def _forget(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
