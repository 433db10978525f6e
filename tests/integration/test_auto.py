"""`import thence.auto`: a process that is a run from that line on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from patience import PATIENCE_S
from thence.index.views import RunDetail
from thence.model.records import RunStatus
from thence.project import Project

SCRIPT = """\
import thence.auto
from multiprocessing import get_context
from pathlib import Path
import subprocess, sys

def work(n):
    Path(f"made-{n}").write_text(Path("in.csv").read_text())

if __name__ == "__main__":
    work("here")
    for how in ("fork", "spawn"):
        worker = get_context(how).Process(target=work, args=(how,))
        worker.start()
        worker.join()
    subprocess.run([sys.executable, "-c", "open('made-child', 'w').write(open('side.csv').read())"])
    subprocess.run(["cp", "in.csv", "made-cp"])
"""
MADE = {f"made-{how}" for how in ("here", "fork", "spawn", "child", "cp")}


def python(folder: Path, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    env = {name: value for name, value in os.environ.items() if not name.startswith("THENCE_")}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**env, **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def only_run(folder: Path) -> RunDetail:
    project = Project.open(folder)
    (run,) = project.runs()
    return project.find_run(f"run:{run.run}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Project.init(tmp_path)
    (tmp_path / "in.csv").write_text("a\n1\n")
    (tmp_path / "side.csv").write_text("b\n2\n")
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


@pytest.mark.parametrize("words", [("script.py",), ("-m", "script")])
def test_it_and_all_that_it_starts_are_one_run(folder: Path, words: tuple[str, ...]) -> None:
    done = python(folder, *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    run = only_run(folder)
    assert run.status is RunStatus.FINISHED
    assert {made.artifact for made in run.makes} == MADE
    assert {used.artifact for used in run.uses} == {"in.csv", "side.csv"}


def test_under_a_run_it_is_that_run(folder: Path) -> None:
    done = python(folder, "-m", "thence", "run", sys.executable, "script.py")
    assert done.returncode == 0, done.stderr
    run = only_run(folder)
    assert {made.artifact for made in run.makes} == MADE


def test_without_a_project_that_can_be_it_says_so_and_goes_on(tmp_path: Path) -> None:
    code = "import thence.auto; print('done')"
    done = python(tmp_path, "-c", code, THENCE_PROJECT=str(tmp_path / "nowhere"))
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert done.stderr.startswith("thence: this process is not recorded: ")
    assert "thence init" in done.stderr  # and what can be done
    assert "Traceback" not in done.stderr


def test_an_error_ends_the_program_as_ever(folder: Path) -> None:
    (folder / "fails.py").write_text("import sys, thence.auto\nopen('in.csv')\nsys.exit(3)\n")
    assert python(folder, "fails.py").returncode == 3
    run = only_run(folder)
    assert (run.status, run.exit_code) == (RunStatus.FAILED, 3)
