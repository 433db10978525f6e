"""Writing content: once, whole, by many threads, and never half."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from thence.errors import Conflict, Denied, InvalidInput, NotFound, StorageError
from thence.model.ids import Digest
from thence.store.memory import MemoryStore
from thence.store.wrap import ReadOnly
from thence.testing.faulty import Fault, FaultyStore, Rule
from thence.vault import lane as lane_module
from thence.vault import writer as writer_module
from thence.vault.content import ContentInfo
from thence.vault.pack import PackBuilder
from thence.vault.vault import Vault

NewVault = Callable[..., Vault]
RandomBytes = Callable[[int], bytes]
Visible = Callable[[], set[bytes]]


def stored_bytes(store: MemoryStore) -> int:
    return sum(info.size_bytes for info in store.list("packs/"))


def test_content_is_stored_once(
    store: MemoryStore, new_vault: NewVault, random_bytes: RandomBytes
) -> None:
    data = random_bytes(3_000_000)
    vault = new_vault()
    with vault.writer() as writer:
        first = writer.put_bytes(data)
        assert writer.put_bytes(data) == first
    before = stored_bytes(store)
    assert before == writer.new_bytes < 3_010_000
    for again in (vault, new_vault()):
        with again.writer() as writer:
            assert writer.put_bytes(data) == first
        assert writer.new_bytes == 0
    assert stored_bytes(store) == before


def test_an_empty_session_stores_nothing(store: MemoryStore, vault: Vault) -> None:
    with vault.writer():
        pass
    assert list(store.list()) == []


def test_parts_that_files_share_are_stored_once(
    store: MemoryStore, vault: Vault, random_bytes: RandomBytes
) -> None:
    base = random_bytes(4_000_000)
    with vault.writer() as writer:
        digests = {
            data: writer.put_bytes(data).digest
            for data in (base, base[1:], b"x" + base, base[:2_000_000], base + base)
        }
    assert stored_bytes(store) < 4_900_000
    for data, digest in digests.items():
        assert vault.content.read(digest) == data


def test_nothing_is_visible_before_the_flush(store: MemoryStore, vault: Vault) -> None:
    with vault.writer() as writer:
        digest = writer.put_bytes(b"soon").digest
        assert list(store.list("packs/")) == []
        assert vault.content.info(digest) is None
        writer.flush()
        assert vault.content.read(digest) == b"soon"
        writer.put_bytes(b"later")
        writer.flush()
        writer.flush()
        assert len(list(store.list("packs/"))) == 2


def test_leaving_with_an_exception_publishes_nothing(
    store: MemoryStore, vault: Vault, random_bytes: RandomBytes, tmp_path: Path
) -> None:
    writer = vault.writer()
    writer.__enter__()
    writer.put_bytes(random_bytes(20_000_000))
    assert list(tmp_path.glob("cache-*/staging/pack-*")) != []
    writer.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert list(store.list()) == []
    assert list(tmp_path.glob("cache-*/staging/pack-*")) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), NotFound("a file")])
def test_what_was_written_when_a_session_is_stopped_is_reused(
    store: MemoryStore,
    new_vault: NewVault,
    random_bytes: RandomBytes,
    tmp_path: Path,
    error: BaseException,
) -> None:
    first, rest = random_bytes(20_000_000), random_bytes(5_000_000)

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(first), 1_000_000):
            yield first[start : start + 1_000_000]
        raise error

    with pytest.raises(type(error)), new_vault().writer() as writer:
        writer.put_pieces(pieces())
    assert list(tmp_path.glob("cache-*/staging/pack-*")) == []
    left = stored_bytes(store)
    assert left > 10_000_000  # but for what was underway
    assert new_vault().content.info(Digest.of(first)) is None
    with new_vault().writer() as again:
        info = again.put_bytes(first + rest)
    assert again.new_bytes + left < 25_300_000
    assert new_vault().content.read(info.digest) == first + rest


def test_a_lane_that_failed_leaves_nothing(
    store: MemoryStore, vault: Vault, random_bytes: RandomBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def put() -> None:
        with vault.writer() as writer:
            writer.put_bytes(random_bytes(20_000_000))
            monkeypatch.setattr(PackBuilder, "add_stored", stop)
            writer.put_bytes(random_bytes(1_000_000))

    with pytest.raises(KeyboardInterrupt):
        put()
    assert list(store.list()) == []


def test_packs_close_when_they_are_full(
    store: MemoryStore,
    vault: Vault,
    random_bytes: RandomBytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lane_module, "PACK", 1_000_000)
    data = random_bytes(5_000_000)
    with vault.writer() as writer:
        large = writer.put_bytes(data).digest
        small = [writer.put_bytes(random_bytes(9_000)).digest for _ in range(500)]
    sizes = [info.size_bytes for info in store.list("packs/")]
    assert len(sizes) >= 9
    assert max(sizes) < 1_400_000
    assert vault.content.read(large) == data
    assert all(Digest.of(vault.content.read(digest)) == digest for digest in small)


def test_what_compresses_is_compressed_and_what_does_not_is_not(
    store: MemoryStore, vault: Vault, random_bytes: RandomBytes
) -> None:
    with vault.writer() as writer:
        writer.put_bytes(b"1,2,3\n" * 1_000_000)
    assert stored_bytes(store) < 100_000
    with vault.writer() as writer:
        writer.put_bytes(random_bytes(6_000_000))
    assert 6_000_000 < writer.new_bytes < 6_020_000


def test_many_files_by_many_lanes_in_order(
    vault: Vault, random_bytes: RandomBytes, tmp_path: Path
) -> None:
    sizes = [0, 1, 100, 40_000, 300_000, 1_000_000]
    paths, contents = [], []
    for number in range(300):
        data = random_bytes(sizes[number % 6] if number % 50 == 0 else number)
        path = tmp_path / f"file-{number}"
        path.write_bytes(data)
        paths.append(path)
        contents.append(data)
    with vault.writer(lanes=4) as writer:
        infos = list(writer.put_files(paths))
    assert infos == [(Digest.of(data), len(data)) for data in contents]
    for info, data in zip(infos, contents, strict=True):
        assert vault.content.read(info.digest) == data


def test_the_same_content_from_many_threads_is_stored_once(
    store: MemoryStore, vault: Vault, random_bytes: RandomBytes
) -> None:
    data = random_bytes(2_000_000)
    together = threading.Barrier(4)

    def put() -> Digest:
        together.wait()
        return writer.put_bytes(data).digest

    with vault.writer(lanes=4) as writer, ThreadPoolExecutor(4) as threads:
        digests = {done.result() for done in [threads.submit(put) for _ in range(4)]}
    assert digests == {Digest.of(data)}
    assert stored_bytes(store) < 2_020_000
    assert vault.content.read(Digest.of(data)) == data


def test_one_bad_file_among_many(vault: Vault, tmp_path: Path) -> None:
    paths = [tmp_path / f"file-{number}" for number in range(200)]
    for path in paths:
        path.write_bytes(b"x")
    paths[150].unlink()
    with pytest.raises(NotFound), vault.writer(lanes=2) as writer:
        list(writer.put_files(paths))


def crossing(vault: Vault, random_bytes: RandomBytes) -> tuple[writer_module.Writer, list[Digest]]:
    """Two files that share chunks, each in a lane of its own, nothing flushed yet."""
    shared, large = random_bytes(2_000_000), random_bytes(25_000_000)
    writer = vault.writer(lanes=2)
    digests = []

    def outer(lane: lane_module.Lane) -> None:
        for data in (shared, large):
            digests.append(writer._put_bytes(lane, data + b"1").digest)
            digests.append(writer.put_bytes(data + b"2").digest)  # takes the other lane

    writer._with_lane(outer)
    return writer, digests


@pytest.mark.parametrize("first", [0, 1])
def test_no_recipe_is_visible_before_its_chunks(
    new_vault: NewVault, random_bytes: RandomBytes, visible: Visible, first: int
) -> None:
    """The crash that this is about: one lane's pack is in the store, the other's is not."""
    writer, _ = crossing(new_vault(), random_bytes)
    writer._lanes[first].publish()
    seen = visible()
    assert len(seen) == (2 if first == 0 else 0)  # the second lane has nothing that stands alone
    for digest in seen:
        assert Digest.of(new_vault().content.read(Digest(digest))) == Digest(digest)


def test_recipes_that_wait_are_published_by_the_flush(
    new_vault: NewVault, random_bytes: RandomBytes
) -> None:
    vault = new_vault()
    writer, digests = crossing(vault, random_bytes)
    with writer:
        pass
    for reader in (vault, new_vault()):
        for digest in digests:
            assert Digest.of(reader.content.read(digest)) == digest


def test_what_a_crash_left_is_reused(
    store: MemoryStore, new_vault: NewVault, random_bytes: RandomBytes
) -> None:
    writer, _ = crossing(new_vault(), random_bytes)
    writer._lanes[0].publish()
    left = stored_bytes(store)
    again, digests = crossing(new_vault(), random_bytes_again(random_bytes))
    with again:
        pass
    assert left > 20_000_000
    assert again.new_bytes < 30_000_000
    for digest in digests:
        assert Digest.of(new_vault().content.read(digest)) == digest


def random_bytes_again(random_bytes: RandomBytes) -> RandomBytes:
    """The same bytes as the first call of `crossing` had."""
    import random

    return random.Random(20261123).randbytes


@pytest.mark.parametrize("transient", [True, False])
def test_a_failed_flush_cannot_be_mended_by_another(
    store: MemoryStore, new_vault: NewVault, visible: Visible, transient: bool
) -> None:
    """The blocks are gone with the failed pack; a second flush must not publish a pack without."""
    rule = Rule(
        fault=Fault.FAIL_BEFORE,
        operations=frozenset({"create", "create_from_file"}),
        on=frozenset({1}),
        transient=transient,
    )
    vault = new_vault(FaultyStore(store, rule))
    writer = vault.writer()
    digest = writer.put_bytes(b"data").digest
    with pytest.raises(StorageError):
        writer.flush()
    for _ in range(2):
        with pytest.raises(StorageError):
            writer.flush()
    with pytest.raises(StorageError):
        writer.put_bytes(b"other")
    assert visible() == set()
    with vault.writer() as second:
        second.put_bytes(b"data")
    assert new_vault().content.read(digest) == b"data"


def test_if_one_lane_fails_the_session_fails(
    store: MemoryStore, new_vault: NewVault, random_bytes: RandomBytes, visible: Visible
) -> None:
    for call in (1, 2, 3):
        rule = Rule(
            fault=Fault.FAIL_BEFORE,
            operations=frozenset({"create", "create_from_file"}),
            on=frozenset({call}),
        )
        writer, digests = crossing(new_vault(FaultyStore(store, rule)), random_bytes)
        with pytest.raises(StorageError):
            writer.flush()
        with pytest.raises(StorageError):
            writer.flush()
        for digest in visible():
            assert Digest.of(new_vault().content.read(Digest(digest))) == Digest(digest)
        assert digests[-1].raw not in visible()


def test_a_full_staging_disk_fails_the_session(
    store: MemoryStore, tmp_path: Path, random_bytes: RandomBytes
) -> None:
    (tmp_path / "cache").write_bytes(b"in the way")
    writer = Vault(store, tmp_path / "cache").writer()
    with pytest.raises(StorageError):
        writer.put_bytes(random_bytes(9_000_000))
    with pytest.raises(StorageError):
        writer.flush()
    assert list(store.list()) == []


def test_a_read_only_store_says_so(store: MemoryStore, new_vault: NewVault) -> None:
    with pytest.raises(Denied), new_vault(ReadOnly(store)).writer() as writer:
        writer.put_bytes(b"x")


def test_files_that_cannot_be_read(vault: Vault, tmp_path: Path) -> None:
    with vault.writer() as writer:
        with pytest.raises(NotFound):
            writer.put_file(tmp_path / "missing")
        digest = writer.put_bytes(b"the session goes on").digest
    assert vault.content.read(digest) == b"the session goes on"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_rights(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "closed").write_bytes(b"x")
    (tmp_path / "closed").chmod(0)
    with vault.writer() as writer, pytest.raises(Denied):
        writer.put_file(tmp_path / "closed")


@pytest.mark.parametrize("size", [100, 100_000, 5_000_000])
def test_a_file_that_changes_while_it_is_read(
    vault: Vault,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    random_bytes: RandomBytes,
    size: int,
) -> None:
    path = tmp_path / "log"
    path.write_bytes(random_bytes(size))
    reading = writer_module.Writer._put_descriptor
    changes = 0

    def and_change(
        self: writer_module.Writer, lane: lane_module.Lane, descriptor: int, facts: os.stat_result
    ) -> ContentInfo | None:
        nonlocal changes
        info = reading(self, lane, descriptor, facts)
        changes += 1
        if changes < times:
            time.sleep(0.02)  # beyond the tick of the clock of older kernels
            with path.open("r+b") as file:
                file.write(bytes([changes]))
        return info

    monkeypatch.setattr(writer_module.Writer, "_put_descriptor", and_change)
    times = 100
    with vault.writer() as writer:
        with pytest.raises(Conflict) as caught:
            writer.put_file(path)
        assert str(path) in str(caught.value)
        changes, times = 0, 2
        info = writer.put_file(path)
    assert vault.content.read(info.digest) == path.read_bytes()


def test_a_file_that_grows_while_it_is_read(
    vault: Vault, tmp_path: Path, random_bytes: RandomBytes
) -> None:
    """A real writer beside a real reader: a prefix at most, and never a mixture."""
    path = tmp_path / "growing"
    path.write_bytes(b"")
    done = threading.Event()
    written = random_bytes(60_000)

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            while not done.is_set():
                file.write(written)
                if file.tell() > 100_000_000:
                    file.truncate(0)

    with vault.writer() as writer, ThreadPoolExecutor(1) as threads:
        growing = threads.submit(grow)
        kept = []
        try:
            for _ in range(20):
                try:
                    kept.append(writer.put_file(path))
                except Conflict:
                    continue
        finally:
            done.set()
        growing.result()
    for info in kept:
        data = vault.content.read(info.digest)
        assert data == (written * (len(data) // len(written) + 1))[: len(data)]


@pytest.mark.timeout(120)
def test_what_is_no_file_is_refused_at_once(vault: Vault, tmp_path: Path) -> None:
    """A pipe that nobody writes to must not hang the save."""
    os.mkfifo(tmp_path / "pipe")
    with vault.writer() as writer:
        for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
            with pytest.raises(InvalidInput):
                writer.put_file(path)


def test_one_inserted_row_costs_little(store: MemoryStore, vault: Vault, tmp_path: Path) -> None:
    """The claim of the product: 140 MB of CSV, and five times one row more."""
    import random

    dice = random.Random(5)
    rows = [
        f"{n},{dice.random():.9f},{dice.gauss(50, 9):.6f},{dice.randrange(10**9)},"
        f"2026-{n % 12 + 1:02d}-{n % 28 + 1:02d},{dice.choice(['north', 'south', 'east', 'west'])},"
        f"customer number {n % 9973},{dice.random() < 0.5}\n"
        for n in range(1_730_000)
    ]
    path = tmp_path / "data.csv"

    def save() -> int:
        path.write_text("".join(rows))
        before = stored_bytes(store)
        with vault.writer() as writer:
            info = writer.put_file(path)
        assert vault.content.info(info.digest) == info
        return stored_bytes(store) - before

    first = save()
    assert path.stat().st_size > 140_000_000
    grown = []
    for place in (10, 400_000, 800_001, 1_333_333, len(rows)):
        rows.insert(place, "0,0.123456789,1,inserted\n")
        grown.append(save())
    assert first < 80_000_000
    assert sum(grown) < 600_000, grown
    whole = Digest.of(path.read_bytes())
    assert Digest.of(vault.content.read(whole)) == whole
