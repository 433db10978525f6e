"""Merged directories: made, merged, raced for, damaged, and never needed."""

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from thence.errors import StorageError
from thence.store.base import ObjectInfo, Store
from thence.store.memory import MemoryStore
from thence.store.wrap import ReadOnly, Trace
from thence.testing.faulty import Fault, FaultyStore, Rule
from thence.vault import merged as merged_module
from thence.vault.directory import Directory
from thence.vault.pack import BlockKind, Codec, DirectoryEntry, PackBuilder, pack_key
from thence.vault.vault import Vault

NewVault = Callable[..., Vault]
NAMES = itertools.count()


def new_directory(store: Store, cache: Path) -> Directory:
    return Directory(store, cache, new_name=lambda: f"{next(NAMES):08d}", remote=True)


def wanted(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def publish(store: Store, numbers: range) -> list[bytes]:
    """One pack for each number, in the store and nowhere else."""
    packs = []
    for number in numbers:
        builder = PackBuilder(Path("unused"), number.to_bytes(16))
        builder.add_block(b"x")
        entry = DirectoryEntry(wanted(number), 0, number, 1, 0, BlockKind.WHOLE, Codec.RAW)
        builder.add_entry(entry)
        packs.append(builder.publish(store).id)
    return packs


def found(directory: Directory, numbers: range) -> list[int]:
    return [number for number in numbers if wanted(number) in directory]


def keys(store: MemoryStore, prefix: str = "directories/") -> list[str]:
    return [info.key for info in store.list(prefix)]


def merge(store: Store, cache: Path) -> Directory:
    """What a writer does: know all packs, and merge."""
    directory = new_directory(store, cache)
    directory.refresh()
    directory.publish_merged()
    return directory


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge already few packs."""
    monkeypatch.setattr(merged_module, "PACKS", 4)
    monkeypatch.setattr(merged_module, "FAN", 3)
    monkeypatch.setattr(merged_module, "_MOST_PACKS", 12)


def test_nothing_is_merged_before_it_is_worth_it(store: MemoryStore, tmp_path: Path) -> None:
    publish(store, range(64))
    merge(store, tmp_path / "one")
    assert keys(store) == []
    publish(store, range(64, 65))
    merge(store, tmp_path / "two")
    assert [key[:14] for key in keys(store)] == ["directories/1/"]


def test_a_merged_directory_says_what_the_packs_say(store: MemoryStore, tmp_path: Path) -> None:
    publish(store, range(100))
    merge(store, tmp_path / "writer")
    traced = Trace(store)
    reader = new_directory(traced, tmp_path / "reader")
    reader.refresh()
    assert "get_range" not in traced.counters
    plain = new_directory(store, tmp_path / "plain")
    plain.add([])
    for key in keys(store):
        store.delete(key)
    plain.refresh()
    for number in range(100):
        assert reader.find(wanted(number)) == plain.find(wanted(number)) is not None


@pytest.mark.usefixtures("few")
def test_levels_grow_and_what_they_replace_goes(store: MemoryStore, tmp_path: Path) -> None:
    most = 0
    for count in range(0, 150, 5):
        publish(store, range(count, count + 5))
        merge(store, tmp_path / "writer")
        most = max(most, len(keys(store)))
        reader = new_directory(store, tmp_path / f"reader-{count}")
        reader.refresh()
        assert found(reader, range(150)) == list(range(count + 5))
    assert most <= 2 * 4
    assert max(key.split("/")[1] for key in keys(store)) >= "4"
    assert sum(len(d) for d in merged_covers(store, tmp_path)) == 150  # each pack once


def merged_covers(store: MemoryStore, tmp_path: Path) -> list[frozenset[bytes]]:
    directory = new_directory(store, tmp_path / f"look-{next(NAMES)}")
    directory.publish_merged()
    merged = merged_module.Merged(store, tmp_path / "nowhere")
    return [frozenset(segment.packs) for segment in merged.fetch()]


@pytest.mark.usefixtures("few")
def test_many_packs_at_once_are_not_one_huge_object(store: MemoryStore, tmp_path: Path) -> None:
    publish(store, range(100))
    merge(store, tmp_path / "writer")
    covers = merged_covers(store, tmp_path)
    assert sum(map(len, covers)) >= 96
    reader = new_directory(store, tmp_path / "reader")
    reader.refresh()
    assert found(reader, range(100)) == list(range(100))


@pytest.mark.usefixtures("few")
def test_two_clients_merge_at_once(store: MemoryStore, tmp_path: Path) -> None:
    publish(store, range(10))
    together = threading.Barrier(4)
    failed: list[BaseException] = []

    def client(name: str) -> None:
        try:
            for count in range(1, 8):
                publish(
                    store, range(1000 * int(name) + count * 10, 1000 * int(name) + count * 10 + 7)
                )
                together.wait(60)
                merge(store, tmp_path / name)
        except BaseException as error:
            failed.append(error)
            together.abort()
            raise

    clients = [threading.Thread(target=client, args=(str(number),)) for number in range(1, 5)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join(120)
    assert failed == []
    numbers = [
        *range(10),
        *(
            1000 * name + 10 * count + at
            for name in range(1, 5)
            for count in range(1, 8)
            for at in range(7)
        ),
    ]
    reader = new_directory(store, tmp_path / "reader")
    reader.refresh()
    assert all(wanted(number) in reader for number in numbers)
    publish(store, range(10, 15))
    merge(store, tmp_path / "last")  # clears up what was written twice
    covers = merged_covers(store, tmp_path)
    assert not any(one < other for one in covers for other in covers)
    assert len(covers) <= 3 * 6


def test_two_that_merge_the_same_write_the_same(store: MemoryStore, tmp_path: Path) -> None:
    publish(store, range(70))
    copy = MemoryStore()
    for key in keys(store, ""):
        copy.create(key, [store.get(key)])
    merge(store, tmp_path / "one")
    merge(copy, tmp_path / "two")
    assert keys(store) == keys(copy) != []


@pytest.mark.parametrize("damage", ["short", "changed", "empty", "renamed"])
def test_a_damaged_one_is_passed_over(
    store: MemoryStore, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    publish(store, range(70))
    merge(store, tmp_path / "writer")
    (key,) = keys(store)
    data = store.get(key)
    store.delete(key)
    bad = {"short": data[:-1], "changed": data[:-1] + b"\xff", "empty": b"", "renamed": data}[
        damage
    ]
    key = f"directories/1/{'0' * 64}" if damage == "renamed" else key
    store.create(key, [bad])
    store.create("directories/README", [b"no directory"])
    reader = new_directory(store, tmp_path / "reader")
    reader.refresh()
    assert found(reader, range(70)) == list(range(70))
    assert key in caplog.text
    caplog.clear()
    reader.refresh()
    assert caplog.text == ""


def test_packs_that_went_are_forgotten_and_not_learned_again(
    store: MemoryStore, tmp_path: Path
) -> None:
    packs = publish(store, range(70))
    writer = merge(store, tmp_path / "writer")
    reader = new_directory(store, tmp_path / "reader")
    for pack in packs[:3]:
        store.delete(pack_key(pack))
    traced = Trace(store)
    for directory in (writer, reader, new_directory(traced, tmp_path / "reader")):
        directory.refresh()
        assert found(directory, range(70)) == list(range(3, 70))
    again = new_directory(traced, tmp_path / "reader")
    traced.clear()
    again.refresh()
    assert found(again, range(70)) == list(range(3, 70))
    assert sum(counter.calls for counter in traced.counters.values()) == 1
    # A reader that asks only the merged directories finds the old place, and follows.
    cold = new_directory(store, tmp_path / "cold")
    assert cold.look_for(wanted(0)) is not None
    cold.refresh()
    assert cold.look_for(wanted(0)) is None


@pytest.mark.usefixtures("few")
def test_a_reader_whose_object_was_replaced_meanwhile_lists_again(
    store: MemoryStore, tmp_path: Path
) -> None:
    class Replaced(MemoryStore):
        """Somebody merges between the listing of a reader and its first read."""

        armed = False

        def get(self, key: str) -> bytes:
            if Replaced.armed and key.startswith("directories/"):
                Replaced.armed = False
                publish(self, range(100, 105))
                merge(self, tmp_path / "writer")
            return super().get(key)

    replaced = Replaced()
    for count in range(0, 10, 5):
        publish(replaced, range(count, count + 5))
        merge(replaced, tmp_path / "writer")
    before = keys(replaced)
    assert len(before) == 2
    Replaced.armed = True
    traced = Trace(replaced)
    reader = new_directory(traced, tmp_path / "reader")
    assert reader.look_for(wanted(103)) is not None
    assert not set(before) & set(keys(replaced))
    assert "get_range" not in traced.counters  # no pack was asked


@pytest.mark.parametrize("operation", ["create", "delete", "list", "get"])
@pytest.mark.parametrize("fault", [Fault.FAIL_BEFORE, Fault.LOSE_RESPONSE])
@pytest.mark.usefixtures("few")
def test_failures_while_merging_do_not_fail_the_save(
    store: MemoryStore, new_vault: NewVault, operation: str, fault: Fault
) -> None:
    rule = Rule(fault=fault, operations=frozenset({operation}), prefix="directories/", chance=0.5)
    failing = new_vault(FaultyStore(store, rule, seed=3), remote=True)
    saved = []
    for number in range(40):
        with failing.writer() as writer:
            saved.append(writer.put_bytes(b"content %d" % number).digest)
    reader = new_vault(remote=True)
    assert reader.content.missing(saved) == set()
    for number, digest in enumerate(saved):
        assert reader.content.read(digest) == b"content %d" % number


@pytest.mark.usefixtures("few")
def test_who_may_only_read_merges_nothing(store: MemoryStore, tmp_path: Path) -> None:
    publish(store, range(20))
    directory = merge(ReadOnly(store), tmp_path / "reader")
    assert found(directory, range(20)) == list(range(20))
    assert keys(store) == []


def test_truncated_answers_are_never_believed(store: MemoryStore, tmp_path: Path) -> None:
    publish(store, range(70))
    merge(store, tmp_path / "writer")
    rule = Rule(fault=Fault.SHORT_READ, operations=frozenset({"get"}), prefix="directories/")
    reader = new_directory(FaultyStore(store, rule), tmp_path / "reader")
    reader.refresh()
    assert found(reader, range(70)) == list(range(70))


def test_a_failed_listing_is_no_empty_store(store: MemoryStore, tmp_path: Path) -> None:
    publish(store, range(70))
    merge(store, tmp_path / "writer")
    for prefix in ("packs/", "directories/"):
        rule = Rule(fault=Fault.LOSE_RESPONSE, operations=frozenset({"list"}), prefix=prefix)
        reader = new_directory(FaultyStore(store, rule, seed=1), tmp_path / prefix)
        with pytest.raises(StorageError):
            reader.refresh()


def test_a_local_store_has_none(store: MemoryStore, new_vault: NewVault) -> None:
    vault = new_vault()
    for number in range(70):
        with vault.writer() as writer:
            writer.put_bytes(b"%d" % number)
    assert keys(store) == []


@pytest.mark.usefixtures("few")
def test_several_processes_share_a_cache(store: MemoryStore, tmp_path: Path) -> None:
    """Each merges, forgets and learns what the others have open."""
    directories = [new_directory(store, tmp_path / "cache") for _ in range(3)]
    packs: list[bytes] = []
    for count in range(0, 60, 3):
        for at, directory in enumerate(directories):
            packs += publish(store, range(count + at, count + at + 1))
            directory.refresh()
            directory.publish_merged()
        if count % 15 == 0:
            store.delete(pack_key(packs[count]))
    gone = set(range(0, 60, 15))
    there = [number for number in range(60) if number not in gone]
    for directory in (*directories, new_directory(store, tmp_path / "cache")):
        directory.refresh()
        assert found(directory, range(60)) == there


class Asked:
    """A lock that tells how many came for it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.came = threading.Semaphore(0)

    def __enter__(self) -> None:
        self.came.release()
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def test_of_many_threads_that_miss_one_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(MemoryStore):
        listed = 0
        entered = threading.Event()
        go_on = threading.Event()

        def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
            Slow.listed += 1
            Slow.entered.set()
            assert Slow.go_on.wait(60)
            return super().list(prefix, after=after)

    slow = Slow()
    directory = Directory(slow, tmp_path, new_name=lambda: f"{next(NAMES):08d}")
    asked = Asked()
    monkeypatch.setattr(directory, "_asking", asked)
    threads = [threading.Thread(target=directory.refresh) for _ in range(9)]
    threads[0].start()
    assert Slow.entered.wait(60)
    for thread in threads[1:]:
        thread.start()
    for _ in threads:
        assert asked.came.acquire(timeout=60)
    pack = publish(slow, range(1))
    Slow.go_on.set()
    for thread in threads:
        thread.join(60)
    assert Slow.listed == 2  # the one that went on when the others came, and one for all of them
    assert directory.packs() == set(pack)
