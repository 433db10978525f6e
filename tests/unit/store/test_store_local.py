import os
import shutil
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from thence.errors import (
    AlreadyExists,
    Denied,
    InvalidInput,
    NotFound,
    StorageError,
)
from thence.store.local import LocalStore
from thence.store.open import open_store

DAY_S = 24 * 3600


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(root, create=True)


def keys(store: LocalStore, prefix: str = "", after: str = "") -> list[str]:
    return [info.key for info in store.list(prefix, after=after)]


def temporaries(root: Path) -> list[str]:
    return os.listdir(root / "tmp")


# --- the folder itself


def test_a_folder_that_does_not_exist_is_not_found_and_not_made(root: Path) -> None:
    with pytest.raises(NotFound, match="there is no store file://"):
        LocalStore(root)
    assert not root.exists()


def test_create_makes_all_folders_and_takes_one_that_is_there(tmp_path: Path) -> None:
    root = tmp_path / "a" / "b" / "c"
    LocalStore(root, create=True).create("key", [b"1"])
    assert LocalStore(root, create=True).get("key") == b"1"
    assert (root / "key").read_bytes() == b"1"


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for create in (False, True):
        with pytest.raises(InvalidInput):
            LocalStore(tmp_path / "file", create=create)
    with pytest.raises((InvalidInput, StorageError)):
        LocalStore(tmp_path / "file" / "below", create=True)


def test_opening_and_reading_writes_nothing(root: Path) -> None:
    root.mkdir()
    store = LocalStore(root)
    assert keys(store) == []
    assert store.head("a") is None
    store.delete("a/b")
    assert os.listdir(root) == []


def test_a_relative_root_is_fixed_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = LocalStore("store", create=True)
    monkeypatch.chdir("/")
    store.create("a", [b"1"])
    assert (tmp_path / "store" / "a").read_bytes() == b"1"


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a b%20#?", "\u00e4\U0001f40d".encode(), b"-rf"])
def test_a_root_of_any_name(tmp_path: Path, name: bytes) -> None:
    store = LocalStore(os.path.join(os.fsencode(tmp_path), name), create=True)
    store.create("a/b", [b"1"])
    (tmp_path / "source").write_bytes(b"2")
    store.create_from_file("a/c", tmp_path / "source")
    store.url.encode("ascii")
    again = open_store(store.url)
    assert again.get("a/b") == b"1"
    assert [info.key for info in again.list()] == ["a/b", "a/c"]
    assert os.listdir(os.fsencode(tmp_path)) == [name]


def test_the_root_may_be_a_symbolic_link(tmp_path: Path, store: LocalStore) -> None:
    (tmp_path / "link").symlink_to(store.root)
    LocalStore(tmp_path / "link").create("a", [b"1"])
    assert store.get("a") == b"1"


def test_a_store_that_vanished_is_not_taken_for_an_empty_one(store: LocalStore, root: Path) -> None:
    store.create("refs/a", [b"1"])
    shutil.rmtree(root)
    calls: list[Callable[[], object]] = [
        lambda: list(store.list()),
        lambda: list(store.list("refs/")),
        lambda: store.head("refs/a"),
        lambda: store.get("refs/a"),
        lambda: store.create("refs/a", [b"2"]),
        lambda: store.delete("refs/a"),
    ]
    for call in calls:
        with pytest.raises(StorageError, match="is gone"):
            call()
    assert not root.exists()


# --- what is on the disk


def test_objects_are_plain_read_only_files_and_nothing_else_is_left(
    store: LocalStore, root: Path, tmp_path: Path
) -> None:
    store.create("a/b", [b"1"])
    store.replace("a/c", [b"2"])
    (tmp_path / "source").write_bytes(b"3")
    (tmp_path / "source").chmod(0o600)
    store.create_from_file("a/d", tmp_path / "source")
    modes = {stat.S_IMODE((root / key).stat().st_mode) for key in keys(store)}
    assert len(modes) == 1
    assert modes.pop() & 0o222 == 0
    assert sorted(os.listdir(root)) == ["a", "tmp"]
    assert temporaries(root) == []


def test_a_file_is_moved_not_copied(store: LocalStore, root: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"1" * 1000)
    number = source.stat().st_ino
    store.create_from_file("a", source)
    assert not source.exists()
    assert (root / "a").stat().st_ino == number
    assert (root / "a").stat().st_nlink == 1


def test_a_file_with_a_second_name_is_copied(store: LocalStore, root: Path, tmp_path: Path) -> None:
    source, other = tmp_path / "source", tmp_path / "other"
    source.write_bytes(b"1")
    os.link(source, other)
    store.create_from_file("a", source)
    other.write_bytes(b"changed")
    assert store.get("a") == b"1"
    assert source.exists()


def test_a_symbolic_link_is_read_and_left(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"1")
    (tmp_path / "link").symlink_to("source")
    store.create_from_file("a", tmp_path / "link")
    assert store.get("a") == b"1"
    assert (tmp_path / "link").read_bytes() == b"1"


