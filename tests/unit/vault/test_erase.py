"""Erasing: no byte of it in any object, all else as before, and it goes on where it was cut."""

import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from team import NOW, Member, Team, objects
from thence.errors import Conflict, DataDamaged, Denied, NotFound, ThenceError
from thence.model.ids import Digest, RunId
from thence.model.names import ArtifactName
from thence.model.records import Erasure, ErasureLifted, Kind
from thence.store.base import Store
from thence.store.local import LocalStore
from thence.store.memory import MemoryStore
from thence.store.wrap import Trace
from thence.testing.faulty import Fault, FaultyStore, Rule
from thence.vault import erase as erasing
from thence.vault import pushing, replica, tree
from thence.vault.artifacts import Draft
from thence.vault.erase import CarriedOut, carry_out
from thence.vault.erasures import erased, erasures
from thence.vault.gc import collect
from thence.vault.logs import ERASURES
from thence.vault.pack import entries_of, parse_pack_key, read_directory
from thence.vault.segment import Location
from thence.vault.tree import TreeEntry
from thence.vault.vault import Vault

MARK = b"Mrs Example, born 1970-01-01"


@pytest.fixture(params=[False, True], ids=["folder", "bucket"])
def team(tmp_path: Path, request: pytest.FixtureRequest) -> Team:
    return Team(tmp_path, remote=request.param)


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def everything(store: Store, folder: Path) -> bytes:
    """Every object, and every block of every pack decoded."""
    vault = Vault(store, folder / f"looking-{random.random()}")
    found = []
    for info in store.list():
        found.append(store.get(info.key))
        pack = parse_pack_key(info.key)
        if pack is None:
            continue
        blocks = {entry.offset: entry for entry in entries_of(read_directory(store, pack))}
        for entry in blocks.values():
            stored = store.get_range(info.key, entry.offset, entry.stored_length)
            found.append(bytes(vault.content.decode(Location(pack, entry), stored)))
    return b"\n".join(found)


def erase(member: Member, *contents: bytes, run: RunId | None = None) -> CarriedOut:
    digests = tuple(map(Digest.of, contents))
    runs = () if run is None else (run,)
    member.vault.append(ERASURES, Erasure(contents=digests, reason="names", runs=runs), by="eve")
    return carry_out(member.vault)


def has(vault: Vault, data: bytes) -> bool:
    return not vault.content.missing([Digest.of(data)])


SMALL = b"small " + MARK
# Its middle has the marker; beginning and end are those of the neighbour.
LARGE = noise(1, 700_000) + MARK * 40 + noise(2, 900_000)
NEIGHBOUR = noise(1, 700_000) + noise(2, 900_000)
HUGE = b"".join(noise(n, 60_000) + MARK for n in range(500))  # 30 MB, so that there are lists


def test_no_byte_is_left_and_all_else_is_as_it_was(team: Team, tmp_path: Path) -> None:
    home = team.at_home()
    home.save("small", SMALL)
    home.save("large", LARGE)
    home.save("large", NEIGHBOUR)
    home.save("other", b"fine")
    home.log_run(b"made")
    dead = home.content(b"nobody refers to it")
    assert MARK in everything(team.home, tmp_path)
    refs = objects(team.home)
    done = erase(home, SMALL, LARGE)
    assert done.contents == 2
    assert done.size_bytes == len(SMALL) + len(LARGE)
    assert 1_000_000 < done.shared_bytes < len(NEIGHBOUR)
    assert MARK not in everything(team.home, tmp_path)
    assert home.read("large@v2") == NEIGHBOUR
    fresh = team.home_vault()
    assert fresh.content.read(dead) == b"nobody refers to it"
    assert fresh.content.read(Digest.of(b"fine")) == b"fine"
    assert fresh.content.read(Digest.of(b"said made")) == b"said made"
    assert {key: data for key, data in objects(team.home).items() if ERASURES not in key} == refs
    assert not objects(team.home, "gc/erasing/")
    told = erasures(fresh)[Digest.of(SMALL)]
    assert (told.by, told.reason) == ("eve", "names")
    assert carry_out(home.vault) == CarriedOut()  # a second one finds nothing to do


