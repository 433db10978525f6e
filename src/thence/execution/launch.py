"""Starts the user's command under the best sensor that works here."""

import contextlib
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypedDict

from thence.errors import StorageError
from thence.execution import audit, nested, strace, supervisor
from thence.execution.events import Action, Ended, FileEvent, OnEvent, OnStarted, Soon
from thence.execution.live import RUN_VARIABLE
from thence.execution.mounts import Entrance
from thence.execution.noting import Listener, OnNote
from thence.execution.planting import Planted
from thence.execution.program import CommandDenied, CommandNotFound, find_program
from thence.execution.relay import RELAY_VARIABLE
from thence.execution.scanning import TreeScan
from thence.execution.seccomp import SensorUnavailable
from thence.execution.terminal import Output, Sink
from thence.execution.view import Scene
from thence.execution.watchdog import Watchdog

__all__ = ["CommandDenied", "CommandNotFound", "Sensor", "find_program", "launch", "standard_input"]

Sensor = Literal["auto", "seccomp", "strace", "audit-hook"]

_ASKED = "Another one was asked for."


class _Arguments(TypedDict):
    executable: str
    cwd: str | os.PathLike[str]
    env: Mapping[str, str]
    on_event: OnEvent
    watchdog: Watchdog
    stdin_fd: int
    stdout_fd: int
    stderr_fd: int
    on_started: OnStarted
    on_resize: Callable[[], None]
    entrance: Entrance | None


def launch(
    command: Sequence[str],
    *,
    cwd: str | os.PathLike[str],
    env: Mapping[str, str],
    on_event: OnEvent,
    soon: Soon | None = None,
    sensor: Sensor = "auto",
    on_note: OnNote = lambda _: None,
    plan: Mapping[str, Any] = MappingProxyType({}),
    scan: Callable[[], TreeScan] | None = None,
    stdout: Sink | None = None,
    stderr: Sink | None = None,
    target_fds: tuple[int, int] = (1, 2),
    stdin_fd: int = 0,
    on_started: OnStarted = lambda _: None,
    scene: Scene | None = None,
    place: Path | None = None,
) -> Ended:
    """Run a command to its end, watched, with its output passed on unchanged and to the sinks.

    The command belongs to the terminal as if it had been started without us. A file that stands for
    its standard input is reported as read.

    Args:
        command: Program and arguments.
        cwd: Working directory of the command.
        env: Environment of the command.
        on_event: Called before the program proceeds, one event at a time, in this thread.
        soon: Is given what may wait first, by a sensor that holds the program up.
        sensor: `auto` is the first that works of `seccomp`, `strace`, `audit-hook`.
        on_note: Called with what Python programs are heard to do besides touching files, in another
            thread.
        plan: For `thence_inside`, see `Planted`.
        scan: Looks at the project's folder; called where the kernel does not watch.
        stdout: Gets each piece of standard output; None leaves that stream alone.
        stderr: Gets each piece of standard error; None leaves that stream alone.
        target_fds: Where the two streams go.
        stdin_fd: What the command gets as its standard input.
        on_started: See `OnStarted`.
        scene: What the command sees in the place of this machine; `cwd` and the paths of events
            are in it.
        place: A folder that the command sees, for what is planted into its programs.

    Raises:
        CommandNotFound: There is no such program.
        CommandDenied: It cannot be executed.
        NotFound: The working directory is not there.
        InvalidInput: There is no command.
        StorageError: The asked-for sensor does not work here.
    """
    program = find_program(command, cwd=cwd, env=env, real=scene.real if scene else str)
    with contextlib.ExitStack() as stack:
        watchdog = Watchdog()
        stack.callback(watchdog.close)
        output = Output((stdout, stderr), watchdog, target_fds=target_fds)
        stack.callback(output.finish)
        planted = stack.enter_context(Planted(place))
        listener = Listener(planted.folder, on_note)
        stack.callback(listener.close)

        def begin(deliver: Callable[[int], None]) -> None:
            output.start()
            listener.start()
            on_started(deliver)

        arguments: _Arguments = {
            "executable": program,
            "cwd": cwd,
            "env": planted.variables(env),
            "on_event": on_event,
            "watchdog": watchdog,
            "stdin_fd": stdin_fd,
            "stdout_fd": output.child_fds[0],
            "stderr_fd": output.child_fds[1],
            "on_started": begin,
            "on_resize": output.follow_size,
            "entrance": scene.entrance if scene else None,
        }
        problems = _tell_of_input(stdin_fd, on_event)
        ended = _watch(command, arguments, sensor, planted, plan, soon=soon, scan=scan)
    problems += [*ended.problems, *output.problems, *filter(None, [watchdog.problem])]
    problems += listener.problems
    return ended._replace(problems=tuple(problems))


def _watch(
    command: Sequence[str],
    arguments: _Arguments,
    sensor: Sensor,
    planted: Planted,
    plan: Mapping[str, Any],
    *,
    soon: Soon | None,
    scan: Callable[[], TreeScan] | None,
) -> Ended:
    """Run it under the first sensor that works; those that do not work have run nothing."""
    whys = []
    planted.write_plan({**plan, "files": False})
    if sensor in {"auto", "seccomp"}:
        try:
            return _under_the_kernel(command, arguments, planted, soon)
        except SensorUnavailable as error:
            whys.append(str(error))
        if sensor == "seccomp":
            raise StorageError(
                "the kernel-level sensor does not work here",
                why=whys[0],
                hint="Leave the choice to thence: --sensor auto",
            )
    if sensor in {"auto", "strace"}:
        try:
            why = " ".join(whys) or _ASKED
            return strace.supervise(command, **arguments, planted=planted.folder, why=why)
        except SensorUnavailable as error:
            whys.append(str(error))
        if sensor == "strace":
            raise StorageError(
                "strace does not work here",
                why=whys[0],
                hint="Leave the choice to thence: --sensor auto",
            )
    planted.write_plan({**plan, "files": True})
    why = " ".join(whys) or _ASKED
    return audit.supervise(command, **arguments, planted=planted.folder, why=why, scan=scan)


def _under_the_kernel(
    command: Sequence[str], arguments: _Arguments, planted: Planted, soon: Soon | None
) -> Ended:
    """Under the filter of the run around this one, if there is one, else under our own.

    Raises:
        SensorUnavailable: Neither works; nothing was run.
    """
    outer = os.environ.get(RELAY_VARIABLE, "")
    if os.path.exists(outer):
        run = arguments["env"].get(RUN_VARIABLE, "")
        with contextlib.suppress(SensorUnavailable):  # we may have left its processes
            return nested.supervise(
                command, **arguments, relay=outer, folder=str(planted.folder), run=run
            )
    reason = supervisor.probe()
    if reason is not None:
        raise SensorUnavailable(reason)
    relay = str(planted.folder / "relay")
    arguments = {**arguments, "env": {**arguments["env"], RELAY_VARIABLE: relay}}
    return supervisor.supervise(command, **arguments, soon=soon, relay=relay)


def standard_input(descriptor: int = 0) -> str | None:
    """What a descriptor reads: the path of a file, `pipe`, or None for terminals and devices."""
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return None
    return "pipe" if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else None


def _tell_of_input(descriptor: int, on_event: OnEvent) -> list[str]:
    """Report the file that stands for standard input: the command will not open it."""
    path = standard_input(descriptor)
    if path is None or path == "pipe":
        return []
    try:
        on_event(FileEvent(Action.READ, path, "", os.getpid(), "stdin"))
    except Exception as error:  # recording must never break the user's program
        return [f"Standard input could not be recorded: {error!r}"]
    return []
