from pathlib import Path

import pytest

from thence.errors import AlreadyExists
from thence.store.memory import MemoryStore
from thence.store.open import open_store


def test_stores_are_apart_unless_they_share_a_name() -> None:
    first, second = MemoryStore(), MemoryStore()
    first.create("a", [b"1"])
    assert second.head("a") is None
    assert first.url != second.url
    assert open_store(first.url) is first


def test_a_shared_store_lives_as_long_as_the_process() -> None:
    MemoryStore.shared("lives-on").create("a", [b"1"])
    assert MemoryStore.shared("lives-on").get("a") == b"1"


def test_the_clock_gives_the_times() -> None:
    ticks = iter([10.0, 20.0])
    store = MemoryStore(clock=lambda: next(ticks))
    store.create("a", [b"1"])
    store.replace("a", [b"2"])
    info = store.head("a")
    assert info is not None
    assert info.modified_s == 20.0


def test_what_was_given_may_change_afterwards() -> None:
    store = MemoryStore()
    part = bytearray(b"abc")
    store.create("a", [part])
    part[:] = b"xyz"
    assert store.get("a") == b"abc"


def test_an_object_may_be_beside_a_folder_of_its_name_as_in_a_bucket(tmp_path: Path) -> None:
    store = MemoryStore()
    store.create("a", [b"1"])
    store.create("a/b", [b"2"])
    assert [info.key for info in store.list("a")] == ["a", "a/b"]
    with pytest.raises(AlreadyExists):
        store.create("a", [b"3"])
