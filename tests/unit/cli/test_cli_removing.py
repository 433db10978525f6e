"""`rm` and `erase`, as people see them."""

from pathlib import Path

import cli_harness
import pytest
from cli_harness import Thence

folder = cli_harness.folder
project = cli_harness.project
thence = cli_harness.thence


def lines(text: str) -> list[str]:
    return text.splitlines()


def test_rm_says_what_depends_on_it_and_how_to_undo_it(project: Path, thence: Thence) -> None:
    thence("alias", "data@v1", "gold")
    refused = thence("rm", "data@v1", "--reason", "old", ok=False)
    assert refused.status == 5
    assert lines(refused.err)[:2] == [
        "thence: data@v1 is still needed",
        "  data@gold points at it.",
    ]
    dry = thence("rm", "data@v1", "--dry-run")
    assert lines(dry.out) == ["data@v1  2 files, 8 B", "  aliases that point at it: data@gold"]
    done = thence("rm", "data@v1", "--reason", "held names", "--force")
    assert lines(done.out)[0] == "removed data@v1"
    assert done.err == (
        "the bytes stay until: thence gc. To undo it before: thence rm --undo data@v1\n"
    )
    told = thence("get", "data@gold", ok=False)
    assert told.status == 4
    assert [line.strip() for line in lines(told.err)][:1] == ["thence: data@v1 was removed"]
    assert "ada removed it on " in told.err
    assert "thence rm --undo data@v1" in told.err
    history = thence("history", "data").out
    assert "ada removed it on " in history
    shown = thence("show", "data@v1").out
    assert "by ada: held names" in shown
    assert "thence rm --undo data@v1" in shown
    assert thence("rm", "--undo", "data@v1").out == "data@v1 is there again\n"
    thence("get", "data@gold", "there")


def test_rm_needs_a_reason_and_a_version(project: Path, thence: Thence) -> None:
    for args in (
        ("rm", "data@v1"),
        ("rm", "data", "--reason", "x"),
        ("rm", "--undo", "--all", "a"),
    ):
        assert thence(*args, ok=False).status == 2
    assert thence("rm", "data@v9", "--reason", "x", ok=False).status == 4


def test_rm_all_and_json(project: Path, thence: Thence) -> None:
    found = thence("rm", "data", "--all", "--reason", "over", "--json").objects
    assert [(one["type"], one["of"], one["ref"]) for one in found if one["type"] != "note"] == [
        ("removed", "version", "data@v2"),
        ("removed", "version", "data@v1"),
    ]
    assert "removed" in thence("ls").out


def test_a_reason_is_asked_for_on_a_terminal(
    project: Path, thence: Thence, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["because"])
    monkeypatch.setattr("thence.cli.removing.asks", lambda: True)
    monkeypatch.setattr("click.prompt", lambda *_, **__: next(answers))
    thence("rm", "data@v1")
    assert "because" in thence("history", "data").out


def test_erase_asks_shows_and_tells(project: Path, thence: Thence) -> None:
    refused = thence("erase", "data@v1:day1.csv", "--reason", "names", ok=False)
    assert refused.status == 2
    assert "--yes" in refused.err
    dry = thence("erase", "data@v1:day1.csv", "--dry-run").out
    assert lines(dry) == [
        "data@v1:day1.csv: 1 content, 4 B",
        "  also in, and gone there too with --everywhere: data@v2",
    ]
    shared = thence("erase", "data@v1:day1.csv", "--reason", "names", "--yes", ok=False)
    assert shared.status == 5
    assert "data@v2" in shared.err
    done = thence("erase", "data@v1:day1.csv", "--reason", "names", "--yes", "--everywhere")
    assert done.out == "erased data@v1:day1.csv: 1 content, 4 B\n"
    again = thence("erase", "data@v1:day1.csv", "--reason", "names", "--yes")
    assert again.out == "data@v1:day1.csv: was erased before\n"
    got = thence("get", "data@v2", "copy", ok=False)
    assert got.status == 3
    assert "day1.csv" in got.err
    assert sorted(path.name for path in Path("copy").iterdir()) == ["day2.csv", "day3.csv"]
    one = thence("get", "data@v2:day1.csv", "x.csv", ok=False)
    assert one.status == 4
    assert "ada erased it on " in one.err
    assert "erased" in thence("show", "data@v2").out
    again_saved = thence("save", "data", ok=False)
    assert again_saved.status == 1
    digest = again_saved.err.split("--lift ")[1].split()[0]
    thence("erase", "--lift", digest, "--reason", "a mistake")
    Path("data/new.csv").write_text("9\n")
    thence("save", "data")
    thence("get", "data", "whole")
    assert Path("whole/day1.csv").read_text() == "1,2\n"


def test_nothing_of_an_erased_run_is_left_in_the_folder(project: Path, thence: Thence) -> None:
    marker = b"Mrs Example, 1970"
    Path("make.sh").write_bytes(b"echo '%s'; echo '%s' > made.txt\n" % (marker, marker))
    thence("run", "--", "sh", "make.sh")

    def found() -> list[Path]:
        kept = (path for path in Path(".thence").rglob("*") if path.is_file())
        return [path for path in kept if marker in path.read_bytes()]

    thence("get", "made.txt@v1", "linked.txt", "--link=hard")
    assert found()  # in the cache of links
    Path("make.sh").unlink()
    done = thence("erase", "run:last", "made.txt@v1", "--reason", "names", "--yes", "--everywhere")
    assert "erased run:" in done.out
    assert found() == []
    told = thence("get", "made.txt@v1", ok=False)
    assert "made.txt@v1 was removed" in told.err
    assert "Its content was erased" in told.err
    assert "names" in thence("runs", "list").out
    assert thence("index", "status").out.split()[-1] == "none"


def test_erase_of_nothing(project: Path, thence: Thence) -> None:
    assert thence("erase", ok=False).status == 2
    assert thence("erase", "data", "--dry-run", ok=False).status == 2
    assert thence("erase", "--content", "sha256:" + "0" * 64, "--yes", ok=False).status == 4
    assert thence("erase", "--lift", "sha256:" + "0" * 64, "--reason", "x", ok=False).status == 2
