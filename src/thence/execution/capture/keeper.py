"""Copies of files as they were at one moment, in the spool.

Small files go one behind the other into a file that only grows (a *pack*): making a file costs
50-170 us, adding to one 3 us, and a training on images opens 50,000 of them before it gets going.
"""

import contextlib
import errno
import fcntl
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from thence.execution.capture.classify import is_short_text

__all__ = ["Copy", "Glance", "Keeper", "Kept", "Redact", "Signature", "glance"]

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


class Copy(NamedTuple):
    """Where the bytes of a copy lie.

    Attributes:
        path: A file of the spool.
        offset: Where in it they begin.
        size_bytes: How many they are; None for the whole file.
    """

    path: Path
    offset: int = 0
    size_bytes: int | None = None

    def open(self) -> BinaryIO:
        """A stream of the bytes.

        Raises:
            OSError: They cannot be read.
        """
        if self.size_bytes is None:
            return self.path.open("rb")
        return io.BytesIO(self.read_bytes())

    def read_bytes(self) -> bytes:
        """The bytes.

        Raises:
            OSError: They cannot be read, or the pack ends before them.
        """
        if self.size_bytes is None:
            return self.path.read_bytes()
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(descriptor, self.size_bytes, self.offset)
        finally:
            os.close(descriptor)
        if len(data) != self.size_bytes:
            raise OSError(errno.EIO, "the pack of copies is cut off", str(self.path))
        return data

    def to_plain(self) -> int | list[int]:
        """As JSON holds it."""
        number = int(self.path.name)
        return number if self.size_bytes is None else [number, self.offset, self.size_bytes]

    @classmethod
    def from_plain(cls, plain: int | list[int], folder: Path) -> "Copy":
        """The inverse of `to_plain`, of a copy in a folder."""
        if isinstance(plain, int):
            return cls(folder / str(plain))
        number, offset, size = plain
        return cls(folder / str(number), offset, size)


class Kept(NamedTuple):
    """What became of keeping a file.

    Attributes:
        copy: None where there is none.
        why_not: `unreadable`, `vanished`, `special`, `no-space`; None where there is a copy.
        signature: What the file was when it was looked at last; None where it could not be.
        redacted: Secrets in the copy were replaced.
        unstable: The file changed while it was copied, each time we tried.
    """

    copy: Copy | None
    why_not: str | None
    signature: Signature | None
    redacted: bool = False
    unstable: bool = False


class Glance(NamedTuple):
    """A small file that rested while it was read."""

    status: os.stat_result
    data: bytes


