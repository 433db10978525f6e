"""A store in a folder."""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from thence.errors import Denied, InvalidInput, NotFound, StorageError
from thence.store.base import Bytes, ObjectInfo, check_key, no_object, taken
from thence.store.failures import failures_of
from thence.store.publish import Source, both, link_if_free, move_if_free, put_over

__all__ = ["LocalStore"]

_TEMPORARY = "tmp"
_STALE_S = 24 * 3600
_OBJECT_MODE = 0o444  # objects are never written to again; this keeps editors from doing it
_BUFFER_BYTES = 1 << 20

# A folder can vanish between being made and being used, when a delete elsewhere empties it.
_ATTEMPTS = 100

_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FOLDER = _ROOT | os.O_NOFOLLOW
# O_NONBLOCK: a pipe somebody left in the folder must not hang us. Files do not notice it.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_NO_MOVE = frozenset({errno.EXDEV, errno.EACCES, errno.EPERM, errno.EMLINK})


class LocalStore:
    """Objects are plain files below a folder, each at the path that its key spells.

    `create` writes to `<root>/tmp/`, syncs, and links the file to its key: the link is what only
    one of several racing calls can make. On file systems without hard links it is Linux's
    `renameat2` with `RENAME_NOREPLACE`. What was created or replaced survives a power failure; a
    deletion may be undone by one.

    Objects are read-only files. Keys below `tmp/` are refused, and so is a key that is the folder
    of another (`a` beside `a/b`). Symbolic links below the root are never followed: a key cannot
    lead out of it. The root itself may be one.

    Deleting removes folders that became empty. That cannot lose an object: the system refuses to
    remove a folder that has an entry, and `create` makes a vanished folder again.

    Args:
        root: The folder, of any name that the file system can hold.
        create: Make the folder if there is none.

    Raises:
        NotFound: There is no such folder.
        InvalidInput: There is a file at the path.
        Denied: The folder may not be read, or made.
        StorageError: The folder cannot be read, or made.
    """

    def __init__(
        self, root: str | bytes | os.PathLike[str] | os.PathLike[bytes], *, create: bool = False
    ) -> None:
        self._root = Path(os.path.abspath(os.fsdecode(root)))
        self._swept = False
        self._mode: int | None = None
        with failures_of(f"cannot open the store {self.url}", about=self.url):
            if create:
                _make_folders(self._root)
            try:
                os.close(os.open(self._root, _ROOT))
            except FileNotFoundError as error:
                raise NotFound(
                    f"there is no store {self.url}",
                    why="The folder does not exist.",
                    hint="Check the path; `thence init` makes a new store.",
                    about=self.url,
                ) from error
            except NotADirectoryError as error:
                raise InvalidInput(
                    f"not a store: {self.url}", why="There is a file, not a folder.", about=self.url
                ) from error

    def __repr__(self) -> str:
        return f"LocalStore({str(self._root)!r})"

    @property
    def root(self) -> Path:
        """The folder, as an absolute path."""
        return self._root

    @property
    def url(self) -> str:
        """`file:///…`, percent-encoded."""
        return self._root.as_uri()

    def get(self, key: str) -> bytes:
        """As `Store.get`.

        Raises:
            NotFound: There is no such object.
            Denied: No right to read it, or a symbolic link is in the way.
            StorageError: The disk failed.
            InvalidInput: The key is none.
        """
        with self._reading(key) as file, open(file, "rb", buffering=0, closefd=False) as raw:
            return raw.read()

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """As `Store.get_range`.

        Raises:
            NotFound: There is no such object.
            Denied: No right to read it, or a symbolic link is in the way.
            StorageError: The disk failed.
            InvalidInput: The key is none, or the length is negative.
        """
        with self._reading(key) as file:
            if length < 0:
                raise InvalidInput(f"not a length: {length}", about=key)
            size = os.fstat(file).st_size
            start = max(0, size + start) if start < 0 else min(start, size)
            wanted = min(length, size - start)
            data = os.pread(file, wanted, start)
            while len(data) < wanted:  # one call moves at most 2 GiB, and a signal may cut it short
                more = os.pread(file, wanted - len(data), start + len(data))
                if not more:
                    break
                data += more
            return data

    def read_into(self, key: str, start: int, buffer: memoryview) -> int:
        """Read from `start` on into memory that the caller has; how many bytes that were.

        Memory that is used again costs a third of new memory: the system need not clear it.

        Raises:
            NotFound: There is no such object.
            Denied: No right to read it, or a symbolic link is in the way.
            StorageError: The disk failed.
            InvalidInput: The key is none.
        """
        with self._reading(key) as file:
            filled = 0
            while filled < len(buffer) and (
                got := os.preadv(file, [buffer[filled:]], start + filled)
            ):
                filled += got
            return filled

    def create(self, key: str, parts: Sequence[Bytes]) -> None:
        """As `Store.create`.

        Raises:
            AlreadyExists: There is an object; it was not touched.
            Denied: No right to write, or a symbolic link is in the way.
            StorageError: The disk is full or failed, or cannot promise that one caller wins.
            InvalidInput: The key is none, or is the folder of another.
        """
        with failures_of(f"cannot create {key!r} in {self.url}", about=key):
            self._refuse_taken(key)
            with self._temporary(lambda file: file.writelines(parts)) as source:
                self._publish(key, source, link_if_free)

    def create_from_file(self, key: str, path: Path) -> None:
        """As `Store.create_from_file`.

        A file of ours on the same file system that has no second name is moved, not copied: it is
        gone from `path` when the call returns. Any other is copied and left alone.

        Raises:
            AlreadyExists: There is an object; it was not touched, and the file is still there.
            NotFound: There is no such file.
            Denied: No right to read or write, or a symbolic link is in the way.
            StorageError: A disk is full or failed, or cannot promise that one caller wins.
            InvalidInput: The key is none, or is the folder of another, or the path is no file.
        """
        with failures_of(f"cannot create {key!r} in {self.url}", about=key):
            self._refuse_taken(key)
            with failures_of(f"cannot read {str(path)!r}", about=str(path)):
                if not stat.S_ISREG(os.stat(path).st_mode):
                    raise InvalidInput(f"not a file: {str(path)!r}", about=str(path))
                opened = open(path, "rb")  # noqa: SIM115
            with opened as of:
                if self._move(key, Path(os.path.abspath(path)), of.fileno()):
                    return
                with self._temporary(lambda to: shutil.copyfileobj(of, to, _BUFFER_BYTES)) as copy:
                    self._publish(key, copy, link_if_free)

    def replace(self, key: str, parts: Sequence[Bytes]) -> None:
        """As `Store.replace`.

        Raises:
            Denied: No right to write, or a symbolic link is in the way.
            StorageError: The disk is full or failed.
            InvalidInput: The key is none, or is the folder of another.
        """
        with failures_of(f"cannot write {key!r} in {self.url}", about=key):
            self._check(key)
            with self._temporary(lambda file: file.writelines(parts)) as source:
                self._publish(key, source, put_over)

    def head(self, key: str) -> ObjectInfo | None:
        """As `Store.head`.

        Raises:
            Denied: No right to look, or a symbolic link is in the way.
            StorageError: The disk failed.
            InvalidInput: The key is none.
        """
        with failures_of(f"cannot look at {key!r} in {self.url}", about=key):
            found = self._status(key)
            if found is None or not stat.S_ISREG(found.st_mode):
                return None
            return ObjectInfo(key, found.st_size, found.st_mtime)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """As `Store.list`.

        Holds the names of one folder per level at a time, and opens only folders that can have
        keys of the answer. Files whose names are no keys are passed over; a symbolic link is an
        error, because to pass over it could hide objects from somebody who counts what is in use.

        Raises:
            Denied: A folder may not be read, or there is a symbolic link.
            StorageError: The disk failed.
        """
        base = prefix[: prefix.rfind("/") + 1]
        if base and (not _is_key(base[:-1]) or _reserved(base)):
            return
        with failures_of(f"cannot list {self.url}", about=prefix):
            try:
                folder = self._descend(base[:-1])
            except (FileNotFoundError, NotADirectoryError):
                return
        yield from self._walk(folder, base, prefix, after)

    def delete(self, key: str) -> None:
        """As `Store.delete`.

        Raises:
            Denied: No right to delete, or a symbolic link is in the way.
            StorageError: The disk failed.
            InvalidInput: The key is none.
        """
        self._check(key)
        parent, name = _split(key)
        with failures_of(f"cannot delete {key!r} in {self.url}", about=key):
            try:
                with self._folder(parent) as folder:
                    os.unlink(name, dir_fd=folder)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return
            while parent:
                above, name = _split(parent)
                try:
                    with self._folder(above) as folder:
                        os.rmdir(name, dir_fd=folder)
                except OSError:
                    return  # not empty, or already gone, or not ours to remove
                parent = above

    def _check(self, key: str) -> None:
        if _reserved(check_key(key)):
            raise InvalidInput(
                f"not a key of a local store: {key!r}",
                why=f"'{_TEMPORARY}/' is where a local store puts files that are being written.",
                about=key,
            )

    def _descend(self, path: str, *, make: bool = False) -> int:
        """Open the folder at `path`, step by step, so that no link can lead elsewhere."""
        try:
            folder = os.open(self._root, _ROOT)
        except FileNotFoundError as error:
            # Not the same as an empty store: to take it for one would make a collector delete.
            raise StorageError(
                f"the store {self.url} is gone",
                why="Its folder was there when the store was opened.",
                hint="Check that the disk is mounted and that nobody moved the folder.",
                about=self.url,
            ) from error
        for name in path.split("/") if path else ():
            try:
                below = self._step(folder, name, make=make)
            finally:
                os.close(folder)
            folder = below
        return folder

    def _step(self, folder: int, name: str, *, make: bool) -> int:
        try:
            return os.open(name, _FOLDER, dir_fd=folder)
        except FileNotFoundError:
            if not make:
                raise
        except OSError as error:
            if error.errno in {errno.ENOTDIR, errno.ELOOP}:
                _refuse_link(folder, name)
            raise
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=folder)
        # Also when somebody else was faster: they may not have synced it yet. A folder that was
        # there before needs nothing: ext4, XFS and Btrfs commit it with the entry put into it.
        os.fsync(folder)
        return os.open(name, _FOLDER, dir_fd=folder)

    @contextmanager
    def _folder(self, path: str, *, make: bool = False) -> Iterator[int]:
        folder = self._descend(path, make=make)
        try:
            yield folder
        finally:
            os.close(folder)

    def _status(self, key: str) -> os.stat_result | None:
        self._check(key)
        parent, name = _split(key)
        try:
            with self._folder(parent) as folder:
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISLNK(found.st_mode):
                    _refuse_link(folder, name)
                return found
        except (FileNotFoundError, NotADirectoryError):
            return None

    @contextmanager
    def _reading(self, key: str) -> Iterator[int]:
        self._check(key)
        parent, name = _split(key)
        with failures_of(f"cannot read {key!r} in {self.url}", about=key):
            file = -1
            try:
                with self._folder(parent) as folder:
                    try:
                        file = os.open(name, _FILE, dir_fd=folder)
                    except OSError as error:
                        if error.errno == errno.ELOOP:
                            _refuse_link(folder, name)
                        raise
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    raise FileNotFoundError  # noqa: TRY301
                yield file
            except (FileNotFoundError, NotADirectoryError) as error:
                raise no_object(key, self.url) from error
            finally:
                if file >= 0:
                    os.close(file)

    def _refuse_taken(self, key: str) -> None:
        """Losers of a race pay for one look here, not for writing and syncing in vain."""
        found = self._status(key)
        if found is not None and not stat.S_ISDIR(found.st_mode):
            raise taken(key)

    @contextmanager
    def _temporary(self, fill: Callable[[BinaryIO], None]) -> Iterator[Source]:
        """A new file with synced content, removed at the end if it still has this name."""
        with self._folder(_TEMPORARY, make=True) as folder:
            name = os.urandom(16).hex().encode()
            try:
                with open(
                    os.open(name, _NEW_FILE, _OBJECT_MODE, dir_fd=folder), "wb", _BUFFER_BYTES
                ) as file:
                    self._sweep(folder, os.fstat(file.fileno()).st_mtime)
                    fill(file)
                    file.flush()
                    os.fsync(file.fileno())
                    yield Source(folder, name, file.fileno())
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)

    def _sweep(self, folder: int, now_s: float) -> None:
        """Remove what crashed writers left, once per opened store, by the clock of the disk."""
        if self._swept:
            return
        self._swept = True
        for name in os.listdir(folder):
            with suppress(OSError):
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISREG(found.st_mode) and found.st_mtime < now_s - _STALE_S:
                    os.unlink(name, dir_fd=folder)

    def _move(self, key: str, path: Path, file: int) -> bool:
        """Make the file itself the object; False where only a copy will do."""
        found = os.fstat(file)
        with self._folder(_TEMPORARY, make=True) as folder:
            if (
                found.st_dev != os.fstat(folder).st_dev
                or found.st_uid != os.geteuid()
                or found.st_nlink != 1  # through its other name the object could be changed
                or path.is_symlink()
            ):
                return False
        if self._mode is None:
            with self._temporary(lambda _: None) as empty:
                self._mode = stat.S_IMODE(os.fstat(empty.file).st_mode)  # what the umask allows
        try:
            os.fchmod(file, self._mode)
            os.utime(file)  # collectors go by the time at which the object came into the store
            os.fsync(file)
            self._publish(key, Source(None, os.fsencode(path), file), move_if_free)
        except OSError as error:
            if isinstance(error, Denied | StorageError) or error.errno not in _NO_MOVE:
                raise
            return False
        with suppress(OSError):
            path.unlink()  # still there where it was linked
        return True

    def _publish(
        self, key: str, source: Source, give_name: Callable[[Source, int, str, str], None]
    ) -> None:
        parent, name = _split(key)
        for _ in range(_ATTEMPTS):
            try:
                with self._folder(parent, make=True) as folder:
                    give_name(source, folder, name, key)
                    os.fsync(folder)
                    return
            except FileNotFoundError:
                continue  # a delete has just removed the emptied folder
            except NotADirectoryError as error:
                raise both(key) from error
        raise StorageError(
            f"cannot create {key!r} in {self.url}",
            why="Its folder, or the file that was being written, is removed again and again.",
            about=key,
            transient=True,
        )

    def _walk(self, folder: int, base: str, prefix: str, after: str) -> Iterator[ObjectInfo]:
        """Everything below an open folder, which is closed at the end."""
        try:
            with failures_of(f"cannot list {self.url}", about=base):
                entries = _entries(folder, base, prefix, after)
            for key in entries:
                name = key[len(base) :]
                with failures_of(f"cannot list {self.url}", about=key):
                    try:
                        if name.endswith("/"):
                            below = self._step(folder, name[:-1], make=False)
                        else:
                            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    except (FileNotFoundError, NotADirectoryError):
                        continue  # deleted meanwhile
                if name.endswith("/"):
                    yield from self._walk(below, key, prefix, after)
                else:
                    yield ObjectInfo(key, found.st_size, found.st_mtime)
        finally:
            os.close(folder)


