"""Many processes on one home at once: everything that one of them was told is true at the end."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fault_tally import Faults

DRIVER = Path(__file__).with_name("crowd_driver.py")
LONG = os.environ.get("THENCE_FAULTS") == "long"
SIXTEEN = [*["save"] * 7, *["read"] * 3, *["collect"] * 2, "alias", "alias", "remove", "remove"]


def crowd(tmp_path: Path, roles: list[str], seconds: float, **job: object) -> dict[str, Any]:
    """What the processes did, and what is there at the end."""
    asked = {"folder": str(tmp_path / "crowd"), "roles": roles, "seconds": seconds, **job}
    done = subprocess.run(
        [sys.executable, str(DRIVER), json.dumps(asked)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert told["failures"] == [], "\n".join(told["failures"])
    return told


def test_two_processes_save_to_one_name_while_one_collects(tmp_path: Path, faults: Faults) -> None:
    told = crowd(tmp_path, ["save", "save", "collect"], 0.3)
    assert told["found"]["saved"] == told["counts"]["save"] >= 2
    faults("races of 3 processes", "local", sum(told["counts"].values()))


@pytest.mark.slow
@pytest.mark.parametrize("elsewhere", [False, True], ids=["local", "bucket-like"])
def test_sixteen_processes_do_everything_at_once(
    tmp_path: Path, elsewhere: bool, faults: Faults
) -> None:
    told = crowd(tmp_path, SIXTEEN, 120 if LONG else 15, elsewhere=elsewhere)
    assert told["found"]["saved"] == told["counts"]["save"] > 14
    assert told["found"]["removed"] > 0
    assert told["found"]["deleted packs"] > 0
    where = "bucket-like" if elsewhere else "local"
    faults("races of 16 processes", where, sum(told["counts"].values()))
