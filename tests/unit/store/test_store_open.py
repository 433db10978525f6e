import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from thence.errors import (
    AlreadyExists,
    Denied,
    InvalidInput,
    MissingExtra,
    NotFound,
    StorageError,
)
from thence.store.base import Bytes, ObjectInfo
from thence.store.local import LocalStore
from thence.store.memory import MemoryStore
from thence.store.open import connect, is_remote, open_store, probe, requests_of
from thence.store.wrap import ReadOnly, Retry
from thence.testing.faulty import Fault, FaultyStore, Rule


@pytest.mark.parametrize("form", ["{0}", "file://{0}", "file://localhost{0}", "FILE://{0}"])
def test_paths_and_file_urls_open_a_folder(tmp_path: Path, form: str) -> None:
    root = tmp_path / "store"
    url = form.format(root)
    with pytest.raises(NotFound):
        open_store(url)
    open_store(url, create=True).create("a", [b"1"])
    assert (root / "a").read_bytes() == b"1"
    assert open_store(url).url == root.as_uri()


def test_paths_may_be_path_objects_relative_or_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for path in (tmp_path / "one", "two", "./a:b", "~/three"):
        open_store(path, create=True).create("a", [b"1"])
    assert sorted(path.parent.name for path in tmp_path.glob("**/a")) == [
        "a:b",
        "one",
        "three",
        "two",
    ]
    assert not (tmp_path / "~").exists()


def test_percent_signs_are_decoded_once(tmp_path: Path) -> None:
    root = tmp_path / "50%25 of it"
    store = LocalStore(root, create=True)
    store.create("a", [b"1"])
    assert open_store(store.url).get("a") == b"1"
    assert os.listdir(tmp_path) == ["50%25 of it"]


def test_memory_stores_are_shared_by_name() -> None:
    open_store("memory://test-open").create("a", [b"1"])
    assert open_store("memory://test-open").get("a") == b"1"
    assert open_store("memory://test-open-2").head("a") is None


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("https://example.org/store", "file:///path"),
        ("ftp://example.org", "file:///path"),
        ("file://host/path", "file:///srv/data"),
        ("file://relative", "file:///srv/data"),
        ("file:///a?b", "%3F"),
        ("file:///a#b", "%23"),
        ("memory://", "memory://scratch"),
        ("memory://a/b", "memory://scratch"),
        ("", ""),
    ],
)
def test_other_urls_are_refused_with_what_to_write(url: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        open_store(url, create=True)
    assert hint in caught.value.hint
    assert caught.value.why


def test_kinds_that_come_later_are_told_from_nonsense() -> None:
    with pytest.raises(InvalidInput, match="come in a later version"):
        open_store("https://host/project")
    with pytest.raises(InvalidInput, match="no kind of store called ftp://"):
        open_store("ftp://host")


def test_errors_do_not_repeat_what_may_be_a_password() -> None:
    with pytest.raises(InvalidInput) as caught:
        open_store("https://me:hunter2@host/project")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("s3://bucket/x", True),
        ("GS://bucket", True),
        ("az://container", True),
        ("file:///srv", False),
        ("memory://x", False),
        ("some/folder", False),
    ],
)
def test_what_is_remote(url: str, remote: bool) -> None:
    assert is_remote(url) is remote


def test_stores_on_this_machine_are_connected_to_as_they_are(tmp_path: Path) -> None:
    store = connect(tmp_path / "store", create=True)
    assert isinstance(store, LocalStore)
    assert requests_of(store) == {}
    assert not is_remote(store)


def test_buckets_are_connected_to_with_retries_and_counters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    store = connect("s3://bucket/x?endpoint=http://127.0.0.1:1")
    assert isinstance(store, Retry)
    assert is_remote(store)
    with pytest.raises(StorageError, match="cannot read 'a'"):
        store.get("a")
    assert requests_of(store)["get"].calls == 1
    assert requests_of(store)["get"].errors == 1


