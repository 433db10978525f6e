"""Running the command of a run once more, under the same sensor."""

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from thence.errors import Interrupted, ThenceError
from thence.execution import live
from thence.execution.capture.placeholders import PLACEHOLDER
from thence.execution.capture.placeholders import restore as fill_in
from thence.execution.events import Ended
from thence.execution.launch import launch
from thence.execution.notebook import NotebookRequest
from thence.execution.notebook_kernel import Executor
from thence.execution.notebook_run import prepare_again
from thence.execution.replaying import Replaying
from thence.execution.surroundings import Surroundings
from thence.execution.watch import Watch
from thence.store.failures import failures_of

__all__ = ["Executed", "execute"]

_STOPPED = {128 + one for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}


class Executed(NamedTuple):
    """What running the command once more gave.

    Attributes:
        ended: None where it did not start.
        problem: Why it did not start.
        deviations: In what it ran otherwise than the original; sentences for people.
        missing: What it could not be given.
        last_words: The end of what it wrote to standard error, where it ended otherwise.
    """

    ended: Ended | None = None
    problem: str | None = None
    deviations: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    last_words: str = ""


def execute(
    surroundings: Surroundings,
    *,
    remote: Replaying,
    watch: Watch,
    progress: Callable[[str], None],
) -> Executed:
    """Run the command of a run again; never raises for what the command is or does.

    Args:
        surroundings: What it is given. Its output and the spool of what it logs go to its base.
        remote: Replays what the run fetched.
        watch: Is told of what the command opens.
        progress: Is told that it runs.

    Raises:
        Interrupted: The command was stopped by a signal.
        StorageError: The disk is full.
    """
    return _Execution(surroundings, remote, watch, progress).carried_out()


class _Execution:
    def __init__(
        self,
        surroundings: Surroundings,
        remote: Replaying,
        watch: Watch,
        progress: Callable[[str], None],
    ) -> None:
        self._surroundings = surroundings
        self._sealed = surroundings.sealed
        self._base = surroundings.base
        self._remote = remote
        self._watch = watch
        self._progress = progress
        self._deviations: list[str] = []
        self._missing: list[str] = []

    def carried_out(self) -> Executed:
        sealed = self._sealed
        if not sealed.rerunnable:
            return Executed()
        if sealed.python is not None and self._surroundings.rebuilt.python is None:
            return Executed(problem="the environment could not be rebuilt")
        if sealed.notebook is not None:
            return self._notebook()
        command = self._surroundings.command()
        if any(PLACEHOLDER.search(word) for word in command):
            return Executed(problem="a secret on the command line is missing")
        given = self._surroundings.standard_input()
        if given is None and sealed.stdin not in {None, "pipe"}:
            self._missing.append(f"{sealed.stdin}: its standard input")
        return self._launch(command, self._surroundings.variables(), given=given)

    def _notebook(self) -> Executed:
        """Its kernel is the rebuilt Python; it is executed where the original was."""
        sealed, surroundings = self._sealed, self._surroundings
        words = [fill_in(word, surroundings.secrets.by_placeholder) for word in sealed.command]
        if any(PLACEHOLDER.search(word) for word in words):
            return Executed(problem="a secret among the parameters is missing")
        try:
            prepared = prepare_again(
                NotebookRequest.of_command(words),
                notebook=str(sealed.notebook),
                root=surroundings.restored.root,
                cwd=surroundings.real_cwd,
                place=surroundings.base,
                python=surroundings.rebuilt.python,
            )
        except ThenceError as error:
            return Executed(problem=f"the notebook could not be executed: {error.what}")
        self._deviations += prepared.deviations
        with prepared.executor as executor:
            variables = {**surroundings.variables(), **prepared.variables}
            return self._launch(executor.command, variables, companion=executor)

    def _launch(
        self,
        command: Sequence[str],
        variables: Mapping[str, str],
        *,
        given: Path | None = None,
        companion: Executor | None = None,
    ) -> Executed:
        sealed, remote = self._sealed, self._remote
        # By its name: the path is that of the original environment, which is not what runs now.
        program, *arguments = sealed.command
        self._progress(f"running {' '.join([Path(program).name, *arguments])}")
        spool = self._base / "live"
        with failures_of(f"write to {self._base}"):
            spool.mkdir()
            devnull = os.open(os.devnull, os.O_WRONLY)
            stdin = os.open(given or os.devnull, os.O_RDONLY)
            try:
                with (
                    (self._base / "stdout").open("wb") as out,
                    (self._base / "stderr").open("wb") as err,
                ):
                    ended = launch(
                        command,
                        cwd=self._surroundings.cwd,
                        env={
                            **variables,
                            live.SPOOL_VARIABLE: str(spool),
                            live.RUN_VARIABLE: sealed.run,
                        },
                        on_event=self._watch.on_event,
                        on_note=remote.on_note,
                        plan=remote.plan,
                        stdout=_sink(out),
                        stderr=_sink(err),
                        target_fds=(devnull, devnull),
                        stdin_fd=stdin,
                        on_started=_nothing if companion is None else companion.begin,
                        scene=self._surroundings.scene,
                        place=self._base,
                    )
                    if companion is not None:
                        ended = companion.end(ended)
                        err.write((companion.traceback or "").encode())
            except ThenceError as error:
                return self._executed(problem=f"the command could not be started: {error.what}")
            finally:
                os.close(devnull)
                os.close(stdin)
        if ended.exit_code in _STOPPED and ended.exit_code != sealed.exit_code:
            raise Interrupted(
                "the reproduction was interrupted",
                why="The command was stopped by a signal, so there is no verdict.",
                hint="Repeat the command to try again.",
            )
        self._deviations += ended.problems
        if ended.report.completeness != "kernel-complete":
            self._deviations.append(f"watched by {ended.report.name} only")
        return self._executed(ended)

    def _executed(self, ended: Ended | None = None, problem: str | None = None) -> Executed:
        words = "" if ended is None else self._last_words(ended)
        return Executed(ended, problem, tuple(self._deviations), tuple(self._missing), words)

    def _last_words(self, ended: Ended) -> str:
        if ended.exit_code == self._sealed.exit_code:
            return ""
        try:
            text = (self._base / "stderr").read_bytes().decode("utf-8", "replace").strip()
        except OSError:
            return ""
        return text.splitlines()[-1][:300] if text else ""


def _nothing(_: object) -> None:
    """What nobody waits for."""


def _sink(file: BinaryIO) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        file.write(data)

    return write
