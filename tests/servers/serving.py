"""Starting real servers on loopback from a test, and being sure that they end."""

import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
# Below those that Linux gives to connections (32768 and more; macOS: 49152).
_PORTS = range(15_000, 32_000)
_marks: list[socket.socket] = []


def program(name: str) -> str | None:
    """A program of this environment, which need not be activated, or of the machine."""
    beside = Path(sys.executable).parent
    return shutil.which(name, path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}")


def free_port() -> int:
    """A port of loopback for a server that this process starts; nobody else is given it."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Several different ones.

    They stay this process's until it ends, among all tests that run at the same time. The system
    gives none of them to a connection, which asks for a port at any moment: a server takes seconds
    until it listens.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        if len(found) == count:
            break
        if _reserve(port):
            found.append(port)
    return found


def _reserve(port: int) -> bool:
    """Whether a port is free, and from now on ours."""
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if sys.platform == "linux":  # elsewhere there are no such names, which end with their process
        try:
            mark.bind(f"\0thence-tests-port-{port}")
        except OSError:
            mark.close()
            return False
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            mark.close()
            return False
    _marks.append(mark)
    return True


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port of loopback where nobody listens, and nobody begins to."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def answers(port: int) -> bool:
    """Whether somebody accepts connections on a port of loopback."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


@contextmanager
def running(
    command: Sequence[str],
    *,
    ready: Callable[[], bool],
    log: Path,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 200.0,
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is ready to be used, in a process group of its own that is killed at the end.

    Its folders are thrown away, so it is not asked to stop but killed: SeaweedFS alone would take
    eleven seconds to say goodbye.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
            preexec_fn=_die_with_the_tests,  # noqa: PLW1509 - it calls the kernel, nothing else
        )
    try:
        _wait(process, ready, log, timeout_s)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


def _die_with_the_tests() -> None:
    """Tests that are killed must not leave their servers behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path, timeout_s: float
) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        ended = process.poll()
        if ended is not None or time.monotonic() > deadline:
            why = f"ended with {ended}" if ended is not None else f"not ready in {timeout_s:.0f} s"
            tail = log.read_text("utf-8", "replace")[-2000:]
            raise RuntimeError(f"{process.args!r}: {why}\n{tail}")
        time.sleep(0.05)
