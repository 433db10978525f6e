"""A look at the project's folder before and after a run: finds what nobody told of.

Where the kernel does not watch, programs that are not Python, and libraries whose entry points are
not known, write without a word. That a file is new or another one can be seen afterwards; who wrote
it cannot, nor what it held before.
"""

import os
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from thence.execution.capture.classify import Classifier, Place
from thence.execution.events import CHANGED, CREATED, Action, FileEvent

__all__ = ["Found", "TreeScan"]

# 20,000 files take about 0.1 s; nobody wants to wait for more before the program starts. A few are
# looked at on a machine that stalls, too.
_FEW = 2_000
_FILE_LIMIT = 200_000
_PATIENCE_S = 2.0

_Facts = tuple[int, int, int, int]


class Found(NamedTuple):
    """What a scan came to.

    Attributes:
        events: As if the writers had told of them, in order of their paths.
        gone: Files that are not there any more.
        is_whole: Whether all of the folder was looked at.
    """

    events: list[FileEvent]
    gone: list[str]
    is_whole: bool


class TreeScan:
    """Remembers what is in a folder when it is made; `changes` tells what is other now.

    Size, times and inode are compared, no content is read. Folders that are noise, environments and
    folders behind symbolic links are passed over.

    Args:
        root: The folder.
        ignore: Further folders that are noise, by the name of the rule.
        home: The user's folder; default: of this user.
    """

    def __init__(
        self, root: str, *, ignore: Mapping[str, str] | None = None, home: str | None = None
    ) -> None:
        self._root = os.path.realpath(root)
        self._classifier = Classifier(
            self._root, home=home or os.path.expanduser("~"), ignore=dict(ignore or {})
        )
        self._before, self._was_whole = self._look()

    def changes(self, told: Iterable[str] = ()) -> Found:
        """What was made, changed or removed since.

        Args:
            told: Paths of which is known already that they were written or removed.
        """
        now, is_whole = self._look()
        known = self._real(told)
        events, gone = [], []
        if self._was_whole and is_whole:
            for path in sorted(now.keys() - known):
                before = self._before.get(path)
                if before != now[path]:
                    detail = CREATED if before is None else CHANGED
                    events.append(FileEvent(Action.TRUNCATE, path, detail=detail))
            gone = sorted(self._before.keys() - now.keys() - known)
        return Found(events, gone, self._was_whole and is_whole)

    def _look(self) -> tuple[dict[str, _Facts], bool]:
        found: dict[str, _Facts] = {}
        leave_at = time.monotonic() + _PATIENCE_S
        waiting = [self._root]
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            if self._is_of_project(entry.path):
                                waiting.append(entry.path)
                        elif entry.is_file(follow_symlinks=False):
                            facts = entry.stat(follow_symlinks=False)
                            found[entry.path] = (
                                facts.st_size,
                                facts.st_mtime_ns,
                                facts.st_ctime_ns,
                                facts.st_ino,
                            )
            except OSError:
                continue  # removed while we looked, or not ours to read
            if len(found) > (_FILE_LIMIT if time.monotonic() < leave_at else _FEW):
                return {}, False
        return found, True

    def _is_of_project(self, folder: str) -> bool:
        _, (place, _rule) = self._classifier.resolve(f"{folder}/x")
        return place is Place.PROJECT

    def _real(self, paths: Iterable[str]) -> set[str]:
        folders: dict[str, str] = {}
        real = set()
        for path in paths:
            folder, _, name = path.rpartition("/")
            if folder not in folders:
                folders[folder] = os.path.realpath(folder or "/")
            real.add(f"{folders[folder]}/{name}")
        return real
