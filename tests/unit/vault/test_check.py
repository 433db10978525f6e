"""What a check finds, in a project that has every kind of object."""

import random
from collections.abc import Iterator

import pytest

from everything import ACTIONS, Everything, copy_of, flip, short_lists, truncate
from thence.model.records import decode_entry
from thence.store.base import Store
from thence.vault.check import Checked, check
from thence.vault.findings import Severity
from thence.vault.healing import plan_healing
from thence.vault.logs import entry_key
from thence.vault.pack import BlockKind, entries_of, parse_pack_key, read_directory
from thence.vault.repair import repair

# What is found by nobody: a hint or a piece of a live run that is gone is as good as one that never
# was, and some bits of these have no meaning.
_SILENT = ("journal/", "hints/", "directories/", "index/", "runs/", "gc/", "mirror.json")


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    with short_lists():
        yield Everything(tmp_path_factory.mktemp("everything"))


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    """The same, where a vault treats the store as a bucket."""
    with short_lists():
        yield Everything(tmp_path_factory.mktemp("bucket"), remote=True)


def deep(everything: Everything, store: Store, *, clone: bool = False) -> Checked:
    return check(everything.vault(store, clone=clone), deep=True)


def wrong(found: Checked) -> list[str]:
    return [one.what for one in found.findings if one.severity is not Severity.NOTE]


def refs(found: Checked) -> set[str]:
    return {ref for one in found.findings for ref in one.refs}


def packs_with(store: Store, kind: BlockKind) -> dict[str, list[tuple[int, int]]]:
    """By pack: where blocks of a kind lie, and how long they are."""
    found: dict[str, list[tuple[int, int]]] = {}
    for info in store.list("packs/"):
        pack = parse_pack_key(info.key)
        assert pack is not None
        for entry in entries_of(read_directory(store, pack)):
            if entry.kind is kind:
                found.setdefault(info.key, []).append((entry.offset, entry.stored_length))
    return found


@pytest.mark.parametrize("which", ["home", "clone", "mirror"])
def test_a_sound_store_has_nothing_to_be_told_of(everything: Everything, which: str) -> None:
    store = getattr(everything, which)
    found = deep(everything, store, clone=which == "clone")
    assert found.findings == ()
    assert found.is_sound
    assert found.contents > 20
    assert found.raw_bytes > 1_500_000
    assert found.scan.entries == sum(
        info.key.startswith(("refs/", "outbox/")) for info in store.list()
    )


def test_a_sound_bucket_has_nothing_to_be_told_of(bucket: Everything) -> None:
    assert deep(bucket, bucket.home).findings == ()


def test_nothing_is_written_by_a_check(everything: Everything) -> None:
    before = {info.key: info.modified_s for info in everything.home.list()}
    deep(everything, everything.home)
    assert {info.key: info.modified_s for info in everything.home.list()} == before


def test_a_flipped_chunk_is_found_only_by_reading_every_byte(everything: Everything) -> None:
    store = copy_of(everything.home)
    key, ((offset, length), *_) = next(iter(packs_with(store, BlockKind.CHUNK).items()))
    flip(store, key, (offset + length / 2) / len(store.get(key)))
    assert check(everything.vault(store)).is_sound
    found = deep(everything, store)
    (finding,) = found.of(Severity.DAMAGE)
    assert finding.key == key
    assert (finding.start, finding.end) == (offset, offset + length)
    assert refs(found) <= {"model@v1:file", "model@v2:file"}
    assert refs(found)


@pytest.mark.parametrize("kind", [BlockKind.LIST, BlockKind.RECIPE, BlockKind.WHOLE])
def test_a_flip_in_every_kind_of_block_names_what_it_touches(
    everything: Everything, kind: BlockKind
) -> None:
    for key, places in packs_with(everything.home, kind).items():
        store = copy_of(everything.home)
        size = len(store.get(key))
        flip(store, key, (places[0][0] + places[0][1] / 2) / size)
        found = deep(everything, store)
        (finding, *_) = found.of(Severity.DAMAGE)
        assert finding.key == key
        assert finding.refs or "Nothing refers to it" in finding.why


