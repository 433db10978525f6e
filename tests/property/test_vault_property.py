"""Several vaults over one store, crashing and failing, against a dictionary.

What was acknowledged is there for ever; what is visible is whole; what is not acknowledged may be
there or not.
"""

import itertools
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from thence.errors import StorageError
from thence.model.ids import Digest
from thence.model.records import Tombstone, decode_entry
from thence.store.base import Bytes
from thence.store.memory import MemoryStore
from thence.vault import directory as directory_module
from thence.vault import lane as lane_module
from thence.vault import merged as merged_module
from thence.vault.hints import write_hint
from thence.vault.lane import Lane
from thence.vault.pack import BlockKind, entries_of, parse_pack_key, read_directory
from thence.vault.vault import Vault
from thence.vault.writer import Writer

LOGS = ["refs/runs/a", "refs/runs/b"]


class FailingStore(MemoryStore):
    """Fails when told to: the next `create` but some, before it is done or after."""

    def __init__(self) -> None:
        super().__init__()
        self.fails_in: int | None = None
        self.done_first = False

    def create(self, key: str, parts: Sequence[Bytes]) -> None:
        if self.fails_in is None:
            super().create(key, parts)
            return
        self.fails_in -= 1
        if self.fails_in >= 0:
            super().create(key, parts)
            return
        self.fails_in = None
        if self.done_first:
            super().create(key, parts)
        raise StorageError("the store failed", transient=True)


def make_pool() -> list[bytes]:
    """Contents of all sizes; many share chunks, some have lists of chunks in common."""
    dice = random.Random(3)
    base = dice.randbytes(700_000)
    text = b"".join(b"%d,%d\n" % (n, n * n) for n in range(60_000))
    return [
        b"",
        b"a",
        b"small" * 100,
        dice.randbytes(30_000),
        dice.randbytes(32 * 1024),
        dice.randbytes(32 * 1024 + 1),
        bytes(300_000),
        text,
        b"0,0\n" + text,
        base,
        base[:400_000],
        base + b"1",
        base + text,
        text + base,
        base[:350_000] + b"inserted" + base[350_000:],
    ]


POOL = make_pool()
CONTENTS = st.sampled_from(range(len(POOL)))


class Process:
    """What one process has in memory."""

    def __init__(self, store: FailingStore, cache: Path, *, remote: bool) -> None:
        self.cache = cache
        self.vault = Vault(store, cache, remote=remote)
        self.writer: Writer | None = None
        self.unflushed: list[int] = []

    def writing(self) -> Writer:
        if self.writer is None:
            self.writer = self.vault.writer(lanes=2)
        return self.writer

    def drop(self) -> None:
        """Forget what was not flushed, as a crash does."""
        if self.writer is not None:
            self.writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
        self.writer = None
        self.unflushed = []


class Acknowledged(NamedTuple):
    log: str
    number: int
    content: int


class Failure(NamedTuple):
    """After how many writes to the store one fails, and whether it is done nevertheless."""

    after: int
    done_first: bool


SLOTS = st.integers(0, 2)
SOME = st.lists(CONTENTS, max_size=2)
FAILURES = st.none() | st.builds(Failure, st.integers(0, 4), st.booleans())


