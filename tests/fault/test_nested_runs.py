"""Runs inside of runs: both see all, and neither can stop the program or the other one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from patience import wait_for
from thence.execution import relay, supervisor
from thence.execution.events import Action, Ended, FileEvent
from thence.execution.launch import launch

REASON = supervisor.probe()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no kernel-level sensor: {REASON}")

# Runs its arguments, and writes what it saw and reports; the report appears when it is whole.
INNER = """
import json, os, sys, time
from thence.execution.launch import launch
name, slow = sys.argv[1], float(sys.argv[2])
seen = []
def on_event(event):
    if event.path.endswith("/step-3"):
        open(name + "-reached", "w").close()
        time.sleep(slow)
    seen.append([event.action, os.path.basename(event.path)])
ended = launch(sys.argv[3:], cwd=os.getcwd(), env={**os.environ, "THENCE_RUN": name},
               on_event=on_event)
with open(name + ".part", "w") as file:
    json.dump({"seen": seen, "code": ended.exit_code, "name": ended.report.name,
               "complete": ended.report.completeness, "not_seen": ended.report.not_seen,
               "inner": ended.report.inner_runs}, file)
os.replace(name + ".part", name + ".json")
"""

# Opens files in several processes; in the middle it waits until it may go on. The result appears
# when it is whole.
PROGRAM = """
import os, subprocess, time
for n in range(20):
    while n == 10 and not os.path.exists("go"):
        time.sleep(0.01)
    with open(f"step-{n}", "w") as file:
        file.write(str(n))
done = subprocess.run(["cat", "step-7"], capture_output=True, text=True, check=True).stdout
with open("result.part", "w") as file:
    file.write(done)
os.replace("result.part", "result")
"""


def inner(name: str, *command: str, slow_s: float = 0) -> list[str]:
    """The words that run a command inside of a run."""
    return [sys.executable, "-c", INNER, name, str(slow_s), *command]


class Outer(NamedTuple):
    """What the outer run saw."""

    ended: Ended
    events: list[FileEvent]

    def saw(self, name: str) -> bool:
        return any(os.path.basename(e.path) == name for e in self.events)


def run(folder: Path, command: list[str]) -> Outer:
    (folder / "in").write_text("x")
    events: list[FileEvent] = []
    ended = launch(command, cwd=folder, env=os.environ, on_event=events.append)
    return Outer(ended, events)


def report(folder: Path, name: str) -> Any:
    return json.loads((folder / f"{name}.json").read_text())


def test_both_runs_see_everything(tmp_path: Path) -> None:
    outer = run(tmp_path, inner("one", "sh", "-c", "cat in > out; exit 3"))
    found = report(tmp_path, "one")
    assert (found["code"], found["name"]) == (3, "seccomp")
    assert (found["complete"], found["not_seen"]) == ("kernel-complete", [])
    assert ["read", "in"] in found["seen"]
    assert ["truncate", "out"] in found["seen"]
    assert outer.saw("in")
    assert outer.saw("out")
    assert outer.ended.report.completeness == "kernel-complete"
    assert outer.ended.report.inner_runs == ("one",)


def test_an_inner_run_sees_its_own_command_only(tmp_path: Path) -> None:
    one = " ".join(f"'{word}'" if " " in word else word for word in inner("one", "cat", "in")[3:])
    script = f"cat before; {sys.executable} inner.py {one} & cat beside; wait; cat after"
    (tmp_path / "inner.py").write_text(INNER)
    outer = run(tmp_path, ["sh", "-c", script])
    names = {name for _, name in report(tmp_path, "one")["seen"]}
    assert "in" in names
    assert not names & {"before", "beside", "after", "one.part"}
    assert outer.saw("one.part")


def test_three_deep_each_sees_what_is_below(tmp_path: Path) -> None:
    outer = run(tmp_path, inner("one", *inner("two", "cat", "in")))
    for name in ("one", "two"):
        found = report(tmp_path, name)
        assert found["complete"] == "kernel-complete"
        assert ["read", "in"] in found["seen"]
    assert ["truncate", "two.part"] in report(tmp_path, "one")["seen"]
    assert outer.ended.report.inner_runs == ("one", "two")
    assert outer.saw("one.part")


def test_the_program_waits_until_both_have_kept_the_old_content(tmp_path: Path) -> None:
    code = """
import os
from thence.execution.launch import launch
def look(event):
    if event.path.endswith("/in"):
        print(event.action, open("in").read(), flush=True)
