"""Every store, and every store around a store, keeps every promise of `Store`."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from thence.store.base import Store
from thence.store.local import LocalStore
from thence.store.memory import MemoryStore
from thence.store.wrap import Retry, Trace
from thence.testing.faulty import READS, Fault, FaultyStore, Rule
from thence.testing.store import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


class TestLocalStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return LocalStore(tmp_path / "store", create=True)


class TestLocalStoreInAnOddFolder(StoreContract):
    """A name with spaces, `%`, `#` and a byte that is not UTF-8."""

    examples = 5
    many = 200

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return LocalStore(os.path.join(os.fsencode(tmp_path), b"o d%d#\xff?"), create=True)


class TestLocalStoreWithoutHardLinks(StoreContract):
    """As on FAT or some network disks: `link` says no, `renameat2` does the work."""

    examples = 5
    many = 200

    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
        def no_link(*_: object, **__: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", no_link)
        return LocalStore(tmp_path / "store", create=True)


class TestLocalStoreOnAnotherDisk(StoreContract):
    """Files come from another file system than the one the store is on."""

    examples = 5
    many = 200

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        import tempfile

        shm = Path("/dev/shm")
        if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("there is no second file system at /dev/shm")
        with tempfile.TemporaryDirectory(dir=shm) as folder:
            yield LocalStore(folder)


class TestTrace(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return Trace(MemoryStore())


class TestRetry(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return Retry(MemoryStore())


class TestRetryOverFaults(StoreContract):
    """A tenth of all calls fails; whoever repeats them does not notice.

    Answers of `create` are not lost here: then the winner is told `AlreadyExists`, which no store
    can hide (tests/fault/test_store_faults.py).
    """

    many = 300

    @pytest.fixture
    def store(self) -> Store:
        repeatable = READS | {"replace", "delete"}
        faulty = FaultyStore(
            MemoryStore(),
            Rule(fault=Fault.FAIL_BEFORE, chance=0.1),
            Rule(fault=Fault.LOSE_RESPONSE, operations=repeatable, chance=0.1),
            Rule(fault=Fault.REPEAT, operations=frozenset({"replace", "delete"}), chance=0.1),
            Rule(fault=Fault.DELAY, chance=0.02, delay_s=0.001),
            seed=11,
        )
        return Retry(faulty, sleep=lambda _: None)
