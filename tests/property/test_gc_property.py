"""Several writers, readers, an open run, removals and collectors, against a dictionary.

Each of them is stopped before each operation of the store, and goes on when the machine says so, so
any of their steps may come between any others, while the clock of the store jumps. What was
acknowledged is there; what is visible is whole; what is dead goes in the end.
"""

import itertools
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from stepping import Inline, Killed, Stepper
from thence.errors import Conflict, DataDamaged, NotFound
from thence.model.ids import Digest, RunId
from thence.model.names import ArtifactName
from thence.model.records import (
    FileRole,
    FileUse,
    Host,
    Kind,
    Restored,
    RunOpened,
    RunSealed,
    RunStatus,
    SensorReport,
    Tombstone,
    Version,
    decode_entry,
    decode_lines,
    encode_lines,
)
from thence.store.base import Store
from thence.store.memory import MemoryStore
from thence.vault import lane as lane_module
from thence.vault import mirroring, parallel, recipe, transfer, tree, uploads
from thence.vault import repack as repack_module
from thence.vault import walk as walk_module
from thence.vault import writer as writer_module
from thence.vault.artifacts import Artifacts, Draft
from thence.vault.directory import Directory
from thence.vault.gc import LEAST_GRACE_S, collect
from thence.vault.layout import make_project
from thence.vault.logs import edits_log, run_log, versions_log
from thence.vault.naming import Naming
from thence.vault.pack import BlockKind, entries_of, pack_key, parse_pack_key, read_directory
from thence.vault.pushing import push
from thence.vault.references import Root, RootKind, references
from thence.vault.sync import pull
from thence.vault.tree import TreeEntry
from thence.vault.vault import Vault

NAMES = ["data", "model"]
GRACE_S = 24 * 3600.0
NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
HOST = Host(name="machine", system="Linux", release="6", machine="x86_64")


def make_pool() -> list[bytes]:
    """Contents of all sizes; many share chunks, some have lists of chunks in common."""
    dice = random.Random(5)
    base = dice.randbytes(400_000)
    return [
        b"a",
        b"small" * 100,
        dice.randbytes(9_000),
        dice.randbytes(33_000),
        base,
        base[:250_000],
        base[:200_000] + b"inserted" + base[200_000:],
        base + dice.randbytes(100_000),
    ]


POOL = make_pool()
PICKS = st.lists(st.sampled_from(range(len(POOL))), min_size=1, max_size=3, unique=True)
SLOTS = st.integers(0, 2)
STEPS = st.integers(1, 12)
HOURS = st.sampled_from([1, 11, 13, 25, 49, 200])


class Acked(NamedTuple):
    """A version that somebody was told is there."""

    name: str
    record: Digest
    picks: tuple[int, ...]


class Sealed(NamedTuple):
    """A run that somebody was told is sealed, and what it printed and read."""

    run: RunId
    picks: tuple[int, ...]