class Vaults(RuleBasedStateMachine):
    remote = False

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="thence-machine-"))
        self.store = FailingStore()
        self.acknowledged: list[Acknowledged] = []
        self.caches = itertools.count(10)
        self.reader = self.new_vault()
        # Two processes share a cache, the third has its own.
        self.processes = [
            Process(self.store, self.folder / f"cache-{n // 2}", remote=self.remote)
            for n in range(3)
        ]

    def new_vault(self) -> Vault:
        cache = self.folder / f"cache-{next(self.caches)}"
        return Vault(self.store, cache, remote=self.remote)

    def failing(self, failure: Failure | None) -> None:
        self.store.fails_in = None if failure is None else failure.after
        self.store.done_first = failure is not None and failure.done_first

    @rule(slot=SLOTS, first=SOME, second=SOME, third=SOME)
    def put(self, slot: int, first: list[int], second: list[int], third: list[int]) -> None:
        """The first and the third by one lane, the second by another in between."""
        process = self.processes[slot]
        writer = process.writing()

        def put(lane: Lane, contents: list[int]) -> None:
            for content in contents:
                info = writer._put_bytes(lane, POOL[content])
                assert info == (Digest.of(POOL[content]), len(POOL[content]))

        def work(lane: Lane) -> None:
            put(lane, first)
            writer._with_lane(lambda other: put(other, second))  # this lane is taken
            put(lane, third)

        writer._with_lane(work)
        process.unflushed += first + second + third

    @rule(slot=SLOTS, log=st.sampled_from(LOGS), failure=FAILURES)
    def save(self, slot: int, log: str, failure: Failure | None) -> None:
        """Flush, and append an entry for each content: bytes first, name last."""
        process = self.processes[slot]
        self.failing(failure)
        try:
            process.writing().flush()
            self.failing(None)
        except StorageError:
            self.failing(None)
            for _ in range(2):
                with pytest.raises(StorageError):
                    process.writing().flush()
            process.drop()
            return
        contents, process.unflushed = process.unflushed, []
        for content in contents:
            if self.remote:
                write_hint(self.store, Digest.of(POOL[content]), process.writing().packs)
            record = Tombstone(version=Digest.of(POOL[content]), reason=str(content))
            done = process.vault.append(log, record, by="me")
            self.acknowledged.append(Acknowledged(log, done.number, content))

    @rule(slot=SLOTS, log=st.sampled_from(LOGS), failure=FAILURES)
    def append_and_fail(self, slot: int, log: str, failure: Failure | None) -> None:
        if not self.acknowledged:
            return
        content = self.acknowledged[-1].content
        record = Tombstone(version=Digest.of(POOL[content]), reason=str(content))
        self.failing(failure)
        try:
            done = self.processes[slot].vault.append(log, record, by="me")
            self.acknowledged.append(Acknowledged(log, done.number, content))
        except StorageError:
            pass  # it may be there or not
        finally:
            self.failing(None)

    @rule(slot=SLOTS, cache=st.sampled_from(["kept", "damaged", "deleted", "new"]))
    def crash(self, slot: int, cache: str) -> None:
        """The process dies, and another one takes its place."""
        process = self.processes[slot]
        process.drop()
        folder = process.cache
        if cache == "deleted":
            shutil.rmtree(folder, ignore_errors=True)
        elif cache == "new":
            folder = self.folder / f"cache-{next(self.caches)}"
        elif cache == "damaged":
            for path in (folder / "directories").glob("*.segment"):
                # A new file, as after a crash of the machine: what is mapped stays as it is.
                data = path.read_bytes()
                path.unlink()
                path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
        self.processes[slot] = Process(self.store, folder, remote=self.remote)

    @rule(slot=SLOTS)
    def read(self, slot: int) -> None:
        self.check(self.processes[slot].vault, self.acknowledged[-5:])

    def check(self, vault: Vault, entries: list[Acknowledged]) -> None:
        for log, number, content in entries:
            data = vault.logs.read(log, number)
            assert data is not None
            assert decode_entry(data).record == Tombstone(
                version=Digest.of(POOL[content]), reason=str(content)
            )
            assert vault.content.read(Digest.of(POOL[content])) == POOL[content]

    @rule()
    def everything_visible_is_whole(self) -> None:
        vault = self.new_vault()
        for info in self.store.list("packs/"):
            pack = parse_pack_key(info.key)
            assert pack is not None
            for entry in entries_of(read_directory(self.store, pack)):
                if entry.kind in {BlockKind.WHOLE, BlockKind.RECIPE}:
                    assert Digest.of(vault.content.read(Digest(entry.id))).raw == entry.id

    @invariant()
    def logs_have_no_gaps_and_no_name_without_bytes(self) -> None:
        for log in LOGS:
            entries = list(self.reader.logs.after(log, 0))
            numbers = [number for of, number in self.reader.logs.all(log)]
            assert numbers == [number for number, _ in entries] == list(range(1, len(entries) + 1))
            for _, data in entries[-1:]:
                record = decode_entry(data).record
                assert isinstance(record, Tombstone)
                assert self.reader.content.info(record.version) is not None

    def teardown(self) -> None:
        try:
            self.everything_visible_is_whole()
            for vault in (self.new_vault(), *(process.vault for process in self.processes)):
                self.check(vault, self.acknowledged)
        finally:
            shutil.rmtree(self.folder)


class RemoteVaults(Vaults):
    """On a bucket: packs go up in the background, directories are merged, hints are written."""

    remote = True

    @rule(prefix=st.sampled_from(["hints/", "directories/"]))
    def somebody_clears_up(self, prefix: str) -> None:
        """Both may be deleted at any time."""
        for info in list(self.store.list(prefix)):
            self.store.delete(info.key)


@pytest.mark.parametrize("machine", [Vaults, RemoteVaults])
def test_nothing_that_was_acknowledged_is_ever_lost(
    monkeypatch: pytest.MonkeyPatch, machine: type[Vaults]
) -> None:
    # Small packs and blocks, so that a short run of the machine closes many of them.
    monkeypatch.setattr(lane_module, "PACK", 300_000)
    monkeypatch.setattr(lane_module, "REMOTE_PACK", 300_000)
    monkeypatch.setattr(lane_module, "SOLID", 20_000)
    monkeypatch.setattr(merged_module, "PACKS", 3)
    monkeypatch.setattr(merged_module, "FAN", 3)
    monkeypatch.setattr(merged_module, "_MOST_PACKS", 9)
    monkeypatch.setattr(directory_module, "_FEW", 2)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60 if machine is Vaults else 40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
