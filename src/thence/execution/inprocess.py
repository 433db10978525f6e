"""The sensor for this very process: `with thence.run():`, `import thence.auto` and notebooks."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from thence.errors import Conflict
from thence.execution import audit
from thence.execution.events import CREATED, Action, FileEvent, OnEvent
from thence.execution.hearing import Observer, Tally
from thence.execution.inside import child, notes
from thence.execution.inside.identity import image
from thence.execution.inside.natives import Natives
from thence.execution.inside.observation import Observation, start_parts
from thence.execution.noting import Listener, OnNote
from thence.execution.planting import Planted
from thence.execution.scanning import TreeScan
from thence.model.records import SensorReport

__all__ = ["InProcess", "unobserved"]

# File systems take their times from a clock that is a little behind.
_CLOCK_STEP_NS = 20_000_000
# A child waits for an answer of this process; where a library of it holds the interpreter's lock
# while it waits for that child, neither would go on.
_PATIENCE_S = 10.0


class InProcess:
    """Observes this process by audit events while it is on; one at a time can be.

    An audit hook cannot be removed, so there is one for the life of the process; switched off it
    costs one call of a small function per audit event. What thence itself opens inside `on_event`
    is not an event; wrap other work of its own in `unobserved`.

    Python programs that this process starts meanwhile tell it what they do, by what is planted into
    them; a thread answers them.

    Args:
        on_event: Called before the program proceeds, one event at a time.
        on_note: Called with what else is heard.
        scan: Looks at the project's folder.
    """

    def __init__(
        self,
        on_event: OnEvent,
        on_note: OnNote = lambda _: None,
        *,
        scan: Callable[[], TreeScan] | None = None,
    ) -> None:
        self._on_note = on_note
        self._tally = Tally(on_event)
        self._scan = scan
        self._looked: TreeScan | None = None
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._started_ns = 0
        self._children: _Children | None = None
        self._channel: child.Channel | None = None
        self._notes: notes.Notes | None = None
        self._report: SensorReport | None = None

    def start(self) -> None:
        """Switch on.

        Raises:
            Conflict: Another one is on in this process.
        """
        if _hook.current is not None:
            raise Conflict(
                "this process is observed already",
                why="A run is open in it.",
                hint="Finish that first: thence.finish()",
            )
        self._pid = os.getpid()
        self._started_ns = time.time_ns() - _CLOCK_STEP_NS
        with unobserved():
            self._looked = None if self._scan is None else self._scan()
            self._children = _Children(self._tally, self._on_note)
        # Forks of this process have a copy of our memory, and what they would note in it is lost
        # with them: they tell it as other children do.
        self._channel = child.Channel(self._children.folder, patience_s=_PATIENCE_S)
        self._notes = notes.Notes(self._children.folder)
        _hook.install()
        _hook.watcher.watch_children_of(self._children.folder)
        _hook.watcher.forget()
        _hook.current = self
        _hook.watcher.active = True
        _hook.began()

    def stop(self) -> SensorReport:
        """Switch off; what was seen. A second call gives the same report."""
        if _hook.current is self:
            _hook.ended()
            _hook.watcher.active = False
            _hook.current = None
        if self._report is None:
            with unobserved():
                self._report = self._end()
        return self._report

    def _end(self) -> SensorReport:
        observer = None
        if self._children is not None:
            observer = self._children.observer
            self._children.end()
            for event in observer.late_events():
                self._tally.tell(self._as_heard_late(event))
            self._children.remove()
        found = self._tally.find(self._looked)
        return audit.report(
            self._tally.unobserved,
            events=self._tally.events,
            late=0 if observer is None else observer.late,
            left=0 if observer is None else observer.left,
            found=found,
        )

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong in recording, sentences."""
        return self._tally.problems

    def _as_heard_late(self, event: FileEvent) -> FileEvent:
        """A write that is heard of afterwards finds the new file, and no old one to keep."""
        if event.action not in {Action.TRUNCATE, Action.WRITE, Action.UPDATE}:
            return event
        try:
            modified_ns = os.stat(event.path).st_mtime_ns
        except OSError:
            return event
        if modified_ns < self._started_ns:
            return event
        return event._replace(action=Action.TRUNCATE, detail=CREATED)

    def note(self, kind: str, fields: dict[str, Any]) -> None:
        """What the parts in this process call, and in forks of it."""
        if os.getpid() != self._pid:
            if self._notes is not None:
                self._notes.tell(kind, fields)
            return
        with self._lock:
            self._on_note({"kind": kind, "pid": self._pid, "image": image(), **fields})

    def emit(self, action: str, path: str, target: str, pid: int, detail: str) -> None:
        """What the hook calls."""
        if pid != self._pid:
            if self._channel is not None:
                self._channel.send(action, path, target, pid, detail)
        else:
            self._tally.tell(FileEvent(Action(action), path, target, pid, detail))