def test_a_lost_pack_is_found_without_reading_everything(everything: Everything) -> None:
    for key in packs_with(everything.home, BlockKind.CHUNK):
        store = copy_of(everything.home)
        store.delete(key)
        found = check(everything.vault(store))
        assert not found.is_sound
        assert any(ref.startswith("model@v2") for ref in refs(found))


def test_what_nothing_refers_to_is_damage_that_touches_nobody(everything: Everything) -> None:
    store = copy_of(everything.home)
    vault = everything.vault(store)
    with vault.writer(lanes=1) as writer:
        writer.put_bytes(random.Random(9).randbytes(20_000))
    (key,) = {info.key for info in store.list("packs/")} - set(everything.keys(everything.home))
    flip(store, key, 0.3)
    (finding,) = deep(everything, store).of(Severity.DAMAGE)
    assert finding.refs == ()
    assert finding.why.endswith("Nothing refers to it.")


def test_a_gap_and_a_damaged_entry_are_named_by_their_version(everything: Everything) -> None:
    store = copy_of(everything.home)
    store.delete("refs/artifacts/data/@/0000000002")
    flip(store, "refs/artifacts/model/@/0000000001", 0.5)
    found = check(everything.vault(store))
    assert {"data@v2", "model@v1"} <= refs(found)


def test_the_lost_end_of_a_log_shows_where_an_alias_points_beyond_it(
    everything: Everything,
) -> None:
    store = copy_of(everything.home)
    store.delete("refs/artifacts/data/@/0000000001")
    store.delete("refs/artifacts/data/@/0000000002")
    store.delete("refs/artifacts/data/@/0000000003")
    found = check(everything.vault(store))
    assert refs(found) == {"data@best"}


def test_an_entry_of_another_log_is_noticed(everything: Everything) -> None:
    store = copy_of(everything.home)
    data = store.get("refs/artifacts/model/@/0000000001")
    store.replace("refs/artifacts/data/@/0000000002", [data])
    found = check(everything.vault(store))
    assert "data@v2" in refs(found)
    assert "of another log" in found.of(Severity.DAMAGE)[0].why


def test_an_entry_that_is_there_twice_is_noticed(everything: Everything) -> None:
    store = copy_of(everything.home)
    data = store.get("refs/artifacts/data/@/0000000001")
    store.replace("refs/artifacts/data/@/0000000003", [data])
    (finding,) = check(everything.vault(store)).of(Severity.DAMAGE)
    assert finding.key == "refs/artifacts/data/@/0000000003"


def test_swapped_entries_are_found_by_comparing_and_healed(everything: Everything) -> None:
    store = copy_of(everything.clone)
    first, second = entry_key("refs/artifacts/data/@", 1), entry_key("refs/artifacts/data/@", 2)
    one, other = store.get(first), store.get(second)
    store.replace(first, [other])
    store.replace(second, [one])
    vault = everything.vault(store, clone=True)
    found = check(vault)
    source = everything.source(everything.home)
    judged = plan_healing(vault, found, [source]).judged(found)
    assert {finding.key for finding in judged.of(Severity.DAMAGE)} == {first, second}
    assert all(finding.heals for finding in judged.of(Severity.DAMAGE))
    repair(vault, [source])
    assert (store.get(first), store.get(second)) == (one, other)


def test_an_entry_that_is_another_one_at_home_is_told_and_left_alone(
    everything: Everything,
) -> None:
    store = copy_of(everything.clone)
    key = "refs/artifacts/data/@/0000000003"
    entry = decode_entry(store.get(key))
    from thence.model.records import encode_entry_bytes

    store.replace(key, [encode_entry_bytes("0" * 32, entry.at, "mallory", entry.record_bytes)])
    before = store.get(key)
    done = repair(everything.vault(store, clone=True), [everything.source(everything.home)])
    assert [finding.key for finding in done.left] == [key]
    assert store.get(key) == before


def test_a_record_of_condemned_packs_that_cannot_be_read_is_healed(
    everything: Everything,
) -> None:
    store = copy_of(everything.home)
    truncate(store, "gc/condemned/0000000001", 0.5)
    store.delete(next(store.list("packs/")).key)
    assert not check(everything.vault(store)).is_sound
    assert repair(everything.vault(store), [everything.source(everything.clone)]).left == ()
    assert everything.vault(store).condemned.read()[0].packs == frozenset()


