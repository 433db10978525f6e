"""Repairing: in any direction, from several stores, stopped anywhere, and never for the worse."""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from everything import Everything, copy_of, flip, short_lists
from team import Member, Team
from thence.errors import Conflict, DataDamaged, InvalidInput, NotFound, StorageError
from thence.model.ids import Digest
from thence.store.base import Store
from thence.store.local import LocalStore
from thence.store.memory import MemoryStore
from thence.store.wrap import Around
from thence.testing.faulty import WRITES, Fault, FaultyStore, Rule
from thence.vault.check import check
from thence.vault.findings import Severity
from thence.vault.gc import collect
from thence.vault.healing import Source
from thence.vault.pack import BlockKind, entries_of, pack_key, parse_pack_key, read_directory
from thence.vault.repair import repair
from thence.vault.replica import mirror
from thence.vault.survey import ASIDE
from thence.vault.sync import pull
from thence.vault.vault import Vault


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    with short_lists():
        yield Everything(tmp_path_factory.mktemp("everything"))


def hurt_much(store: Store, seed: int, *, part: float = 0.4) -> None:
    """Flip bits in many packs and entries, and lose some of both."""
    chance = random.Random(seed)
    for info in list(store.list()):
        if not info.key.startswith(("packs/", "refs/")) or chance.random() > part:
            continue
        if chance.random() < 0.3:
            store.delete(info.key)
        else:
            flip(store, info.key, chance.random())


def is_sound(everything: Everything, store: Store) -> bool:
    return check(everything.vault(store), deep=True).is_sound


def readable(everything: Everything, store: Store) -> set[str]:
    """The versions that can be read."""
    vault = everything.vault(store)
    member = Member("reader", vault, vault)
    found = set()
    for name, data in everything.contents.items():
        try:
            if member.read(name) == data:
                found.add(name)
        except (NotFound, DataDamaged, AttributeError):
            continue
    return found


@pytest.mark.parametrize("seed", range(3))
def test_a_home_is_healed_from_a_clone_and_a_mirror_from_its_home(
    everything: Everything, seed: int
) -> None:
    home = copy_of(everything.home)
    hurt_much(home, seed)
    assert repair(everything.vault(home), [everything.source(everything.clone)]).left == ()
    assert is_sound(everything, home)
    assert everything.reads(everything.vault(home)) == everything.contents
    copied = copy_of(everything.mirror)
    hurt_much(copied, seed)
    repaired = repair(everything.vault(copied), [everything.source(everything.home)])
    assert repaired.left == ()
    # The end of a log that it lost may as well not have come yet.
    mirror(everything.vault(everything.home), everything.vault(copied))
    assert is_sound(everything, copied)
    assert everything.reads(everything.vault(copied)) == everything.contents


def test_two_stores_of_which_each_has_one_half_heal_each_other(everything: Everything) -> None:
    home, other = copy_of(everything.home), copy_of(everything.mirror)
    packs = sorted(info.key for info in home.list("packs/"))
    for key in packs[::2]:
        home.delete(key)
    # What the home has not, the mirror must have: so it loses what the home still has.
    kept = set()
    for key in packs[1::2]:
        pack = parse_pack_key(key)
        assert pack is not None
        kept |= {entry.id for entry in entries_of(read_directory(home, pack))}
    for info in list(other.list("packs/")):
        pack = parse_pack_key(info.key)
        assert pack is not None
        directory = read_directory(other, pack)
        data = bytearray(other.get(info.key))
        for entry in entries_of(directory):
            if entry.id in kept and entry.stored_length:
                data[entry.offset] ^= 1
        other.replace(info.key, [bytes(data)])
    for here, there in ((home, other), (other, home)):
        repair(everything.vault(here), [everything.source(there)])
    repair(everything.vault(home), [everything.source(other)])
    for store in (home, other):
        assert is_sound(everything, store)
        assert everything.reads(everything.vault(store)) == everything.contents


def test_what_one_store_lacks_comes_from_another(everything: Everything) -> None:
    home, mirrored, clone = (
        copy_of(store) for store in (everything.home, everything.mirror, everything.clone)
    )
    for info in list(home.list("packs/")):
        home.delete(info.key)
    halves = (sorted(info.key for info in one.list("packs/")) for one in (mirrored, clone))
    for store, keys, begin in zip((mirrored, clone), halves, (0, 1), strict=True):
        for key in keys[begin::2]:
            flip(store, key, 0.01)
    sources = [everything.source(mirrored), everything.source(clone)]
    done = repair(everything.vault(home), sources)
    assert done.left == () or all(not is_sound(everything, store) for store in (mirrored, clone))
    assert readable(everything, home) >= (
        readable(everything, mirrored) | readable(everything, clone)
    )


