"""A run from inside a script or notebook: opened, observed by the audit hook, sealed."""

import atexit
import contextlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from thence.errors import Conflict
from thence.execution import ending, live
from thence.execution.capture.resources import Sampler
from thence.execution.ending import is_prompt
from thence.execution.events import Action, FileEvent
from thence.execution.holding import finish as finish_run
from thence.execution.holding import release
from thence.execution.inprocess import InProcess, unobserved
from thence.execution.noting import NoteBook
from thence.execution.outputs import note_outputs
from thence.execution.record import OpenedNotebook, RunOptions, open_run
from thence.execution.site import Site
from thence.execution.spool import End
from thence.model.ids import RunId
from thence.model.records import RunStatus

__all__ = [
    "FROM_A_PROMPT",
    "UNKNOWN_CODE",
    "Cells",
    "Session",
    "cells",
    "current",
    "finish",
    "log",
    "record_cells",
    "run",
    "start",
    "unrecorded",
]

_log = logging.getLogger(__name__)

FROM_A_PROMPT = (
    "The run was recorded from a prompt or notebook and cannot be run again by a command."
)
UNKNOWN_CODE = "With which status the program ended could not be seen."


class Cells(Protocol):
    """Who records the cells of a live notebook."""

    def notebook(self) -> Path | None:
        """The file of the notebook, if it is known."""

    def opened(self, run: "Session") -> None:
        """A run is open."""

    def ending(self, run: "Session") -> None:
        """A run is about to be sealed."""