def test_strangers_are_told_of_and_are_no_damage(everything: Everything) -> None:
    store = copy_of(everything.home)
    store.create("something/else", [b"?"])
    found = check(everything.vault(store))
    assert found.is_sound
    (finding,) = found.findings
    assert "something/else" in finding.why


def test_a_feature_that_is_not_known_cannot_be_judged(everything: Everything) -> None:
    store = copy_of(everything.home)
    store.create("features/encryption", [b"{}"])
    (finding,) = check(everything.vault(store)).findings
    assert finding.severity is Severity.UNCHECKED


@pytest.mark.parametrize("kind", ["journal/", "hints/"])
def test_what_only_saves_time_is_no_damage(bucket: Everything, kind: str) -> None:
    store = copy_of(bucket.home)
    vault = bucket.vault(store)
    root = next(iter(vault.directory.packs()), b"\1" * 32)
    from thence.model.ids import Digest

    vault.hint(Digest(b"\2" * 32), [root])
    key = next(info.key for info in store.list(kind))
    truncate(store, key, 0.5)
    found = check(vault)
    assert found.is_sound
    assert [finding.key for finding in found.of(Severity.CACHE)] == [key]
    done = repair(vault, [])
    assert done.caches == 1
    assert check(vault).findings == ()


def _cases(everything: Everything, *, often: int) -> Iterator[tuple[str, str, str, float]]:
    """(store, key, action, part): each kind of object is hurt in each way, here and there."""
    chance = random.Random(4)
    for which in ("home", "clone", "mirror"):
        kinds: dict[str, list[str]] = {}
        for key in everything.keys(getattr(everything, which)):
            kinds.setdefault(key.split("/")[0] + ("/@edits" * ("@edits" in key)), []).append(key)
        for keys in kinds.values():
            for action in ACTIONS:
                for key in chance.sample(keys, min(often, len(keys))):
                    yield which, key, action, chance.random()


def hurt_and_heal(everything: Everything, case: tuple[str, str, str, float]) -> None:
    which, key, action, part = case
    is_clone = which == "clone"
    store = copy_of(getattr(everything, which))
    size = len(store.get(key))
    if key.startswith("packs/") and size - 20 <= int(part * size) < size - 8:
        return  # zeros of the trailer, which a reader ignores
    ACTIONS[action](store, key, part)
    vault = everything.vault(store, clone=is_clone)
    others = [everything.clone, everything.mirror] if which == "home" else [everything.home]
    sources = [everything.source(other) for other in others]
    found = check(vault, deep=True)
    judged = plan_healing(vault, found, sources).judged(found)
    # The end of a log that is gone may as well not have come yet: the next pull brings it.
    behind = action == "delete" and which != "home" and key.startswith("refs/")
    nobody_else = key.startswith(("outbox/", "conflicts/"))
    silent = key.startswith(_SILENT) or behind or (nobody_else and action == "delete")
    if not silent and not (action == "delete" and judged.is_sound):
        assert not judged.is_sound, case
    done = repair(everything.vault(store, clone=is_clone), sources)
    again = check(everything.vault(store, clone=is_clone), deep=True)
    if nobody_else or key.startswith("runs/"):
        assert {finding.key for finding in done.left} <= {key}
        return
    if done.left and all(
        ref.startswith("offline@local") for finding in done.left for ref in finding.refs or ("?",)
    ):
        return  # what waits in a clone is nowhere else
    assert done.left == (), case
    if not behind:
        assert wrong(again) == [], case
        assert everything.reads(everything.vault(store)) == everything.contents, case


def test_every_kind_of_object_is_hurt_and_healed(everything: Everything) -> None:
    for case in _cases(everything, often=1):
        hurt_and_heal(everything, case)


@pytest.mark.slow
def test_every_object_is_hurt_and_healed(everything: Everything, bucket: Everything) -> None:
    for project in (everything, bucket):
        for case in _cases(project, often=100):
            hurt_and_heal(project, case)


def test_an_erasure_that_was_cut_is_told_as_what_it_is(everything: Everything) -> None:
    store = copy_of(everything.home)
    store.create("gc/erasing/ab12", [b'{"packs":[]}'])
    store.create("gc/now/ab12", [b"{}"])
    told = [one.what for one in deep(everything, store).findings]
    assert told == ["an erasure is under way, or was cut"]
