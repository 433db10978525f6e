"""The directory: a cache that may be lost, damaged, shared, and is never wrong."""

import hashlib
import itertools
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from thence.errors import DataDamaged, FormatTooNew, StorageError
from thence.model.ids import Digest
from thence.store.memory import MemoryStore
from thence.store.wrap import Trace
from thence.testing.faulty import Fault, FaultyStore, Rule
from thence.vault.directory import Directory
from thence.vault.gc import collect
from thence.vault.layout import make_project
from thence.vault.pack import (
    HEADER,
    BlockKind,
    Codec,
    DirectoryEntry,
    Pack,
    PackBuilder,
    entries_of,
    pack_key,
)
from thence.vault.reach import reach
from thence.vault.vault import Vault

NewVault = Callable[..., Vault]
NAMES = itertools.count()


def new_directory(store: MemoryStore | Trace | FaultyStore, cache: Path) -> Directory:
    return Directory(store, cache, new_name=lambda: f"{next(NAMES):08d}")


def number(count: int) -> bytes:
    return hashlib.sha256(str(count).encode()).digest()


def publish(store: MemoryStore, numbers: range) -> Pack:
    builder = PackBuilder(Path("unused"), os.urandom(16))
    builder.add_block(b"x")
    for count in numbers:
        builder.add_entry(DirectoryEntry(number(count), 0, count, 1, 0, BlockKind.WHOLE, Codec.RAW))
    return builder.publish(store)


def found(directory: Directory, numbers: range) -> list[int]:
    """The numbers that it knows; each is checked to be the right entry."""
    known = []
    for count in numbers:
        if location := directory.find(number(count)):
            assert location.entry.id == number(count)
            assert location.entry.raw_length == count
            known.append(count)
    return known


def test_what_is_added_is_found(store: MemoryStore, tmp_path: Path) -> None:
    directory = new_directory(store, tmp_path)
    pack = publish(store, range(1000))
    directory.add([(pack.id, pack.directory)])
    assert found(directory, range(1500)) == list(range(1000))
    location = directory.find(number(5))
    assert location is not None
    assert location.pack == pack.id
    assert directory.key_of(location) == pack_key(pack.id)
    assert location.entry in list(entries_of(pack.directory))
    assert number(5) in directory
    assert number(5000) not in directory


def test_nothing_is_found_in_an_empty_one(store: MemoryStore, tmp_path: Path) -> None:
    directory = new_directory(store, tmp_path)
    directory.refresh()
    assert directory.find(bytes(32)) is None
    assert directory.find(b"\xff" * 32) is None
    directory.add([])
    assert directory.packs() == set()


@pytest.mark.parametrize("end", [bytes(32), b"\xff" * 32, bytes(8) + b"\1" * 24])
def test_ids_at_the_ends_and_alike_in_front(store: MemoryStore, tmp_path: Path, end: bytes) -> None:
    """Interpolation looks at eight bytes; forged ids may all begin alike."""
    ids = [end[:30] + count.to_bytes(2) for count in range(300)]
    builder = PackBuilder(tmp_path, bytes(16))
    builder.add_block(b"x")
    for wanted in ids:
        builder.add_entry(DirectoryEntry(wanted, 0, 1, 1, 0, BlockKind.CHUNK, Codec.RAW))
    pack = builder.publish(store)
    directory = new_directory(store, tmp_path)
    directory.add([(pack.id, pack.directory)])
    assert all(wanted in directory for wanted in ids)
    assert end[:30] + (301).to_bytes(2) not in directory


def test_many_packs_make_few_segments(store: MemoryStore, tmp_path: Path) -> None:
    directory = new_directory(store, tmp_path)
    for start in range(0, 3000, 30):
        pack = publish(store, range(start, start + 30))
        directory.add([(pack.id, pack.directory)])
    assert found(directory, range(3000)) == list(range(3000))
    assert len(directory.packs()) == 100
    assert len(list((tmp_path / "directories").glob("*.segment"))) <= 6
    again = new_directory(store, tmp_path)
    assert found(again, range(3000)) == list(range(3000))
    assert again.packs() == directory.packs()


def test_refresh_reads_only_what_is_new(store: MemoryStore, tmp_path: Path) -> None:
    traced = Trace(store)
    directory = new_directory(traced, tmp_path)
    publish(store, range(10))
    publish(store, range(10, 20))
    directory.refresh()
    assert traced.counters["get_range"].calls == 2
    publish(store, range(20, 30))
    directory.refresh()
    assert traced.counters["get_range"].calls == 3
    new_directory(traced, tmp_path).refresh()
    assert traced.counters["get_range"].calls == 3
    assert found(directory, range(40)) == list(range(30))