@pytest.mark.slow
def test_lists_of_chunks_go_and_are_followed(team: Team, tmp_path: Path) -> None:
    home = team.at_home()
    home.save("huge", HUGE)
    home.save("huge", HUGE[:20_000_000] + HUGE[20_100_000:])
    assert erase(home, HUGE, HUGE[:20_000_000] + HUGE[20_100_000:]).shared_bytes == 0
    assert MARK not in everything(team.home, tmp_path)


def test_all_copies_go(team: Team, tmp_path: Path) -> None:
    home = team.at_home()
    home.save("small", SMALL)
    blind = Vault(team.home, tmp_path / "blind")
    with blind.copier(avoid=home.vault.directory.packs()) as writer:
        writer.put_bytes(SMALL)
        writer.put_bytes(b"beside it")
    assert len(objects(team.home, "packs/")) == 2
    erase(home, SMALL)
    assert MARK not in everything(team.home, tmp_path)
    assert team.home_vault().content.read(Digest.of(b"beside it")) == b"beside it"


def test_what_a_run_had_published_goes(team: Team) -> None:
    home = team.at_home()
    run = home.log_run(b"made")
    team.home.create(f"runs/{run}/1/0000000001", [b"loss=" + MARK])
    erase(home, b"made", run=run)
    assert not objects(team.home, "runs/")


@pytest.mark.parametrize("fault", [Fault.FAIL_BEFORE, Fault.LOSE_RESPONSE])
def test_it_goes_on_wherever_it_was_cut(tmp_path: Path, fault: Fault) -> None:
    """From each operation of the store on everything fails; then again with a store in order."""
    made = Team(tmp_path)
    home = made.at_home()
    home.save("large", LARGE)
    home.save("large", NEIGHBOUR)
    home.vault.append(ERASURES, Erasure(contents=(Digest.of(LARGE),), reason="names"), by="eve")
    before = objects(made.home, "")
    for number in range(1, 200):
        store = MemoryStore()
        for key, data in before.items():
            store.create(key, [data])
        rule = Rule(fault=fault, on=frozenset(range(number, 10_000)), transient=False)
        faulty = FaultyStore(store, rule)
        with suppress(ThenceError):
            carry_out(Vault(faulty, tmp_path / f"cut-{number}"))
        carry_out(Vault(store, tmp_path / f"again-{number}"))
        assert MARK not in everything(store, tmp_path)
        vault = Vault(store, tmp_path / f"read-{number}")
        assert vault.content.read(Digest.of(NEIGHBOUR)) == NEIGHBOUR
        assert not objects(store, "gc/erasing/")
        if not faulty.injected:
            break
    assert 10 < number < 199


def test_clones_and_mirrors_follow(team: Team, tmp_path: Path) -> None:
    home = team.at_home()
    home.save("data", SMALL)
    home.save("data", b"fine")
    ann = team.clone("ann")
    part = team.clone("part", only="data@v1")
    mirror = Vault(MemoryStore(), tmp_path / "mirror")
    replica.mirror(home.vault, mirror)
    stores = [ann.vault.store, part.vault.store, mirror.store]
    assert all(MARK in everything(store, tmp_path) for store in stores)
    erase(home, SMALL)
    ann.pull()
    part.pull("data@v2")
    replica.mirror(home.vault, mirror)
    for store in stores:
        assert MARK not in everything(store, tmp_path)
    assert objects(ann.vault.store) == objects(mirror.store) == objects(team.home)
    bob = team.clone("bob")  # which never had it
    assert bob.pull().damaged == ()
    assert bob.read("data@v2") == b"fine"


