"""The git ref of a run's code goes when the run is removed or erased, and comes back with it."""

import subprocess

import pytest

from thence.execution.capture.snapshot import REFS
from thence.index.views import RunDetail
from workshop import Workshop, seal_of


def refs(workshop: Workshop) -> dict[str, str]:
    done = subprocess.run(
        ["git", "for-each-ref", "--format=%(refname) %(objectname)", REFS],
        cwd=workshop.root,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split() for line in done.stdout.splitlines())


@pytest.fixture
def run(workshop: Workshop) -> RunDetail:
    """A run of code that is in no commit; another one beside it."""
    workshop.git("init", "-q")
    workshop.write("first.txt", "1")
    workshop.git("add", "first.txt")
    workshop.git("commit", "-qm", "first")
    workshop.script("open('out.txt', 'w').write('1')\n")
    return workshop.script("open('out.txt', 'w').write('2')\n")


def test_the_ref_of_a_removed_run_goes_and_comes_back(workshop: Workshop, run: RunDetail) -> None:
    before = refs(workshop)
    assert len(before) == 2
    assert before[REFS + run.run] == seal_of(run).code.snapshot
    done = workshop.thence("rm", f"run:{run.run}", "--reason", "a test", "--force")
    assert done.returncode == 0, done.stderr
    assert refs(workshop) == {ref: at for ref, at in before.items() if run.run not in ref}
    done = workshop.thence("rm", "--undo", f"run:{run.run}")
    assert done.returncode == 0, done.stderr
    assert refs(workshop) == before


def test_the_ref_of_an_erased_run_goes(workshop: Workshop, run: RunDetail) -> None:
    done = workshop.thence(
        *("erase", f"run:{run.run}", "--reason", "a test", "--everywhere", "--yes")
    )
    assert done.returncode == 0, done.stderr
    assert [ref for ref in refs(workshop) if run.run in ref] == []
    assert len(refs(workshop)) == 1


def test_a_run_is_removed_where_the_repository_is_gone(workshop: Workshop, run: RunDetail) -> None:
    (workshop.root / ".git").rename(workshop.root.parent / "elsewhere")
    done = workshop.thence("rm", f"run:{run.run}", "--reason", "a test", "--force")
    assert done.returncode == 0, done.stderr
    (workshop.root.parent / "elsewhere").rename(workshop.root / ".git")
    # Nobody was there to delete it; what is gone already is no obstacle to an undo.
    workshop.git("update-ref", "-d", REFS + run.run)
    done = workshop.thence("rm", "--undo", f"run:{run.run}")
    assert done.returncode == 0, done.stderr
    assert refs(workshop)[REFS + run.run] == seal_of(run).code.snapshot