def test_refresh_forgets_packs_that_went(store: MemoryStore, tmp_path: Path) -> None:
    directory = new_directory(store, tmp_path)
    gone, kept = publish(store, range(10)), publish(store, range(10, 20))
    directory.refresh()
    store.delete(pack_key(gone.id))
    assert found(directory, range(20)) == list(range(20))
    directory.refresh()
    assert found(directory, range(20)) == list(range(10, 20))
    assert directory.packs() == {kept.id}
    assert new_directory(store, tmp_path).packs() == {kept.id}


def test_a_pack_that_goes_between_listing_and_reading(store: MemoryStore, tmp_path: Path) -> None:
    class Vanishing(MemoryStore):
        def get_range(self, key: str, start: int, length: int) -> bytes:
            self.delete(key)
            return super().get_range(key, start, length)

    vanishing = Vanishing()
    publish(vanishing, range(5))
    directory = new_directory(vanishing, tmp_path)
    directory.refresh()
    assert directory.packs() == set()


def test_what_is_no_pack_is_passed_over(store: MemoryStore, tmp_path: Path) -> None:
    store.create("packs/README", [b"hello"])
    store.create("packs/ab/" + "cd" * 32, [b"under the wrong folder"])
    directory = new_directory(store, tmp_path)
    publish(store, range(3))
    directory.refresh()
    assert found(directory, range(3)) == [0, 1, 2]


