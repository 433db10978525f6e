"""kill -9 at every step of what people do: nothing is lost, and the next try finishes the work.

What dies, and what is proved afterwards, is in `kill_driver` and `fault_stage`.
"""

import json
import os
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
READ_EVERY = {
    **dict.fromkeys(("alias", "rollback", "remove"), 3),
    **dict.fromkeys(("save", "seal"), 5),
    **dict.fromkeys(("mirror", "clone", "move", "gc", "erase"), 12),
    **dict.fromkeys(("push", "pull", "repair"), 19),
}
"""Of what only reads, each nth operation."""
LONG = os.environ.get("THENCE_FAULTS") == "long"


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


def test_killed_at_every_change_of_the_store_by_a_save(tmp_path: Path, faults: Faults) -> None:
    kills = kill(tmp_path, "save", ["named"])
    assert min(kills.values()) >= 4
    tell(faults, kills, elsewhere=False)


def test_killed_at_some_changes_of_either_store_by_a_push(tmp_path: Path, faults: Faults) -> None:
    kills = kill(tmp_path, "push", ["named"], elsewhere=True, every={"named": 4})
    assert min(kills.values()) >= 3
    tell(faults, kills, elsewhere=True)


@pytest.mark.slow
def test_a_killed_probe_leaves_a_store_that_can_be_used(tmp_path: Path, faults: Faults) -> None:
    """Its objects are below `tmp-probe/`, and belong to no project."""
    every = {"before": 1 if LONG else 3}
    kills = kill(tmp_path, "mirror", ["before"], writes=True, first=17, every=every)
    assert kills["before"] >= 2
    tell(faults, kills, elsewhere=False)


@pytest.mark.slow
@pytest.mark.timeout(3600 if LONG else 300)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["local", "bucket-like"])
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_every_change_of_the_store_and_some_reads(
    tmp_path: Path, command: str, elsewhere: bool, faults: Faults
) -> None:
    """The long run also dies before and after each operation that only reads."""
    if command == "move" and elsewhere:
        pytest.skip("a home moves from the folder that it is in")
    some = 1 if LONG else READ_EVERY[command]
    kills = kill(
        tmp_path,
        command,
        ["unnamed", "named", "before", "after"],
        elsewhere=elsewhere,
        every={"before": some, "after": some},
    )
    assert min(kills.values()) >= 2
    tell(faults, kills, elsewhere=elsewhere)


@pytest.mark.slow
@pytest.mark.timeout(3600 if LONG else 300)
@pytest.mark.parametrize("command", [*COMMANDS, "get"])
def test_killed_at_some_changes_of_a_file(tmp_path: Path, command: str, faults: Faults) -> None:
    """Before calls of the system that make, move or remove a file: caches and index too."""
    some = 1 if LONG else 3 if command in {"alias", "rollback", "remove", "get"} else 8
    kills = kill(tmp_path, command, ["system"], every={"system": some})
    assert kills["system"] >= 4
    tell(faults, kills, elsewhere=False)


def test_the_driver_knows_every_operation_of_a_store() -> None:
    assert OPERATIONS >= READS | WRITES
