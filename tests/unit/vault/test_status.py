"""What became of paths, compared with the versions that they are."""

import os
from pathlib import Path

import pytest

from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.vault.held import HeldContent
from thence.vault.saving import gather
from thence.vault.status import PathStatus, status
from thence.vault.vault import Vault
from thence.vault.worktree import Tracked

VERSION = Digest.of(b"version")


class Working:
    """A folder with files, and what of it is tracked."""

    def __init__(self, vault: Vault, root: Path) -> None:
        self.vault = vault
        self.root = root
        self.tracked: dict[str, Tracked] = {}

    def write(self, name: str, text: str = "") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text or name)
        return path

    def save(self, *names: str, everything: bool = False) -> None:
        paths = [self.root / name for name in names]
        with self.vault.writer() as writer:
            found = gather(
                paths,
                writer,
                self.vault.stats,
                held=HeldContent(self.vault.directory, ()),
                root=None if everything else self.root,
            )
        for path, name in zip(paths, names, strict=True):
            self.tracked[name] = Tracked(
                path=name,
                artifact=ArtifactName("x"),
                version=VERSION,
                tree=found.tree,
                member="" if len(names) == 1 else path.name,
            )

    def look(self) -> list[PathStatus]:
        """Twice: the second time some of it is remembered."""
        first = status(self.vault, self.tracked, self.root)
        assert status(self.vault, self.tracked, self.root) == first
        other = Vault(self.vault.store, self.vault.cache)
        assert status(other, self.tracked, self.root) == first
        return first

    def changes(self) -> dict[str, tuple[tuple[str, str], ...]]:
        return {one.path: one.changes for one in self.look()}


@pytest.fixture
def working(vault: Vault, tmp_path: Path) -> Working:
    (tmp_path / "work").mkdir()
    return Working(vault, tmp_path / "work")


def test_nothing_changed(working: Working) -> None:
    working.write("data/a")
    working.write("data/sub/b")
    (working.root / "data" / "link").symlink_to("a")
    working.write("file")
    working.save("data")
    working.save("file")
    assert [(one.path, one.state) for one in working.look()] == [
        ("data", "unchanged"),
        ("file", "unchanged"),
    ]


def test_changes_are_told_by_path(working: Working) -> None:
    for name in ("data/a", "data/a-b", "data/sub/b", "data/sub/c", "data/sub/d"):
        working.write(name)
    working.save("data")
    working.write("data/a", "other")
    working.write("data/0")
    (working.root / "data" / "sub" / "c").unlink()
    (working.root / "data" / "sub" / "d").chmod(0o755)
    (one,) = working.look()
    assert one.state == "modified"
    assert one.changes == (
        ("0", "added"),
        ("a", "changed"),
        ("sub/c", "removed"),
        ("sub/d", "changed"),
    )
    working.write("data/a")
    (working.root / "data" / "0").unlink()
    working.write("data/sub/c")
    (working.root / "data" / "sub" / "d").chmod(0o644)
    assert working.changes() == {"data": ()}


def test_what_is_gone_is_missing(working: Working) -> None:
    working.write("data/a")
    working.save("data")
    (working.root / "data" / "a").unlink()
    (working.root / "data").rmdir()
    assert [one.state for one in working.look()] == ["missing"]


def test_paths_that_were_saved_together(working: Working) -> None:
    for name in ("a/x", "a/y", "b", "a-b"):
        working.write(name)
    working.save("a", "b", "a-b")
    assert working.changes() == {"a": (), "b": (), "a-b": ()}
    working.write("a/y", "other")
    working.write("b", "other")
    assert working.changes() == {"a": (("y", "changed"),), "b": (("b", "changed"),), "a-b": ()}


def test_a_file_may_have_another_name_than_the_one_that_was_saved(working: Working) -> None:
    working.write("a.csv", "1")
    working.save("a.csv")
    (working.root / "a.csv").rename(working.root / "b.csv")
    working.tracked = {"b.csv": working.tracked["a.csv"]}
    assert working.changes() == {"b.csv": ()}
    working.write("b.csv", "2")
    assert working.changes() == {"b.csv": (("b.csv", "changed"),)}


def test_ignored_files_count_only_where_the_version_has_them(working: Working) -> None:
    for name in ("data/a", "data/x.tmp", "data/cache/y", "data/cache/z"):
        working.write(name)
    working.save("data", everything=True)
    working.write(".thenceignore", "*.tmp\ncache/\n")
    working.write("data/new.tmp")
    working.write("data/cache/new")
    assert working.changes() == {"data": ()}
    working.write("data/cache/y", "other")
    (working.root / "data" / "x.tmp").unlink()
    assert working.changes() == {"data": (("cache/y", "changed"), ("x.tmp", "removed"))}
    working.save("data")
    assert working.changes() == {"data": ()}


def test_names_that_are_not_utf8(working: Working) -> None:
    working.write(os.fsdecode(b"data/caf\xe9"), "1")
    working.save("data")
    assert working.changes() == {"data": ()}
    working.write(os.fsdecode(b"data/caf\xe9"), "2")
    assert working.changes() == {"data": ((os.fsdecode(b"caf\xe9"), "changed"),)}