def test_a_dry_run_writes_nothing_and_says_what_would_be_healed(everything: Everything) -> None:
    store = copy_of(everything.home)
    hurt_much(store, 5)
    before = {info.key: store.get(info.key) for info in store.list()}
    sources = [everything.source(everything.clone)]
    planned = repair(everything.vault(store), sources, dry_run=True)
    assert {info.key: store.get(info.key) for info in store.list()} == before
    assert planned.healed
    assert planned.left == ()
    assert not planned.changed


def test_a_second_repair_has_nothing_to_do(everything: Everything) -> None:
    store = copy_of(everything.home)
    hurt_much(store, 6)
    sources = [everything.source(everything.clone)]
    assert repair(everything.vault(store), sources).changed
    again = repair(everything.vault(store), sources)
    assert not again.changed
    assert again.healed == 0


def test_what_nobody_has_is_named_put_aside_and_healed_by_saving_it_again(
    everything: Everything,
) -> None:
    store = copy_of(everything.home)
    hurt: list[bytes] = []
    for info in list(store.list("packs/")):
        pack = parse_pack_key(info.key)
        assert pack is not None
        for entry in entries_of(read_directory(store, pack)):
            if entry.kind is BlockKind.CHUNK and len(hurt) < 2:
                data = bytearray(store.get(info.key))
                data[entry.offset + 5] ^= 4
                store.replace(info.key, [bytes(data)])
                hurt.append(bytes(data[entry.offset : entry.offset + entry.stored_length]))
    done = repair(everything.vault(store), [])
    assert {ref for one in done.left for ref in one.refs} == {"model@v1:file", "model@v2:file"}
    assert sorted(store.get(info.key) for info in store.list(ASIDE)) == sorted(hurt)
    assert readable(everything, store) == set(everything.contents) - {"model@v1", "model@v2"}
    vault = everything.vault(store)
    with short_lists(), vault.writer(lanes=1) as writer:
        writer.put_bytes(everything.contents["model@v1"])
        writer.put_bytes(everything.contents["model@v2"])
    assert is_sound(everything, store)


def test_a_clone_with_lost_packs_is_not_filled_by_a_pull_but_by_a_repair(
    everything: Everything,
) -> None:
    store = copy_of(everything.clone)
    for info in list(store.list("packs/")):
        store.delete(info.key)
    clone = everything.vault(store, clone=True)
    home = everything.vault(everything.home)
    pull(clone, home)
    assert not check(everything.vault(store, clone=True)).is_sound
    repair(everything.vault(store, clone=True), [everything.source(everything.home)])
    assert readable(everything, store) == set(everything.contents)


@pytest.mark.parametrize("back", [64, 60, 40, 24, 23, 5])
def test_a_pack_of_which_only_the_trailer_is_damaged_is_healed_by_itself(
    everything: Everything, back: int
) -> None:
    store = copy_of(everything.home)
    for info in list(store.list("packs/")):
        data = bytearray(store.get(info.key))
        data[-back] ^= 2
        store.replace(info.key, [bytes(data)])
    assert not check(everything.vault(store)).is_sound
    assert repair(everything.vault(store), []).left == ()
    assert everything.reads(everything.vault(store)) == everything.contents


def test_another_project_is_no_source(everything: Everything, tmp_path: Path) -> None:
    from team import NOW
    from thence.vault.layout import make_project

    other = MemoryStore()
    make_project(other, project_id="q" * 32, now=NOW)
    store = copy_of(everything.home)
    store.delete(next(store.list("packs/")).key)
    with pytest.raises(InvalidInput, match="different projects"):
        repair(everything.vault(store), [everything.source(other)])


def test_a_damaged_block_of_the_source_is_not_taken(everything: Everything) -> None:
    store, source = copy_of(everything.home), copy_of(everything.clone)
    for info in list(store.list("packs/")):
        store.delete(info.key)
    for info in list(source.list("packs/")):
        flip(source, info.key, 0.02)
    repair(everything.vault(store), [everything.source(source)])
    found = check(everything.vault(store), deep=True)
    assert not any(one.key and one.key.startswith("packs/") for one in found.of(Severity.DAMAGE))


def _stopped_at(everything: Everything, hurt: Store, number: int, fault: Fault) -> bool:
    """Repair with one write failing, check, and repair again; False where there is no such one."""
    store = copy_of(hurt)
    before = readable(everything, store)
    rule = Rule(fault=fault, operations=WRITES, on=frozenset({number}))
    faulty = FaultyStore(store, rule)
    with suppress(StorageError):
        repair(everything.vault(faulty), [everything.source(everything.clone)])
    assert readable(everything, store) >= before
    assert repair(everything.vault(store), [everything.source(everything.clone)]).left == ()
    assert is_sound(everything, store)
    assert everything.reads(everything.vault(store)) == everything.contents
    return bool(faulty.injected)


@pytest.mark.parametrize(
    "fault", [Fault.FAIL_BEFORE, pytest.param(Fault.LOSE_RESPONSE, marks=pytest.mark.slow)]
)
def test_stopped_at_any_write_it_goes_on(everything: Everything, fault: Fault) -> None:
    hurt = copy_of(everything.home)
    hurt_much(hurt, 8, part=0.25)
    for number in count(1):
        if not _stopped_at(everything, hurt, number, fault):
            assert number > 8
            return


