"""What a sensor sees: one event for each file that a program is about to touch."""

import os
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeAlias

from thence.execution.inside.child import open_words
from thence.model.records import SensorReport

__all__ = [
    "CHANGED",
    "CREATED",
    "Action",
    "Ended",
    "FileEvent",
    "OnEvent",
    "OnStarted",
    "Soon",
    "absolute",
    "open_action",
]


CREATED = "created"
"""Detail of a truncation that is heard of only afterwards, of a file that was not there before."""
CHANGED = "changed"
"""Detail of one that is heard of only afterwards, of a file that was there."""


class Action(StrEnum):
    """What a program is about to do."""

    READ = "read"
    """Open for reading only."""
    WRITE = "write"
    """Open for writing only; the bytes that are there stay (append, or overwrite in place)."""
    UPDATE = "update"
    """Open for reading and writing; the bytes that are there stay."""
    TRUNCATE = "truncate"
    """Open for writing and empty it, or cut it; what was there is lost."""
    RENAME = "rename"
    """Give `path` the name `target`; `detail` is `exchange` where the two change places."""
    LINK = "link"
    """Give `path` the second name `target`; `detail` is `symbolic` for a symbolic link."""
    REMOVE = "remove"
    """Remove the name."""
    MAKE_FOLDER = "make-folder"
    """Make a folder."""
    EXECUTE = "execute"
    """Start the program; it may be looked for at several paths, so it need not be there."""
    CONNECT = "connect"
    """Connect to an address: `path` is `host:port`, `detail` is `tcp`, `udp` or empty."""


class FileEvent(NamedTuple):
    """One thing that a program is about to do.

    Attributes:
        path: Absolute and lexically normalised; bytes that are not UTF-8 are surrogate escapes, as
            everywhere in `os`. Symbolic links are not resolved.
        target: The second path of a rename or link, else empty.
        pid: The process, or the thread of it.
        detail: Words that say more: `create`, `exclusive`, `append`, `symbolic`, `unobserved` …
    """

    action: Action
    path: str
    target: str = ""
    pid: int = 0
    detail: str = ""


OnEvent: TypeAlias = Callable[[FileEvent], None]
"""Called before the program proceeds, one event at a time. What it raises is collected."""


class Soon(Protocol):
    """Takes reads of which most can wait, so that the program waits for less.

    All calls come from the thread that calls `OnEvent`, which does itself what is behind.
    """

    def take(self, event: FileEvent) -> bool:
        """Fix what a file holds that is about to be read; the rest waits for `catch_up`.

        Returns:
            Whether it did; if not, `OnEvent` must be called before the program proceeds.
        """

    def catch_up(self) -> None:
        """Do the rest, all of it; raises the first error there was."""


OnStarted = Callable[[Callable[[int], None]], None]
"""Is called once a command runs, with what sends it a signal, from any thread."""


class Ended(NamedTuple):
    """How a supervised command ended.

    Attributes:
        exit_code: As a shell reports it: 128 + the signal's number for a killed program.
        signal: The number of the signal that killed it, or None.
        events: Number of events that were handled.
        report: Which sensor watched, and what it cannot have seen.
        problems: What went wrong in recording, sentences; never the program's own failures.
    """

    exit_code: int
    signal: int | None
    events: int
    report: SensorReport
    problems: tuple[str, ...] = ()


@lru_cache(maxsize=512)
def open_action(flags: int) -> tuple[Action, str]:
    """The action and detail of an `open` with these flags."""
    action, detail = open_words(flags)
    return Action(action), detail


def absolute(path: bytes, base: bytes) -> str:
    """The path as events hold it: joined to its base, normalised by text, surrogate-escaped."""
    if not path.startswith(b"/"):
        path = base + b"/" + path
    # normpath is written in Python before 3.12; most paths do not need it.
    if b"/." in path or b"//" in path or path.endswith(b"/"):
        path = os.path.normpath(path)
        if path.startswith(b"//"):
            path = path[1:]
    return path.decode(_ENCODING, _ERRORS)


# What `os.fsdecode` does, which is three calls.
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
