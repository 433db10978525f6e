"""What is heard of only when it has been done, in words of what there is now."""

import ctypes
import os
import stat
import struct
from collections.abc import Iterator

from thence.execution.events import CHANGED, CREATED, Action, FileEvent

__all__ = ["as_found"]

_AT_FDCWD = -100
_STATX_BTIME = 0x800
_BIRTH = 0x50
# The kernel's clock for files ticks up to every 10 ms.
_TICK_NS = 10_000_000
_WRITES = {Action.WRITE, Action.UPDATE, Action.TRUNCATE}
_FOLDER_LIMIT = 20_000


def as_found(event: FileEvent, begun_ns: int) -> Iterator[FileEvent]:
    """The events by which a ledger learns the same from an event that it hears of afterwards.

    The bytes that a call has emptied, replaced or removed are gone; a file that was born in the run
    had none.

    Args:
        event: What was done.
        begun_ns: When the run began.
    """
    if event.action in _WRITES:
        if _is_born_since(event.path, begun_ns):
            yield event._replace(action=Action.TRUNCATE, detail=CREATED)
        elif _was_cut(event) or _is_written_since(event.path, begun_ns):
            yield event._replace(action=Action.TRUNCATE, detail=CHANGED)
        else:
            yield event
        return
    yield event
    if event.action is Action.RENAME:
        for path in {event.target, event.path} if event.detail else {event.target}:
            yield from _arrived(path, event, begun_ns)
    elif event.action is Action.LINK:
        if event.detail != "symbolic":
            yield event._replace(action=Action.READ, target="", detail="")
        yield FileEvent(Action.TRUNCATE, event.target, "", event.pid, CREATED)


def _was_cut(event: FileEvent) -> bool:
    return event.action is Action.TRUNCATE and not event.detail.startswith("length")


def _is_written_since(path: str, begun_ns: int) -> bool:
    """Whether the program was faster: what is there is not what it found."""
    try:
        return os.stat(path).st_mtime_ns >= begun_ns - _TICK_NS
    except OSError:
        return False


def _arrived(path: str, event: FileEvent, begun_ns: int) -> Iterator[FileEvent]:
    """Files that have got another name: their bytes are of before, or of the run."""
    for one in _files(path):
        if not _is_born_since(one, begun_ns):
            yield FileEvent(Action.READ, one, "", event.pid)
        yield FileEvent(Action.TRUNCATE, one, "", event.pid, CREATED)


def _files(path: str) -> Iterator[str]:
    try:
        is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return
    if not is_folder:
        yield path
        return
    count = 0
    for folder, _, names in os.walk(path):
        for name in names:
            count += 1
            if count > _FOLDER_LIMIT:
                return
            yield os.path.join(folder, name)


def _is_born_since(path: str, begun_ns: int) -> bool:
    """Whether a file was made after that time; False where the file system does not know."""
    buffer = ctypes.create_string_buffer(256)
    name = os.fsencode(path)
    try:
        failed = ctypes.CDLL(None).statx(_AT_FDCWD, name, 0, _STATX_BTIME, buffer)
    except AttributeError:  # a C library of before 2018
        return False
    (mask,) = struct.unpack_from("=I", buffer)
    if failed or not mask & _STATX_BTIME:
        return False
    seconds, nanoseconds = struct.unpack_from("=qI", buffer, _BIRTH)
    return bool(seconds * 10**9 + nanoseconds >= begun_ns - _TICK_NS)
