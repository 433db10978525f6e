"""Clones and their home: what is pulled, pushed, numbered, and what does not fit."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from team import Member, Team, objects
from thence.errors import DataDamaged, InvalidInput, NotFound, StorageError
from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.model.numbers import local
from thence.model.records import AliasMove, ArtifactEdit, Kind, VersionEdit, decode_entry
from thence.store.memory import MemoryStore
from thence.store.wrap import Trace
from thence.testing.faulty import WRITES, Fault, FaultyStore, Rule
from thence.vault import sync
from thence.vault.check import check
from thence.vault.checkpoints import Line
from thence.vault.conflicts import ConflictingMove, ConflictingVersions, drop, list_conflicts
from thence.vault.layout import make_project
from thence.vault.logs import run_log, versions_log
from thence.vault.pushing import push
from thence.vault.vault import Vault


@pytest.fixture(params=[False, True], ids=["folder", "bucket"])
def team(tmp_path: Path, request: pytest.FixtureRequest) -> Team:
    return Team(tmp_path, remote=request.param)


def same(*members: Member) -> dict[str, bytes]:
    """The logs, which all of them have."""
    first = objects(members[0].vault.store)
    for other in members[1:]:
        assert objects(other.vault.store) == first
    return first


def test_a_clone_holds_the_logs_and_the_content_of_its_home(team: Team) -> None:
    home = team.at_home()
    run = home.log_run(b"made")
    home.save("data", b"one", run=run)
    home.save("data", b"two" * 100_000)
    home.move("data", "champion")
    ann = team.clone("ann")
    assert same(home, ann)
    assert ann.vault.store.get("project.json") == team.home.get("project.json")
    assert [ann.read("data@v1"), ann.read("data@champion")] == [b"one", b"two" * 100_000]
    assert ann.vault.content.read(Digest.of(b"said made")) == b"said made"
    assert ann.pull()[:3] == (0, 0, 0)


def test_two_clones_push_twice_and_pull_and_have_one_history(team: Team) -> None:
    home = team.at_home()
    home.save("churn", b"base")
    home.move("churn", "champion")
    ann, bob = team.clone("ann"), team.clone("bob")
    runs = {}
    for member in (ann, bob):
        text = member.name.encode()
        runs[member.name] = member.log_run(b"made by " + text)
        number = member.save("churn", b"of " + text, run=runs[member.name])
        assert number == local(1)
        member.move("churn", "champion")
        member.save("own " + member.name, b"only " + text)
    first = ann.push()
    assert [(one.log, one.local, one.number) for one in first.numbered][:2] == [
        (versions_log(ArtifactName("churn")), local(1), 2),
        (versions_log(ArtifactName("own ann")), local(1), 1),
    ]
    assert first.conflicts == ()
    assert ann.waiting() == []
    second = bob.push()
    assert (versions_log(ArtifactName("churn")), local(1), 3) in second.numbered
    (conflict,) = second.conflicts
    assert isinstance(conflict, ConflictingMove)
    mine, theirs = bob.find("churn@v3").entry.digest, ann.find("churn@v2").entry.digest
    before = ann.find("churn@v1").entry.digest
    assert (conflict.wanted, conflict.found, conflict.previous) == (mine, theirs, before)
    before_second = objects(team.home)
    assert [ann.push().numbered, bob.push().numbered] == [(), ()]
    assert objects(team.home) == before_second
    assert list_conflicts(bob.vault) == (conflict,)
    ann.pull()
    bob.pull()
    everything = same(home, ann, bob)
    assert len(everything) == 3 + 2 + 2 + 4  # versions of churn, others, moves, entries of runs
    for member in (ann, bob):
        assert [member.read(f"churn@v{n}") for n in (1, 2, 3)] == [b"base", b"of ann", b"of bob"]
        for run in runs.values():
            assert len(list(member.vault.logs.records(run_log(run)))) == 2
        assert member.vault.content.read(Digest.of(b"made by ann")) == b"made by ann"
        assert member.alias("churn", "champion") == theirs
    bob.move("churn", "champion", "v3")
    assert list_conflicts(bob.vault) == ()
    assert bob.push().conflicts == ()
    ann.pull()
    same(home, ann, bob)
    assert ann.alias("churn", "champion") == mine
    assert objects(bob.vault.store, "conflicts/") == objects(bob.vault.store, "outbox/") == {}


def test_only_what_is_new_is_read_and_sent(tmp_path: Path) -> None:
    team = Team(tmp_path, around=Trace)
    home = team.at_home()
    for n in range(20):
        home.save(f"data {n}", b"%d" % n)
    ann = team.clone("ann")
    home.save("data 3", b"new")
    calls = ann.home.store
    assert isinstance(calls, Trace)
    calls.clear()
    assert ann.pull()[:2] == (1, 2)
    read = [one.key for one in calls.operations if one.name == "get" and "refs/" in one.key]
    assert sorted(read) == [f"refs/artifacts/data%203/@/{n:010d}" for n in (1, 2)]
    ann.save("mine", b"x" * 100)
    calls.clear()
    pushed = ann.push()
    assert (pushed.contents, pushed.size_bytes > 100) == (2, True)
    assert calls.counters["create"].calls <= 3  # a pack, a hint, an entry


def test_what_others_do_between_is_numbered_first_and_fetched_with_its_content(
    team: Team,
) -> None:
    home, ann = team.at_home(), team.clone("ann")
    ann.save("data", b"mine")
    home.save("data", b"theirs")
    pushed = ann.push()
    assert [one.number for one in pushed.numbered] == [2]
    assert pushed.fetched.entries == 1
    assert [ann.read("data@v1"), ann.read("data@v2")] == [b"theirs", b"mine"]


def test_a_pull_finds_what_a_push_got_through_before_it_died(team: Team) -> None:
    ann = team.clone("ann")
    kept = ann.vault.store
    ann.save("data", b"mine")
    outbox = objects(kept, "outbox/")
    ann.push()
    # As if the push had died before it wrote anything here.
    for key in objects(kept):
        kept.delete(key)
    for key, data in outbox.items():
        kept.create(key, [data])
    again = team.reopen("ann", kept)
    pulled = again.pull()
    assert [(one.local, one.number) for one in pulled.numbered] == [(local(1), 1)]
    assert again.waiting() == []
    assert again.push().numbered == ()
    assert len(objects(team.home)) == 1


def test_the_same_content_as_the_latest_is_pushed_nevertheless(team: Team) -> None:
    ann, bob = team.clone("ann"), team.clone("bob")
    ann.save("data", b"same")
    bob.save("data", b"same")
    ann.push()
    bob.push()
    assert len(bob.history("data")) == 2


def test_moves_that_lead_where_the_home_is_are_forgotten(team: Team) -> None:
    home = team.at_home()
    for data in (b"1", b"2", b"3"):
        home.save("data", data)
    home.move("data", "best", "v1")
    ann, bob = team.clone("ann"), team.clone("bob")
    ann.move("data", "best", "v2")
    bob.move("data", "best", "v3")
    bob.move("data", "best", "v2")
    bob.move("data", "best", "v3")
    ann.push()
    pushed = bob.push()
    assert (pushed.moot, pushed.conflicts) == (2, ())
    assert [one.number for one in pushed.numbered] == [3]
    assert bob.alias("data", "best") == bob.find("data@v3").entry.digest


def test_the_other_spelling_and_the_other_kind_wait_and_the_rest_goes(team: Team) -> None:
    home, ann = team.at_home(), team.clone("ann")
    ann.save("Data", b"mine")
    ann.save("Data", b"mine too")
    ann.save("model", b"mine", kind=Kind.MODEL)
    digest = ann.find("model").entry.digest
    ann.artifacts.edit(ArtifactName("model"), VersionEdit(version=digest, note="good"))
    ann.artifacts.edit(ArtifactName("model"), ArtifactEdit(artifact=ArtifactName("model")))
    ann.move("model", "champion")
    ann.save("fine", b"fine")
    home.save("data", b"theirs")
    home.save("model", b"theirs", kind=Kind.DATASET)
    pushed = ann.push()
    assert [one.log for one in pushed.numbered] == [
        versions_log(ArtifactName("fine")),
        "refs/artifacts/model/@edits",
    ]
    assert {(type(one), one.log) for one in pushed.conflicts} == {
        (ConflictingVersions, versions_log(ArtifactName("data"))),
        (ConflictingVersions, versions_log(ArtifactName("model"))),
    }
    whys = sorted(one.why for one in pushed.conflicts if isinstance(one, ConflictingVersions))
    assert whys == [
        "At home it is a dataset, here a model.",
        "At home it is spelled 'data'.",
    ]
    assert len(ann.waiting()) == 2 + 1 + 1 + 1
    for conflict in pushed.conflicts:
        assert isinstance(conflict, ConflictingVersions)
        for number in conflict.numbers:
            drop(ann.vault, conflict.log, number)
    (left,) = ann.waiting()
    assert left[0].startswith("refs/aliases/")
    drop(ann.vault, *left)
    assert (ann.waiting(), ann.push().conflicts) == ([], ())


def test_a_conflict_and_what_waits_can_be_dropped(team: Team) -> None:
    home = team.at_home()
    home.save("data", b"1")
    home.save("data", b"2")
    ann = team.clone("ann")
    ann.move("data", "best", "v1")
    home.move("data", "best", "v2")
    (conflict,) = ann.pull().conflicts
    assert isinstance(conflict, ConflictingMove)
    assert drop(ann.vault, conflict.log, conflict.number) == 1
    assert ann.push().conflicts == ()
    with pytest.raises(NotFound):
        drop(ann.vault, conflict.log, conflict.number)
    with pytest.raises(NotFound):
        drop(ann.vault, versions_log(ArtifactName("data")), local(1))


@pytest.mark.parametrize("left", [0, 1])
def test_moves_of_which_some_were_cut_off_are_not_read_as_fewer(team: Team, left: int) -> None:
    home = team.at_home()
    home.save("data", b"1")
    home.save("data", b"2")
    home.save("data", b"3")
    ann = team.clone("ann")
    ann.move("data", "best", "v1")
    ann.move("data", "best", "v2")
    home.move("data", "best", "v3")
    (conflict,) = ann.pull().conflicts
    assert isinstance(conflict, ConflictingMove)
    assert conflict.moves == 2
    (info,) = ann.vault.store.list("conflicts/")
    lines = ann.vault.store.get(info.key).splitlines(keepends=True)
    ann.vault.store.replace(info.key, lines[:left])
    with pytest.raises(DataDamaged, match="cannot be read"):
        list_conflicts(ann.vault)
    assert not check(ann.vault).is_sound
    assert drop(ann.vault, conflict.log, conflict.number) == 1
    assert check(ann.vault).is_sound


def test_a_move_that_waits_for_a_version_that_was_pushed_is_sound(team: Team) -> None:
    """As when a push was cut between the two."""
    home, ann = team.at_home(), team.clone("ann")
    home.save("other", b"1")
    ann.save("data", b"mine")
    ann.move("data", "best")
    version = ann.find("data@latest").entry.digest
    (waiting,) = ann.vault.store.list("outbox/refs/aliases/")
    data = ann.vault.store.get(waiting.key)
    ann.push()
    for info in list(ann.vault.store.list("refs/aliases/")):
        ann.vault.store.delete(info.key)
    ann.vault.store.create(waiting.key, [data])
    assert check(ann.vault).findings == ()
    key = "refs/artifacts/data/@/0000000001"
    ann.vault.store.delete(key)
    (found,) = check(ann.vault).findings
    assert version.short in found.why


def test_what_waits_and_cannot_be_read_can_be_dropped(team: Team) -> None:
    home, ann = team.at_home(), team.clone("ann")
    home.save("data", b"theirs")
    ann.pull()
    ann.save("data", b"mine")
    ((log, number),) = ann.waiting()
    assert ann.vault.outbox is not None
    (waiting,) = ann.vault.outbox.waiting(log)
    ann.vault.store.replace(waiting.key, [b"damaged"])
    with pytest.raises(DataDamaged, match=f"{waiting.key} cannot be read") as caught:
        ann.push()
    assert f"thence outbox drop {log}" in str(caught.value.hint)
    assert list_conflicts(ann.vault) == ()
    assert drop(ann.vault, log, number) == 1
    assert (ann.waiting(), ann.push().numbered) == ([], ())


def test_a_new_alias_conflicts_with_a_new_alias(team: Team) -> None:
    home = team.at_home()
    home.save("data", b"1")
    home.save("data", b"2")
    ann, bob = team.clone("ann"), team.clone("bob")
    ann.move("data", "best", "v1")
    bob.move("data", "best", "v2")
    assert ann.push().conflicts == ()
    (conflict,) = bob.push().conflicts
    assert isinstance(conflict, ConflictingMove)
    assert (conflict.previous, conflict.found) == (None, ann.find("data@v1").entry.digest)


def test_a_part_has_the_logs_of_one_artifact_and_the_content_of_one_version(team: Team) -> None:
    home = team.at_home()
    old, new = home.log_run(b"old"), home.log_run(b"new")
    home.save("model", b"first", run=old)
    home.save("model", b"second", run=new)
    home.save("model/other", b"other")
    home.save("huge", b"huge")
    home.move("model", "champion", "v2")
    ann = team.clone("ann", only="model@champion")
    assert {key.rpartition("/")[0] for key in objects(ann.vault.store)} == {
        "refs/artifacts/model/@",
        "refs/aliases/model/@champion",
        run_log(new),
    }
    assert ann.read("model@champion") == b"second"
    assert ann.vault.content.read(Digest.of(b"said new")) == b"said new"
    assert ann.vault.content.missing([Digest.of(b"first"), Digest.of(b"said old")]) == {
        Digest.of(b"first"),
        Digest.of(b"said old"),
    }
    home.save("model", b"third")
    home.move("model", "champion", "v3")
    ann.save("model", b"mine")
    ann.save("huge", b"mine too")
    pushed = push(ann.vault, ann.home, with_content=False)
    assert [one.number for one in pushed.numbered] == [2, 4]
    assert pushed.fetched.contents == 0
    ann.pull("model@champion")
    assert [ann.read("model@v3"), ann.read("model@v4")] == [b"third", b"mine"]
    whole = objects(team.home)
    assert all(whole[key] == data for key, data in objects(ann.vault.store).items())
    with pytest.raises(NotFound):
        ann.pull("model@v9")


@pytest.mark.parametrize("few", [0, 200])
def test_a_part_becomes_the_whole_by_a_pull_of_everything(
    team: Team, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(sync, "_FEW", few)
    home = team.at_home()
    for data in (b"1", b"2"):
        home.save("model", data, run=home.log_run(b"made " + data))
    ann = team.clone("ann", only="model@v2")
    ann.log_run(b"own")
    ann.save("table", b"own")
    push(ann.vault, ann.home, with_content=False)
    bob = team.clone("bob")  # a whole one, that for once asks for a part only
    home.save("table", b"later")
    home.save("model", b"3")
    for member in (ann, bob):
        member.pull("model@v2")
        assert Digest.of(b"later") in member.vault.content.missing([Digest.of(b"later")])
        assert len(member.history("table")) == 2
        assert member.pull().contents > 0
        texts = (b"1", b"2", b"3", b"said made 1", b"own", b"later")
        assert member.vault.content.missing(map(Digest.of, texts)) == set()
        assert objects(member.vault.store) == objects(team.home)
        assert member.pull()[:3] == (0, 0, 0)
        assert "partial.json" not in objects(member.vault.store, "")


def test_other_projects_are_refused_by_name(tmp_path: Path) -> None:
    team = Team(tmp_path / "a")
    ann = team.clone("ann")
    other = MemoryStore()
    make_project(other, project_id="q" * 32, now=team.at_home().vault._clock())
    stranger = team.home_vault(other)
    for exchange in (
        lambda: push(ann.vault, stranger),
        lambda: Member("x", ann.vault, stranger).pull(),
    ):
        with pytest.raises(InvalidInput) as caught:
            exchange()
        assert "p" * 32 in caught.value.why
        assert "q" * 32 in caught.value.why


def test_a_home_that_is_another_now_is_noticed_and_nothing_is_written(team: Team) -> None:
    home = team.at_home()
    for data in (b"1", b"2"):
        home.save("data", data)
    ann = team.clone("ann")
    before = objects(ann.vault.store, "")
    key = "refs/artifacts/data/@/0000000002"
    team.home.delete(key)
    with pytest.raises(DataDamaged) as caught:
        ann.pull()
    assert key in caught.value.what
    for data in (b"3", b"4"):
        team.at_home().save("data", data)
    with pytest.raises(DataDamaged) as caught:
        ann.pull()
    assert key in caught.value.what
    assert objects(ann.vault.store, "") == before


def test_a_hole_in_a_mirror_is_filled_and_other_entries_behind_it_are_noticed(team: Team) -> None:
    home = team.at_home()
    for data in (b"1", b"2", b"3"):
        home.save("data", data)
    ann = team.clone("ann")
    store = ann.vault.store
    first, second = "refs/artifacts/data/@/0000000001", "refs/artifacts/data/@/0000000002"
    store.delete(first)
    Member("ann", ann.vault, team.home_vault()).pull()
    assert objects(store) == objects(team.home)
    store.delete(first)
    store.replace(second, [store.get("refs/artifacts/data/@/0000000003")])
    with pytest.raises(DataDamaged) as caught:
        ann.pull()
    assert second in caught.value.what


@pytest.mark.parametrize("fault", [Fault.FAIL_BEFORE, Fault.LOSE_RESPONSE])
def test_moves_that_conflict_stay_together_wherever_a_crash_comes(team: Team, fault: Fault) -> None:
    home = team.at_home()
    for data in (b"1", b"2", b"3", b"4"):
        home.save("data", data)
    for step in range(1, 100):
        alias = f"best-{step}"
        home.move("data", alias, "v3")
        store = MemoryStore()
        ann = team.clone(alias, store=store)
        ann.move("data", alias, "v1")
        ann.move("data", alias, "v2")
        home.move("data", alias, "v4")
        faulty = FaultyStore(store, Rule(fault=fault, on=frozenset({step}), operations=WRITES))
        with suppress(StorageError):
            team.reopen(alias, faulty).pull()
        (conflict,) = team.reopen(alias, store).pull().conflicts
        assert isinstance(conflict, ConflictingMove)
        assert (conflict.moves, conflict.wanted) == (2, ann.find("data@v2").entry.digest)
        assert ann.waiting() == []
        if not faulty.injected:
            break
    assert step > 4


def test_damage_at_home_stops_one_log_and_is_named(team: Team) -> None:
    home = team.at_home()
    for name in ("a", "b"):
        for data in (b"1", b"2", b"3"):
            home.save(name, data)
    key = "refs/artifacts/a/@/0000000002"
    good = team.home.get(key)
    team.home.replace(key, [good.replace(b"dataset", b"deadset")])
    ann = team.clone("ann")
    assert ann.pull().damaged == (key,)
    assert (len(ann.history("a")), len(ann.history("b"))) == (1, 3)
    ann.save("a", b"4")
    ann.save("b", b"4")
    pushed = ann.push()
    assert pushed.fetched.damaged == (key,)
    assert [one.log for one in pushed.numbered] == [versions_log(ArtifactName("b"))]
    team.home.replace(key, [good])
    assert ann.pull().damaged == ()
    assert [one.number for one in ann.push().numbered] == [4]
    assert objects(ann.vault.store) == objects(team.home)


def test_names_are_never_there_before_their_bytes(tmp_path: Path) -> None:
    class Careful(MemoryStore):
        """Looks, at each entry that is put, for what the entry names."""

        def create(self, key: str, parts: object) -> None:
            super().create(key, parts)  # type: ignore[arg-type]
            if key.startswith("refs/"):
                seen.append(key)
                record = decode_entry(self.get(key)).record
                reader = Member("reader", Team.home_vault(team, self), team.home_vault())
                if record is not None and not isinstance(record, AliasMove):
                    needs = getattr(record, "tree", None) or getattr(record, "files", None)
                    assert needs is None or reader.vault.content.read(needs)
                elif isinstance(record, AliasMove):
                    assert record.version in {
                        entry.digest for entry in reader.history(record.artifact)
                    }

    seen: list[str] = []
    team = Team(tmp_path)
    home = team.at_home()
    home.save("data", b"one")
    home.move("data", "best")
    home.log_run()
    ann = team.clone("ann", store=Careful())
    ann.save("data", b"two")
    home.save("data", b"three")
    ann.push()
    assert len(seen) == 1 + 1 + 2 + 2


def test_a_clone_of_many_entries_reads_them_from_a_checkpoint(tmp_path: Path) -> None:
    team = Team(tmp_path, remote=True)
    home = team.at_home()
    home.save("data", b"one")
    edit = ArtifactEdit(artifact=ArtifactName("data"), description="once more")
    for _ in range(300):
        home.artifacts.edit(ArtifactName("data"), edit)
    assert home.vault.checkpoints is not None
    entries = home.vault.numbered.read_many(home.vault.numbered.all())
    lines = [Line(log, number, data) for log, number, data in entries if number != 77]
    home.vault.checkpoints.write(lines, after=None, through=datetime.now(UTC))
    home.artifacts.edit(ArtifactName("data"), edit)
    trace = Trace(team.home)
    member = Member("ann", Vault(MemoryStore(), tmp_path / "c", clone=True), team.home_vault(trace))
    member.pull()
    same(home, member)
    # The number that the checkpoint lacks, and what came after it was written.
    assert sum(one.name == "get" and "refs/" in one.key for one in trace.operations) == 2