class Keeper:
    """Keeps copies in files named by numbers: one each for large files, packs for small ones.

    Not for several threads at once, but for `keep` with a number of its own (`reserve`).
    """

    def __init__(self, folder: Path, redact: Redact, *, first_number: int = 1) -> None:
        self._folder = folder
        self._redact = redact
        self._next = first_number
        self._no_clone: set[int] = set()
        self._pack = -1
        self._pack_path = folder
        self._pack_end = 0

    def reserve(self) -> int:
        """The number of a copy that is to be made later, by another thread."""
        number = self._next
        self._next += 1
        return number

    def close(self) -> None:
        """Let go of the pack."""
        if self._pack >= 0:
            os.close(self._pack)
            self._pack = -1

    def keep(
        self, path: str, *, seen: os.stat_result | None = None, number: int | None = None
    ) -> Kept:
        """Copy a file as it is now; cheap where the file system can share blocks.

        Args:
            path: Of the file.
            seen: What a look at it said a moment ago, which spares another one.
            number: One that was reserved: the copy has a file of its own.
        """
        try:
            # Not blocking: a named pipe may stand where a file was.
            source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return Kept(None, "vanished", None)
        except OSError:
            return Kept(None, "unreadable", None)
        try:
            return self._keep_open(path, source, seen or os.fstat(source), number)
        finally:
            os.close(source)

    def keep_glance(self, glance: Glance) -> Kept:
        """Keep what was read of a small file that has no secrets in it."""
        signature = Signature.of(glance.status)
        try:
            return Kept(self._append(glance.data), None, signature)
        except OSError as error:
            return Kept(None, _why_not(error), signature)

    def clone(self, path: str, *, number: int) -> Kept | None:
        """Copy a file by sharing its blocks; None where its file system cannot do that."""
        try:
            source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            status = os.fstat(source)
            if status.st_dev in self._no_clone:
                return None
            destination = self._folder / str(number)
            target = _create(destination)
            try:
                if self._clone(source, target, status.st_dev):
                    return Kept(Copy(destination), None, Signature.of(status))
            finally:
                os.close(target)
            _forget(destination)
        except OSError:
            pass  # it will be copied, which says what the matter is
        finally:
            os.close(source)
        return None

    def _keep_open(
        self, path: str, source: int, status: os.stat_result, number: int | None
    ) -> Kept:
        if not stat.S_ISREG(status.st_mode):
            return Kept(None, "special", Signature.of(status))
        own: int | None = number
        redacted = False
        before = Signature.of(status)
        try:
            for _ in range(_TRIES):
                size = before.size_bytes
                is_text = size <= _TEXT_LIMIT and is_short_text(path)
                if number is None and (is_text or size <= _SMALL):
                    data = _read_all(source, size)
                    if is_text:
                        clean = self._redact(Path(path), data)
                        redacted = clean is not None and clean != data
                        data = data if clean is None else clean
                    copy = self._append(data)
                else:
                    own = self.reserve() if own is None else own
                    copy = Copy(self._folder / str(own))
                    self._copy(source, copy.path, before.device)
                after = Signature.of(os.fstat(source))
                if before == after:
                    return Kept(copy, None, after, redacted=redacted)
                before = after
            return Kept(copy, None, after, redacted=redacted, unstable=True)
        except OSError as error:
            if own is not None:
                _forget(self._folder / str(own))
            return Kept(None, _why_not(error), before)

    def _append(self, data: bytes) -> Copy:
        """Add the bytes of a file to the pack."""
        if self._pack < 0:
            self._pack_path = self._folder / str(self.reserve())
            self._pack = _create(self._pack_path)
            self._pack_end = 0
        offset, size = self._pack_end, len(data)
        try:
            written = os.write(self._pack, data)
            while written < size:
                written += os.write(self._pack, memoryview(data)[written:])
        except OSError:
            # What was written of it stays; the next one begins a pack of its own.
            self.close()
            raise
        self._pack_end = offset + size
        return Copy(self._pack_path, offset, size)

    def _copy(self, source: int, destination: Path, device: int) -> None:
        target = _create(destination)
        try:
            if not self._clone(source, target, device):
                _copy_bytes(source, target)
        finally:
            os.close(target)

    def _clone(self, source: int, target: int, device: int) -> bool:
        if device in self._no_clone:
            return False
        try:
            fcntl.ioctl(target, _FICLONE, source)
        except OSError:
            self._no_clone.add(device)
            return False
        return True


def glance(path: str) -> Glance | None:
    """Read a file as it is now; None where it is not small, or cannot be read, or does not rest."""
    try:
        before = os.stat(path)
        if before.st_size > _SMALL or not stat.S_ISREG(before.st_mode):
            return None
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        data = os.pread(source, before.st_size + 1, 0)
        after = os.fstat(source)
    except OSError:
        return None
    finally:
        os.close(source)
    rested = (
        len(data) == before.st_size
        and before.st_ctime_ns == after.st_ctime_ns
        and Signature.of(before) == Signature.of(after)
    )
    return Glance(before, data) if rested else None


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


def _why_not(error: OSError) -> str:
    full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    return "no-space" if full else "unreadable"


def _read_all(source: int, size: int) -> bytes:
    data = os.pread(source, size + 1, 0)
    if len(data) < size or len(data) > size:
        parts = [data]
        while chunk := os.pread(source, _CHUNK, sum(map(len, parts))):
            parts.append(chunk)
        data = b"".join(parts)
    return data


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)


def _forget(path: Path) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
