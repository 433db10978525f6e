"""`thence get --link`: one copy for many folders."""

from pathlib import Path

import cli_harness
import pytest
from cli_harness import Thence

from thence.project import Project

folder = cli_harness.folder
thence = cli_harness.thence


@pytest.fixture
def saved(folder: Path, thence: Thence) -> Path:
    thence("init")
    (folder / "data").mkdir()
    (folder / "data/a.txt").write_text("some text")
    (folder / "data/b.txt").write_text("more text")
    thence("save", "data")
    return folder


@pytest.mark.parametrize("option", ["--link=hard", "--link"])
def test_folders_share_files_and_are_unchanged(saved: Path, thence: Thence, option: str) -> None:
    # The option comes before the ref: it takes no value but after "=".
    first = thence("get", option, "data", "one", "--json").objects[-1]
    thence("get", "data", "two", option)
    assert first["linked"] in {"hard", "reflink"}
    assert (saved / "two/a.txt").read_text() == "some text"
    if first["linked"] == "hard":
        assert (saved / "one/a.txt").samefile(saved / "two/a.txt")
        assert (saved / "one/a.txt").stat().st_mode & 0o222 == 0
    states = [one["state"] for one in thence("status", "--json").objects if "state" in one]
    assert set(states) == {"unchanged"}


def test_linked_files_are_saved_and_replaced_like_others(saved: Path, thence: Thence) -> None:
    thence("get", "data", "one", "--link=hard")
    thence("get", "data", "two", "--link=hard")
    assert "data@v1" in thence("save", "one", "--as", "data").out
    (saved / "data/a.txt").write_text("other text")
    thence("save", "data")
    thence("get", "data", "one")
    assert (saved / "one/a.txt").read_text() == "other text"
    assert (saved / "two/a.txt").read_text() == "some text"


def test_a_plain_get_says_nothing_of_links(saved: Path, thence: Thence) -> None:
    assert thence("get", "data", "one", "--json").objects[-1]["linked"] is None
    assert "2 files written" in thence("get", "data", "two").out
    assert "2 files as hard links" in thence("get", "data", "three", "--link=hard").out


def test_kinds_and_sizes_that_are_none(
    saved: Path, thence: Thence, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert thence("get", "data", "one", "--link=soft", ok=False).status == 2
    with pytest.raises(ValueError, match="no kind of link"):
        Project.open(saved).get("data", "one", link="soft")
    monkeypatch.setenv("THENCE_LINK_CACHE_SIZE", "much")
    refused = thence("get", "data", "one", "--link", ok=False)
    assert refused.status == 2
    assert "THENCE_LINK_CACHE_SIZE" in refused.err
    assert not (saved / "one").exists()
