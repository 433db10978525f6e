"""Clone, push, pull and outbox as people see them; the home is a folder."""

from pathlib import Path

import cli_harness
import pytest
from cli_harness import Thence

folder = cli_harness.folder
thence = cli_harness.thence


@pytest.fixture
def home(folder: Path, thence: Thence) -> Path:
    """The store of a project with two versions of `data.csv`; the user stands in a clone of it."""
    store = folder / "home"
    (folder / "data.csv").write_text("a\n1\n")
    thence("init", "--store", str(store))
    thence("save", "data.csv")
    (folder / "data.csv").write_text("a\n2\n")
    thence("save", "data.csv")
    return store


def entry(home: Path, number: int) -> Path:
    return home / "refs" / "artifacts" / "data.csv" / "@" / f"{number:010d}"


def test_a_clone_of_a_damaged_home_says_what_is_not_there(home: Path, thence: Thence) -> None:
    entry(home, 2).write_bytes(b"{}")
    done = thence("clone", str(home), "clone", ok=False)
    assert done.status == 3
    assert "refs/artifacts/data.csv/@/0000000002 cannot be read at home" in done.err
    assert thence("--project", "clone", "history", "data.csv", "--json").objects[0]["number"] == 1
    pulled = thence("--project", "clone", "pull", ok=False)
    assert pulled.status == 3
    assert "0000000002" in pulled.err


def test_what_cannot_be_pushed_because_the_home_is_damaged_is_not_passed_over(
    home: Path, folder: Path, thence: Thence
) -> None:
    thence("clone", str(home), "clone")
    third = entry(home, 3)
    third.write_bytes(b"{}")
    (folder / "clone" / "data.csv").write_text("a\n3\n")
    thence("--project", "clone", "save", "clone/data.csv")
    done = thence("--project", "clone", "push", ok=False)
    assert done.status == 3
    assert "0000000003 cannot be read at home" in done.err
    assert [one["ref"] for one in thence("--project", "clone", "outbox", "list", "--json").objects]
    third.unlink()
    assert "data.csv@local.1 is data.csv@v3" in thence("--project", "clone", "push").out


def test_one_entry_without_its_content_does_not_keep_the_rest_away(
    home: Path, folder: Path, thence: Thence
) -> None:
    (folder / "other.csv").write_text("b\n" * 10_000)
    thence("save", "other.csv")
    packs = sorted((home / "packs").rglob("*"), key=lambda path: path.stat().st_mtime)
    [path for path in packs if path.is_file()][-1].unlink()
    done = thence("clone", str(home), "clone", ok=False)
    assert done.status == 3
    assert "refs/artifacts/other.csv/@/0000000001" in done.err
    assert [one["name"] for one in thence("--project", "clone", "ls", "--json").objects] == [
        "data.csv"
    ]


def test_a_run_waits_in_one_line(home: Path, thence: Thence) -> None:
    thence("clone", str(home), "clone")
    thence("--project", "clone", "run", "--", "true")
    lines = thence("--project", "clone", "outbox", "list").out.splitlines()
    assert len(lines) == 2
    assert "true, finished" in lines[1]


def test_no_project_is_made_over_what_is_left_of_another(home: Path, thence: Thence) -> None:
    (home / "project.json").unlink()
    done = thence("init", "elsewhere", "--store", str(home), ok=False)
    assert done.status == 2
    assert "holds things of a project, but no project.json" in done.err
