"""The fallback sensor: runs a command with a hook in each Python that it starts."""

import contextlib
import errno
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from thence.execution import signals
from thence.execution.events import CHANGED, Action, Ended, FileEvent, OnEvent, OnStarted
from thence.execution.hearing import Observer, Tally
from thence.execution.mounts import Entrance
from thence.execution.program import CommandDenied
from thence.execution.scanning import Found, TreeScan
from thence.execution.watchdog import Watchdog
from thence.model.records import SensorReport

__all__ = ["report", "supervise"]

_NATIVE = (
    "Of libraries that open files by themselves (databases, Arrow, image and model formats) only "
    "the known entry points were observed."
)


def supervise(
    command: Sequence[str],
    *,
    executable: str,
    cwd: str | os.PathLike[str],
    env: Mapping[str, str],
    on_event: OnEvent,
    watchdog: Watchdog,
    planted: Path,
    why: str,
    scan: Callable[[], TreeScan] | None = None,
    stdin_fd: int = 0,
    stdout_fd: int = 1,
    stderr_fd: int = 2,
    on_started: OnStarted | None = None,
    on_resize: Callable[[], None] | None = None,
    entrance: Entrance | None = None,
) -> Ended:
    """Run a command with the hook planted, until it has ended.

    As `thence.execution.supervisor.supervise`; a program that is not Python runs unobserved.

    Args:
        command: All words; the first is what the program sees as its own name.
        executable: Path of the program.
        cwd: Working directory of the command.
        env: Environment of the command, with what is planted.
        on_event: See `OnEvent`.
        watchdog: Passes output on if this process is killed; programs go on by themselves.
        planted: The folder in which Pythons look for the socket.
        why: Why the better sensor is not used, one sentence for the report; may be empty.
        scan: Looks at the project's folder, now; what it finds afterwards is told too.
        stdin_fd: Descriptors that the command gets as its standard ones.
        stdout_fd: Like `stdin_fd`.
        stderr_fd: Like `stdin_fd`.
        on_started: Called when the command has been started.
        on_resize: Called when the terminal's size has changed, before the command is told.
        entrance: Where the command's own root folder is entered.

    Raises:
        CommandDenied: The system refuses to run the program.
    """
    tally = Tally(on_event)
    with Observer(tally, planted) as observer:
        looked = None if scan is None else scan()
        standard_fds = (stdin_fd, stdout_fd, stderr_fd)
        start = _Start(executable, os.fspath(cwd), dict(env), standard_fds, entrance)
        tally.tell(FileEvent(Action.EXECUTE, os.path.abspath(executable)))
        process: subprocess.Popen[bytes] | None = None

        def deliver(number: int) -> None:
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)

        with signals.passed_on(deliver, on_resize=on_resize):
            process = start.run(list(command))
            if on_started is not None:
                on_started(deliver)
            observer.serve_until_end(process)
            observer.serve_rest()
            for event in observer.late_events():
                tally.tell(event)
            found = tally.find(looked)
        code = process.returncode
        if not observer.was_heard:
            tally.unobserved[os.path.basename(executable)] += 1
        ended_report = report(
            tally.unobserved, events=tally.events, late=observer.late, left=observer.left,
            why=why, found=found,
        )  # fmt: skip
        return Ended(
            exit_code=128 - code if code < 0 else code,
            signal=-code if code < 0 else None,
            events=tally.events,
            report=ended_report,
            problems=tally.problems,
        )


class _Start(NamedTuple):
    """All that it takes to start the command but its words."""

    executable: str
    cwd: str
    env: dict[str, str]
    standard_fds: tuple[int, int, int]
    entrance: Entrance | None

    def run(self, words: list[str]) -> "subprocess.Popen[bytes]":
        try:
            try:
                return self._run(self.executable, words)
            except OSError as error:
                if error.errno != errno.ENOEXEC:
                    raise
                # A script without a first line: shells run it by sh.
                return self._run("/bin/sh", ["sh", self.executable, *words[1:]])
        except OSError as error:
            raise CommandDenied(
                f"cannot run {words[0]!r}",
                why=f"The system says: {error.strerror}.",
                hint="Check that it is a program for this machine, with permission to run.",
                about=self.executable,
            ) from error

    def _run(self, executable: str, words: list[str]) -> "subprocess.Popen[bytes]":
        stdin, stdout, stderr = self.standard_fds
        return subprocess.Popen(
            words,
            executable=executable,
            cwd=self.cwd if self.entrance is None else None,
            env=self.env,
            preexec_fn=None if self.entrance is None else self.entrance.enter,  # noqa: PLW1509
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )


def report(
    unobserved: Mapping[str, int],
    *,
    events: int,
    late: int = 0,
    left: int = 0,
    why: str = "",
    found: Found | None = None,
) -> SensorReport:
    """What the audit hook saw and cannot have seen.

    Args:
        unobserved: How many processes of each program ran without the hook.
        events: Number of events.
        late: How many of them were heard of only afterwards.
        left: Number of processes that were still running.
        why: Why the better sensor was not used.
        found: What a look at the project's folder found afterwards, if it was scanned.
    """
    not_seen = [f"The kernel-level sensor was not used: {why}"] if why else []
    not_seen.append(_NATIVE)
    if unobserved:
        total = sum(unobserved.values())
        processes = "1 process of the run was"
        if total > 1:
            processes = f"{total} processes of the run were"
        counted = [
            name if count == 1 else f"{name} ({count} times)" for name, count in unobserved.items()
        ]
        names = ", ".join(counted[:8]) + (" …" if len(counted) > 8 else "")
        what = "What they read and wrote is not in the record."
        if found is not None and found.is_whole:
            what = (
                "What they read is not in the record, and of what they wrote only what is in the "
                "project's folder."
            )
        not_seen.append(f"{processes} not observed: {names}. {what}")
    if found is not None:
        not_seen += _of_scan(found)
    if late:
        not_seen.append(f"{late} events were heard of only when the program had gone on.")
    if left:
        not_seen.append(f"{left} Python processes were left running when the command ended.")
    lost = found is not None and (found.gone or any(e.detail == CHANGED for e in found.events))
    gaps = unobserved or late or left or lost
    return SensorReport(
        name="audit-hook",
        completeness="partial" if gaps else "python-complete",
        not_seen=tuple(not_seen),
        events=events,
    )


def _of_scan(found: Found) -> list[str]:
    if not found.is_whole:
        return ["The project's folder is too large to be looked at before and after the run."]
    sentences = []
    if found.events:
        new = [os.path.basename(event.path) for event in found.events]
        sentences.append(
            f"{_files(new)} written by what was not observed (or by another program meanwhile): "
            "that was found by looking at the project's folder before and after the run."
        )
    changed = [os.path.basename(e.path) for e in found.events if e.detail == CHANGED]
    if changed:
        sentences.append(f"{_files(changed)} changed so, and what was there before is not kept.")
    if found.gone:
        gone = [os.path.basename(path) for path in found.gone]
        sentences.append(f"{_files(gone)} removed so, and what was there is not kept.")
    return sentences


def _files(names: Sequence[str]) -> str:
    text = ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
    return f"1 file ({text}) was" if len(names) == 1 else f"{len(names)} files ({text}) were"