def test_a_clone_erases_at_home_when_it_pushes(team: Team, tmp_path: Path) -> None:
    home = team.at_home()
    home.save("data", SMALL)
    ann = team.clone("ann")
    erase(ann, SMALL)
    assert MARK not in everything(ann.vault.store, tmp_path)
    assert MARK in everything(team.home, tmp_path)
    ann.push()
    assert MARK not in everything(team.home, tmp_path)
    assert erased(team.home_vault()) == {Digest.of(SMALL)}


def test_nobody_who_is_behind_brings_it_back(team: Team, tmp_path: Path) -> None:
    home = team.at_home()
    ann = team.clone("ann")
    ann.save("data", SMALL)
    ann.save("data", b"fine")
    home.content(SMALL)
    erase(home, SMALL)
    ann.push()
    assert MARK not in everything(team.home, tmp_path)
    assert team.clone("bob").read("data@v2") == b"fine"
    ann.pull()
    assert MARK not in everything(ann.vault.store, tmp_path)


def test_it_can_be_lifted(team: Team) -> None:
    home = team.at_home()
    home.save("data", SMALL)
    erase(home, SMALL)
    record = ErasureLifted(contents=(Digest.of(SMALL),), reason="a mistake")
    home.vault.append(ERASURES, record, by="eve")
    assert erased(home.vault) == frozenset()
    home.content(SMALL)
    carry_out(home.vault)
    assert has(home.vault, SMALL)
    erase(home, SMALL)
    assert not has(team.home_vault(), SMALL)