launch(["sh", "-c", "echo new > in"], cwd=".", env=os.environ, on_event=look)
"""
    (tmp_path / "in").write_text("old")
    found = []

    def look(event: FileEvent) -> None:
        if event.path.endswith("/in") and event.action is Action.TRUNCATE:
            found.append((tmp_path / "in").read_text())

    printed = bytearray()
    launch(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ,
        on_event=look,
        stdout=printed.extend,
    )
    assert found == ["old"]
    assert printed.decode() == "truncate old\n"
    assert (tmp_path / "in").read_text() == "new\n"


def test_a_daemon_whose_parents_are_gone_belongs_to_the_inner_run(tmp_path: Path) -> None:
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(0.3)\n"  # its parents have ended by now
        "        open('in')\n"
        "        open('seen', 'w').close()\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "while not os.path.exists('seen'): time.sleep(0.02)\n"
    )
    run(tmp_path, inner("one", sys.executable, "-c", code))
    found = report(tmp_path, "one")
    assert ["read", "in"] in found["seen"]
    assert found["complete"] == "kernel-complete"


def test_what_an_inner_command_leaves_behind_is_named(tmp_path: Path) -> None:
    run(tmp_path, inner("one", "sh", "-c", "sleep 600 & echo $! > pid; cat in"))
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    found = report(tmp_path, "one")
    assert found["complete"] == "partial"
    assert "1 process was left running" in found["not_seen"][0]
    assert "sleep" in found["not_seen"][0]


def test_threads_that_open_at_once(tmp_path: Path) -> None:
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def work(n):\n"
        "    for k in range(20):\n"
        "        open(f't{n}-{k}', 'w').close()\n"
        "with ThreadPoolExecutor(16) as pool:\n"
        "    list(pool.map(work, range(16)))\n"
    )
    run(tmp_path, inner("one", sys.executable, "-c", code))
    names = {name for action, name in report(tmp_path, "one")["seen"] if action == "truncate"}
    assert {f"t{n}-{k}" for n in range(16) for k in range(20)} <= names


@pytest.mark.parametrize("slow_s", [0.0, 600.0], ids=["between events", "inside an event"])
def test_a_killed_inner_run_leaves_the_program_running(tmp_path: Path, slow_s: float) -> None:
    killer = (
        "import os, signal, subprocess, sys, time\n"
        "p = subprocess.Popen(sys.argv[1:])\n"
        "while not os.path.exists('one-reached'): time.sleep(0.02)\n"
        "p.kill(); p.wait(); open('go', 'w').close()\n"
        "while not os.path.exists('result'): time.sleep(0.02)\n"
    )
    command = inner("one", sys.executable, "-c", PROGRAM, slow_s=slow_s)
    outer = run(tmp_path, [sys.executable, "-c", killer, *command])
    assert (tmp_path / "result").read_text() == "7"
    assert outer.saw("step-19")
    assert outer.ended.report.completeness == "kernel-complete"


def test_an_inner_run_that_is_stopped_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_PATIENCE_S", 1.0)
    monkeypatch.setattr(relay, "_LOOK_MS", 100)
    stopper = (
        "import os, signal, subprocess, sys, time\n"
        "p = subprocess.Popen(sys.argv[1:])\n"
        "while not os.path.exists('one-reached'): time.sleep(0.02)\n"
        "p.send_signal(signal.SIGSTOP); open('go', 'w').close()\n"
        "while not os.path.exists('result'): time.sleep(0.02)\n"
        "p.send_signal(signal.SIGCONT); p.wait()\n"
    )
    command = inner("one", sys.executable, "-c", PROGRAM)
    outer = run(tmp_path, [sys.executable, "-c", stopper, *command])
    assert (tmp_path / "result").read_text() == "7"
    assert outer.ended.report.completeness == "kernel-complete"
    found = report(tmp_path, "one")
    assert (found["code"], found["complete"]) == (0, "partial")
    assert "did not wait for this one" in found["not_seen"][0]


@pytest.mark.parametrize("slow_s", [0.0, 2.0], ids=["between events", "inside an event"])
def test_a_killed_outer_run_leaves_both_running(tmp_path: Path, slow_s: float) -> None:
    process = subprocess.Popen(
        inner("zero", *inner("one", sys.executable, "-c", PROGRAM, slow_s=slow_s)),
        cwd=tmp_path,
    )
    wait_for(tmp_path / "one-reached")
    process.kill()
    assert process.wait() == -signal.SIGKILL
    (tmp_path / "go").touch()
    wait_for(tmp_path / "one.json")
    assert (tmp_path / "result").read_text() == "7"
    found = report(tmp_path, "one")
    assert (found["code"], found["complete"]) == (0, "partial")
    assert "ended, was killed" in found["not_seen"][0]
    assert not (tmp_path / "zero.json").exists()


def test_who_is_not_below_the_outer_run_is_not_taken_for_it(tmp_path: Path) -> None:
    """A variable that came here by another way than by descent, as through a daemon."""
    outer = subprocess.Popen(
        inner("zero", "sh", "-c", "echo $THENCE_RELAY > part; mv part relay; exec sleep 600"),
        cwd=tmp_path,
    )
    wait_for(tmp_path / "relay")
    variables = {**os.environ, "THENCE_RELAY": (tmp_path / "relay").read_text().strip()}
    (tmp_path / "in").write_text("x")
    subprocess.run(inner("one", "cat", "in"), cwd=tmp_path, env=variables, check=True)
    assert outer.poll() is None  # it was not waited for
    outer.terminate()
    outer.wait()
    found = report(tmp_path, "one")
    assert (found["name"], found["complete"]) == ("seccomp", "kernel-complete")
    assert ["read", "in"] in found["seen"]
    assert report(tmp_path, "zero")["inner"] == []
