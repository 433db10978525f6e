import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from team import NOW, Member
from thence.errors import Conflict, DataDamaged, FormatTooNew, InvalidInput, NotFound
from thence.model.ids import Digest, RunId
from thence.model.names import ArtifactName
from thence.model.records import Host, Restored, RunOpened, Tombstone
from thence.store.local import LocalStore
from thence.store.memory import MemoryStore
from thence.vault import selection
from thence.vault.gc import Collected, collect
from thence.vault.layout import make_project
from thence.vault.logs import edits_log, run_log, versions_log
from thence.vault.pack import parse_pack_key
from thence.vault.references import references
from thence.vault.session import alone, share
from thence.vault.vault import Vault

DAY = 24 * 3600.0
RandomBytes = Callable[[int], bytes]


class House:
    """A home whose clock can be moved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_s = NOW.timestamp()
        self.store = MemoryStore(clock=lambda: self.now_s)
        make_project(self.store, project_id="p" * 32, now=NOW)
        self.count = 0

    def clock(self) -> datetime:
        return datetime.fromtimestamp(self.now_s, UTC)

    def vault(self, *, remote: bool = False) -> Vault:
        self.count += 1
        return Vault(
            self.store, self.folder / f"cache-{self.count}", remote=remote, clock=self.clock
        )

    def member(self) -> Member:
        vault = self.vault()
        return Member("ann", vault, vault)

    def remove(self, name: str, number: int) -> Digest:
        vault = self.vault()
        entries = list(vault.logs.records(versions_log(ArtifactName(name))))
        version = entries[number - 1].digest
        log = edits_log(ArtifactName(name))
        vault.append(log, Tombstone(version=version, reason="x"), by="ann")
        return version

    def collect(self, **options: object) -> Collected:
        return collect(self.vault(), by="ann", **options)  # type: ignore[arg-type]

    def collect_all(self) -> list[Collected]:
        """As often as it takes, a day and an hour between."""
        done = []
        for _ in range(4):
            self.now_s += DAY + 3600
            done.append(self.collect())
        return done

    def packs(self) -> set[bytes]:
        keys = (parse_pack_key(info.key) for info in self.store.list("packs/"))
        return {pack for pack in keys if pack is not None}

    def has(self, data: bytes) -> bool:
        return self.vault().content.info(Digest.of(data)) is not None


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_what_was_removed_goes_after_two_periods_of_grace(
    house: House, random_bytes: RandomBytes
) -> None:
    old, new = random_bytes(400_000), random_bytes(400_000)
    member = house.member()
    member.save("data", old)
    member.save("data", new)
    house.remove("data", 1)
    assert house.collect().condemned_packs == 0  # too young
    house.now_s += DAY + 1
    first = house.collect()
    assert (first.condemned_packs, first.deleted_packs) == (1, 0)
    assert house.has(old)
    assert house.collect().deleted_packs == 0
    house.now_s += DAY + 1
    second = house.collect()
    assert second.deleted_packs == 1
    assert second.deleted_bytes == first.condemned_bytes > 400_000
    assert not house.has(old)
    assert house.member().read("data") == new


def test_a_dry_run_does_nothing_and_tells_what_belonged_to_what(
    house: House, random_bytes: RandomBytes
) -> None:
    member = house.member()
    member.save("data", random_bytes(400_000))
    member.save("data", b"new")
    member.content(random_bytes(100_000))
    house.remove("data", 1)
    house.now_s += DAY + 1
    before = {info.key for info in house.store.list()}
    done = house.collect(dry_run=True)
    assert {info.key for info in house.store.list()} == before
    named, rest = done.dead
    assert (named.name, named.contents) == ("data@v1", 2)
    assert 400_000 < named.size_bytes < 401_000
    assert (rest.name, rest.contents) == (None, 1)
    assert done.condemned_packs == 2


def test_what_a_dry_run_takes_for_removed_is_told(house: House, random_bytes: RandomBytes) -> None:
    member = house.member()
    member.save("data", random_bytes(100_000))
    version = member.find("data@v1").entry.digest
    house.now_s += DAY + 1
    assert house.collect(dry_run=True).dead == ()
    assert house.collect(dry_run=True, without=[version]).dead[0].name == "data@v1"


def test_content_that_others_need_stays(house: House, random_bytes: RandomBytes) -> None:
    data = random_bytes(300_000)
    member = house.member()
    member.save("data", data)
    member.save("other", data)
    house.remove("data", 1)
    house.collect_all()
    assert house.member().read("other") == data


def test_what_was_restored_stays(house: House, random_bytes: RandomBytes) -> None:
    data = random_bytes(300_000)
    house.member().save("data", data)
    version = house.remove("data", 1)
    house.now_s += DAY + 1
    assert house.collect().condemned_packs == 1
    vault = house.vault()
    (entry,) = vault.logs.records(versions_log(ArtifactName("data")))
    assert entry.record is not None
    vault.append(
        edits_log(ArtifactName("data")),
        Restored(version=version),
        by="ann",
        also=references(entry.record),
    )
    house.collect_all()
    assert house.member().read("data") == data


def test_restoring_what_is_gone_fails(house: House, random_bytes: RandomBytes) -> None:
    house.member().save("data", random_bytes(300_000))
    version = house.remove("data", 1)
    vault = house.vault()
    (entry,) = vault.logs.records(versions_log(ArtifactName("data")))
    house.collect_all()
    assert entry.record is not None
    log = edits_log(ArtifactName("data"))
    with pytest.raises(DataDamaged, match="missing"):
        vault.append(log, Restored(version=version), by="ann", also=references(entry.record))
    assert len(list(vault.logs.records(log))) == 1


def test_an_open_run_holds_on_to_what_was_removed_since(
    house: House, random_bytes: RandomBytes
) -> None:
    data = random_bytes(300_000)
    house.member().save("data", data)
    run = RunId.from_bytes(bytes(10))
    host = Host(name="machine", system="Linux", release="6", machine="x86_64")
    opened = RunOpened(
        run=run, command=("x",), root="/", cwd=".", started=NOW, author="ann", host=host
    )
    house.vault().append(run_log(run), opened, by="ann")
    house.now_s += 60
    house.remove("data", 1)
    house.now_s += 3 * DAY
    assert house.collect().open_runs == 1
    house.now_s += 2 * DAY
    house.collect()
    assert house.has(data)
    house.now_s += 8 * DAY  # no sign of life
    assert house.collect(going=[run]).open_runs == 1
    house.now_s += 2 * DAY
    assert house.collect(going=[run]).deleted_packs == 0
    house.collect()
    house.now_s += 2 * DAY
    assert house.collect().deleted_packs == 1
    assert not house.has(data)


def test_packs_that_are_mostly_dead_are_packed_anew(
    house: House, random_bytes: RandomBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, dead = random_bytes(100_000), random_bytes(500_000)
    vault = house.vault()
    with vault.writer(lanes=1) as writer:
        writer.put_bytes(dead)
        writer.put_bytes(live)
    house.member().save("data", live)
    house.now_s += DAY + 1
    done = house.collect()
    assert done.condemned_packs == 1
    assert 100_000 < done.copied_bytes < 110_000
    house.now_s += DAY + 1
    assert house.collect().deleted_packs == 1
    assert not house.has(dead)
    assert house.member().read("data") == live


def test_a_dead_recipe_keeps_its_chunks_or_goes_with_them(
    house: House, random_bytes: RandomBytes
) -> None:
    """Else it would be found, and nobody would put the chunks again."""
    big, live = random_bytes(2_000_000), random_bytes(300_000)
    vault = house.vault()
    with vault.writer(lanes=1) as writer:
        writer.put_bytes(big[:1_900_000])  # most of its chunks, in a pack of their own
    with vault.writer(lanes=1) as writer:
        writer.put_bytes(big)
        writer.put_bytes(live)
    house.member().save("data", live)
    for done in house.collect_all():
        if house.has(big):
            assert house.vault().content.read(Digest.of(big)) == big
        assert done is not None
    assert not house.has(big)
    assert house.member().read("data") == live


def test_many_tiny_packs_become_one(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_MANY_TINY", 5)
    member = house.member()
    for number in range(6):
        member.save("data", b"number %d" % number)
    assert len(house.packs()) == 6
    house.collect_all()
    assert len(house.packs()) == 1
    for number in range(6):
        assert house.member().read(f"data@v{number + 1}") == b"number %d" % number


def test_an_entry_that_cannot_be_read_stops_it(house: House, random_bytes: RandomBytes) -> None:
    member = house.member()
    member.save("data", random_bytes(1000))
    member.content(random_bytes(1000))
    house.store.replace("refs/artifacts/data/@/0000000002", [b"{}"])
    house.now_s += DAY + 1
    with pytest.raises(DataDamaged, match="0000000002"):
        house.collect()
    assert house.vault().condemned.read() == ()


def test_a_record_of_a_newer_version_stops_it(house: House) -> None:
    member = house.member()
    member.save("data", b"x")
    data = member.find("data@v1").entry.record_bytes
    fields = json.loads(data)
    fields["future"] = "sha256:" + "0" * 64
    from thence.model import codec
    from thence.model.records import encode_entry_bytes

    entry = encode_entry_bytes("e" * 32, NOW, "ann", codec.encode(fields))
    house.store.create("refs/artifacts/data/@/0000000002", [entry])
    with pytest.raises(FormatTooNew, match="newer"):
        house.collect()


def test_a_tree_that_is_missing_stops_it(house: House, random_bytes: RandomBytes) -> None:
    member = house.member()
    member.save("data", random_bytes(1000))
    for info in list(house.store.list("packs/")):
        house.store.delete(info.key)
    with pytest.raises(DataDamaged, match="nothing was collected"):
        house.collect()


def test_a_pack_that_cannot_be_read_stops_it(house: House, random_bytes: RandomBytes) -> None:
    house.member().save("data", random_bytes(1000))
    house.store.create("packs/ab/" + "ab" * 32, [b"nothing"])
    with pytest.raises(DataDamaged, match="a pack cannot be read"):
        house.collect()


def test_of_two_copies_the_good_one_stays(house: House, random_bytes: RandomBytes) -> None:
    """The pack that would go may have the only copy that is whole."""
    data = random_bytes(20_000)
    one, other = house.vault(), house.vault()
    with one.writer() as first, other.writer() as second:
        first.put_bytes(data)
        second.put_bytes(data)
    house.member().save("data", data)
    house.now_s += DAY + 1
    chosen = house.collect(dry_run=True)
    assert chosen.condemned_packs == 1
    two = [info.key for info in house.store.list("packs/") if info.size_bytes > 20_000]
    assert len(two) == 2
    for key in two:
        whole = house.store.get(key)
        house.store.replace(key, [b"X" + whole[1:]])
        try:
            house.collect()
        except DataDamaged:
            assert house.vault().condemned.read() == ()
        house.store.replace(key, [whole])
    assert house.member().read("data") == data


def test_a_bucket_needs_some_grace(house: House) -> None:
    with pytest.raises(InvalidInput, match="too short"):
        collect(house.vault(remote=True), by="ann", grace_s=30.0)


def test_without_grace_it_is_done_at_once_and_alone(
    tmp_path: Path, random_bytes: RandomBytes
) -> None:
    store = LocalStore(tmp_path / "store", create=True)
    make_project(store, project_id="p" * 32, now=NOW)
    vault = Vault(store, tmp_path / "cache")
    dead = random_bytes(50_000)
    member = Member("ann", vault, vault)
    member.content(dead)
    member.save("data", b"live")
    session = vault.session()
    with pytest.raises(Conflict, match="somebody writes"):
        collect(vault, by="ann", grace_s=0.0)
    session.release()
    done = collect(vault, by="ann", grace_s=0.0)
    assert (done.deleted_packs, done.condemned_packs) == (1, 0)
    assert (done.waiting_packs, done.young_bytes, done.kept_bytes) == (0, 0, 0)
    assert [one.contents for one in done.dead] == [1]
    assert done.live_contents == 2
    assert member.read("data") == b"live"
    assert share(MemoryStore()) is None


def test_a_save_that_relied_on_what_went_fails_and_can_be_repeated(
    house: House, random_bytes: RandomBytes
) -> None:
    data = random_bytes(300_000)
    house.member().content(data)
    house.now_s += DAY + 1
    vault = house.vault()
    with vault.writer() as writer:
        assert writer.knows(Digest.of(data))  # as the stat cache has it
        from thence.vault import tree
        from thence.vault.tree import TreeEntry

        root = writer.put_bytes(tree.encode([TreeEntry("f", len(data), Digest.of(data))])).digest
    house.collect()
    house.now_s += DAY + 1
    house.collect()
    assert not house.has(data)
    from thence.model.records import Kind
    from thence.vault.artifacts import Artifacts, Draft

    draft = Draft(ArtifactName("data"), Kind.DATASET, root, len(data), 1)
    with pytest.raises(Conflict, match="a part of what was put is gone"):
        Artifacts(vault, author="ann").commit(draft, now=NOW, session=writer.session)
    with pytest.raises(NotFound):
        house.member().read("data")
    house.member().save("data", data)
    assert house.member().read("data") == data


def test_a_save_keeps_what_is_condemned_meanwhile(house: House, random_bytes: RandomBytes) -> None:
    data = random_bytes(300_000)
    house.member().content(data)
    house.now_s += DAY + 1
    vault = house.vault()
    with vault.writer() as writer:
        info = writer.put_bytes(data)
        from thence.vault import tree
        from thence.vault.tree import TreeEntry

        root = writer.put_bytes(tree.encode([TreeEntry("f", len(data), info.digest)])).digest
    assert house.collect().condemned_packs == 1
    from thence.model.records import Kind
    from thence.vault.artifacts import Artifacts, Draft

    draft = Draft(ArtifactName("data"), Kind.DATASET, root, len(data), 1)
    Artifacts(vault, author="ann").commit(draft, now=NOW, session=writer.session)
    house.now_s += DAY + 1
    assert house.collect().deleted_packs == 1  # what it held was copied by who needed it
    assert house.member().read("data") == data


def test_a_record_from_a_clock_that_went_back_is_put_anew(
    house: House, random_bytes: RandomBytes
) -> None:
    house.member().save("data", b"live")
    house.member().content(random_bytes(1000))
    house.now_s += 1000 * DAY
    assert house.collect().condemned_packs == 1
    house.now_s -= 900 * DAY
    house.collect()
    house.now_s += DAY + 1
    assert house.collect().deleted_packs == 1


def test_old_hints_of_the_journal_go(house: House) -> None:
    house.member().save("data", b"x")
    assert list(house.store.list("journal/"))
    house.now_s += timedelta(days=32).total_seconds()
    assert house.collect().swept.journal == 1
    assert not list(house.store.list("journal/"))


def test_a_colleague_who_may_not_write_to_the_lock_holds_it_too(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    store = LocalStore(tmp_path / "store")
    first = share(store)
    assert first is not None
    os.close(first)
    lock = next(path for path in (tmp_path / "store").rglob("writers") if path.is_file())
    lock.chmod(0o444)
    second = share(store)
    assert second is not None
    with pytest.raises(Conflict, match="somebody writes"), alone(store):
        pass
    os.close(second)
    with alone(store):
        pass
