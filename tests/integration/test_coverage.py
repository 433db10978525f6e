"""Which ways to read and to write a file are seen by which sensor (`python -m bench coverage`)."""

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
from bench.coverage import missing, prepare, try_case
from bench.coverage_cases import MAKERS, READS, WRITES, Case

from thence.execution import supervisor
from thence.execution.events import Action, FileEvent
from thence.execution.launch import launch
from thence.execution.scanning import TreeScan

SENSORS: list[Literal["seccomp", "audit-hook"]] = ["seccomp", "audit-hook"]
# What the hook cannot see; what of it is written is found afterwards.
UNSEEN = {
    "ctypes fopen", "python -I", "python -S", "cat", "os.system cp", "sort in a pipe",
    "redirection", "C compiler", "awk", "perl", "node", "git hash-object", "curl file://",
    "sqlite3",
}  # fmt: skip
WRITTEN_ACTIONS = {Action.TRUNCATE, Action.WRITE, Action.UPDATE, Action.RENAME, Action.LINK}


def here(cases: Sequence[Case], groups: set[str]) -> list[Case]:
    """Those that can be tried in this Python, many in one process."""
    return [
        case
        for case in cases
        if case.group in groups and "worker" not in case.name and not missing(case, sys.executable)
    ]


def together(
    cases: Sequence[Case], folder: Path, sensor: Literal["seccomp", "audit-hook"]
) -> dict[str, set[Action]]:
    """What was done to the file of each case, all tried in one process."""
    parts = [f"exec({case.code!r}, {{'p': {case.file!r}, '__file__': __file__}})" for case in cases]
    (folder / "cases.py").write_text("\n".join(parts) + "\n")
    done: dict[str, set[Action]] = {case.file: set() for case in cases}

    def note(event: FileEvent) -> None:
        for path in (event.path, event.target):
            name = os.path.relpath(path, folder).split("/")[0] if path.startswith("/") else ""
            if name in done and event.action is not Action.EXECUTE:
                done[name].add(event.action)

    ended = launch(
        [sys.executable, "cases.py"],
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        on_event=note,
        sensor=sensor,
        scan=partial(TreeScan, str(folder)),
    )
    assert ended.exit_code == 0
    return done


@pytest.fixture(params=SENSORS)
def sensor(request: pytest.FixtureRequest) -> Literal["seccomp", "audit-hook"]:
    if request.param == "seccomp" and (why := supervisor.probe()) is not None:
        pytest.skip(why)
    return request.param  # type: ignore[no-any-return]


GROUPS = {"Python", "NumPy", "PyArrow", "Polars", "Children"}


def test_what_is_read_is_seen(tmp_path: Path, sensor: Literal["seccomp", "audit-hook"]) -> None:
    folder = tmp_path.resolve()
    cases = here(READS, GROUPS)
    makers = [f"p = {c.file!r}\n{MAKERS[c.file.rpartition('.')[2]][1]}" for c in cases]
    (folder / "make.py").write_text("\n".join(f"exec({maker!r})" for maker in makers))
    assert os.system(f"cd {folder} && {sys.executable} make.py") == 0
    done = together(cases, folder, sensor)
    unseen = {case.name for case in cases if not done[case.file]}
    assert unseen == (UNSEEN & {c.name for c in cases} if sensor == "audit-hook" else set())


def test_what_is_written_is_seen(tmp_path: Path, sensor: Literal["seccomp", "audit-hook"]) -> None:
    cases = here(WRITES, GROUPS | {"Tables"})
    done = together(cases, tmp_path.resolve(), sensor)
    assert [case.name for case in cases if not done[case.file] & WRITTEN_ACTIONS] == []


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["reads", "writes"])
def test_all_that_can_be_tried_here_one_by_one(
    tmp_path: Path, verb: str, sensor: Literal["seccomp", "audit-hook"]
) -> None:
    writes = verb == "writes"
    unseen, tried = set(), 0
    for number, case in enumerate(WRITES if writes else READS):
        prepared = tmp_path / str(number)
        if missing(case, sys.executable) or prepare(
            case, writes=writes, python=sys.executable, folder=prepared
        ):
            continue
        outcome = try_case(
            case, writes=writes, sensor=sensor, python=sys.executable, prepared=prepared
        )
        tried += bool(outcome.seen)
        if outcome.seen == "no":
            unseen.add(case.name)
    assert tried >= 30
    assert unseen <= (UNSEEN if sensor == "audit-hook" and not writes else set())
