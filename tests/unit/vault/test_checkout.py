"""Moving a folder from one version to another: nothing unsaved is lost, nothing old stays."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from thence.errors import Conflict, NotFound
from thence.model.ids import Digest
from thence.store.memory import MemoryStore
from thence.store.wrap import Trace
from thence.vault.checkout import CheckedOut, check_out
from thence.vault.tree import TreeEntry
from thence.vault.vault import Vault

NewVault = Callable[..., Vault]
Spec = dict[str, str]


class Shelf:
    """Versions of a folder, given as texts by path; `-> target` is a link."""

    def __init__(self, vault: Vault, folder: Path) -> None:
        self.vault = vault
        self.folder = folder
        self.now: list[TreeEntry] = []

    def keep(self, files: Spec) -> list[TreeEntry]:
        entries = []
        with self.vault.writer() as writer:
            for path, text in sorted(files.items()):
                link = text.startswith("-> ")
                data = text.removeprefix("-> ").encode()
                entries.append(TreeEntry(path, len(data), writer.put_bytes(data).digest, link=link))
        return entries

    def get(self, files: Spec, *, force: bool = False) -> CheckedOut:
        entries = self.keep(files)
        done = check_out(entries, self.vault.content, self.folder, before=self.now, force=force)
        self.now = entries
        return done

    def there(self) -> Spec:
        found = {}
        for path in self.folder.rglob("*"):
            key = path.relative_to(self.folder).as_posix()
            if path.is_symlink():
                found[key] = f"-> {os.readlink(path)}"
            elif path.is_file():
                found[key] = path.read_text()
            elif not any(path.iterdir()):
                found[f"{key}/"] = ""
        return found


@pytest.fixture
def shelf(vault: Vault, tmp_path: Path) -> Shelf:
    return Shelf(vault, tmp_path / "out")


FILE = {"a": "file", "z": "same"}
FOLDER = {"a/b/c": "deep", "a/d": "flat", "z": "same"}
LINK = {"a": "-> z", "z": "same"}
BROKEN = {"a": "-> nowhere", "z": "same"}
LINK_TO_FOLDER = {"a": "-> other", "other/d": "flat", "other/b/c": "deep", "z": "same"}
GONE = {"z": "same"}
STATES = [FILE, FOLDER, LINK, BROKEN, LINK_TO_FOLDER, GONE]


@pytest.mark.parametrize("after", STATES)
@pytest.mark.parametrize("before", STATES)
def test_a_folder_moves_between_any_two_versions(shelf: Shelf, before: Spec, after: Spec) -> None:
    shelf.get(before)
    done = shelf.get(after)
    assert shelf.there() == after
    assert set(done.removed) == before.keys() - after.keys()


def test_empty_folders_in_the_way_of_a_file_go(shelf: Shelf) -> None:
    shelf.get(FOLDER)
    (shelf.folder / "a" / "empty" / "too").mkdir(parents=True)
    shelf.get(FILE)
    assert shelf.there() == FILE


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", ["a/new", "a/d"])
def test_a_folder_with_unsaved_files_stays_as_it_is(shelf: Shelf, name: str, force: bool) -> None:
    shelf.get(FOLDER)
    (shelf.folder / name).write_text("unsaved")
    was = shelf.there()
    with pytest.raises(Conflict) as caught:
        shelf.get(FILE, force=force)
    assert "is a folder where a file should be" in caught.value.what
    assert caught.value.about == str(shelf.folder / name)
    assert shelf.there() == was


@pytest.mark.parametrize("force", [False, True])
def test_an_unsaved_file_where_a_folder_should_be_stays(shelf: Shelf, force: bool) -> None:
    shelf.get(FILE)
    (shelf.folder / "a").write_text("unsaved")
    was = shelf.there()
    with pytest.raises(Conflict, match="a file where a folder should be"):
        shelf.get(FOLDER, force=force)
    assert shelf.there() == was


def test_no_file_is_written_or_removed_through_a_link(shelf: Shelf, tmp_path: Path) -> None:
    shelf.get(FOLDER)
    outside = tmp_path / "outside"
    shutil.move(shelf.folder / "a", outside)
    (shelf.folder / "a").symlink_to(outside)
    with pytest.raises(Conflict, match="a link where a folder should be"):
        shelf.get(FOLDER)
    shelf.get(GONE)
    assert (outside / "d").read_text() == "flat"
    assert shelf.there()["a"] == f"-> {outside}"


def test_a_modified_file_that_the_new_version_lacks_stays(shelf: Shelf) -> None:
    shelf.get(FOLDER)
    (shelf.folder / "a/d").write_text("unsaved")
    assert shelf.get(GONE).removed == ("a/b/c",)
    assert shelf.there() == GONE | {"a/d": "unsaved"}


def test_a_pipe_in_the_way_is_a_conflict(shelf: Shelf) -> None:
    shelf.folder.mkdir()
    os.mkfifo(shelf.folder / "z")
    with pytest.raises(Conflict, match="no file"):
        shelf.get(GONE)


def test_unknown_files_are_looked_up_by_one_listing(
    store: MemoryStore, new_vault: NewVault, tmp_path: Path
) -> None:
    traced = Trace(store)
    shelf = Shelf(new_vault(traced), tmp_path / "out")
    files = {f"f{number}": f"{number}" for number in range(20)}
    entries = shelf.keep(files)
    shelf.folder.mkdir()
    for name in files:
        (shelf.folder / name).write_text("unsaved " + name)
    before = len(traced.operations)
    with pytest.raises(Conflict, match="20 files"):
        check_out(entries, shelf.vault.content, shelf.folder)
    assert [done.name for done in traced.operations[before:]].count("list") == 1


def test_files_that_another_process_saved_just_now_are_not_in_danger(
    new_vault: NewVault, tmp_path: Path
) -> None:
    shelf = Shelf(new_vault(), tmp_path / "out")
    shelf.get({"a": "first"})
    (shelf.folder / "a").write_text("second")
    with new_vault().writer() as writer:
        writer.put_bytes(b"second")
    shelf.get({"a": "third"})
    assert shelf.there() == {"a": "third"}


def test_a_content_that_is_missing_is_named(shelf: Shelf) -> None:
    entry = TreeEntry("a", 1, Digest.of(b"x"))
    with pytest.raises(NotFound):
        check_out([entry], shelf.vault.content, shelf.folder)
