"""The sensor for this very process: `with thence.run():` and notebooks."""

import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thence.errors import Conflict
from thence.execution import audit
from thence.execution.events import Action, FileEvent, OnEvent
from thence.execution.inside import child
from thence.execution.inside.natives import Natives
from thence.execution.inside.observation import Observation, start_parts
from thence.execution.noting import OnNote
from thence.model.records import SensorReport

__all__ = ["InProcess", "unobserved"]

# File systems take their times from a clock that is a little behind.
_CLOCK_STEP_NS = 20_000_000


class InProcess:
    """Observes this process by audit events while it is on; one at a time can be.

    An audit hook cannot be removed, so there is one for the life of the process; switched off it
    costs one call of a small function per audit event. What thence itself opens inside `on_event`
    is not an event; wrap other work of its own in `unobserved`.
    """

    def __init__(self, on_event: OnEvent, on_note: OnNote = lambda _: None) -> None:
        self._on_event = on_event
        self._on_note = on_note
        self._events = 0
        self._unobserved: dict[str, None] = {}
        self._failures = 0
        self._first_failure = ""
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._started_ns = 0
        self._folder: Path | None = None
        self._late: child.Channel | None = None

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
        self._folder = Path(tempfile.mkdtemp(prefix="thence-sensor-"))
        # Children that were forked have a copy of our memory, and what they would note in it is
        # lost with them: they write to a file that `stop` reads.
        self._late = child.Channel(str(self._folder))
        _hook.install()
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
        late = self._read_late()
        return audit.report(list(self._unobserved), events=self._events, late=late)

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong in recording, sentences."""
        if not self._failures:
            return ()
        return (f"Recording failed {self._failures} times, first with {self._first_failure}",)

    def _read_late(self) -> int:
        if self._folder is None:
            return 0
        try:
            events, _ = audit.parse_events((self._folder / child.LATE).read_bytes())
        except (OSError, ValueError):
            events = []
        for event in events:
            self.tell(self._as_heard_late(event))
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None
        return len(events)

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
        return event._replace(action=Action.TRUNCATE, detail="created")

    def tell(self, event: FileEvent) -> None:
        """Handle one event; a failure is counted, not raised."""
        with self._lock:
            self._events += 1
            if event.detail == "unobserved":
                self._unobserved[os.path.basename(event.path)] = None
            try:
                self._on_event(event)
            except Exception as error:  # recording must never break the user's program
                self._failures += 1
                self._first_failure = self._first_failure or f"{type(error).__name__}: {error}"

    def note(self, kind: str, fields: dict[str, Any]) -> None:
        """What the parts in this process call; forks of it say nothing."""
        if os.getpid() == self._pid:
            with self._lock:
                self._on_note({"kind": kind, "pid": self._pid, **fields})

    def emit(self, action: str, path: str, target: str, pid: int, detail: str) -> None:
        """What the hook calls."""
        if pid != self._pid:
            if self._late is not None:
                self._late.send(action, path, target, pid, detail)
        else:
            self.tell(FileEvent(Action(action), path, target, pid, detail))


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
            sys.addaudithook(self._observation.hook)

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
