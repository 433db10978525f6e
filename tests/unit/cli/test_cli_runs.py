"""`thence show RUN`, `runs list` and `runs compare`: what a person sees of runs."""

import os
import subprocess
import sys
from pathlib import Path

import cli_harness
import pytest
from cli_harness import Thence

from thence.cli.spark import spark
from thence.cli.table import Column, to_text

thence = cli_harness.thence

_FILES = 150
_SCRIPT = """\
import sys, thence
rows = [open(f"data/{i}.txt").read() for i in range(150)]
open("out.txt", "w").write("".join(rows) * int(sys.argv[2]))
for step in range(8):
    thence.log(loss=int(sys.argv[2]) / (step + 1), step=step)
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two runs that differ in a parameter, and one that failed."""
    root = tmp_path_factory.mktemp("runs")
    (root / "data").mkdir()
    for number in range(_FILES):
        (root / "data" / f"{number}.txt").write_text(f"{number:03}\n")
    (root / "train.py").write_text(_SCRIPT)
    variables = {name: value for name, value in os.environ.items() if name[:7] != "THENCE_"}

    def call(*words: str, status: int = 0) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "thence", *words],
            cwd=root,
            env=variables,
            capture_output=True,
            check=False,
        )
        assert done.returncode == status, done.stderr

    call("init")
    python = sys.executable
    call("run", "--tag", "team=a", python, "train.py", "--factor", "1")
    call("run", "--tag", "team=b", python, "train.py", "--factor", "2")
    call("run", python, "-c", "raise ValueError('no')", status=1)
    return root


@pytest.fixture
def runs(recorded: Path, thence: Thence, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Their refs, in the order in which they were made."""
    monkeypatch.chdir(recorded)
    for name in ("THENCE_PROJECT", "THENCE_RUN", "THENCE_SPOOL"):
        monkeypatch.delenv(name, raising=False)
    return [one["ref"] for one in reversed(thence("runs", "list", "--json").objects)]


def test_the_page_of_a_run_says_all_of_it(runs: list[str], thence: Thence) -> None:
    out = thence("show", runs[0]).out
    lines = out.splitlines()
    assert lines[0].endswith("finished")
    # How complete it is comes first.
    assert lines[1].startswith("Every file that its processes opened was seen.") or (
        lines[1].startswith("What its Python programs opened was seen")
    )
    assert "inputs (150, 600 B)" in out
    assert "data/ (150 files)" in out
    assert "factor  1      argv" in out
    assert f"loss  0.125  0.125     1       8  {spark([1 / n for n in range(1, 9)])}" in out
    assert "what it took\n  processor " in out
    for title in ("outputs (1, ", "environment", "how complete this is"):
        assert f"\n{title}" in out


def test_the_page_of_a_failed_run_says_how_it_failed(runs: list[str], thence: Thence) -> None:
    out = thence("show", runs[2]).out
    assert "how it failed\nTraceback (most recent call last):" in out
    assert "ValueError: no" in out


def test_show_as_json_holds_everything(runs: list[str], thence: Thence) -> None:
    objects = thence("show", runs[0], "--json").objects
    kinds = {one["type"] for one in objects}
    assert {"run", "file", "python", "series"} <= kinds
    assert next(one for one in objects if one["type"] == "series") == {
        "type": "series",
        "name": "loss",
        "last": 0.125,
        "values": 8,
    }


def test_runs_are_compared_differences_first(runs: list[str], thence: Thence) -> None:
    out = thence("runs", "compare", runs[0], runs[1]).out
    lines = [line.split() for line in out.splitlines()]
    assert lines[0][2:] == [ref[:12] for ref in runs[:2]]
    assert ["parameters", "factor", "1", "2"] in lines
    assert ["metrics", "loss", "0.125", "0.25"] in lines
    assert "data/3.txt" not in out
    assert "150 inputs" in out.splitlines()[-1]
    everything = thence("runs", "compare", runs[0], runs[1], "--all").out
    assert "data/3.txt" in everything
    rows = thence("runs", "compare", *runs, "--json").objects
    assert rows[0] == {"type": "compared", "runs": runs}
    assert {
        "type": "row",
        "section": "parameters",
        "name": "factor",
        "values": [1, 2, None],
        "same": False,
    } in rows


def test_one_run_is_not_compared(runs: list[str], thence: Thence) -> None:
    assert thence("runs", "compare", runs[0], ok=False).status == 2


def test_runs_are_listed_by_tag_time_and_metric(runs: list[str], thence: Thence) -> None:
    def listed(*options: str) -> list[str]:
        return [one["ref"] for one in thence("runs", "list", *options, "--json").objects]

    assert listed("--tag", "team=a") == [runs[0]]
    assert listed("--since", "1h") == runs[::-1]
    assert listed("--since", "2999-01-01") == []
    assert listed("--limit", "1", "--since", "1h") == [runs[2]]
    assert thence("runs", "list", "--since", "soon", ok=False).status == 2
    table = thence("runs", "list", "--metric", "loss").out.splitlines()
    assert "loss" in table[0]
    assert "METRICS" not in table[0]
    assert " 0.125 " in table[3]


def test_a_series_is_a_line_of_bars() -> None:
    assert spark([], plain=False) == ""
    assert spark([1], plain=False) == ""
    assert spark([1, 1], plain=False) == "▁▁"
    assert spark([0, float("nan"), 7], plain=False) == "▁ █"
    assert spark([float("inf"), float("inf")], plain=False) == ""
    assert spark([0, 7], plain=True) == "_#"
    assert len(spark(list(range(1000)), width=24, plain=False)) == 24
    assert spark([1e308, 1e308, -1e308], width=2, plain=False) == "█▁"


def test_names_with_the_same_beginning_are_cut_in_the_middle() -> None:
    columns = [Column("NAME", flexible=True, middle=True), Column("LAST", right=True)]
    rows = [("validation/accuracy/class-1", "1"), ("validation/accuracy/class-2", "2")]
    told = to_text(columns, rows, width=24).splitlines()
    assert [line.split()[0][-8:] for line in told[1:]] == ["/class-1", "/class-2"]
    assert all(len(line) <= 24 for line in told)
