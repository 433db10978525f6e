"""What a local store says and leaves when the operating system refuses or misbehaves."""

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from thence.errors import (
    AlreadyExists,
    Denied,
    StorageError,
    ThenceError,
)
from thence.store import publish
from thence.store.local import LocalStore

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


# --- errors of the operating system


ERRORS: list[tuple[int, type[ThenceError], str, bool]] = [
    (errno.ENOSPC, StorageError, "the disk is full", False),
    (errno.EDQUOT, StorageError, "quota", False),
    (errno.EFBIG, StorageError, "cannot create", False),
    (errno.EIO, StorageError, "cannot create 'a/b'", False),
    (errno.ESTALE, StorageError, "cannot create 'a/b'", True),
    (errno.EAGAIN, StorageError, "cannot create 'a/b'", True),
    (errno.EMFILE, StorageError, "cannot create 'a/b'", True),
    (errno.EACCES, Denied, "cannot create 'a/b'", False),
    (errno.EROFS, Denied, "cannot create 'a/b'", False),
]


@pytest.mark.parametrize("expected", ERRORS, ids=lambda expected: errno.errorcode[expected[0]])
@pytest.mark.parametrize("call", ["fsync", "open"])
def test_errors_say_what_happened_and_leave_nothing(
    store: LocalStore,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    expected: tuple[int, type[ThenceError], str, bool],
    call: str,
) -> None:
    number, kind, text, transient = expected
    store.create("a/a", [b"1"])

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(kind, match=text) as caught:
            store.create("a/b", [b"2"])
    assert caught.value.why
    assert caught.value.hint
    assert caught.value.about == "a/b"
    assert isinstance(caught.value.__cause__, OSError)
    assert getattr(caught.value, "transient", False) is transient
    assert keys(store) == ["a/a"]
    assert temporaries(root) == []
    store.create("a/b", [b"2"])


def test_a_write_that_may_have_happened_says_storage_error(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails when the folder is synced: the object is there, but is it for good?"""
    store.create("a/a", [b"1"])
    fsync = os.fsync

    def fail(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        fsync(file)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError):
        store.create("a/b", [b"2"])
    assert store.get("a/b") == b"2"


def test_everything_is_synced_in_the_order_that_must_hold(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content before its name, a folder before anybody is told of what is in it."""
    steps: list[str] = []
    fsync, link = os.fsync, os.link

    def path_of(file: int) -> str:
        path = os.readlink(f"/proc/self/fd/{file}").removeprefix(str(root))
        return "file" if path.startswith("/tmp/") else path or "/"

    def traced_fsync(file: int) -> None:
        steps.append(f"sync {path_of(file)}")
        fsync(file)

    def traced_link(*args: Any, **kwargs: Any) -> None:
        steps.append("link")
        link(*args, **kwargs)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "link", traced_link)
    store.create("a/b/c", [b"1"])
    assert steps == ["sync /", "sync file", "sync /", "sync /a", "link", "sync /a/b"]
    steps.clear()
    store.create("a/b/d", [b"2"])
    assert steps == ["sync file", "link", "sync /a/b"]
    steps.clear()
    with pytest.raises(AlreadyExists):
        store.create("a/b/d", [b"3"])
    assert steps == []


# --- file systems and networks with quirks


def test_a_link_whose_answer_was_lost_is_recognised(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS sends a link again when no answer came, and then reports that the name is taken."""
    link = os.link

    def twice(*args: Any, **kwargs: Any) -> None:
        link(*args, **kwargs)
        link(*args, **kwargs)

    monkeypatch.setattr(os, "link", twice)
    store.create("a/b", [b"1"])
    assert store.get("a/b") == b"1"
    with pytest.raises(AlreadyExists):
        store.create("a/b", [b"2"])


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_neither_links_nor_careful_renames_is_refused(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", fail)
    monkeypatch.setattr(publish, "_renameat2", lambda: None)
    with pytest.raises(StorageError, match="this file system cannot hold a store") as caught:
        store.create("a/b", [b"1"])
    assert not caught.value.transient
    assert keys(store) == []
    assert temporaries(root) == []


def test_a_folder_that_vanishes_again_and_again_is_a_transient_error(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(os, "link", gone)
    with pytest.raises(StorageError) as caught:
        store.create("a/b", [b"1"])
    assert caught.value.transient


def test_a_folder_that_vanishes_is_made_again(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delete removes the empty folder between its making and the link."""
    link = os.link
    left = [3]

    def late(*args: Any, **kwargs: Any) -> None:
        if left[0]:
            left[0] -= 1
            os.rmdir(root / "a" / "b")
            os.rmdir(root / "a")
        link(*args, **kwargs)

    monkeypatch.setattr(os, "link", late)
    store.create("a/b/c", [b"1"])
    assert left == [0]
    assert store.get("a/b/c") == b"1"


def test_without_links_the_file_itself_is_moved(
    store: LocalStore, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", fail)
    source = tmp_path / "source"
    source.write_bytes(b"1")
    number = source.stat().st_ino
    store.create_from_file("a", source)
    assert (root / "a").stat().st_ino == number
    assert not source.exists()


def test_without_careful_renames_the_file_is_linked_and_loses_its_old_name(
    store: LocalStore, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "_renameat2", lambda: None)
    source = tmp_path / "source"
    source.write_bytes(b"1")
    number = source.stat().st_ino
    store.create_from_file("a", source)
    assert (root / "a").stat().st_ino == number
    assert (root / "a").stat().st_nlink == 1
    assert not source.exists()


def test_a_moved_file_never_has_two_names(
    store: LocalStore, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the two steps, a writer that starts again would write into the object."""

    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", killed)
    source = tmp_path / "source"
    source.write_bytes(b"1")
    with pytest.raises(KeyboardInterrupt):
        store.create_from_file("a", source)
    source.write_bytes(b"again")
    assert store.get("a") == b"1"


# --- rights


@contextmanager
def without_root() -> Iterator[None]:
    """Give up the rights of root, who may write everywhere."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_without_rights_it_is_denied() -> None:
    with without_root(), tempfile.TemporaryDirectory(dir="/tmp") as folder:
        root = Path(folder)
        store = LocalStore(root)
        store.create("a/b", [b"1"])
        store.create("c/d", [b"1"])
        source = root / "source"
        source.write_bytes(b"2")
        (root / "a").chmod(0o500)
        (root / "c").chmod(0o000)
        calls: list[Callable[[], object]] = [
            lambda: store.create("a/c", [b"2"]),
            lambda: store.create("a/c/d", [b"2"]),
            lambda: store.create_from_file("a/c", source),
            lambda: store.replace("a/b", [b"2"]),
            lambda: store.delete("a/b"),
            lambda: store.get("c/d"),
            lambda: store.head("c/d"),
            lambda: list(store.list()),
        ]
        for call in calls:
            with pytest.raises(Denied):
                call()
        assert keys(store, "a/") == ["a/b"]
        assert store.get("a/b") == b"1"
        assert source.read_bytes() == b"2"
        assert temporaries(root) == []
        (root / "tmp").chmod(0o500)
        with pytest.raises(Denied):
            store.create("b", [b"2"])
        for name in ("a", "c", "tmp"):
            (root / name).chmod(0o700)
