"""Transfers that fail or are interrupted anywhere: what was published is not sent again."""

import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from thence.errors import DataDamaged, StorageError, ThenceError
from thence.model.ids import Digest
from thence.store.base import Store
from thence.store.memory import MemoryStore
from thence.testing.faulty import Fault, FaultyStore, Rule
from thence.vault import blockreader, lane, tree
from thence.vault.pack import BlockKind, entries_of, parse_pack_key, read_directory
from thence.vault.references import Root, RootKind
from thence.vault.transfer import transfer
from thence.vault.tree import TreeEntry
from thence.vault.vault import Vault

PACK = 300_000
NewVault = Callable[[Store], Vault]


class Sample(NamedTuple):
    """A source and what it holds.

    Attributes:
        writes: How many objects a transfer of it writes.
        sent_bytes: By a transfer that nothing disturbs.
    """

    store: MemoryStore
    root: Root
    contents: tuple[bytes, ...]
    writes: int
    sent_bytes: int


@pytest.fixture
def new_vault(tmp_path: Path) -> NewVault:
    """Each call is a new process."""

    def make(store: Store) -> Vault:
        return Vault(store, tmp_path / f"cache-{random.random()}")

    return make


@pytest.fixture
def sample(new_vault: NewVault, monkeypatch: pytest.MonkeyPatch) -> Sample:
    """Small and large contents that make many reads and many packs."""
    monkeypatch.setattr(lane, "PACK", PACK)
    monkeypatch.setattr(lane, "SOLID", 50_000)
    monkeypatch.setattr(blockreader, "_LOCAL_READ", 100_000)
    monkeypatch.setattr("thence.vault.tally._REPORT_EVERY_S", 0.0)
    dice = random.Random(7)
    large = dice.randbytes(1_500_000)
    small = [dice.randbytes(dice.randrange(100, 9_000)) for _ in range(150)]
    contents = (*small, large, large[:600_000], b"1" + large)
    store = MemoryStore()
    with new_vault(store).writer(lanes=1) as writer:
        entries = [
            TreeEntry(f"f{n:05}", len(data), writer.put_bytes(data).digest)
            for n, data in enumerate(contents)
        ]
        root = Root(writer.put_bytes(tree.encode(entries)).digest, RootKind.TREE)
    target = MemoryStore()
    done = transfer(new_vault(store), new_vault(target), [root])
    writes = len(list(target.list()))
    assert writes > 6
    return Sample(store, root, contents, writes, done.sent_bytes)


def check_whole(vault: Vault, store: MemoryStore) -> None:
    """Everything that a store shows can be read, whatever happened before."""
    for info in store.list("packs/"):
        pack = parse_pack_key(info.key)
        assert pack is not None
        for entry in entries_of(read_directory(store, pack)):
            if entry.kind in {BlockKind.WHOLE, BlockKind.RECIPE}:
                assert Digest.of(vault.content.read(Digest(entry.id))).raw == entry.id


def check_complete(sample: Sample, vault: Vault) -> None:
    files = tree.decode(vault.content.read(sample.root.digest))
    assert [vault.content.read(file.digest) for file in files] == list(sample.contents)


def stored_bytes(store: MemoryStore) -> int:
    return sum(info.size_bytes for info in store.list("packs/"))


def finish(sample: Sample, new_vault: NewVault, store: MemoryStore) -> None:
    """Repeat the transfer: it completes, and sends nothing that had been published."""
    check_whole(new_vault(store), store)
    before = stored_bytes(store)
    done = transfer(new_vault(sample.store), new_vault(store), [sample.root])
    check_complete(sample, new_vault(store))
    check_whole(new_vault(store), store)
    # Nothing but the edges of packs: a directory and a trailer more for each.
    assert before + done.sent_bytes < sample.sent_bytes + PACK // 4