class _Children:
    """What Python programs that this process starts find: the planted folder, and who answers."""

    def __init__(self, tally: Tally, on_note: OnNote) -> None:
        self._planted = Planted()
        self.folder = str(self._planted.folder)
        self._planted.write_plan({"files": True, "patience_s": _PATIENCE_S})
        self.observer = Observer(tally, self._planted.folder)
        self._listener = Listener(self._planted.folder, on_note)
        self._listener.start()
        self._ended_read, self._ended_write = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="thence-children", daemon=True)
        self._thread.start()
        self._pid = os.getpid()
        # A fork would keep the socket open after our end, and who connects to it wait for ever.
        os.register_at_fork(after_in_child=self._forget)
        wanted = self._planted.variables(os.environ)
        self._before = {name: os.environ.get(name) for name in _VARIABLES}
        self._wanted = {name: wanted[name] for name in _VARIABLES}
        os.environ.update(self._wanted)

    def _serve(self) -> None:
        _hook.watcher.quiet(on=True)
        self.observer.serve_until(self._ended_read)
        self.observer.serve_rest()

    def _forget(self) -> None:
        if self._pid != os.getpid():
            self.observer.close()

    def end(self) -> None:
        """Answer those that are still there for a moment, then no more."""
        for name in _VARIABLES:
            if os.environ.get(name) == self._wanted[name]:  # unless the program has set it since
                before = self._before[name]
                if before is None:
                    del os.environ[name]
                else:
                    os.environ[name] = before
        if self._pid == os.getpid():
            os.write(self._ended_write, b".")  # forks have copies, so that closing it says nothing
            self._thread.join()
            os.close(self._ended_write)
            os.close(self._ended_read)
            self._listener.close()
        self.observer.close()

    def remove(self) -> None:
        """Take the folder away."""
        if self._pid == os.getpid():
            self._planted.remove()


_VARIABLES = (child.FOLDER_VARIABLE, "PYTHONPATH")


class _Hook:
    """The one audit hook of this process."""

    def __init__(self) -> None:
        self.current: InProcess | None = None
        self.watcher = child.Watcher(self._emit)
        self.watcher.active = False
        self._observation: Observation | None = None

    def install(self) -> None:
        """Once: wrappers around libraries stay, and pass on while nothing is recorded."""
        if self._observation is None:
            sys.addaudithook(self.watcher.hook)
            self._observation = Observation(self.watcher, self._tell, {})
            Natives(self.watcher, self._observation.imports)
            start_parts(self._observation)

    def began(self) -> None:
        """A run has begun in this process."""
        if self._observation is not None:
            self._observation.began()

    def ended(self) -> None:
        """It ends."""
        if self._observation is not None:
            self._observation.ended()

    def _tell(self, kind: str, fields: dict[str, Any]) -> None:
        if self.current is not None:
            self.current.note(kind, fields)

    def _emit(self, action: str, path: str, target: str, pid: int, detail: str) -> None:
        if self.current is not None:
            self.current.emit(action, path, target, pid, detail)


_hook = _Hook()


@contextmanager
def unobserved() -> Iterator[None]:
    """What this thread opens inside is not recorded: our own reading and writing."""
    before = _hook.watcher.quiet(on=True)
    try:
        yield
    finally:
        _hook.watcher.quiet(on=before)
