"""Progress is for people who look on: a bar, a rate and what remains; nothing anywhere else."""

import os
import pty
import subprocess
import sys
import termios
from collections.abc import Sequence

from patience import PATIENCE_S

PROGRAM = """
import select, sys
from thence.cli import progress as module
from thence.cli.output import Output
from thence.cli.progress import progress

if "short" in sys.argv:
    module._PATIENCE_S = 600.0  # in which all is done, however busy the machine is
output = Output()
output.quiet = "quiet" in sys.argv
output.json = "json" in sys.argv
with progress(output, "saving") as tell:
    done = 0
    is_over = False
    while done < 2 or not is_over:  # until who looks on has seen enough
        done += 1
        tell(done, done * 1_000_000, None if "unknown" in sys.argv else 1_000_000_000)
        is_over = bool(select.select([sys.stdin], [], [], 0.02)[0])
print("done")
"""


def _run_on_terminal(*arguments: str, wanted: Sequence[str] = (), columns: int = 100) -> str:
    """What the program wrote to its terminal until that had all that was wanted."""
    leader, follower = pty.openpty()
    try:
        termios.tcsetwinsize(follower, (24, columns))
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns)}
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=follower,
            env=environment,
        ) as process:
            os.close(follower)
            follower = -1
            assert process.stdin is not None
            shown = b""
            while any(one.encode() not in shown for one in wanted) and (piece := _read(leader)):
                shown += piece
            process.stdin.close()
            while piece := _read(leader):
                shown += piece
            assert process.wait(timeout=PATIENCE_S) == 0
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
    wanted = ["saving", "files", "MB/s", "/1.0 GB", "━"]
    shown = _run_on_terminal(wanted=wanted)
    assert [one for one in wanted if one not in shown] == []


def test_a_narrow_terminal_and_an_unknown_total_are_no_problem() -> None:
    wanted = ["saving", "/? MB"]
    shown = _run_on_terminal("unknown", wanted=wanted, columns=50)
    assert [one for one in wanted if one not in shown] == []


def test_short_work_shows_nothing() -> None:
    assert _run_on_terminal("short") == ""


def test_nobody_looks_on() -> None:
    assert _run_on_terminal("quiet") == ""
    assert _run_on_terminal("json") == ""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