def test_only_a_file_can_be_created_from(store: LocalStore, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(InvalidInput, match="not a file"):
            store.create_from_file("a", path)
    assert keys(store) == []


def test_delete_removes_emptied_folders_but_not_the_root(store: LocalStore, root: Path) -> None:
    store.create("a/b/c", [b"1"])
    store.create("a/d", [b"2"])
    store.delete("a/b/c")
    assert os.listdir(root / "a") == ["d"]
    store.delete("a/d")
    assert os.listdir(root) == ["tmp"]
    store.delete("x")
    assert root.is_dir()


def test_an_empty_folder_is_in_nobodys_way(store: LocalStore, root: Path) -> None:
    (root / "a").mkdir()
    (root / "b").mkdir()
    assert store.head("a") is None
    store.create("a", [b"1"])
    store.replace("b", [b"2"])
    assert (store.get("a"), store.get("b")) == (b"1", b"2")


@pytest.mark.parametrize("key", ["tmp", "tmp/a", "tmp/a/b"])
def test_keys_of_unfinished_files_are_reserved(store: LocalStore, root: Path, key: str) -> None:
    (root / "tmp").mkdir()
    (root / "tmp" / "a").write_bytes(b"half")
    calls: list[Callable[[], object]] = [
        lambda: store.get(key),
        lambda: store.head(key),
        lambda: store.create(key, [b""]),
        lambda: store.replace(key, [b""]),
        lambda: store.delete(key),
    ]
    for call in calls:
        with pytest.raises(InvalidInput):
            call()
    store.create("tmp-a", [b""])
    assert keys(store) == ["tmp-a"]
    assert keys(store, "tmp/") == keys(store, "tmp/a") == []


def test_stale_temporary_files_are_swept_by_the_first_write(root: Path) -> None:
    (root / "tmp").mkdir(parents=True)
    for name, age_s in (("old", DAY_S + 60), ("young", DAY_S - 60)):
        path = root / "tmp" / name
        path.write_bytes(b"half")
        os.utime(path, (path.stat().st_mtime - age_s,) * 2)
    store = LocalStore(root)
    assert keys(store) == []
    assert sorted(temporaries(root)) == ["old", "young"]
    store.create("a", [b"1"])
    assert temporaries(root) == ["young"]


# --- listing


def test_listing_skips_what_has_no_key(store: LocalStore, root: Path) -> None:
    store.create("a/b", [b"1"])
    (root / "not a key").write_bytes(b"")
    (root / "a" / "\u00e4").write_bytes(b"")
    (root / "no key").mkdir()
    (root / "no key" / "x").write_bytes(b"")
    os.mkfifo(root / "pipe")
    assert keys(store) == ["a/b"]
    with pytest.raises(NotFound):
        store.get("pipe")
    assert store.head("pipe") is None


def test_listing_opens_only_folders_that_can_matter(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for log in range(10):
        for number in range(1, 4):
            store.create(f"refs/{log}/@/{number:010d}", [b""])
    opened = []
    scandir = os.scandir

    def counted(folder: Any) -> Any:
        opened.append(os.readlink(f"/proc/self/fd/{folder}").removeprefix(str(store.root)))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", counted)
    assert keys(store, "refs/5/@/") == [f"refs/5/@/{n:010d}" for n in (1, 2, 3)]
    assert opened == ["/refs/5/@"]
    opened.clear()
    assert keys(store, "refs/", after="refs/8/@/0000000002")[0] == "refs/8/@/0000000003"
    assert opened == ["/refs", "/refs/8", "/refs/8/@", "/refs/9", "/refs/9/@"]
    opened.clear()
    next(store.list("refs/"))
    assert opened == ["/refs", "/refs/0", "/refs/0/@"]


def test_listing_closes_its_folders(store: LocalStore) -> None:
    for n in range(20):
        store.create(f"a/b{n}/c/d", [b""])
    before = len(os.listdir("/proc/self/fd"))
    for taken in (0, 1, 5, 20):
        listing = store.list("a/")
        for _ in range(taken):
            next(listing)
        del listing
    for key in ("a/b1", "a/b1/c/d/e", "nothing/there"):
        assert store.head(key) is None
    with pytest.raises(AlreadyExists):
        store.create("a/b1/c/d", [b""])
    assert len(os.listdir("/proc/self/fd")) == before


# --- symbolic links


def test_no_key_leads_out_through_a_link(store: LocalStore, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    store.create("a/b", [b"1"])
    (root / "a" / "folder").symlink_to(outside)
    (root / "a" / "file").symlink_to(outside / "secret")
    for key in ("a/folder/secret", "a/file"):
        with pytest.raises(Denied, match="symbolic link"):
            store.get(key)
        with pytest.raises(Denied, match="symbolic link"):
            store.head(key)
    calls: list[Callable[[], object]] = [
        lambda: store.create("a/folder/new", [b"x"]),
        lambda: store.replace("a/folder/secret", [b"x"]),
        lambda: store.delete("a/folder/secret"),
        lambda: list(store.list("a/folder/")),
        lambda: list(store.list()),  # to leave out what is behind it could make a collector delete
    ]
    for call in calls:
        with pytest.raises(Denied, match="symbolic link"):
            call()
    store.replace("a/file", [b"mine"])
    assert store.get("a/file") == b"mine"
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"secret": b"secret"}


# --- logs


def test_a_log_written_by_many_threads_has_no_gap(store: LocalStore) -> None:
    """The use that all of thence is built on: the next number belongs to one writer."""
    per_thread = 25
    lock = threading.Lock()
    mine: list[tuple[int, bytes]] = []

    def work(writer: int) -> None:
        number = 1
        for n in range(per_thread):
            data = f"{writer}-{n}".encode()
            while True:
                try:
                    store.create(f"log/{number:010d}", [data])
                except AlreadyExists:
                    number += 1
                else:
                    break
            with lock:
                mine.append((number, data))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert keys(store, "log/") == [f"log/{n:010d}" for n in range(1, 8 * per_thread + 1)]
    assert all(store.get(f"log/{number:010d}") == data for number, data in mine)
