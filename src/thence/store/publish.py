"""Giving a written file its name in a folder, in one step that nobody can divide."""

import ctypes
import errno
import functools
import os
import stat
from collections.abc import Callable
from typing import NamedTuple

from thence.errors import InvalidInput, StorageError
from thence.store.base import taken

__all__ = ["Source", "both", "link_if_free", "move_if_free", "put_over"]

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_RENAME_NOREPLACE = 1  # linux/fs.h
_AT_FDCWD = -100  # fcntl.h


class Source(NamedTuple):
    """A file that is complete and synced.

    Attributes:
        folder: The open folder that `path` is relative to; None for an absolute path.
        path: Where the file is.
        file: The open file itself.
    """

    folder: int | None
    path: bytes
    file: int


def both(key: str) -> InvalidInput:
    """The error for a key that is, or is below, the key of another object."""
    return InvalidInput(
        f"not a key of this store: {key!r}",
        why="In a folder, a key cannot be an object and the folder of other objects.",
        about=key,
    )


def put_over(source: Source, folder: int, name: str, key: str) -> None:
    """Give the file its name, whoever has it.

    Raises:
        InvalidInput: A folder with entries has the name.
        OSError: As the operating system says.
    """
    try:
        os.replace(source.path, name, src_dir_fd=source.folder, dst_dir_fd=folder)
    except IsADirectoryError as error:
        try:
            os.rmdir(name, dir_fd=folder)
        except OSError:
            raise both(key) from error
        os.replace(source.path, name, src_dir_fd=source.folder, dst_dir_fd=folder)


def link_if_free(source: Source, folder: int, name: str, key: str) -> None:
    """Give the file its name if nobody has it; the file may keep its old one.

    Raises:
        AlreadyExists: Somebody has it.
        InvalidInput: A folder with entries has the name.
        FileNotFoundError: The folder or the file vanished, or an empty folder was in the way.
        StorageError: The file system cannot do it.
        OSError: As the operating system says.
    """
    try:
        os.link(
            source.path, name, src_dir_fd=source.folder, dst_dir_fd=folder, follow_symlinks=False
        )
    except FileExistsError as error:
        _refuse_or_clear(source, folder, name, key, error)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if _rename_if_free(source, folder, name, key):
            return
        raise StorageError(
            "this file system cannot hold a store",
            why="It has neither hard links nor a rename that never overwrites, so two writers at "
            "the same time could destroy each other's work.",
            hint="Put the store on another file system (ext4, XFS, Btrfs, NFS).",
            about=key,
        ) from error


def move_if_free(source: Source, folder: int, name: str, key: str) -> None:
    """Give the file its name if nobody has it; where the system can, the old one is gone with it.

    A file with both names could be changed through the old one, by somebody who starts again
    after a crash between the two steps.

    Raises:
        AlreadyExists: Somebody has it.
        InvalidInput: A folder with entries has the name.
        FileNotFoundError: The folder or the file vanished, or an empty folder was in the way.
        StorageError: The file system cannot do it.
        OSError: As the operating system says.
    """
    if not _rename_if_free(source, folder, name, key):
        link_if_free(source, folder, name, key)


def _refuse_or_clear(
    source: Source, folder: int, name: str, key: str, error: FileExistsError
) -> None:
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if os.path.samestat(found, os.fstat(source.file)):
        return  # NFS repeats a link whose answer was lost, and then finds its own
    if not stat.S_ISDIR(found.st_mode):
        raise taken(key) from error
    try:
        os.rmdir(name, dir_fd=folder)  # an empty folder, left by somebody who was interrupted
    except OSError:
        raise both(key) from error
    raise FileNotFoundError  # again


@functools.cache
def _renameat2() -> Callable[[int, bytes, int, bytes, int], int] | None:
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return None  # another system, or a C library older than 2018
    function.argtypes = [
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint,
    ]
    return function


def _rename_if_free(source: Source, folder: int, name: str, key: str) -> bool:
    """False where the system or the file system does not know how."""
    rename = _renameat2()
    if rename is None:
        return False
    from_folder = _AT_FDCWD if source.folder is None else source.folder
    if rename(from_folder, source.path, folder, os.fsencode(name), _RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number in {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:
        return False
    error = OSError(number, os.strerror(number))
    if not isinstance(error, FileExistsError):
        raise error
    _refuse_or_clear(source, folder, name, key, error)
    return True