class Machine(RuleBasedStateMachine):
    remote = False
    collector: Callable[..., Any] = staticmethod(collect)

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="thence-gc-"))
        self.wall = NOW.timestamp()
        self.skew = 0.0
        self.store = MemoryStore(clock=lambda: self.wall + self.skew)
        make_project(self.store, project_id="p" * 32, now=NOW)
        self.caches = itertools.count()
        self.ids = itertools.count(1)
        self.acked: list[Acked] = []
        self.sealed: list[Sealed] = []
        self.removed: set[Digest] = set()
        self.unsure: set[Digest] = set()  # who removed or restored them did not get to the end
        self.writers: list[Stepper | None] = [None, None, None]
        self.collectors: list[Stepper | None] = [None, None]
        self.readers = [self.vault(self.store) for _ in range(2)]
        self.opened: list[RunId] = []
        self.jumped = 0  # how often the time went on by more than a period of grace
        self.slow: set[str] = set()  # keys of entries that were on their way for so long
        self.clone_store = MemoryStore(clock=lambda: self.wall + self.skew)
        self.clone_cache = self.folder / "clone"
        self.homes: list[Path] = [self.folder / f"slot-{n}" for n in range(3)]

    def clock(self) -> datetime:
        return datetime.fromtimestamp(self.wall, UTC)

    def vault(self, store: Store, cache: Path | None = None, *, clone: bool = False) -> Vault:
        return Vault(
            store,
            cache or self.folder / f"cache-{next(self.caches)}",
            remote=self.remote and not clone,
            clone=clone,
            clock=self.clock,
        )

    # Those who write.

    def begin(self, slot: int, work: Callable[[Store, Callable[[], None]], None]) -> None:
        old = self.writers[slot]
        if old is not None:
            self.go_on(slot, None)
        self.writers[slot] = Stepper(work, self.store)

    @rule(slot=SLOTS, name=st.sampled_from(NAMES), picks=PICKS, trusting=st.booleans())
    def save(self, slot: int, name: str, picks: list[int], trusting: bool) -> None:
        """A save; a trusting one does not read what the stat cache says is there."""

        def work(store: Store, pause: Callable[[], None]) -> None:
            vault = self.vault(store, self.homes[slot])
            with vault.writer(lanes=1) as writer:
                entries = []
                for pick in picks:
                    digest = Digest.of(POOL[pick])
                    if not (trusting and writer.knows(digest)):
                        assert writer.put_bytes(POOL[pick]).digest == digest
                    entries.append(TreeEntry(str(pick), len(POOL[pick]), digest))
                    pause()
                listed = tree.encode(sorted(entries, key=lambda entry: entry.path))
                root = writer.put_bytes(listed).digest
            pause()
            artifacts = Artifacts(vault, author=f"writer {slot}")
            draft = Draft(
                ArtifactName(name), Kind.DATASET, root, 1, len(picks), note=str(next(self.ids))
            )
            saved = artifacts.commit(draft, now=self.clock(), session=writer.session)
            self.acked.append(Acked(name, saved.digest, tuple(picks)))

        self.begin(slot, work)

    @rule(slot=SLOTS, name=st.sampled_from(NAMES), back=st.integers(0, 3))
    def remove(self, slot: int, name: str, back: int) -> None:
        self.change(slot, name, back, removes=True)

    @rule(slot=SLOTS, name=st.sampled_from(NAMES), back=st.integers(0, 3))
    def restore(self, slot: int, name: str, back: int) -> None:
        self.change(slot, name, back, removes=False)

    def change(self, slot: int, name: str, back: int, *, removes: bool) -> None:
        artifact = ArtifactName(name)

        def work(store: Store, pause: Callable[[], None]) -> None:
            vault = self.vault(store, self.homes[slot])
            entries = list(vault.logs.records(versions_log(artifact)))
            if back >= len(entries):
                return
            chosen = entries[-1 - back]
            assert isinstance(chosen.record, Version)
            pause()
            self.unsure.add(chosen.digest)
            kind = Tombstone if removes else Restored
            also = () if removes else tuple(references(chosen.record))
            vault.append(
                edits_log(artifact),
                kind(version=chosen.digest, reason="x"),
                by="somebody",
                also=also,
            )
            if removes:
                self.removed.add(chosen.digest)
            else:
                self.removed.discard(chosen.digest)
            self.unsure.discard(chosen.digest)

        self.begin(slot, work)

    @rule(slot=SLOTS)
    def open_run(self, slot: int) -> None:
        run = RunId.from_bytes(next(self.ids).to_bytes(10, "big"))

        def work(store: Store, pause: Callable[[], None]) -> None:
            vault = self.vault(store, self.homes[slot])
            record = RunOpened(
                run=run, command=("x",), root="/", cwd=".", started=NOW, author="a", host=HOST
            )
            vault.append(run_log(run), record, by="a")
            self.opened.append(run)

        self.begin(slot, work)

    @rule(slot=SLOTS, picks=PICKS, names_version=st.booleans())
    def seal_run(self, slot: int, picks: list[int], names_version: bool) -> None:
        if not self.opened:
            return
        run = self.opened.pop(0)

        def work(store: Store, pause: Callable[[], None]) -> None:
            vault = self.vault(store, self.homes[slot])
            with vault.writer(lanes=1) as writer:
                uses = []
                for pick in picks:
                    digest = Digest.of(POOL[pick])
                    if not writer.knows(digest):
                        writer.put_bytes(POOL[pick])
                    uses.append(FileUse(path=str(pick), role=FileRole.INPUT, size=1, digest=digest))
                    pause()
                if names_version and self.acked:
                    last = self.acked[-1]
                    uses.append(
                        FileUse(
                            path="out",
                            role=FileRole.OUTPUT,
                            digest=Digest.of(POOL[last.picks[0]]),
                            version=last.record,
                        )
                    )
                stdout = writer.put_bytes(f"said {run}".encode()).digest
                files = writer.put_bytes(encode_lines(uses)).digest
            pause()
            record = RunSealed(
                run=run,
                command=("x",),
                root="/",
                cwd=".",
                started=NOW,
                ended=NOW + timedelta(seconds=1),
                status=RunStatus.FINISHED,
                author="a",
                host=HOST,
                sensor=SensorReport(name="x", completeness="partial"),
                stdout=stdout,
                files=files,
            )
            vault.append(run_log(run), record, by="a", session=writer.session)
            self.sealed.append(Sealed(run, tuple(picks)))

        self.begin(slot, work)

    @rule(slot=SLOTS, picks=PICKS)
    def work_in_a_clone(self, slot: int, picks: list[int]) -> None:
        """Pull, save, push: the clone has what the home may have collected."""

        def work(store: Store, pause: Callable[[], None]) -> None:
            home = self.vault(store, self.homes[slot])
            clone = self.vault(self.clone_store, self.clone_cache, clone=True)
            try:
                pull(clone, home)
                pause()
                with clone.writer(lanes=1) as writer:
                    entries = [
                        TreeEntry(str(pick), 1, writer.put_bytes(POOL[pick]).digest)
                        for pick in sorted(picks)
                    ]
                    root = writer.put_bytes(tree.encode(entries)).digest
                draft = Draft(
                    ArtifactName("data"), Kind.DATASET, root, 1, 1, note=str(next(self.ids))
                )
                made = Artifacts(clone, author="clone").commit(
                    draft, now=self.clock(), session=writer.session
                )
                pause()
                self.collector(clone, by="clone", grace_s=0.0)
                pushed = push(clone, home)
            except NotFound:
                return  # what was removed went while it was pulled
            if made.new and any(
                one.log == versions_log(ArtifactName("data")) for one in pushed.numbered
            ):
                self.acked.append(Acked("data", made.digest, tuple(picks)))

        # Clones take turns, by a lock that a thread of the machine cannot wait for.
        if not any(one and getattr(one, "is_clone", False) for one in self.writers):
            self.begin(slot, work)
            self.writers[slot].is_clone = True  # type: ignore[union-attr]

    @rule(slot=SLOTS, count=st.none() | STEPS)
    def go_on(self, slot: int, count: int | None) -> None:
        self.advance(self.writers, slot, count)

    @rule(slot=SLOTS)
    def up_to_the_entry(self, slot: int) -> None:
        """Until it is about to put its entry: that is where everything is decided."""
        one = self.writers[slot]
        while one is not None and not one.done and not one.at.startswith("create refs/"):
            one.step()

    @rule(slot=SLOTS)
    def die(self, slot: int) -> None:
        if (one := self.writers[slot]) is not None:
            one.kill()
            self.writers[slot] = None

    def advance(self, actors: list[Stepper | None], slot: int, count: int | None) -> None:
        one = actors[slot]
        if one is None:
            return
        one.finish() if count is None else one.step(count)
        if one.done:
            actors[slot] = None
            if one.error is not None:
                self.judge(one.error)

    def judge(self, error: BaseException) -> None:
        """Whether somebody may fail in this way."""
        if isinstance(error, Killed):
            return
        if not isinstance(error, Conflict | NotFound | DataDamaged):
            raise error

    # Those who collect.

    @rule(
        slot=st.integers(0, 1),
        waste=st.sampled_from([0.0, 0.5]),
        grace_s=st.sampled_from([GRACE_S, GRACE_S, 0.0]),
    )
    def begin_collecting(self, slot: int, waste: float, grace_s: float) -> None:
        def work(store: Store, pause: Callable[[], None]) -> None:
            vault = self.vault(store)
            least_s = LEAST_GRACE_S if self.remote else 0.0
            self.collector(vault, by="collector", grace_s=max(grace_s, least_s), waste=waste)

        self.collect_on(slot, None)
        self.collectors[slot] = Stepper(work, self.store)

    @rule(slot=st.integers(0, 1), count=st.none() | STEPS)
    def collect_on(self, slot: int, count: int | None) -> None:
        self.advance(self.collectors, slot, count)

    @rule(slot=st.integers(0, 1))
    def up_to_the_deletion(self, slot: int) -> None:
        """Until it is about to delete a pack, or is done."""
        one = self.collectors[slot]
        while one is not None and not one.done and not one.at.startswith("delete packs/"):
            one.step()

    @rule(slot=st.integers(0, 1))
    def collector_dies(self, slot: int) -> None:
        if (one := self.collectors[slot]) is not None:
            one.kill()
            self.collectors[slot] = None

    @rule()
    def collect_now(self) -> None:
        self.collect_to_the_end()

    def collect_to_the_end(self, waste: float = 0.5) -> None:
        self.collector(self.vault(self.store), by="c", grace_s=GRACE_S, waste=waste)

    # Time.

    @rule(hours=HOURS)
    def time_passes(self, hours: int) -> None:
        self.wall += 3600 * hours
        self.mark_slow()

    @rule(hours=HOURS, back=st.booleans())
    def the_store_jumps(self, hours: int, back: bool) -> None:
        self.skew += -3600.0 * hours if back else 3600.0 * hours
        self.mark_slow()

    @rule(hours=HOURS)
    def the_writers_clocks_jump(self, hours: int) -> None:
        self.wall += 3600 * hours
        self.skew -= 3600 * hours

    def mark_slow(self) -> None:
        for one in self.writers:
            if one is not None and not one.done:
                self.slow.add("some")

    # What must be.

    @rule(reader=st.integers(0, 1), fresh=st.booleans())
    def read(self, reader: int, fresh: bool) -> None:
        vault = self.vault(self.store) if fresh else self.readers[reader]
        self.check(vault, self.acked[-3:], self.sealed[-2:])

    def check(self, vault: Vault, acked: list[Acked], sealed: list[Sealed]) -> None:
        there = {
            entry.digest
            for name in NAMES
            for entry in vault.logs.records(versions_log(ArtifactName(name)))
        }
        for one in acked:
            assert one.record in there
            if one.record in self.removed or one.record in self.unsure:
                continue
            for pick in one.picks:
                assert vault.content.read(Digest.of(POOL[pick])) == POOL[pick]
        for run, picks in sealed:
            records = [entry.record for entry in vault.logs.records(run_log(run))]
            (end,) = [record for record in records if isinstance(record, RunSealed)]
            assert end.stdout is not None
            assert end.files is not None
            assert vault.content.read(end.stdout) == f"said {run}".encode()
            assert vault.content.read(end.files)
            for pick in picks:
                assert vault.content.read(Digest.of(POOL[pick])) == POOL[pick]

    @invariant()
    def nothing_is_visible_without_its_bytes(self) -> None:
        if self.slow or not any(
            one is not None and one.at.startswith("delete") for one in self.collectors
        ):
            return
        self.everything_visible_is_whole()

    def everything_visible_is_whole(self) -> None:
        vault = self.vault(self.store)
        for name in NAMES:
            artifact = ArtifactName(name)
            gone = {}
            for entry in vault.logs.records(edits_log(artifact)):
                if isinstance(entry.record, Tombstone | Restored):
                    gone[entry.record.version] = isinstance(entry.record, Tombstone)
            for entry in vault.logs.records(versions_log(artifact)):
                assert isinstance(entry.record, Version)
                if not gone.get(entry.digest) and entry.digest not in self.unsure:
                    for item in tree.decode(vault.content.read(entry.record.tree)):
                        assert vault.content.read(item.digest)

    def teardown(self) -> None:
        try:
            for slot in range(3):
                self.advance(self.writers, slot, None)
            for slot in range(2):
                self.advance(self.collectors, slot, None)
            fresh = self.vault(self.store)
            for vault in (fresh, *self.readers):
                self.check(vault, self.acked, self.sealed)
            if not self.slow:
                self.everything_visible_is_whole()
            self.what_is_dead_goes()
            self.check(self.vault(self.store), self.acked, self.sealed)
        finally:
            for one in (*self.writers, *self.collectors):
                if one is not None:
                    one.kill()
            shutil.rmtree(self.folder, ignore_errors=True)

    def what_is_dead_goes(self) -> None:
        """Runs that are open let go after a week; then nothing stays that nobody refers to."""
        self.skew = 0.0
        self.wall += 400 * 24 * 3600
        for _ in range(4):
            try:
                self.collect_to_the_end(waste=0.0)
            except DataDamaged:
                assert self.slow  # an entry that came too late, and was not acknowledged
                return
            self.wall += 3 * 24 * 3600
        assert self.ids_there() == ids_needed(self.vault(self.store))

    def ids_there(self) -> set[bytes]:
        found = set()
        for info in self.store.list("packs/"):
            pack = parse_pack_key(info.key)
            assert pack is not None
            found |= {entry.id for entry in entries_of(read_directory(self.store, pack))}
        return found