def test_who_puts_it_again_each_time_is_no_success(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = team.at_home()
    home.save("data", SMALL)
    rewrite = erasing._rewrite

    def others_put_it(vault: Vault, *args: Any, **options: Any) -> CarriedOut:
        done = rewrite(vault, *args, **options)
        with team.home_vault().copier() as writer:
            writer.put_bytes(SMALL)
        return done

    with monkeypatch.context() as patched:
        patched.setattr(erasing, "_rewrite", others_put_it)
        with pytest.raises(Conflict, match="is still there"):
            erase(home, SMALL)
    assert carry_out(team.home_vault()).contents == 1
    assert not has(team.home_vault(), SMALL)


def test_a_pack_that_cannot_be_looked_into_stops_it(team: Team) -> None:
    home = team.at_home()
    home.save("data", SMALL)
    home.content(b"other")
    (key,) = (k for k, data in objects(team.home, "packs/").items() if b"other" in data)
    data = team.home.get(key)
    team.home.delete(key)
    team.home.create(key, [data[:-70], b"x" * 6, data[-64:]])
    with pytest.raises(DataDamaged, match="is not known"):
        erase(home, SMALL)
    assert has(team.home_vault(), SMALL)


def test_it_must_not_come_back(team: Team, tmp_path: Path) -> None:
    home = team.at_home()
    home.save("data", SMALL)
    home.save("large", LARGE)
    erase(home, SMALL, LARGE)
    ann = team.clone("ann")
    for member in (home, Member("fresh", team.home_vault(), home.vault), ann):
        for data in (SMALL, LARGE):
            with pytest.raises(Denied) as caught:
                member.save("again", data)
            assert caught.value.what.endswith("was erased, and must not come back")
            assert "eve erased it on " in caught.value.why
            assert f"thence erase --lift {Digest.of(data)}" in caught.value.hint
    with pytest.raises(NotFound, match="was erased") as told:
        home.vault.content.read(Digest.of(SMALL))
    assert "eve erased it on " in told.value.why
    assert MARK[:12] not in b"".join(objects(team.home, "refs/").values())


def test_a_writer_under_way_is_refused(team: Team, tmp_path: Path) -> None:
    """It began before, and puts the bytes after they were erased."""
    home, ann = team.at_home(), team.at_home("ann")
    home.save("data", SMALL)
    draft = Draft(ArtifactName("late"), Kind.FILE, Digest.of(b""), 0, 1)
    with ann.vault.writer(lanes=1) as writer:
        erase(home, SMALL)
        info = writer.put_bytes(SMALL + b"")
        listed = tree.encode([TreeEntry("file", info.size_bytes, info.digest)])
        root = writer.put_bytes(listed).digest
    with pytest.raises(ThenceError):
        ann.artifacts.commit(draft._replace(tree=root), now=NOW, session=writer.session)
    assert not list(team.home.list("refs/artifacts/late/"))
    carry_out(home.vault)
    assert MARK not in everything(team.home, tmp_path)


def test_what_a_repair_put_aside_goes_too(team: Team, tmp_path: Path) -> None:
    home = team.at_home()
    home.save("small", SMALL)
    team.home.create("damaged/ab/0", [b"of a damaged pack: " + MARK])
    erase(home, SMALL)
    assert MARK not in everything(team.home, tmp_path)


WASTE = noise(5, 60_000)
SHARED = noise(6, 20_000)


def in_two_packs(team: Team) -> Member:
    """A version whose bytes lie beside what is erased, and once more beside what nobody needs."""
    one, other = team.at_home(), team.at_home()
    with one.vault.writer(lanes=1) as mine, other.vault.writer(lanes=1) as theirs:
        theirs.put_bytes(SHARED)
        theirs.put_bytes(WASTE)
        mine.put_bytes(SHARED)
        mine.put_bytes(SMALL)
    for session in (mine.session, theirs.session):
        session.release()
    team.at_home().save("keep", SHARED)
    assert len(objects(team.home, "packs/")) == 3
    eraser = team.at_home()
    record = Erasure(contents=(Digest.of(SMALL),), reason="names")
    eraser.vault.append(ERASURES, record, by="eve")
    return eraser


def around_copying(
    monkeypatch: pytest.MonkeyPatch, *, before: Callable[[], object], after: Callable[[], object]
) -> None:
    """Let others do something just before everything else is copied, or just after, once."""
    original = vars(erasing)["repack"]

    def repack(*args: object, **options: object) -> object:
        monkeypatch.setattr(erasing, "repack", original)
        before()
        done = original(*args, **options)
        after()
        return done

    monkeypatch.setattr(erasing, "repack", repack)


@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
def test_of_two_who_delete_one_copy_each_one_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_before: bool
) -> None:
    """In a store that can hold no lock, a collection that waits for nobody."""
    team = Team(tmp_path)
    eraser = in_two_packs(team)

    def gather() -> None:
        assert collect(team.home_vault(), by="cron", grace_s=0).deleted_packs

    steps = (gather, int) if is_before else (int, gather)
    around_copying(monkeypatch, before=steps[0], after=steps[1])
    carry_out(eraser.vault)
    assert team.at_home().read("keep") == SHARED
    assert MARK not in everything(team.home, tmp_path)
    assert not has(team.home_vault(), WASTE)


def test_a_pack_that_was_condemned_while_others_were_copied_is_not_relied_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = Team(tmp_path)
    eraser = in_two_packs(team)
    other = team.home_vault()

    def condemn() -> None:
        """Another one who erases: what it keeps is elsewhere, it says."""
        place = next(
            pack
            for pack in other.directory.packs()
            if {entry.id for entry in entries_of(read_directory(team.home, pack))}
            >= {Digest.of(WASTE).raw, Digest.of(SHARED).raw}
        )
        other.condemned.put([place], by="another")
        team.home.delete(f"packs/{place.hex()[:2]}/{place.hex()}")

    other.directory.refresh()
    around_copying(monkeypatch, before=int, after=condemn)
    carry_out(eraser.vault)
    assert team.at_home().read("keep") == SHARED


