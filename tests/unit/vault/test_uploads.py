"""Packs that go up in the background: overlapped, bounded, and failing as they should."""

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from thence.errors import Denied, Interrupted, StorageError
from thence.model.ids import Digest
from thence.store.memory import MemoryStore
from thence.store.wrap import ReadOnly
from thence.testing.faulty import Fault, FaultyStore, Rule
from thence.vault import lane as lane_module
from thence.vault import uploads as uploads_module
from thence.vault.vault import Vault

NewVault = Callable[..., Vault]
RandomBytes = Callable[[int], bytes]
PUTS = frozenset({"create", "create_from_file"})


class Gate(MemoryStore):
    """A store whose packs stay on their way until the gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = threading.Event()
        self.arrived = threading.Semaphore(0)
        self.on_their_way = 0
        self.most = 0
        self._counting = threading.Lock()

    def create_from_file(self, key: str, path: Path) -> None:
        self._pass(lambda: super(Gate, self).create_from_file(key, path))

    def _pass(self, put: Callable[[], None]) -> None:
        with self._counting:
            self.on_their_way += 1
            self.most = max(self.most, self.on_their_way)
        self.arrived.release()
        try:
            assert self.opened.wait(200)
            put()
        finally:
            with self._counting:
                self.on_their_way -= 1


@pytest.fixture
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "REMOTE_PACK", 9_000_000)


def staged(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob("cache-*/staging/pack-*"))


@pytest.mark.usefixtures("small_packs")
def test_a_session_goes_on_while_packs_are_on_their_way(
    new_vault: NewVault, random_bytes: RandomBytes, tmp_path: Path
) -> None:
    gate = Gate()
    data = random_bytes(35_000_000)
    with new_vault(gate, remote=True).writer() as writer:
        info = writer.put_bytes(data)  # three packs are full, and none has arrived
        for _ in range(3):
            assert gate.arrived.acquire(timeout=60)
        assert list(gate.list()) == []
        assert len(staged(tmp_path)) >= 3
        gate.opened.set()
        writer.flush()
        assert len(list(gate.list("packs/"))) == 4 + 1  # the recipe comes last
    assert staged(tmp_path) == []
    assert new_vault(gate, remote=True).content.read(info.digest) == data
    assert set(writer.packs) == new_vault_packs(new_vault, gate)


def new_vault_packs(new_vault: NewVault, store: MemoryStore) -> set[bytes]:
    directory = new_vault(store, remote=True).directory
    directory.refresh()
    return directory.packs()


@pytest.mark.usefixtures("small_packs")
def test_no_more_packs_are_on_their_way_than_allowed(
    new_vault: NewVault, random_bytes: RandomBytes, tmp_path: Path
) -> None:
    gate = Gate()
    data = random_bytes(100_000_000)
    with new_vault(gate, remote=True).writer() as writer:
        putting = threading.Thread(target=writer.put_bytes, args=(data,))
        putting.start()
        for _ in range(uploads_module.AT_ONCE):
            assert gate.arrived.acquire(timeout=60)
        assert len(staged(tmp_path)) <= uploads_module.AT_ONCE + 1
        gate.opened.set()
        putting.join(60)
    assert gate.most == uploads_module.AT_ONCE
    digest = Digest.of(data)
    assert Digest.of(new_vault(gate, remote=True).content.read(digest)) == digest


@pytest.mark.usefixtures("small_packs")
@pytest.mark.parametrize("number", [1, 2, 4, 5])
def test_an_upload_that_fails_fails_the_session_with_its_own_error(
    store: MemoryStore,
    new_vault: NewVault,
    random_bytes: RandomBytes,
    tmp_path: Path,
    number: int,
) -> None:
    rule = Rule(fault=Fault.FAIL_BEFORE, operations=PUTS, on=frozenset({number}), prefix="packs/")
    vault = new_vault(FaultyStore(store, rule), remote=True)
    data = random_bytes(35_000_000)
    with pytest.raises(StorageError, match="packs/") as caught, vault.writer() as writer:
        writer.put_bytes(data)
    assert "A test asked for it" in caught.value.why
    for again in (lambda: writer.put_bytes(b"more"), writer.flush):
        with pytest.raises(StorageError, match="packs/"):
            again()
    assert contents_of(store) == []  # no recipe without its chunks
    assert staged(tmp_path) == []
    with new_vault(remote=True).writer() as second:
        second.put_bytes(data)
    assert (second.new_bytes < 35_000_000) == (number > 1)  # what arrived is used
    assert new_vault(remote=True).content.read(Digest.of(data)) == data


@pytest.mark.usefixtures("small_packs")
def test_files_that_cannot_be_stored_say_why(
    store: MemoryStore, new_vault: NewVault, random_bytes: RandomBytes, tmp_path: Path
) -> None:
    paths = [tmp_path / f"file-{number}" for number in range(70)]
    for path in paths:
        path.write_bytes(random_bytes(1_000_000))
    with pytest.raises(Denied), new_vault(ReadOnly(store), remote=True).writer() as writer:
        list(writer.put_files(paths))
    assert staged(tmp_path) == []


@pytest.mark.usefixtures("small_packs")
def test_a_lost_answer_to_a_pack_is_a_failure_that_loses_nothing(
    store: MemoryStore, new_vault: NewVault, random_bytes: RandomBytes
) -> None:
    rule = Rule(fault=Fault.LOSE_RESPONSE, operations=PUTS, on=frozenset({2}), prefix="packs/")
    data = random_bytes(30_000_000)
    with (
        pytest.raises(StorageError),
        new_vault(FaultyStore(store, rule), remote=True).writer() as writer,
    ):
        writer.put_bytes(data)
    with new_vault(remote=True).writer() as second:
        second.put_bytes(data)
    assert new_vault(remote=True).content.read(Digest.of(data)) == data


@pytest.mark.usefixtures("small_packs")
def test_a_put_that_arrives_twice_is_one_pack(
    store: MemoryStore, new_vault: NewVault, random_bytes: RandomBytes
) -> None:
    rule = Rule(fault=Fault.REPEAT, operations=PUTS, prefix="packs/")
    data = random_bytes(30_000_000)
    with new_vault(FaultyStore(store, rule), remote=True).writer() as writer:
        writer.put_bytes(data)
    assert new_vault(remote=True).content.read(Digest.of(data)) == data


@pytest.mark.usefixtures("small_packs")
def test_ctrl_c_does_not_wait_for_packs_on_their_way(
    new_vault: NewVault, random_bytes: RandomBytes, tmp_path: Path
) -> None:
    gate = Gate()

    def save() -> None:
        with new_vault(gate, remote=True).writer() as writer:
            writer.put_bytes(random_bytes(20_000_000))
            assert gate.arrived.acquire(timeout=60)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save()
    assert gate.on_their_way  # the gate is shut
    assert staged(tmp_path) == []
    assert list(gate.list()) == []
    gate.opened.set()


@pytest.mark.usefixtures("small_packs")
def test_who_waits_for_room_is_woken_when_the_session_stops(
    new_vault: NewVault, random_bytes: RandomBytes, tmp_path: Path
) -> None:
    gate = Gate()
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"file-{number}")
        paths[-1].write_bytes(random_bytes(90_000_000 if number else 10))
    caught: list[BaseException] = []

    def save(path: Path) -> None:
        try:
            writer.put_file(path)
        except Interrupted as error:
            caught.append(error)

    writer = new_vault(gate, remote=True).writer(lanes=3)
    saving = [threading.Thread(target=save, args=(path,)) for path in paths]
    for thread in saving:
        thread.start()
    saving[0].join(60)  # it needs no room
    for _ in range(uploads_module.AT_ONCE):
        assert gate.arrived.acquire(timeout=60)
    writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    for thread in saving:
        thread.join(60)
    assert len(caught) == 2
    gate.opened.set()


def test_a_small_save_is_one_pack(
    store: MemoryStore, new_vault: NewVault, random_bytes: RandomBytes
) -> None:
    with new_vault(remote=True).writer() as writer:
        writer.put_bytes(b"small")
        writer.put_bytes(random_bytes(1_000_000))
        writer.put_bytes(b"tree")
    assert len(writer.packs) == len(list(store.list("packs/"))) == 1


@pytest.mark.usefixtures("small_packs")
def test_what_is_visible_is_whole_whatever_order_packs_arrive_in(
    new_vault: NewVault,
) -> None:
    """Packs arrive in any order, and the session dies after some: no recipe without chunks."""
    dice = random.Random(3)

    class Dying(MemoryStore):
        left = 0

        def create_from_file(self, key: str, path: Path) -> None:
            time.sleep(dice.random() * 0.02)
            if Dying.left <= 0:
                raise StorageError("the connection is cut")
            Dying.left -= 1
            super().create_from_file(key, path)

    for Dying.left in range(6):
        store = Dying()
        with pytest.raises(StorageError), new_vault(store, remote=True).writer() as writer:
            writer.put_bytes(dice.randbytes(60_000_000))
        reader = new_vault(store, remote=True)
        reader.directory.refresh()
        for info in store.list("packs/"):
            assert info.size_bytes > 0
        for digest in contents_of(store):
            assert Digest.of(reader.content.read(digest)) == digest


def contents_of(store: MemoryStore) -> list[Digest]:
    from thence.vault.pack import BlockKind, entries_of, parse_pack_key, read_directory

    packs = [parse_pack_key(info.key) for info in store.list("packs/")]
    return [
        Digest(entry.id)
        for pack in packs
        if pack is not None
        for entry in entries_of(read_directory(store, pack))
        if entry.kind in {BlockKind.WHOLE, BlockKind.RECIPE}
    ]