def test_one_damaged_pack_does_not_hide_the_others(
    store: MemoryStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(store, range(10))
    bad = publish(store, range(10, 20))
    store.replace(pack_key(bad.id), [store.get(pack_key(bad.id))[:-5]])
    directory = new_directory(store, tmp_path)
    directory.refresh()
    assert found(directory, range(20)) == list(range(10))
    assert set(directory.damaged) == {bad.id}
    assert pack_key(bad.id) in caplog.text
    store.delete(pack_key(bad.id))
    directory.refresh()
    assert directory.damaged == {}


def test_a_newer_pack_hides_only_what_is_in_it(store: MemoryStore, tmp_path: Path) -> None:
    pack = publish(store, range(10))
    publish(store, range(10, 20))
    data = bytearray(store.get(pack_key(pack.id)))
    data[-24] = 9
    store.replace(pack_key(pack.id), [data])
    directory = new_directory(store, tmp_path)
    directory.refresh()
    assert found(directory, range(20)) == list(range(10, 20))
    with pytest.raises(FormatTooNew):
        directory.refuse_newer()
    store.delete(pack_key(pack.id))
    directory.refresh()
    directory.refuse_newer()


def test_a_store_that_fails_is_no_empty_store(store: MemoryStore, tmp_path: Path) -> None:
    publish(store, range(10))
    directory = new_directory(store, tmp_path)
    directory.refresh()
    for operation in ("list", "get_range"):
        publish(store, range(10, 11))
        rule = Rule(fault=Fault.FAIL_BEFORE, operations=frozenset({operation}))
        failing = new_directory(FaultyStore(store, rule), tmp_path)
        with pytest.raises(StorageError):
            failing.refresh()
        assert found(failing, range(10)) == list(range(10))


def segments(cache: Path) -> list[Path]:
    return sorted((cache / "directories").glob("*.segment"))


def test_a_deleted_cache_is_read_again(store: MemoryStore, tmp_path: Path) -> None:
    publish(store, range(10))
    first = new_directory(store, tmp_path)
    first.refresh()
    for path in segments(tmp_path):
        path.unlink()
    assert found(first, range(10)) == list(range(10))  # it has the file open
    second = new_directory(store, tmp_path)
    assert found(second, range(10)) == []
    second.refresh()
    assert found(second, range(10)) == list(range(10))


def test_a_cache_file_damaged_anywhere_is_dropped(store: MemoryStore, tmp_path: Path) -> None:
    publish(store, range(5))
    new_directory(store, tmp_path).refresh()
    (path,) = segments(tmp_path)
    good = path.read_bytes()
    damages = [good[:length] for length in range(0, len(good), 3)]
    damages += [good + b"x", b"garbage", bytes(len(good)), os.urandom(len(good))]
    for at in range(0, len(good), 2):
        bad = bytearray(good)
        bad[at] ^= 0x10
        damages.append(bytes(bad))
    for data in damages:
        path.write_bytes(data)
        directory = new_directory(store, tmp_path)
        assert found(directory, range(5)) == []
        assert segments(tmp_path) == []
        directory.refresh()
        assert found(directory, range(5)) == list(range(5))
        (path,) = segments(tmp_path)


def test_a_cache_that_cannot_be_written_costs_only_time(store: MemoryStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    directory = new_directory(store, tmp_path / "file")
    for start in range(0, 100, 10):
        pack = publish(store, range(start, start + 10))
        directory.add([(pack.id, pack.directory)])
    directory.refresh()
    assert found(directory, range(100)) == list(range(100))
    directory.forget()
    assert found(directory, range(100)) == []


def test_two_processes_share_a_cache(store: MemoryStore, tmp_path: Path) -> None:
    """Each merges what the other may be reading, and both know everything after a refresh."""
    one, two = new_directory(store, tmp_path), new_directory(store, tmp_path)
    for start in range(0, 400, 20):
        for directory, low in ((one, start), (two, start + 10)):
            pack = publish(store, range(low, low + 10))
            directory.add([(pack.id, pack.directory)])
    one.refresh()
    two.refresh()
    for directory in (one, two, new_directory(store, tmp_path)):
        directory.refresh()
        assert found(directory, range(400)) == list(range(400))


def test_what_two_processes_learned_twice_is_kept_once(store: MemoryStore, tmp_path: Path) -> None:
    for start in range(0, 100, 10):
        publish(store, range(start, start + 10))
    directories = [new_directory(store, tmp_path) for _ in range(5)]
    for directory in directories:
        directory.packs()  # has looked at the empty cache
    for directory in directories:
        directory.refresh()
    last = new_directory(store, tmp_path)
    last.packs()
    for start in range(100, 200, 10):
        pack = publish(store, range(start, start + 10))
        last.add([(pack.id, pack.directory)])
    rows = sum(segment.count for segment in last._loaded())
    assert rows == 200
    assert found(last, range(200)) == list(range(200))


def test_packs_of_another_process_are_found_when_reading(new_vault: NewVault) -> None:
    reader, other = new_vault(), new_vault()
    reader.directory.refresh()
    with other.writer() as writer:
        info = writer.put_bytes(b"from elsewhere")
    assert reader.content.read(info.digest) == b"from elsewhere"


def test_content_in_a_damaged_pack_is_damaged_not_missing(
    store: MemoryStore, new_vault: NewVault
) -> None:
    with new_vault().writer() as writer:
        good = writer.put_bytes(b"good").digest
    kept = {info.key for info in store.list("packs/")}
    with new_vault().writer() as writer:
        bad = writer.put_bytes(b"bad").digest
    (key,) = {info.key for info in store.list("packs/")} - kept
    store.replace(key, [store.get(key)[:-1]])
    vault = new_vault()
    assert vault.content.read(good) == b"good"
    with pytest.raises(DataDamaged):
        vault.content.read(bad)
    with vault.writer() as writer:
        assert writer.put_bytes(b"bad").digest == bad
    assert writer.new_bytes > 0
    assert new_vault().content.read(bad) == b"bad"  # saving it again repaired it


def test_content_in_a_newer_pack_may_be_there(store: MemoryStore, new_vault: NewVault) -> None:
    make_project(store, project_id="p" * 32, now=datetime(2026, 11, 23, tzinfo=UTC))
    with new_vault().writer() as writer:
        good = writer.put_bytes(b"good").digest
    kept = {info.key for info in store.list("packs/")}
    with new_vault().writer() as writer:
        newer = writer.put_bytes(b"newer").digest
    (key,) = {info.key for info in store.list("packs/")} - kept
    data = bytearray(store.get(key))
    data[-24] = 9
    store.replace(key, [data])
    vault = new_vault()
    assert vault.content.read(good) == b"good"
    with pytest.raises(FormatTooNew):
        vault.content.read(newer)
    with pytest.raises(FormatTooNew):
        collect(vault, by="x")
    with pytest.raises(FormatTooNew):
        reach(vault, [])


def test_the_header_has_the_size_of_the_documented_fields() -> None:
    assert HEADER.size == 16 + 8
    assert Digest.of(b"").raw == hashlib.sha256().digest()