class Session:
    """The run that this process has opened.

    Attributes:
        run: Its id.
    """

    def __init__(self, site: Site, options: RunOptions) -> None:
        self._site = site
        self._pid = os.getpid()
        self._is_prompt = is_prompt()
        # With the options of the interpreter, and `-m` where a module was run.
        command = [sys.executable, *sys.orig_argv[1:]]
        with unobserved():
            self._opened = open_run(
                site,
                command,
                options,
                rerunnable=not self._is_prompt,
                ordinal=_next_ordinal(),
                notebook=_notebook(site),
                quietly=unobserved,
            )
        self.run: RunId = self._opened.spool.run
        live.attach(live.Tail(self._opened.spool.folder))
        # Programs that this one starts join the run.
        os.environ[live.SPOOL_VARIABLE] = str(self._opened.spool.folder)
        os.environ[live.RUN_VARIABLE] = self.run
        self._notes = NoteBook(self._opened.spool.folder, self._opened.redactor)
        self._sensor = InProcess(self._on_event, self._notes.add, scan=self._opened.ledger.scan)
        with unobserved():
            self._sampler = Sampler(self._opened.spool.folder, itself=True)
        self._sensor.start()
        self._note_modules()
        if (path := None if _cells is None else _cells.notebook()) is not None:
            self._opened.ledger.on_event(FileEvent(Action.READ, str(path)))

    def __repr__(self) -> str:
        return f"Session({self.run.short})"

    def log(self, values: Mapping[str, Any], *, step: int | None = None) -> None:
        """Append metrics and params; never raises."""
        if (tail := live.current()) is not None:
            tail.log(dict(values), step=step)
            self.sample()

    def _on_event(self, event: FileEvent) -> None:
        self._opened.ledger.on_event(event)
        self.sample()

    def sample(self) -> None:
        """If it is due: a thread for that would change programs that fork."""
        if self._sampler.is_due:
            with unobserved():
                self._sampler.tick()

    def note(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Keep a note of what this process did; never raises."""
        try:
            with unobserved():
                self._notes.add({"kind": kind, "pid": self._pid, **fields})
        except OSError as error:  # a full disk must not end the work
            _log.warning("what was done is not recorded: %s", error)

    def end(self, error: BaseException | None = None, *, is_code_known: bool = True) -> RunId:
        """Seal the run; a second call does nothing.

        Args:
            error: What ended it.
            is_code_known: Whether that tells all; else the run has ended with a status that
                nobody told.

        Raises:
            StorageError: The store failed; the spool stays for `recover`.
        """
        global _current  # noqa: PLW0603 - there is one session in a process
        if _current is not self or self._pid != os.getpid():
            return self.run
        if _cells is not None:
            _cells.ending(self)
        _current = None
        self._note_modules()
        report = self._sensor.stop()
        self._sampler.finish()
        self._notes.close()
        live.attach(None)
        for name in (live.SPOOL_VARIABLE, live.RUN_VARIABLE):
            os.environ.pop(name, None)
        interrupted = isinstance(error, KeyboardInterrupt)
        exit_code = _exit_code(error) if is_code_known else None
        problems = self._sensor.problems
        if self._is_prompt:
            problems += (FROM_A_PROMPT,)
        elif not is_code_known:
            problems += (UNKNOWN_CODE,)
        status = RunStatus.FAILED if exit_code else RunStatus.FINISHED
        text = None
        if exit_code and error is not None:
            lines = traceback.format_exception(error)
            text = self._opened.redactor.scrub_text("".join(lines)[-8192:]).strip()
        end = End(
            ended=self._site.clock(),
            status=RunStatus.INTERRUPTED if interrupted else status,
            sensor=report,
            exit_code=exit_code,
            traceback=text,
            problems=problems,
        )
        spool = self._opened.spool
        try:
            seen = self._opened.ledger.finish()
            note_outputs(spool.folder, seen.outputs)
            spool.write_end(end)
            finish_run(self._site, self._opened, end, seen)
        except BaseException:
            release(self._opened)
            raise
        return self.run

    def _note_modules(self) -> None:
        """Modules that were imported before the sensor was on, and the script itself."""
        for module in list(sys.modules.values()):
            path = getattr(module, "__file__", None)
            if isinstance(path, str) and Path(path).is_absolute():
                self._opened.ledger.on_event(FileEvent(Action.READ, path))
        self._opened.ledger.on_event(FileEvent(Action.EXECUTE, sys.executable))


class _Joined(Session):
    """The run that this process is a part of: who opened it seals it."""

    def __init__(self, tail: live.Tail, options: RunOptions) -> None:
        self.run = RunId(os.environ[live.RUN_VARIABLE])
        tail.log_params({**options.tags, **options.params})

    def sample(self) -> None:
        """Do nothing."""

    def end(self, error: BaseException | None = None, *, is_code_known: bool = True) -> RunId:
        """Do nothing."""
        return self.run


def _exit_code(error: BaseException | None) -> int:
    """What a process ends with that nothing else stops."""
    if isinstance(error, SystemExit):
        code = error.code
        return code if isinstance(code, int) else int(code is not None)
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    return int(error is not None)


_current: Session | None = None
_cells: Cells | None = None


def current() -> Session | None:
    """The run that this process has opened."""
    return _current


def cells() -> Cells | None:
    """Who records the cells of this process."""
    return _cells


def record_cells(recorder: Cells) -> None:
    """Let the cells of this process be recorded by this one."""
    global _cells  # noqa: PLW0603 - there is one notebook in a process
    _cells = recorder


unrecorded = unobserved
"""What is opened inside is ours, and no input of the run."""


def _notebook(site: Site) -> OpenedNotebook | None:
    path = None if _cells is None else _cells.notebook()
    if path is None:
        return None
    path = path.absolute()
    is_ours = path.is_relative_to(site.root)
    return OpenedNotebook(path.relative_to(site.root).as_posix() if is_ours else path.as_posix())


def start(site: Site, options: RunOptions) -> Session:
    """Open a run in this process; it is sealed by `finish`, or when the process ends.

    Under `thence run`, and in a program that a run started, it is that run: parameters and tags
    are noted as parameters of it, name, experiment and note are ignored, since the run has its
    own, and sealing is left to who opened it.

    Raises:
        Conflict: One is open already.
        StorageError: The spool or the store cannot be written.
    """
    global _current  # noqa: PLW0603 - there is one session in a process
    if _current is not None and _current._pid == os.getpid():  # noqa: SLF001 - our own class
        raise Conflict(
            f"{_current.run.short} is open in this process",
            why="A process has one run at a time.",
            hint="Finish it first: thence.finish()",
        )
    tail = live.current()
    if tail is not None and os.environ.get(live.RUN_VARIABLE):
        return _Joined(tail, options)
    _current = Session(site, options)
    _at_exit()
    if _cells is not None:
        _cells.opened(_current)
    return _current


@contextlib.contextmanager
def run(site: Site, options: RunOptions) -> Iterator[Session]:
    """A run around a block; an exception in the block is recorded and goes on.

    Raises:
        Conflict: One is open already.
        StorageError: The spool or the store cannot be written.
    """
    session = start(site, options)
    try:
        yield session
    except BaseException as error:
        session.end(error)
        raise
    session.end()


def log(
    make_site: Callable[[], Site], values: Mapping[str, Any], *, step: int | None = None
) -> None:
    """Log to the run that this process is part of; where there is none, open one.

    Args:
        make_site: Finds the project, if a run must be opened.
        values: Metrics (numbers) and params (anything else), by name.
        step: Where in the series.
    """
    tail = live.current()
    if tail is None:
        start(make_site(), RunOptions())
        tail = live.current()
    if tail is not None:
        tail.log(dict(values), step=step)
        if _current is not None:
            _current.sample()


def finish() -> RunId | None:
    """Seal the run that this process has opened; None where there is none.

    Raises:
        StorageError: The store failed; the spool stays for `recover`.
    """
    return None if _current is None else _current.end()


_ordinals = 0


def _next_ordinal() -> int:
    """Which run of this process this is; a fork begins anew."""
    global _ordinals, _ordinals_of  # noqa: PLW0603 - there is one process
    if _ordinals_of != os.getpid():
        _ordinals, _ordinals_of = 0, os.getpid()
    _ordinals += 1
    return _ordinals


_ordinals_of = os.getpid()
_registered = False


def _at_exit() -> None:
    global _registered  # noqa: PLW0603 - atexit functions cannot be asked for
    if not _registered:
        _registered = True
        ending.watch()
        atexit.register(_finish_at_exit)


def _finish_at_exit() -> None:
    if _current is not None:
        ended = ending.look()
        _current.end(ended.error, is_code_known=ended.is_known)
