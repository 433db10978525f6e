"""What is removed is not needed elsewhere: its content may be gone, whenever one learns of it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from team import Member, Team, objects, ref
from thence.errors import NotFound
from thence.model.ids import Digest, RunId
from thence.model.names import ArtifactName
from thence.model.records import (
    FileRole,
    FileUse,
    Record,
    Restored,
    RunRestored,
    RunSealed,
    RunTombstone,
    Tombstone,
    VersionEdit,
    decode_entry,
    encode_lines,
)
from thence.store.base import ObjectInfo, Store
from thence.store.memory import MemoryStore
from thence.store.wrap import Trace
from thence.vault import replica
from thence.vault.importing import import_versions
from thence.vault.layout import make_project
from thence.vault.logs import Logs, edits_log, run_log
from thence.vault.reach import live_roots
from thence.vault.removals import Removals, Whole
from thence.vault.vault import Vault

DATA = ArtifactName("data")


@pytest.fixture(params=[False, True], ids=["folder", "bucket"])
def team(tmp_path: Path, request: pytest.FixtureRequest) -> Team:
    return Team(tmp_path, remote=request.param)


def say(member: Member, record: Record, log: str = edits_log(DATA)) -> None:
    member.vault.append(log, record, by=member.name)


def digest_of(member: Member, text: str) -> Digest:
    return member.find(text).entry.digest


def collect(member: Member) -> None:
    """Delete every pack, as a collection does with those that hold nothing live."""
    for key in list(objects(member.vault.store, "packs/")):
        member.vault.store.delete(key)
    member.vault.directory.forget()


def has(vault: Vault, data: bytes) -> bool:
    return not vault.content.missing([Digest.of(data)])


def removed_and_collected(team: Team) -> Member:
    """A home whose first version is gone, with a card that it had, and whose second is there."""
    home = team.at_home()
    home.save("data", b"secret")
    first = digest_of(home, "data@v1")
    say(home, VersionEdit(version=first, card=home.content(b"a card")))
    say(home, Tombstone(version=first, reason="held names"))
    collect(home)
    home.save("data", b"fine")
    return home


def test_a_clone_passes_over_the_content_of_what_was_removed(team: Team) -> None:
    home = removed_and_collected(team)
    ann = team.clone("ann")
    pulled = ann.pull()
    assert pulled.damaged == ()
    assert objects(ann.vault.store) == objects(home.vault.store)
    assert ann.read("data@v2") == b"fine"
    with pytest.raises(NotFound, match="data@v1 was removed"):
        ann.find("data@v1")


def test_what_was_removed_is_not_copied_while_it_is_still_there(team: Team) -> None:
    home = team.at_home()
    home.save("data", b"secret")
    say(home, Tombstone(version=digest_of(home, "data@v1"), reason="held names"))
    ann = team.clone("ann")
    assert not has(ann.vault, b"secret")


def test_a_clone_that_was_behind_learns_both_at_once_or_one_after_the_other(team: Team) -> None:
    home = team.at_home()
    home.save("data", b"secret")
    ann, bob = team.clone("ann"), team.clone("bob")
    first = digest_of(home, "data@v1")
    say(home, Tombstone(version=first, reason="held names"))
    ann.pull()
    collect(home)
    home.save("data", b"fine")
    for member in (ann, bob):
        assert member.pull().damaged == ()
        assert objects(member.vault.store) == objects(home.vault.store)
        assert member.read("data@v2") == b"fine"
        assert has(member.vault, b"secret")  # its own collection takes it


def test_a_tombstone_is_there_before_the_version_whose_content_was_left_out(team: Team) -> None:
    removed_and_collected(team)

    store = Trace(MemoryStore())
    ann = team.clone("ann", store=store)
    created = [one.key for one in store.operations if one.name == "create"]
    entries = [key for key in created if key.startswith("refs/artifacts/data/")]
    versions = [key for key in entries if "/@/" in key]
    assert entries[: len(entries) - 2] == sorted(set(entries) - set(versions))
    assert ann.read("data") == b"fine"


def test_a_mirror_and_a_home_that_moves(team: Team, tmp_path: Path) -> None:
    home = removed_and_collected(team)
    for name, copy in (("mirror", replica.mirror), ("moved", None)):
        target = Vault(MemoryStore(), tmp_path / name)
        if copy is not None:
            done = copy(home.vault, target)
        else:
            done = replica.found_home(home.vault, target, switch=lambda: None)
        assert done.damaged == ()
        assert objects(target.store) == objects(home.vault.store)


def test_what_came_back_comes_with_its_content(team: Team) -> None:
    home = team.at_home()
    home.save("data", b"wanted")
    home.save("data", b"other")
    first = digest_of(home, "data@v1")
    say(home, VersionEdit(version=first, card=home.content(b"a card")))
    say(home, Tombstone(version=first, reason="a mistake"))
    ann = team.clone("ann")
    assert not has(ann.vault, b"wanted")
    say(home, Restored(version=first))
    ann.pull()
    assert ann.read("data@v1") == b"wanted"
    assert has(ann.vault, b"a card")
    say(home, Tombstone(version=first, reason="after all"))
    say(home, Restored(version=first))
    bob = team.clone("bob")
    assert bob.read("data@v1") == b"wanted"


def test_what_is_removed_before_it_is_pushed_stays_away(team: Team) -> None:
    home = team.at_home()
    ann = team.clone("ann")
    ann.save("data", b"secret")
    say(ann, Tombstone(version=digest_of(ann, "data@local.1"), reason="oops"))
    collect(ann)
    ann.save("data", b"fine")
    ann.push()
    assert ann.waiting() == []
    fresh = team.home_vault()
    assert not has(fresh, b"secret")
    assert len(home.history("data")) == 2
    bob = team.clone("bob")
    assert bob.read("data") == b"fine"


def test_a_clone_gives_back_what_the_home_has_collected(team: Team) -> None:
    home = team.at_home()
    home.save("data", b"wanted")
    ann = team.clone("ann")
    first = digest_of(home, "data@v1")
    say(home, Tombstone(version=first, reason="a mistake"))
    collect(home)
    ann.pull()
    say(ann, Restored(version=first))
    ann.push()
    bob = team.clone("bob")
    assert bob.read("data@v1") == b"wanted"
    home.vault.directory.refresh()
    assert home.read("data@v1") == b"wanted"


def test_the_content_of_removed_runs_is_not_needed(team: Team) -> None:
    home = team.at_home()
    kept, gone = home.log_run(b"kept"), home.log_run(b"gone")
    say(home, RunTombstone(run=gone, reason="a mistake"), run_log(gone))
    ann = team.clone("ann")
    assert has(ann.vault, b"said kept")
    assert not has(ann.vault, b"said gone")
    say(home, RunRestored(run=gone), run_log(gone))
    ann.pull()
    assert has(ann.vault, b"said gone")
    assert has(ann.vault, b"gone")
    say(home, RunTombstone(run=gone, reason="after all"), run_log(gone))
    collect(home)
    home.log_run(b"kept", run=kept)  # its content is there again
    bob = team.clone("bob")
    assert objects(bob.vault.store) == objects(home.vault.store)


def test_what_is_collected_while_it_is_copied_comes_next_time(team: Team) -> None:
    """The tombstone came after the logs were listed, and the bytes went at once."""
    home = team.at_home()
    home.save("data", b"secret")

    first = digest_of(home, "data@v1")
    listed = [False]
    original = home.vault.store.list

    def listing(prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        yield from original(prefix, after=after)
        if prefix == "refs/" and not listed[0]:
            listed[0] = True
            say(home, Tombstone(version=first, reason="late"))
            collect(home)

    team.home.list = listing  # type: ignore[method-assign]
    ann = team.reopen("ann", MemoryStore())
    pulled = ann.pull()
    assert pulled.damaged == ()
    assert objects(ann.vault.store) == {}
    assert ann.pull().damaged == ()
    assert objects(ann.vault.store) == objects(home.vault.store)


def test_a_clone_of_a_part_that_becomes_whole(team: Team) -> None:
    home = team.at_home()
    home.save("data", b"secret")
    home.save("data", b"fine")
    gone = home.log_run(b"gone")
    ann = team.clone("ann", only="data@v2")
    say(home, Tombstone(version=digest_of(home, "data@v1"), reason="held names"))
    say(home, RunTombstone(run=gone, reason="a mistake"), run_log(gone))
    ann.pull("data@v2")
    packs: Store = home.vault.store
    collect(home)
    assert not list(packs.list("packs/"))
    ann.pull()
    assert ann.read("data@v2") == b"fine"
    assert objects(ann.vault.store) == objects(home.vault.store)


def test_an_import_passes_over_removed_runs_and_restores_what_it_brings(
    team: Team, tmp_path: Path
) -> None:
    home = team.at_home()
    run = RunId("0123456789abcdef0123")
    home.log_run(b"made", run=run)
    home.save("data", b"wanted", run=run)
    store = MemoryStore()
    make_project(store, project_id="q" * 32, now=datetime(2026, 11, 23, tzinfo=UTC))
    vault = Vault(store, tmp_path / "other")
    other = Member("other", vault, vault)

    def bring() -> tuple[bool, ...]:
        refs = [ref("data@v1")]
        done = import_versions(home.vault, vault, refs, by="other", clock=lambda: datetime.now(UTC))
        return tuple(one.new for one in done.versions)

    assert bring() == (True,)
    say(other, Tombstone(version=digest_of(other, "data@v1"), reason="space"))
    collect(other)
    say(home, RunTombstone(run=run, reason="wrong"), run_log(run))
    assert bring() == (False,)
    vault.directory.refresh()
    assert other.read("data@v1") == b"wanted"
    say(home, Tombstone(version=digest_of(home, "data@v1"), reason="held names"))
    with pytest.raises(NotFound, match="was removed"):
        bring()


def test_an_import_restores_a_version_with_the_cards_that_it_got_here(
    team: Team, tmp_path: Path
) -> None:
    home = team.at_home()
    home.save("data", b"wanted")
    store = MemoryStore()
    make_project(store, project_id="q" * 32, now=datetime(2026, 11, 23, tzinfo=UTC))
    vault = Vault(store, tmp_path / "other")
    other = Member("other", vault, vault)
    refs = [ref("data@v1")]
    import_versions(home.vault, vault, refs, by="other", clock=lambda: datetime.now(UTC))
    first = digest_of(other, "data@v1")
    card = other.content(b"a card")
    say(other, VersionEdit(version=first, card=card))
    say(other, Tombstone(version=first, reason="space"))
    vault.directory.refresh()
    vault.condemned.put(vault.directory.packs(), by="a collection")
    condemned = vault.directory.packs()
    import_versions(home.vault, vault, refs, by="other", clock=lambda: datetime.now(UTC))
    vault.directory.refresh()
    assert vault.directory.find_kept(card.raw, condemned) is not None


def test_an_output_whose_version_was_removed_is_not_missed(team: Team) -> None:
    """The run that made it is kept, and its list of files still names the content."""
    home = team.at_home()
    made = home.content(b"made")
    uses = [
        FileUse(path="out", role=FileRole.OUTPUT, digest=made, version=Digest.of(b"version")),
        FileUse(path="in", role=FileRole.INPUT, digest=home.content(b"input")),
    ]
    files = home.content(encode_lines(uses))
    home.log_run(b"x", files=files)
    ann = team.clone("ann")
    assert has(ann.vault, b"made")
    collect(home)
    with home.vault.writer(lanes=1) as writer:
        for data in (encode_lines(uses), b"said x", b"input"):
            writer.put_bytes(data)
    bob = team.clone("bob")
    assert bob.pull().damaged == ()
    assert objects(bob.vault.store) == objects(home.vault.store)
    assert has(bob.vault, b"input")
    assert not has(bob.vault, b"made")


def test_what_a_kept_run_has_read_is_alive_though_it_was_removed(team: Team) -> None:
    home = team.at_home()
    home.save("data", b"read")
    first = digest_of(home, "data@v1")
    tree = home.find("data@v1").version.tree
    sealed = decode_entry(home.vault.logs.read(run_log(home.log_run(b"x")), 2) or b"").record
    run = RunId("0123456789abcdef0123")
    assert isinstance(sealed, RunSealed)
    say(home, msgspec.structs.replace(sealed, run=run, uses=(first,)), run_log(run))
    say(home, Tombstone(version=first, reason="old"))

    def alive(member: Member) -> bool:
        return any(root.digest == tree for root in live_roots(member.vault, now_s=1e12).roots)

    assert alive(home)
    ann = team.clone("ann")
    assert alive(ann)
    assert ann.vault.content.missing([tree]) == set()
    say(home, RunTombstone(run=run, reason="wrong"), run_log(run))
    assert not alive(home)


def test_what_came_back_is_looked_for_once_for_each_log(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = team.at_home()
    for n in range(4):
        home.save("data", b"%d" % n)
    for entry in home.history("data"):
        say(home, Tombstone(version=entry.digest, reason="old"))
        say(home, Restored(version=entry.digest))
    asked: list[str] = []
    after = Logs.after

    def counted(logs: Logs, log: str, number: int) -> Iterator[tuple[int, bytes]]:
        asked.append(log)
        return after(logs, log, number)

    monkeypatch.setattr(Logs, "after", counted)
    logs = home.vault.numbered
    whole = Whole(logs, Removals())
    versions = home.history("data")
    for number, one in enumerate(logs.records(edits_log(DATA))):
        if isinstance(one.record, Restored):
            assert list(whole.entries(edits_log(DATA), one)) == [versions[number // 2]]
    # Two of them are those of this test.
    assert len(asked) == 4
