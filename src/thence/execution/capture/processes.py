"""The processes below this one, and what they have of the machine now; by `/proc` of Linux."""

import os
from typing import NamedTuple

__all__ = ["Living", "Processes"]

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_WATCHDOG = b"thence/execution/watchdog.py"


class Living(NamedTuple):
    """What living processes have taken, with what their own children took that have ended."""

    cpu_s: float = 0
    memory_bytes: int = 0
    processes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0


class _Process(NamedTuple):
    """One process; its id alone may be given to another one later."""

    pid: int
    started: int
    ticks: int
    pages: int


class Processes:
    """The processes that this one has started, and those that they have.

    One that its parent left behind stays known if it was seen before.

    Args:
        itself: Whether this process counts too: its memory, since of its time it knows more.
    """

    def __init__(self, *, itself: bool) -> None:
        self._pid = os.getpid()
        self._itself = itself
        self._known: dict[int, int] = {}
        self._ours: dict[int, int] = {}
        self._command = _read(f"/proc/{self._pid}/cmdline")
        # Children of before the run took what they took until now for something else.
        self._before: dict[int, Living] = {}
        self._before = {one: _of(process) for one, process in self._all().items()}

    def look(self) -> Living:
        """All of them now."""
        found = self._all()
        self._known = {pid: process.started for pid, process in found.items()}
        parts = []
        for pid, process in found.items():
            before = self._before.get(pid)
            if before is not None and not self._itself:
                continue  # of the program that records, which is another one
            part = _of(process)
            if before is not None:
                part = part._replace(
                    cpu_s=part.cpu_s - before.cpu_s,
                    read_bytes=part.read_bytes - before.read_bytes,
                    written_bytes=part.written_bytes - before.written_bytes,
                )
            parts.append(part)
        if self._itself and (own := _process(self._pid)) is not None:
            parts.append(Living(memory_bytes=own.pages * _PAGE, processes=1))
        return Living(*(sum(values) for values in zip(*parts, strict=True)))

    def _all(self) -> dict[int, _Process]:
        found: dict[int, _Process] = {}
        todo = [*_children(self._pid), *self._known]
        seen = {self._pid}
        while todo:
            pid = todo.pop()
            if pid in seen:
                continue
            seen.add(pid)
            process = _process(pid)
            if process is None or self._known.get(pid, process.started) != process.started:
                continue
            todo += _children(pid)
            if not self._is_ours(process):
                found[pid] = process
        return found

    def _is_ours(self, process: _Process) -> bool:
        """Whether it serves the recording: forks of us that run nothing else, and the watchdog."""
        if self._itself or process.pid in self._known:
            return False
        command = _read(f"/proc/{process.pid}/cmdline")
        return command == self._command or _WATCHDOG in command


def _of(process: _Process) -> Living:
    fields = dict(line.split(b": ", 1) for line in _read(f"/proc/{process.pid}/io").splitlines())
    return Living(
        cpu_s=process.ticks / _TICKS,
        memory_bytes=process.pages * _PAGE,
        processes=1,
        read_bytes=int(fields.get(b"read_bytes", 0)),
        written_bytes=int(fields.get(b"write_bytes", 0)),
    )


def _process(pid: int) -> _Process | None:
    # The name, in parentheses, may hold anything.
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    if len(fields) < 22 or fields[0] in {b"Z", b"X"}:
        return None
    ticks = sum(map(int, fields[11:15]))
    return _Process(pid, int(fields[19]), ticks, int(fields[21]))


def _children(pid: int) -> list[int]:
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [
        int(one) for task in tasks for one in _read(f"/proc/{pid}/task/{task}/children").split()
    ]


def _read(path: str) -> bytes:
    """Nothing where the process is gone, or is none of our business."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
