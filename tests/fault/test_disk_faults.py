"""A disk that is full at each stage of a command: it is said clearly, and nothing is lost.

Who has room again does the command again, and it finishes. What was kept can be read on the full
disk too.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fault_tally import Faults

LONG = os.environ.get("THENCE_FAULTS") == "long"
DRIVER = Path(__file__).with_name("disk_driver.py")


def fill(tmp_path: Path, command: str, *, every: int, first: int = 0) -> int:
    """How often the disk was full; fails where something was lost or not said."""
    asked = json.dumps(
        {"folder": str(tmp_path / "disk"), "command": command, "every": every, "first": first}
    )
    # Without the rights of root, a namespace of one's own users has them.
    own = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "-U", "-r", "--mount"]
    try:
        done = subprocess.run(
            [*own, sys.executable, str(DRIVER), asked], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("a small disk cannot be had here: there is no `unshare`")
    if done.stderr.startswith("unshare:"):
        pytest.skip(f"a small disk cannot be had here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    if "skip" in told:
        pytest.skip(f"a small disk cannot be had here: {told['skip']}")
    assert told["failures"] == [], "\n".join(told["failures"])
    full: int = told["full"]
    return full


@pytest.mark.parametrize("command", ["save"])
def test_a_disk_that_is_full_at_some_stage(tmp_path: Path, command: str, faults: Faults) -> None:
    full = fill(tmp_path, command, every=140, first=10)
    assert full >= 2
    faults("full disk", "local", full)


@pytest.mark.slow
@pytest.mark.timeout(3600 if LONG else 300)
@pytest.mark.parametrize(
    "command",
    [
        *("save", "alias", "seal", "get", "push", "pull", "mirror"),
        *("remove", "gc", "erase", "repair"),
    ],
)
def test_a_disk_that_is_full_at_every_stage(tmp_path: Path, command: str, faults: Faults) -> None:
    some = 4 if command in {"alias", "remove"} else 36
    full = fill(tmp_path, command, every=4 if LONG else some)
    assert full >= 2
    faults("full disk", "local", full)