def _entries(folder: int, base: str, prefix: str, after: str) -> list[str]:
    """Keys of the files and, ending in `/`, of the folders that can matter, in order of the keys.

    With its `/` a folder sorts as the keys below it do: `a-b` before `a/b` before `a0`.
    """
    keys = []
    with os.scandir(folder) as entries:
        for entry in entries:
            key = base + entry.name
            if not key.startswith(prefix) or not _is_key(key) or _reserved(key):
                continue
            if entry.is_dir(follow_symlinks=False):
                key += "/"
                if key > after or after.startswith(key):
                    keys.append(key)
            elif entry.is_file(follow_symlinks=False):
                if key > after:
                    keys.append(key)
            elif entry.is_symlink():
                _refuse_link(folder, entry.name)
    keys.sort()
    return keys


def _split(key: str) -> tuple[str, str]:
    parent, _, name = key.rpartition("/")
    return parent, name


def _reserved(key: str) -> bool:
    return key == _TEMPORARY or key.startswith(f"{_TEMPORARY}/")


def _is_key(key: str) -> bool:
    with suppress(InvalidInput):
        return bool(check_key(key))
    return False


def _refuse_link(folder: int, name: str) -> None:
    if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        raise Denied(
            f"{name!r} in the store is a symbolic link",
            why="Links are not followed in a store, so that no key can lead out of it.",
            hint="Put the real file or folder in its place.",
            about=name,
        )


def _make_folders(path: Path) -> None:
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        with suppress(FileExistsError):
            folder.mkdir()
        above = os.open(folder.parent, _ROOT)
        try:
            os.fsync(above)
        finally:
            os.close(above)