@pytest.mark.parametrize("fault", [Fault.FAIL_BEFORE, Fault.LOSE_RESPONSE])
def test_each_write_may_fail(fault: Fault, sample: Sample, new_vault: NewVault) -> None:
    writes = frozenset({"create", "create_from_file", "replace"})
    for number in range(1, sample.writes + 1):
        store = MemoryStore()
        faulty = FaultyStore(
            store, Rule(fault=fault, operations=writes, on=frozenset({number}), transient=False)
        )
        try:
            transfer(new_vault(sample.store), new_vault(faulty), [sample.root])
        except StorageError:
            assert faulty.injected
        else:
            # How many packs there are depends on which thread came first.
            assert not faulty.injected
        finish(sample, new_vault, store)


def test_a_write_that_arrives_twice_is_no_failure(sample: Sample, new_vault: NewVault) -> None:
    store = MemoryStore()
    faulty = FaultyStore(store, Rule(fault=Fault.REPEAT, prefix="packs/"))
    transfer(new_vault(sample.store), new_vault(faulty), [sample.root])
    check_complete(sample, new_vault(store))


@pytest.mark.parametrize("fault", [Fault.FAIL_BEFORE, Fault.SHORT_READ])
def test_each_read_may_fail(fault: Fault, sample: Sample, new_vault: NewVault) -> None:
    for number in range(1, 40, 3):
        store = MemoryStore()
        rule = Rule(fault=fault, operations=frozenset({"get_range"}), on=frozenset({number}))
        faulty = FaultyStore(sample.store, rule, seed=number)
        source = new_vault(faulty)
        try:
            transfer(source, new_vault(store), [sample.root])
        except (StorageError, DataDamaged):
            assert faulty.injected
        finish(sample, new_vault, store)


def test_many_failures_in_a_row(sample: Sample, new_vault: NewVault) -> None:
    """Each try gets a bit further, and none undoes what another did."""
    store = MemoryStore()
    dice = random.Random(3)
    published = [0]
    for attempt in range(12):
        rule = Rule(
            fault=dice.choice([Fault.FAIL_BEFORE, Fault.LOSE_RESPONSE]),
            operations=frozenset({"create", "create_from_file"}),
            on=frozenset({dice.randrange(1, 4)}),
        )
        source_rule = Rule(
            fault=Fault.FAIL_BEFORE,
            operations=frozenset({"get_range"}),
            on=frozenset({dice.randrange(5, 80)}),
        )
        source = new_vault(FaultyStore(sample.store, source_rule, seed=attempt))
        try:
            transfer(source, new_vault(FaultyStore(store, rule)), [sample.root])
        except ThenceError as error:
            assert isinstance(error, StorageError)  # noqa: PT017 - it may also succeed
        published.append(stored_bytes(store))
    assert published == sorted(published)
    finish(sample, new_vault, store)


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)
def test_ctrl_c(sample: Sample, new_vault: NewVault, request: pytest.FixtureRequest) -> None:
    main = threading.main_thread().ident
    assert main is not None
    came = threading.Event()

    def interrupted(*_: object) -> None:
        came.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupted)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    for after in (1, 10, 25):
        came.clear()
        store = MemoryStore()
        told = 0

        def progress(contents: int, size: int) -> None:
            nonlocal told
            told += 1
            if told == after:  # noqa: B023 - used before the next turn
                signal.pthread_kill(main, signal.SIGINT)
            if told >= after:  # noqa: B023
                came.wait(60)
                time.sleep(0.5)  # nor must it end before who was interrupted can stop it

        with pytest.raises(KeyboardInterrupt):
            transfer(new_vault(sample.store), new_vault(store), [sample.root], progress=progress)
        assert told < after + 10
        finish(sample, new_vault, store)


def test_what_the_progress_raises_ends_the_transfer(sample: Sample, new_vault: NewVault) -> None:
    store = MemoryStore()

    def progress(contents: int, size: int) -> None:
        raise StorageError("the terminal is gone")

    with pytest.raises(StorageError, match="terminal"):
        transfer(new_vault(sample.store), new_vault(store), [sample.root], progress=progress)
    finish(sample, new_vault, store)