def test_nobody_collects_at_once_while_something_is_erased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    team = Team(tmp_path, LocalStore(tmp_path / "home"))
    eraser = in_two_packs(team)

    def gather() -> None:
        with pytest.raises(Conflict, match="somebody writes"):
            collect(team.home_vault(), by="cron", grace_s=0)

    around_copying(monkeypatch, before=gather, after=gather)
    carry_out(eraser.vault)
    assert team.at_home().read("keep") == SHARED
    collect(team.home_vault(), by="cron", grace_s=0)  # now it is alone
    assert team.at_home().read("keep") == SHARED


def test_what_was_erased_before_it_came_home_is_refused_there(team: Team, tmp_path: Path) -> None:
    nightly, late = team.at_home("nightly"), team.at_home("late")
    with late.vault.writer(lanes=1) as writer:  # it began before anybody knew
        ann = team.clone("ann")
        ann.save("secret", SMALL)
        erase(ann, SMALL)
        ann.push()
        info = writer.put_bytes(SMALL)
        listed = tree.encode([TreeEntry("file", info.size_bytes, info.digest)])
        root = writer.put_bytes(listed).digest
    draft = Draft(ArtifactName("late"), Kind.FILE, root, len(SMALL), 1)
    with pytest.raises(Denied, match="was erased"):
        late.artifacts.commit(draft, now=NOW, session=writer.session)
    with pytest.raises(Denied, match="was erased"):
        nightly.save("nightly", SMALL)
    carry_out(nightly.vault)
    assert MARK not in everything(team.home, tmp_path)


def test_the_notice_is_given_once(team: Team) -> None:
    home = team.at_home()
    erase(home, SMALL)
    given = objects(team.home, "gc/condemned/")
    assert len(given) == 1
    carry_out(home.vault)
    carry_out(team.home_vault())
    assert objects(team.home, "gc/condemned/") == given
    erase(home, LARGE)
    assert len(objects(team.home, "gc/condemned/")) == 2


def test_packs_that_a_killed_writer_left_on_this_machine_go(team: Team) -> None:
    home = team.at_home()
    home.save("small", SMALL)
    staging = home.vault.cache / "staging"
    staging.mkdir(exist_ok=True)
    left = staging / "pack-0123"
    left.write_bytes(MARK)
    os.utime(left, (time.time() - 60,) * 2)
    erase(home, SMALL)
    assert not left.exists()


def test_an_erasure_that_a_cut_push_brought_home_is_carried_out_by_the_next(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = team.at_home()
    home.save("small", SMALL)
    clone = team.clone("c")
    erase(clone, SMALL)

    def cut(vault: Vault) -> CarriedOut:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pushing, "carry_out", cut)
        with pytest.raises(KeyboardInterrupt):
            clone.push()
    assert has(home.vault, SMALL)
    clone.push()
    assert not has(team.home_vault(), SMALL)


def test_what_runs_published_is_listed_once_however_many_were_erased(team: Team) -> None:
    home = team.at_home()
    runs = [home.log_run(b"%d" % n) for n in range(3)]
    for run in runs:
        home.vault.store.create(f"runs/{run}/pulse", [MARK])
    record = Erasure(contents=(), reason="names", runs=(runs[0], runs[2]))
    home.vault.append(ERASURES, record, by="eve")
    trace = Trace(team.home)
    carry_out(Vault(trace, home.vault.cache, remote=team.remote))
    assert list(objects(team.home, "runs/")) == [f"runs/{runs[1]}/pulse"]
    listed = [one.key for one in trace.operations if one.name == "list"]
    assert [key for key in listed if key.startswith("runs/")] == ["runs/"]


def test_not_a_chunk_of_what_was_erased_comes_back(team: Team, tmp_path: Path) -> None:
    home = team.at_home()
    home.save("large", LARGE)
    erase(home, LARGE)
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    with home.vault.writer() as writer:
        with pytest.raises(Denied, match="must not come back"):
            writer.put_file(path)
        with pytest.raises(Denied, match="must not come back"):
            writer.put_bytes(LARGE)
        writer.put_bytes(b"other")
    assert MARK not in everything(team.home, tmp_path)