def ids_needed(vault: Vault) -> set[bytes]:
    """By reading all entries once more, in the plainest way."""
    roots: set[Root] = set()
    for log, number in vault.numbered.all():
        data = vault.numbered.read(log, number)
        assert data is not None
        entry = decode_entry(data)
        if isinstance(entry.record, Version):
            gone = False
            for edit in vault.logs.records(f"{log}edits"):
                if getattr(edit.record, "version", None) == entry.digest:
                    gone = isinstance(edit.record, Tombstone)
            if gone:
                continue
        if entry.record is not None:
            roots.update(references(entry.record))
    ids: set[bytes] = set()
    for root in roots:
        ids |= parts(vault, root.digest)
        data = vault.content.read(root.digest)
        if root.kind is RootKind.TREE:
            for item in tree.decode(data):
                ids |= parts(vault, item.digest)
        elif root.kind is RootKind.FILES:
            for use in decode_lines(data, FileUse):
                if use.digest and not (use.role is FileRole.OUTPUT and use.version):
                    ids |= parts(vault, use.digest)
    return ids


def parts(vault: Vault, digest: Digest) -> set[bytes]:
    ids = {digest.raw}
    where = vault.directory.look_for(digest.raw)
    assert where is not None
    if where.entry.kind is BlockKind.RECIPE:

        def read_list(node_id: bytes) -> bytes:
            ids.add(node_id)
            return bytes(vault.content._list(node_id))

        node = bytes(vault.content._member(where))
        ids |= {item.id for item in recipe.chunks_of(node, read_list)}
    return ids


