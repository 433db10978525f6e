"""What the logs say is needed: what waits in an outbox counts as it does for a collection."""

from pathlib import Path

import pytest

from everything import flip
from team import Member, Team, objects
from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.model.records import (
    Erasure,
    ErasureLifted,
    Record,
    Restored,
    RunRestored,
    RunTombstone,
    Tombstone,
)
from thence.vault.check import check
from thence.vault.erase import carry_out
from thence.vault.gc import collect
from thence.vault.healing import Source
from thence.vault.logs import ERASURES, edits_log, run_log
from thence.vault.pack import entries_of, parse_pack_key, read_directory
from thence.vault.reach import live_roots
from thence.vault.repair import repair

DATA = edits_log(ArtifactName("data"))
SECRET = b"secret" * 900


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


def say(member: Member, log: str, record: Record) -> None:
    member.vault.append(log, record, by=member.name)


def lose(member: Member, data: bytes) -> None:
    """Delete the pack that has a content."""
    wanted = Digest.of(data).raw
    store = member.vault.store
    for key in objects(store, "packs/"):
        pack = parse_pack_key(key)
        assert pack is not None
        if wanted in {one.id for one in entries_of(read_directory(store, pack))}:
            store.delete(key)
    member.vault.directory.forget()


def has(member: Member, data: bytes) -> bool:
    member.vault.directory.refresh()
    return not member.vault.content.missing([Digest.of(data)])


def heal(team: Team, member: Member) -> None:
    repair(member.vault, [Source(team.home.url, team.home_vault())])


def test_what_was_removed_in_a_clone_is_not_missed_there(team: Team) -> None:
    home = team.at_home()
    home.save("data", b"first")
    home.save("data", b"second")
    run = home.log_run(b"made")
    ann = team.clone("ann")
    first = ann.find("data@v1").entry.digest
    say(ann, DATA, Tombstone(version=first, reason="bad"))
    say(ann, run_log(run), RunTombstone(run=run, reason="bad"))
    assert collect(ann.vault, by="ann", grace_s=0).deleted_packs
    assert not has(ann, b"first")
    assert not has(ann, b"made")
    assert check(ann.vault).findings == ()
    heal(team, ann)
    assert not has(ann, b"first")


def test_what_was_restored_there_after_all_is_missed(team: Team) -> None:
    home = team.at_home()
    home.save("data", b"first")
    run = home.log_run(b"made")
    first = home.find("data@v1").entry.digest
    say(home, DATA, Tombstone(version=first, reason="bad"))
    ann = team.clone("ann")
    say(ann, run_log(run), RunTombstone(run=run, reason="bad"))
    assert not has(ann, b"first")
    bob = team.at_home()
    for member in (bob, ann):
        say(member, run_log(run), RunRestored(run=run))
    assert check(ann.vault).findings == ()
    say(bob, DATA, Restored(version=first))
    assert check(bob.vault).findings == ()
    lose(ann, b"made")
    assert not check(ann.vault).is_sound
    heal(team, ann)
    assert has(ann, b"made")


def test_what_was_erased_in_a_clone_is_not_missed_and_not_brought_back(team: Team) -> None:
    home = team.at_home()
    home.save("secret", SECRET)
    home.save("data", b"fine")
    ann = team.clone("ann")
    say(ann, ERASURES, Erasure(contents=(Digest.of(SECRET),), reason="names"))
    carry_out(ann.vault)
    assert not has(ann, SECRET)
    assert check(ann.vault).findings == ()
    heal(team, ann)
    assert not has(ann, SECRET)
    lose(ann, b"fine")
    heal(team, ann)
    assert has(ann, b"fine")
    assert not has(ann, SECRET)
    assert check(ann.vault).findings == ()
    lifted = ErasureLifted(contents=(Digest.of(SECRET),), reason="it was allowed")
    say(ann, ERASURES, lifted)
    assert not check(ann.vault).is_sound
    heal(team, ann)
    assert has(ann, SECRET)


@pytest.mark.parametrize("is_known_elsewhere", [True, False])
def test_a_repair_goes_on_where_it_cannot_be_read_what_was_erased(
    team: Team, is_known_elsewhere: bool
) -> None:
    home = team.at_home()
    home.save("data", b"fine")
    home.save("secret", SECRET)
    ann = team.clone("ann")
    say(home, ERASURES, Erasure(contents=(Digest.of(SECRET),), reason="names"))
    bob = team.clone("bob")
    source = bob if is_known_elsewhere else ann
    lose(home, SECRET)
    lose(home, b"fine")
    home.vault.store.replace(f"{ERASURES}/0000000001", [b"no entry"])
    home = team.at_home()
    repair(home.vault, [Source("elsewhere", source.vault)])
    assert has(home, b"fine")
    assert is_known_elsewhere != has(home, SECRET)


def test_both_agree_on_what_is_needed(team: Team) -> None:
    home = team.at_home()
    home.save("data", b"first")
    ann = team.clone("ann")
    first = ann.find("data@v1").entry.digest
    for record in (
        Tombstone(version=first, reason="bad"),
        Restored(version=first),
        Tombstone(version=first, reason="bad"),
    ):
        say(ann, DATA, record)
        is_removed = isinstance(record, Tombstone)
        assert bool(live_roots(ann.vault, now_s=0).removed) is is_removed
        kept = check(ann.vault).contents
        assert kept == (0 if is_removed else 2)


def test_a_repair_moves_what_was_erased_and_is_still_there(team: Team) -> None:
    home = team.at_home()
    home.save("secret", SECRET)
    say(home, ERASURES, Erasure(contents=(Digest.of(SECRET),), reason="names"))
    (key,) = objects(team.home, "packs/")
    flip(team.home, key, 0.999)
    heal(team, home)
    assert check(home.vault, deep=True).findings == ()
    assert carry_out(team.home_vault()).contents == 1
    assert not has(team.at_home(), SECRET)
