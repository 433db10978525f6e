"""kill -9 at every step of what people do: nothing is lost, and the next try finishes the work.

What dies, and what is proved afterwards, is in `kill_driver` and `fault_stage`.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kill_driver import OPERATIONS

from fault_tally import Faults
from thence.testing.faulty import READS, WRITES

DRIVER = Path(__file__).with_name("kill_driver.py")
COMMANDS = [
    *("save", "alias", "rollback", "seal", "push", "pull", "mirror", "clone", "move"),
    *("remove", "gc", "erase", "repair"),
]


def kill(tmp_path: Path, command: str, points: list[str], **job: object) -> dict[str, int]:
    """How many deaths there were at each kind of step; fails where one of them lost something."""
    asked = {"folder": str(tmp_path / "theatre"), "command": command, "points": points, **job}
    done = subprocess.run(
        [sys.executable, str(DRIVER), json.dumps(asked)],
        capture_output=True,
        text=True,
        check=False,
    )
    shutil.rmtree(tmp_path / "theatre", ignore_errors=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["failures"] == [], "\n".join(told["failures"])
    kills: dict[str, int] = told["kills"]
    return kills


def tell(faults: Faults, kills: dict[str, int], *, elsewhere: bool) -> None:
    where = "bucket-like" if elsewhere else "local"
    for point, number in kills.items():
        kind = "in the system" if point == "system" else "at the store"
        faults(f"kill -9 {kind}", where, number)


@pytest.mark.parametrize("command", ["save", "alias"])
def test_killed_at_every_change_of_the_store(tmp_path: Path, command: str, faults: Faults) -> None:
    kills = kill(tmp_path, command, ["named"], writes=True)
    assert min(kills.values()) >= 4
    tell(faults, kills, elsewhere=False)


def test_killed_at_every_change_of_either_store_by_a_push(tmp_path: Path, faults: Faults) -> None:
    kills = kill(tmp_path, "push", ["named"], writes=True, elsewhere=True, every=2)
    assert min(kills.values()) >= 5
    tell(faults, kills, elsewhere=True)


@pytest.mark.parametrize(
    ("command", "points", "every"),
    [
        pytest.param("seal", ["unnamed"], 3, marks=pytest.mark.slow),
        pytest.param("pull", ["before"], 3, marks=pytest.mark.slow),
        pytest.param("get", ["system"], 7, marks=pytest.mark.slow),
        ("gc", ["before"], 4),
        pytest.param("erase", ["before"], 4, marks=pytest.mark.slow),
        pytest.param("repair", ["before"], 3, marks=pytest.mark.slow),
    ],
)
def test_killed_at_some_changes(
    tmp_path: Path, command: str, points: list[str], every: int, faults: Faults
) -> None:
    kills = kill(tmp_path, command, points, writes=True, every=every)
    assert min(kills.values()) >= 2
    tell(faults, kills, elsewhere=False)


@pytest.mark.slow
def test_a_killed_probe_leaves_a_store_that_can_be_used(tmp_path: Path, faults: Faults) -> None:
    """Its objects are below `tmp-probe/`, and belong to no project."""
    kills = kill(tmp_path, "mirror", ["before"], writes=True, first=17, every=2)
    assert kills["before"] >= 2
    tell(faults, kills, elsewhere=False)


@pytest.mark.slow
@pytest.mark.parametrize("elsewhere", [False, True], ids=["local", "bucket-like"])
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_every_operation_of_the_store(
    tmp_path: Path, command: str, elsewhere: bool, faults: Faults
) -> None:
    if command == "move" and elsewhere:
        pytest.skip("a home moves from the folder that it is in")
    # At a bucket, more is read at a time and by several threads: every change, and some reads.
    kills = kill(tmp_path, command, ["unnamed", "named"], writes=True, elsewhere=elsewhere)
    every = 1 if command in {"save", "alias", "rollback", "remove"} else 3
    more = kill(tmp_path, command, ["before", "after"], elsewhere=elsewhere, every=every)
    assert min(kills.values()) >= 2
    assert min(more.values()) >= 5
    tell(faults, {**kills, **more}, elsewhere=elsewhere)


@pytest.mark.slow
@pytest.mark.parametrize("command", [*COMMANDS, "get"])
def test_killed_at_every_change_of_a_file(tmp_path: Path, command: str, faults: Faults) -> None:
    """Before each call of the system that makes, moves or removes a file: caches and index too."""
    every = {"push": 5, "move": 5, "clone": 4, "mirror": 4, "seal": 3, "pull": 3, "gc": 3}
    kills = kill(tmp_path, command, ["system"], every=every.get(command, 1))
    assert kills["system"] >= 10
    tell(faults, kills, elsewhere=False)


def test_the_driver_knows_every_operation_of_a_store() -> None:
    assert OPERATIONS >= READS | WRITES
