"""The examples run, keep what they were made from, and come out the same again."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from thence.model.records import FileRole, Finding, Grade, RunStatus
from thence.project import Project

EXAMPLES = Path(__file__).parents[2] / "examples"

# Rebuilding an environment may have to fetch its packages first.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_kepler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "kepler"
    shutil.copytree(EXAMPLES / "kepler", folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    project = Project.init(folder)

    run = project.execute(["sh", "run.sh"])

    assert run.status is RunStatus.FINISHED, capfd.readouterr().err
    assert abs(run.metrics["slope"] - 1.5) < 0.001
    read = {use.path for use in project.run_files(run.run.short, FileRole.INPUT)}
    assert {"planets.csv", "moons.csv"} <= read
    code = {use.path for use in project.run_files(run.run.short, FileRole.CODE)}
    assert {"planets.py", "moons.py"} <= code
    made = {str(one.artifact) for one in run.makes}
    assert {
        "results/sorted.csv",
        "results/planets.parquet",
        "results/moons.csv",
        "results/metrics.json",
    } <= made

    for path in folder.iterdir():
        if path.name != ".thence":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    verdict = project.reproduce(run.run.short)

    assert verdict.finding is Finding.REPRODUCED, verdict
    assert len(verdict.results) == 4
    assert {one.grade for one in verdict.results} <= {Grade.IDENTICAL, Grade.EQUIVALENT}


def test_the_benchmarks_that_the_readme_quotes_can_be_run() -> None:
    root = EXAMPLES.parent
    results = root / "bench" / "results" / "rows.json"
    before = results.read_bytes() if results.exists() else None
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench", "rows"],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        rows = json.loads(results.read_bytes())
    finally:
        if before is None:
            results.unlink(missing_ok=True)
        else:
            results.write_bytes(before)

    assert done.returncode == 0, done.stdout + done.stderr
    store, growth = (row["measured"] for row in rows)
    assert store + growth < 60