class RemoteMachine(Machine):
    """As on a bucket: who writes looks after the entry only where that came late."""

    remote = True


@contextmanager
def small_and_one_by_one() -> Iterator[None]:
    """Small packs, blocks and lists; and nothing is done by other threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lane_module, "PACK", 150_000)
        patch.setattr(lane_module, "REMOTE_PACK", 150_000)
        patch.setattr(lane_module, "SOLID", 10_000)
        patch.setattr(recipe, "_TOP", 3)
        patch.setattr(recipe, "_LIST_MINIMUM", 2)
        patch.setattr(recipe, "_LIST_MAXIMUM", 3)
        for module in (parallel, mirroring, transfer, repack_module, walk_module, writer_module):
            patch.setattr(module, "ThreadPoolExecutor", Inline)

        class NoThread:
            def __init__(self, **_: object) -> None:
                pass

            def start(self) -> None:
                raise RuntimeError("no threads here")

        patch.setattr(uploads, "Thread", NoThread)
        yield


def play(machine: type[Machine], examples: int, steps: int = 40, **how: Any) -> None:
    with small_and_one_by_one():
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                **how,
            ),
        )


@pytest.mark.parametrize("machine", [Machine, RemoteMachine])
def test_nothing_that_was_acknowledged_is_ever_collected(machine: type[Machine]) -> None:
    play(machine, 15)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("machine", [Machine, RemoteMachine])
def test_nothing_that_was_acknowledged_is_ever_collected_in_the_long_run(
    machine: type[Machine],
) -> None:
    play(machine, 150, 60)


def naive(vault: Vault, **_: Any) -> None:
    """Deletes what no entry needs, as one would write it first."""
    packs = [parse_pack_key(info.key) for info in vault.store.list("packs/")]
    vault.directory.refresh()
    needed = ids_needed(vault)
    for pack in packs:
        assert pack is not None
        with suppress(NotFound):
            ids = {entry.id for entry in entries_of(read_directory(vault.store, pack))}
            if not ids & needed:
                vault.store.delete(pack_key(pack))


class LosingMachine(Machine):
    """Only tells what is lost; not what stays."""

    def what_is_dead_goes(self) -> None:
        pass


class NaiveMachine(LosingMachine):
    collector = staticmethod(naive)


def without(name: str, patch: pytest.MonkeyPatch) -> type[Machine]:
    """The machine, without a part of the design."""
    match name:
        case "grace":
            return NaiveMachine
        case "looking at what is condemned":
            patch.setattr(Naming, "before", lambda *_, **__: None)
            patch.setattr(Naming, "after", lambda *_: None)
        case "looking after the entry":
            patch.setattr(Naming, "after", lambda *_: None)
        case "passing over condemned packs":
            patch.setattr(Directory, "find_kept", lambda self, wanted, _=(): self.find(wanted))
    return LosingMachine


# That something is lost is enough: the shortest way to it is of no interest, and dear.
ONE_IS_ENOUGH: dict[str, Any] = {
    "phases": [Phase.generate],
    "report_multiple_bugs": False,
    "derandomize": True,
    "database": None,
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "part",
    [
        "grace",
        "looking at what is condemned",
        "looking after the entry",
        "passing over condemned packs",
    ],
)
def test_the_machine_finds_what_is_lost_without(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = without(part, monkeypatch)
    with pytest.raises((AssertionError, NotFound, DataDamaged, ExceptionGroup)):
        play(machine, 4000, **ONE_IS_ENOUGH)
