"""Which processes belong to the command of an inner run."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from thence.execution.inside.child import FOLDER_VARIABLE

__all__ = ["Kinship", "is_alive", "name_of", "processes"]

_NOBODY: frozenset[int] = frozenset()
_REMEMBERED = 100_000


class _Facts(NamedTuple):
    """Of a task: a number comes back, but not with the same time of start."""

    parent: int
    started: int


class Kinship:
    """Knows the trees of processes below some roots, also when parents end before children.

    Args:
        top: The first process of all; whoever descends from it, and from no root, is of no tree.
    """

    def __init__(self, top: int) -> None:
        self._top = top
        self._roots: dict[int, str] = {}
        self._of_folder: dict[bytes, frozenset[int]] = {}
        self._known: dict[tuple[int, int], frozenset[int]] = {}

    def add(self, root: int, folder: str) -> None:
        """Let a process be a root.

        Args:
            root: Its number.
            folder: What is planted into its tree; the environment of a process whose parents are
                gone tells by it where it belongs.
        """
        groups = self.of(root) | {root}
        self._roots[root] = folder
        self._of_folder[os.fsencode(folder)] = groups
        self._known.clear()  # what was found before lacks it
        self._note_root(root)

    def remove(self, root: int) -> None:
        """Forget a root and its tree."""
        folder = self._roots.pop(root, "")
        self._of_folder.pop(os.fsencode(folder), None)
        self._known.clear()
        for other in self._roots:
            self._note_root(other)

    def of(self, task: int) -> frozenset[int]:
        """The roots above a process or thread, and itself if it is one."""
        line: list[tuple[int, int]] = []
        at = task
        while (facts := _facts(at)) is not None:
            known = self._known.get((at, facts.started))
            if known is not None:
                return self._remember(line, known)
            line.append((at, facts.started))
            if at == self._top:
                return self._remember(line, _NOBODY)
            leader = _leader(at)
            if leader not in {0, at}:  # a thread: what its process is
                at = leader
            elif facts.parent <= 1:
                break
            else:
                at = facts.parent
        # Its parents are gone; whoever took it in says nothing of where it belongs.
        return self._remember(line[:1], self._by_environment(task))

    def _remember(self, line: list[tuple[int, int]], found: frozenset[int]) -> frozenset[int]:
        if len(self._known) > _REMEMBERED:
            self._known.clear()
            for root in self._roots:
                self._note_root(root)
        for one in line:
            self._known[one] = found
        return found

    def _note_root(self, root: int) -> None:
        facts = _facts(root)
        if facts is not None:
            self._known[root, facts.started] = self._of_folder[os.fsencode(self._roots[root])]

    def _by_environment(self, process: int) -> frozenset[int]:
        if not self._of_folder:
            return _NOBODY
        try:
            with open(f"/proc/{process}/environ", "rb") as file:
                variables = file.read().split(b"\0")
        except OSError:
            return _NOBODY
        begin = FOLDER_VARIABLE.encode() + b"="
        for variable in variables:
            if variable.startswith(begin):
                return self._of_folder.get(variable[len(begin) :], _NOBODY)
        return _NOBODY


def _facts(task: int) -> _Facts | None:
    try:
        fd = os.open(f"/proc/{task}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = os.read(fd, 1024)
    except OSError:
        return None
    finally:
        os.close(fd)
    # The name is in brackets, and may hold anything.
    fields = data[data.rindex(b")") + 2 :].split()
    return _Facts(int(fields[1]), int(fields[19]))


def _fields(task: int) -> dict[str, str]:
    try:
        with open(f"/proc/{task}/status", encoding="utf-8", errors="replace") as lines:
            return {
                name: value.strip() for name, mark, value in (line.partition(":") for line in lines)
                if mark
            }  # fmt: skip
    except OSError:
        return {}


def _leader(task: int) -> int:
    """The process that a thread is of; 0 where it is gone."""
    return int(_fields(task).get("Tgid", 0))


def is_alive(task: int) -> bool:
    """Whether a task runs under a filter, and has not ended."""
    fields = _fields(task)
    return not fields.get("State", "Z").startswith(("Z", "X")) and fields.get("Seccomp") == "2"


def name_of(task: int) -> str:
    """The name of a task, and the number of its process."""
    fields = _fields(task)
    return f"{fields.get('Name', '?')} {fields.get('Tgid', task)}"


def processes() -> Iterator[int]:
    """The numbers of all processes."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)
