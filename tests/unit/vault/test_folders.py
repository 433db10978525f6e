"""Folders as they are on disk, in the order of a tree."""

import os
import socket
import tempfile
import time
from pathlib import Path

import pytest

from thence.errors import InvalidInput, NotFound, StorageError
from thence.model.ids import Digest
from thence.vault import tree
from thence.vault.checkout import digest_of_file
from thence.vault.folders import Walk, look
from thence.vault.saving import hash_changed, runs
from thence.vault.statcache import _RACY_NS, StatCache
from thence.vault.tree import TreeEntry


@pytest.fixture
def stats(tmp_path: Path) -> StatCache:
    return StatCache(tmp_path / "stat")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def entries(walk: Walk, stats: StatCache) -> list[TreeEntry]:
    hash_changed(walk, stats, digest_of_file)
    rows = "".join(run.rows() for run in runs(walk)).encode()
    found = list(tree.decode(rows))
    assert tree.encode(found) == rows
    assert [entry for run in runs(walk) for entry in run.entries()] == found
    return found


def test_rows_come_in_the_order_of_a_tree(data: Path, stats: StatCache) -> None:
    """Which `decode` insists on: by the bytes of the whole paths, over folders."""
    names = ["a", "a-b/x", "a.txt", "a0", "b/c", "b/c-d", "b/d/e", "b!", "b0/x", "Ä/x", "Ä-", "z"]
    names += ['quote"', "new\nline", "back\\slash", 'b/d/q"uote', "%41"]
    names += [os.fsdecode(b"caf\xe9"), os.fsdecode(b"caf\xe9/x").replace("caf", "cafe")]
    names += ["\uffff", "\U00010000", "deep/" * 20 + "x"]
    for name in names:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(name, errors="surrogateescape")
    found = entries(look([data], stats), stats)
    assert {entry.path for entry in found} == set(names)
    assert all(entry.digest == Digest.of(os.fsencode(entry.path)) for entry in found)
    assert all(entry.size == len(os.fsencode(entry.path)) for entry in found)


def test_links_and_programs_are_told(data: Path, stats: StatCache) -> None:
    (data / "program").write_bytes(b"1")
    (data / "program").chmod(0o755)
    (data / "to-file").symlink_to("program")
    (data / "to-folder").symlink_to("..")
    (data / "broken").symlink_to("nowhere")
    (data / "loop").symlink_to("loop")
    found = {entry.path: entry for entry in entries(look([data], stats), stats)}
    assert found["program"].executable
    assert {path for path, entry in found.items() if entry.link} == found.keys() - {"program"}
    assert found["broken"].digest == Digest.of(b"nowhere")
    assert not any(entry.executable for entry in found.values() if entry.link)


def test_what_has_no_content_is_told(stats: StatCache) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,  # the path of a socket must be short
        socket.socket(socket.AF_UNIX) as server,
    ):
        server.bind(f"{folder}/socket")
        os.mkfifo(f"{folder}/pipe")
        walk = look([Path(folder)], stats)
        assert sorted(walk.special) == ["pipe", "socket"]
        assert entries(walk, stats) == []
        walk = look([Path(folder, "socket")], stats)
        assert (walk.roots, walk.special) == ((), ("socket",))
    assert look([Path("/dev/null")], stats).special == ("null",)


def test_a_single_file_and_links_that_are_named(data: Path, stats: StatCache) -> None:
    (data / "folder").mkdir()
    (data / "folder" / "x").write_bytes(b"12345")
    (data / "file-link").symlink_to("folder/x")
    (data / "folder-link").symlink_to("folder")
    digest = Digest.of(b"12345")
    for name in ("folder/x", "file-link"):
        walk = look([data / name], stats)
        assert entries(walk, stats) == [TreeEntry(name.rpartition("/")[2], 5, digest)]
    assert entries(look([data / "folder-link"], stats), stats) == [TreeEntry("x", 5, digest)]


def test_several_paths_lie_side_by_side(data: Path, stats: StatCache) -> None:
    for name in ("a/x", "a-b", "z/a/y", "z/a.b"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(b"1")
    walk = look([data / "z", data / "a-b", data / "a"], stats)
    assert [one.path for one in entries(walk, stats)] == ["a-b", "a/x", "z/a.b", "z/a/y"]
    with pytest.raises(InvalidInput, match="two of the paths"):
        look([data / "a", data / "z" / "a"], stats)


def test_what_is_never_saved_is_not_entered(data: Path, stats: StatCache) -> None:
    for name in (".git/x", ".GIT/x", "a/.thence/x", "a/.Git", "kept/.github/x", ".gitignore"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(b"1")
    found = entries(look([data], stats), stats)
    assert [one.path for one in found] == [".gitignore", "kept/.github/x"]


def test_empty_folders_are_counted(data: Path, stats: StatCache) -> None:
    (data / "a" / "b").mkdir(parents=True)
    (data / "c").mkdir()
    (data / "x").write_bytes(b"1")
    walk = look([data], stats)
    assert walk.empty_folders == 2
    assert [one.path for one in entries(walk, stats)] == ["x"]


def test_paths_that_are_not_there(tmp_path: Path, stats: StatCache) -> None:
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_bytes(b"")
    for name in ("missing", "file/below"):
        with pytest.raises(NotFound):
            look([tmp_path / name], stats)
    with pytest.raises(NotFound, match="nowhere"):
        look([tmp_path / "broken"], stats)
    with pytest.raises(StorageError):
        look([tmp_path / "loop"], stats)


def test_a_deep_folder_is_no_problem(tmp_path: Path, stats: StatCache) -> None:
    """Deeper than Python may recurse."""
    here = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1500):
            Path("d").mkdir()
            os.chdir("d")
        walk = look([tmp_path], stats)
        assert walk.empty_folders == 1
        assert len(list(walk.folders())) == 1501
        assert list(runs(walk)) == []
        for _ in range(1500):
            os.chdir("..")
            Path("d").rmdir()
    finally:
        os.chdir(here)


def test_only_what_changed_is_to_be_read(data: Path, stats: StatCache, tmp_path: Path) -> None:
    for name in ("a/1", "a/2", "a/3", "b/1", "b/2"):
        (data / name).parent.mkdir(exist_ok=True)
        (data / name).write_text(name)
    _wait_until_past(data)
    hash_changed(look([data], stats), stats, digest_of_file)
    stats.save()

    stats = StatCache(tmp_path / "stat")
    walk = look([data], stats)
    assert [list(folder.to_read) for folder in walk.folders()] == [[], [], []]
    assert all(folder.table is not None for folder in walk.folders())
    before = entries(walk, stats)

    (data / "a" / "2").write_text("other")
    (data / "a" / "0").write_text("new")
    (data / "b" / "1").unlink()
    walk = look([data], stats)
    wanted = {folder.prefix: list(folder.to_read) for folder in walk.folders()}
    assert wanted == {"": [], "a/": [0, 2], "b/": []}
    after = {entry.path: entry.digest for entry in entries(walk, stats)}
    assert after == {
        **{entry.path: entry.digest for entry in before if entry.path != "b/1"},
        "a/0": Digest.of(b"new"),
        "a/2": Digest.of(b"other"),
    }


def _wait_until_past(folder: Path) -> None:
    """Until a change would be seen by the times: before that, nothing is remembered."""
    latest = max(path.stat().st_ctime_ns for path in folder.rglob("*"))
    while time.time_ns() < latest + 2 * _RACY_NS:
        time.sleep(0.001)
