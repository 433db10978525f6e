"""How people name stores, and the places where no project may be."""

import shutil
from pathlib import Path

import pytest

from thence.errors import AlreadyExists, InvalidInput, NotFound
from thence.execution.places import store_at
from thence.project import Project


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    project = Project.init(folder)
    (folder / "data.csv").write_text("a\n1\n")
    project.save_paths([folder / "data.csv"])
    return folder


def test_the_folder_of_a_project_stands_for_its_store(home: Path) -> None:
    inside = home / ".thence" / "store"
    assert store_at(str(home)).url == store_at(str(inside)).url == inside.as_uri()


def test_a_clone_is_no_home(home: Path, tmp_path: Path) -> None:
    Project.clone(str(home), tmp_path / "clone")
    for place in (tmp_path / "clone", tmp_path / "clone" / ".thence" / "store"):
        with pytest.raises(InvalidInput, match="is the store of a clone") as caught:
            Project.clone(str(place), tmp_path / "second")
        assert home.as_uri() in caught.value.hint


@pytest.mark.parametrize("inside", ["refs", "packs/ab", "x/../refs", "index/deep/er"])
def test_no_project_begins_among_what_another_keeps(tmp_path: Path, inside: str) -> None:
    Project.init(tmp_path / "one", store=str(tmp_path / "store"))
    for form in ("{}", "file://{}"):
        url = form.format(f"{tmp_path}/store/{inside}")
        with pytest.raises(InvalidInput, match="inside of another project"):
            Project.init(tmp_path / "two", store=url)
    assert not (tmp_path / "two" / ".thence").exists()


def test_the_same_words_elsewhere_are_names_like_all_others(tmp_path: Path) -> None:
    Project.init(tmp_path / "one", store=str(tmp_path / "refs" / "packs"))
    Project.init(tmp_path / "two", store=str(tmp_path / "refs" / "packs" / "team"))


def test_a_clone_is_not_put_into_the_store(tmp_path: Path) -> None:
    Project.init(tmp_path / "one", store=str(tmp_path / "store"))
    for folder in (tmp_path / "store", tmp_path / "store" / "clone"):
        with pytest.raises(InvalidInput, match="cannot clone"):
            Project.clone(str(tmp_path / "store"), folder)
    Project.clone(str(tmp_path / "store"), tmp_path / "store2")


def test_where_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        store_at(str(tmp_path / "nowhere"))
    with pytest.raises(InvalidInput, match="two slashes"):
        store_at("s3:bucket/team")
    Project.init(tmp_path)
    with pytest.raises(AlreadyExists):
        Project.clone(str(tmp_path), tmp_path)


def test_a_clone_that_lost_its_home_file_is_still_a_clone(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    Project.clone(str(home), folder)
    (folder / ".thence" / "home.json").unlink()
    (folder / "data.csv").write_text("a\n2\n")
    (saved,) = Project.open(folder).save_paths([folder / "data.csv"])
    assert saved.version.label == "local.1"
    shutil.copytree(folder / ".thence" / "store", tmp_path / "copy")
    with pytest.raises(InvalidInput, match="store of a clone"):
        Project.init(tmp_path / "other", store=str(tmp_path / "copy"))


def test_a_home_that_moved_is_a_clone_for_good(home: Path, tmp_path: Path) -> None:
    Project.open(home).move_home(str(tmp_path / "moved"))
    (home / ".thence" / "home.json").unlink()
    (home / "data.csv").write_text("a\n3\n")
    project = Project.open(home)
    (saved,) = project.save_paths([home / "data.csv"])
    assert saved.version.label == "local.1"
    assert [one.ref for one in project.push().versions] == ["data.csv@v2"]