@pytest.mark.slow
def test_any_damage_is_healed_where_another_store_is_whole(everything: Everything) -> None:
    for seed in range(60):
        store = copy_of(everything.home)
        hurt_much(store, 1000 + seed, part=random.Random(seed).random())
        done = repair(everything.vault(store), [everything.source(everything.clone)])
        assert done.left == (), seed
        assert is_sound(everything, store), seed
        assert everything.reads(everything.vault(store)) == everything.contents, seed


WASTE = random.Random(1).randbytes(60_000)
SHARED = random.Random(2).randbytes(20_000)
DAMAGED = random.Random(3).randbytes(1_000_000)  # in blocks of its own


class Beside(Around):
    """Lets others do something just before the first change of a kind."""

    def __init__(self, store: Store, change: tuple[str, str], act: Callable[[], object]) -> None:
        super().__init__(store)
        self._change = change
        self._act: Callable[[], object] | None = act

    def _call(self, name, key, call, sent=()):  # type: ignore[no-untyped-def]
        changes, prefix = self._change
        if self._act is not None and name.startswith(changes) and key.startswith(prefix):
            act, self._act = self._act, None
            act()
        return call()


def in_two_packs(team: Team) -> tuple[bytes, Source]:
    """Bytes that lie beside damage, and once more beside what nobody needs.

    Returns:
        The id of the pack that holds what nobody needs, and a store that has what is damaged.
    """
    one, other = team.at_home(), team.at_home()
    with one.vault.writer(lanes=1) as mine, other.vault.writer(lanes=1) as theirs:
        theirs.put_bytes(SHARED)
        theirs.put_bytes(WASTE)
        mine.put_bytes(SHARED)
        mine.put_bytes(DAMAGED)
    for session in (mine.session, theirs.session):
        session.release()
    home = team.at_home()
    home.save("keep", SHARED)
    home.save("other", DAMAGED)
    elsewhere = Team(team.folder / "elsewhere").at_home()
    elsewhere.content(DAMAGED)
    source = Source("memory://elsewhere", elsewhere.vault)
    packs = {
        pack: {entry.id: entry for entry in entries_of(read_directory(team.home, pack))}
        for info in team.home.list("packs/")
        if (pack := parse_pack_key(info.key)) is not None
    }
    (bad,) = (pack for pack, ids in packs.items() if Digest.of(DAMAGED).raw in ids)
    (waste,) = (pack for pack, ids in packs.items() if Digest.of(WASTE).raw in ids)
    data = bytearray(team.home.get(pack_key(bad)))
    chunk = next(entry for entry in packs[bad].values() if entry.kind is BlockKind.CHUNK)
    data[chunk.offset + 9] ^= 1
    team.home.delete(pack_key(bad))
    team.home.create(pack_key(bad), [bytes(data)])
    return waste, source


def repair_beside(
    team: Team, source: Source, change: tuple[str, str], act: Callable[[], object]
) -> None:
    vault = Vault(Beside(team.home, change, act), team.folder / "repair")
    assert repair(vault, [source]).left == ()
    fresh = team.at_home()
    assert fresh.read("keep") == SHARED
    assert fresh.read("other") == DAMAGED
    assert check(team.home_vault(), deep=True).is_sound


@pytest.mark.parametrize(
    "change", [("create", "gc/condemned/"), ("create", "packs/"), ("delete", "packs/")], ids=str
)
def test_of_two_who_delete_one_copy_each_one_keeps_it(
    tmp_path: Path, change: tuple[str, str]
) -> None:
    """In a store that can hold no lock, a collection that waits for nobody."""
    team = Team(tmp_path)
    _, source = in_two_packs(team)

    def gather() -> None:
        with suppress(DataDamaged):  # it saw what is to be repaired
            collect(team.home_vault(), by="cron", grace_s=0)

    repair_beside(team, source, change, gather)


def test_what_others_condemn_while_it_is_repaired_is_not_relied_on(tmp_path: Path) -> None:
    team = Team(tmp_path)
    waste, source = in_two_packs(team)

    def condemn() -> None:
        team.home_vault().condemned.put([waste], by="another")
        team.home.delete(pack_key(waste))

    repair_beside(team, source, ("create", "packs/"), condemn)


@pytest.mark.parametrize("change", [("create", "packs/"), ("delete", "packs/")], ids=str)
def test_nobody_collects_at_once_while_it_is_repaired(
    tmp_path: Path, change: tuple[str, str]
) -> None:
    (tmp_path / "home").mkdir()
    team = Team(tmp_path, LocalStore(tmp_path / "home"))
    _, source = in_two_packs(team)

    def gather() -> None:
        with pytest.raises(Conflict, match="somebody writes"):
            collect(team.home_vault(), by="cron", grace_s=0)

    repair_beside(team, source, change, gather)
