"""What a command takes: wall, CPU of it and of all its children, and the memory at its peak."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

# What a process has used at its peak counts that of who started it, so a small one is between.
_LAUNCHER = """
import os, sys, time
begun = time.perf_counter()
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
status, used = os.wait4(pid, 0)[1:]
wall = time.perf_counter() - begun
cpu = used.ru_utime + used.ru_stime
text = f"{os.waitstatus_to_exitcode(status)} {wall} {cpu} {used.ru_maxrss}"
os.write(int(sys.argv[1]), text.encode())
"""


class Command(NamedTuple):
    """A program with its arguments, and where it runs."""

    words: Sequence[str | Path]
    cwd: Path


class Measured(NamedTuple):
    """What commands took together; `rss_bytes` is of the largest process among them."""

    wall_s: float
    cpu_s: float
    rss_bytes: int


class CommandFailed(Exception):
    """A command ended with another status than it should, or not in time."""


def measure(
    commands: Sequence[Command], *, environment: Mapping[str, str], timeout_s: float = 1800
) -> Measured:
    """Carry out commands one after the other.

    Raises:
        CommandFailed: one of them failed; what it printed last is in the message.
    """
    parts = [_one(command, environment, timeout_s) for command in commands]
    return Measured(
        sum(part.wall_s for part in parts),
        sum(part.cpu_s for part in parts),
        max(part.rss_bytes for part in parts),
    )


def _one(command: Command, environment: Mapping[str, str], timeout_s: float) -> Measured:
    words = [str(word) for word in command.words]
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as printed, os.fdopen(reader, "rb") as answer:
        launcher = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(writer), *words],
            cwd=command.cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            pass_fds=[writer],
            start_new_session=True,
        )
        os.close(writer)
        try:
            launcher.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise CommandFailed(f"{words[:4]}: not done within {timeout_s:g} s") from None
        finally:
            if launcher.poll() is None:
                os.killpg(launcher.pid, signal.SIGKILL)
                launcher.wait()
        # A daemon that the command left behind may hold the pipe open; the launcher has written.
        told = os.read(answer.fileno(), 200).decode().split() if launcher.returncode == 0 else []
        if not told or told[0] != "0":
            printed.seek(max(0, printed.seek(0, os.SEEK_END) - 2000))
            last = printed.read().decode(errors="replace")
            raise CommandFailed(f"{words[:4]}: status {told[:1] or 'unknown'}\n{last}")
    wall, cpu, peak_kib = float(told[1]), float(told[2]), int(told[3])
    return Measured(wall, cpu, peak_kib * 1024)


def bare(python: str | Path, environment: Mapping[str, str], *, rounds: int = 7) -> float:
    """The CPU seconds of an interpreter that does nothing: the least of some rounds."""
    command = Command([python, "-c", "pass"], Path("/"))
    return min(measure([command], environment=environment).cpu_s for _ in range(rounds))