def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(MissingExtra) as caught:
        open_store("s3://bucket")
    assert caught.value.hint == "pip install 'thence[s3]'"


# --- probe


class Overwrites(MemoryStore):
    """As a server that ignores `If-None-Match`."""

    def create(self, key: str, parts: Sequence[Bytes]) -> None:
        self.replace(key, parts)


class ChecksThenWrites(MemoryStore):
    """As a store that looks, and then writes."""

    def __init__(self) -> None:
        super().__init__()
        self.looked = threading.Barrier(16)

    def create(self, key: str, parts: Sequence[Bytes]) -> None:
        if self.head(key) is not None:
            raise AlreadyExists("taken")
        self.looked.wait(timeout=120)
        self.replace(key, parts)


class SaysTakenButOverwrites(MemoryStore):
    def create(self, key: str, parts: Sequence[Bytes]) -> None:
        try:
            super().create(key, parts)
        except AlreadyExists:
            self.replace(key, parts)
            raise


class Forgets(MemoryStore):
    """As a cache that calls everything written at once."""

    def create(self, key: str, parts: Sequence[Bytes]) -> None:
        super().create(key, [b"something else"])


class LosesTheSecondCheck(MemoryStore):
    """Holds in a race, but not later."""

    def create(self, key: str, parts: Sequence[Bytes]) -> None:
        if bytes(parts[0]) == b"second":
            self.replace(key, parts)
        else:
            super().create(key, parts)


class NeverDeletes(MemoryStore):
    def delete(self, key: str) -> None:
        pass


class ListsBackwards(MemoryStore):
    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        return reversed([*super().list(prefix, after=after)])


class ListsFromTheBeginning(MemoryStore):
    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        return super().list(prefix)


class Refuses(MemoryStore):
    def create(self, key: str, parts: Sequence[Bytes]) -> None:
        raise AlreadyExists("taken")


@pytest.mark.parametrize(
    ("store", "promise"),
    [
        (Overwrites(), "ignores preconditions: 16 of 16 racing writers"),
        (ChecksThenWrites(), "ignores preconditions: 16 of 16 racing writers"),
        (SaysTakenButOverwrites(), "does not hold what its creator wrote|was overwritten"),
        (Forgets(), "does not hold what its creator wrote"),
        (LosesTheSecondCheck(), "was created a second time"),
        (ListsBackwards(), "not listed in the order"),
        (ListsFromTheBeginning(), "not listed in the order"),
        (NeverDeletes(), "still there after it was deleted"),
        (Refuses(), "none of 16 writers could create"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, MemoryStore) else "",
)
def test_a_store_that_breaks_a_promise_is_refused(store: MemoryStore, promise: str) -> None:
    with pytest.raises(StorageError, match="cannot hold a project") as caught:
        probe(store)
    assert not caught.value.transient
    assert re.search(promise, caught.value.why)
    if not isinstance(store, NeverDeletes):
        assert list(store.list()) == []


def test_good_stores_pass_and_are_left_empty(tmp_path: Path) -> None:
    for store in (MemoryStore(), LocalStore(tmp_path)):
        probe(store, token=lambda: "chosen")
        assert list(store.list()) == []


def test_a_store_that_only_loses_answers_is_not_accused() -> None:
    store = MemoryStore()
    rule = Rule(
        fault=Fault.LOSE_RESPONSE, operations=frozenset({"create"}), on=frozenset({1, 2, 3})
    )
    probe(FaultyStore(store, rule))
    probe(Retry(FaultyStore(store, rule), sleep=lambda _: None))
    assert list(store.list()) == []


def test_failures_of_the_environment_come_through() -> None:
    with pytest.raises(Denied):
        probe(ReadOnly(MemoryStore()))
    broken = FaultyStore(MemoryStore(), Rule(fault=Fault.FAIL_BEFORE, transient=False))
    with pytest.raises(StorageError, match=r"create 'tmp-probe/[0-9a-f]+-race' failed"):
        probe(broken)
