"""What the disk says of paths now."""

import os
import stat
from collections.abc import Iterator

__all__ = ["can_rename", "files_below", "status_of", "status_of_link"]

_FOLDER_LIMIT = 20_000


def status_of(path: str) -> os.stat_result | None:
    """What is at a path, behind links; None where nothing is."""
    try:
        return os.stat(path)
    except OSError:
        return None


def status_of_link(path: str) -> os.stat_result | None:
    """What is at a path, which may be a link; None where nothing is."""
    try:
        return os.lstat(path)
    except OSError:
        return None


def can_rename(old: os.stat_result | None, new: os.stat_result | None, new_folder: str) -> bool:
    """Whether a rename can be done; we are asked before, and are not told what came of it."""
    folder = status_of(new_folder)
    if old is None or folder is None or old.st_dev != folder.st_dev:
        return False  # not there, or on another file system: the program will copy instead
    if new is None:
        return True
    if (old.st_dev, old.st_ino) == (new.st_dev, new.st_ino):
        return False  # two names of one file: the kernel does nothing
    return stat.S_ISDIR(old.st_mode) == stat.S_ISDIR(new.st_mode)


def files_below(folder: str) -> Iterator[str]:
    """The files below a folder, as many as can be looked at while a program waits."""
    count = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            yield f"{parent}/{name}"
            count += 1
            if count >= _FOLDER_LIMIT:
                return
