"""Progress is for people who look on: a bar, a rate and what remains; nothing anywhere else."""

import os
import pty
import subprocess
import sys
import termios

PROGRAM = """
import sys, time
from thence.cli.output import Output
from thence.cli.progress import progress

output = Output()
output.quiet = "quiet" in sys.argv
output.json = "json" in sys.argv
with progress(output, "saving") as tell:
    until = time.monotonic() + (0 if "short" in sys.argv else 1.2)
    done = 0
    while done < 2 or time.monotonic() < until:
        done += 1
        tell(done, done * 1_000_000, None if "unknown" in sys.argv else 1_000_000_000)
        time.sleep(0.02)
print("done")
"""


def _run_on_terminal(*arguments: str, columns: int = 100) -> str:
    """What the program wrote to its terminal."""
    leader, follower = pty.openpty()
    try:
        termios.tcsetwinsize(follower, (24, columns))
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns)}
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=follower,
            env=environment,
        ) as process:
            os.close(follower)
            follower = -1
            shown = b""
            while piece := _read(leader):
                shown += piece
            assert process.wait(timeout=60) == 0
    finally:
        os.close(leader)
        if follower >= 0:
            os.close(follower)
    return shown.decode()


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 65536)
    except OSError:  # how Linux tells the end of a pseudo-terminal
        return b""


def test_a_terminal_shows_rate_and_remaining_time() -> None:
    shown = _run_on_terminal()
    assert "saving" in shown
    assert "files" in shown
    assert "MB/s" in shown
    assert "/1.0 GB" in shown or "/1000.0 MB" in shown
    assert "━" in shown


def test_a_narrow_terminal_and_an_unknown_total_are_no_problem() -> None:
    shown = _run_on_terminal("unknown", columns=50)
    assert "saving" in shown
    assert "/? MB" in shown


def test_short_work_shows_nothing() -> None:
    assert _run_on_terminal("short") == ""


def test_nobody_looks_on() -> None:
    assert _run_on_terminal("quiet") == ""
    assert _run_on_terminal("json") == ""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
