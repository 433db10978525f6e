"""What was logged survives the death of who logged it, but for the last second."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from patience import PATIENCE_S, until
from thence.execution import live
from thence.execution.burst import EVERY_S, Burst
from thence.execution.live import LoggedMetric, Tail

LOGS = """
import os, sys, time
from pathlib import Path
from thence.execution.live import Tail
tail = Tail(Path(sys.argv[1]))
step = 0
while True:
    # Its own time: what the machine does meanwhile for others does not count.
    tail.log({"at": time.process_time()}, step=step)
    step += 1
    if step == 1000:
        print("going", flush=True)
"""


def metrics(spool: Path) -> list[LoggedMetric]:
    return [line for line in live.read_lines(spool) if isinstance(line, LoggedMetric)]


def test_at_most_the_last_second_is_lost_on_kill_9(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LOGS, str(tmp_path)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(1.0)
        child.kill()
        _, _, used = os.wait4(child.pid, 0)
        child.returncode = -signal.SIGKILL
    found = metrics(tmp_path)
    # No hole in what there is, and it goes on until shortly before the end.
    assert [point.step for point in found] == list(range(len(found)))
    assert used.ru_utime + used.ru_stime - found[-1].value < 1.0
    assert len(found) > 1000


def test_who_logs_seldom_loses_nothing(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, time\n"
        "from pathlib import Path\n"
        "from thence.execution.live import Tail\n"
        "tail = Tail(Path(sys.argv[1]))\n"
        "for step in range(3):\n"
        f"    time.sleep({EVERY_S * 1.2})\n"
        "    tail.log({'loss': 1.0}, step=step)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=False, timeout=PATIENCE_S
    )
    assert done.returncode == -signal.SIGKILL
    assert [point.step for point in metrics(tmp_path)] == [0, 1, 2]


@pytest.mark.parametrize("end", ["pass", "os._exit(0)", "sys.exit(3)", "1 / 0"])
def test_a_process_that_ends_writes_what_waits(tmp_path: Path, end: str) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from thence.execution.live import Tail\n"
        "tail = Tail(Path(sys.argv[1]))\n"
        "for step in range(1000):\n"
        "    tail.log({'loss': 1.0}, step=step)\n"
        f"{end}\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=False,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    assert len(metrics(tmp_path)) == 1000


def test_a_fork_writes_its_own_points_and_no_others(tmp_path: Path) -> None:
    code = (
        "import multiprocessing, sys, threading\n"
        "from pathlib import Path\n"
        "from thence.execution.live import Tail\n"
        "tail = Tail(Path(sys.argv[1]))\n"
        "def work(name):\n"
        "    for step in range(500):\n"
        "        tail.log({name: 1.0}, step=step)\n"
        "work('parent')\n"
        "children = [multiprocessing.get_context('fork').Process(target=work, args=(name,))"
        " for name in 'ab']\n"
        "for child in children: child.start()\n"
        "work('after')\n"
        "for child in children: child.join()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path)],
        check=False, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.stderr == ""
    found = metrics(tmp_path)
    for name in ("parent", "a", "b", "after"):
        assert [point.step for point in found if point.name == name] == list(range(500)), name
    assert len(list(tmp_path.glob("events-*.jsonl"))) == 3


def test_a_burst_is_written_together_and_soon() -> None:
    written: list[list[int]] = []
    burst: Burst[int] = Burst(lambda things: written.append(list(things)), every_s=0.05)
    for number in range(100):
        burst.add(number)
    assert written[0] == [0]
    until(lambda: sum(map(len, written)) == 100, "the rest")
    assert [number for part in written for number in part] == list(range(100))
    assert len(written) < 20
    burst.add(100)
    burst.write([101])  # in order, and at once
    assert [number for part in written for number in part] == list(range(102))


def test_a_disk_that_is_full_ends_no_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tail = Tail(tmp_path / "nowhere")
    for step in range(10):
        tail.log({"loss": 1.0}, step=step)
    tail.flush()
    assert "a logged value was lost" in caplog.text
