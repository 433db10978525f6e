import math
from typing import Any

import pytest
from index_samples import SampleLogs, run_id

from thence.errors import InvalidInput, NotFound, ThenceError
from thence.index import Index
from thence.index.versions import (
    find_version,
    version_by_record,
    versions,
    versions_by_record,
)
from thence.index.views import VersionDetail
from thence.model.ids import Digest
from thence.model.names import ArtifactName, Selector, SelectorKind, VersionRef, parse_ref
from thence.model.records import VersionEdit


def indexed(logs: SampleLogs) -> Index:
    index = Index(":memory:")
    index.ingest(logs.items(), logs.contents)
    return index


def find(index: Index, text: str) -> VersionDetail:
    ref = parse_ref(text)
    assert isinstance(ref, VersionRef)
    return find_version(index, ref)


def failure(index: Index, text: str, kind: type[ThenceError] = NotFound) -> Any:
    with pytest.raises(kind) as caught:
        find(index, text)
    return caught.value


def test_versions_come_newest_first_and_in_pages() -> None:
    logs = SampleLogs()
    for _ in range(5):
        logs.version("a")
    logs.version("b")
    index, name = indexed(logs), ArtifactName("a")
    assert [v.number for v in versions(index, name)] == [5, 4, 3, 2, 1]
    assert [v.number for v in versions(index, name, limit=2)] == [5, 4]
    assert [v.number for v in versions(index, name, before=4, limit=2)] == [3, 2]
    assert versions(index, name)[0].ref == "a@v5"


def test_a_version_has_what_its_record_says() -> None:
    logs = SampleLogs()
    source = Digest.of(b"source")
    record = logs.version(
        "a",
        note="first",
        tags={"x": "1"},
        metrics={"auc": 0.5, "loss": math.nan},
        metadata={"format": "csv", "rows": {"n": 3}},
        run=run_id(1),
        sources=(source,),
        card=Digest.of(b"card"),
    )
    found = find(indexed(logs), "a")
    assert found.original == record
    assert found.record == record.digest
    assert (found.tree, found.size_bytes, found.files) == (record.tree, 10, 1)
    assert (found.note, found.tags, found.run) == ("first", {"x": "1"}, run_id(1))
    assert found.metrics["auc"] == 0.5
    assert math.isnan(found.metrics["loss"])
    assert found.metadata == {"format": "csv", "rows": {"n": 3}}
    assert (found.sources, found.card) == ((source,), Digest.of(b"card"))
    assert found.created == record.created
    assert found.deletion is None


def test_edits_apply_in_the_order_of_their_log() -> None:
    logs = SampleLogs()
    record = logs.version(
        "a", note="old", tags={"x": "1", "y": "1"}, metrics={"auc": 0.5}, metadata={"rows": 1}
    )
    logs.edit(record, note="new", tags={"x": None, "z": "2"}, metrics={"auc": 0.6, "f1": 0.1})
    logs.edit(record, tags={"x": "3"}, metadata={"rows": 2, "licence": "CC0"})
    logs.edit(record, card=Digest.of(b"card"))
    found = find(indexed(logs), "a")
    assert found.note == "new"
    assert found.tags == {"x": "3", "y": "1", "z": "2"}
    assert found.metrics == {"auc": 0.6, "f1": 0.1}
    assert found.metadata == {"rows": 2, "licence": "CC0"}
    assert found.card == Digest.of(b"card")
    assert found.original.note == "old"


def test_an_edit_of_one_version_leaves_the_others() -> None:
    logs = SampleLogs()
    first = logs.version("a", note="one")
    logs.version("a", note="two")
    logs.edit(first, note="edited")
    assert [v.note for v in versions(indexed(logs), ArtifactName("a"))] == ["two", "edited"]


def test_an_edit_that_names_a_version_of_another_artifact_changes_nothing() -> None:
    logs = SampleLogs()
    record = logs.version("a", note="mine", tags={"x": "1"})
    logs.version("b")
    logs.append(
        "refs/artifacts/b/@edits",
        VersionEdit(version=record.digest, note="theirs", tags={"x": "2"}, metadata={"k": 1}),
    )
    found = find(indexed(logs), "a")
    assert (found.note, found.tags, found.metadata) == ("mine", {"x": "1"}, {})


def test_refs_by_number_by_steps_back_by_digest_and_by_alias() -> None:
    logs = SampleLogs()
    made = [logs.version("a", tree=f"tree {number}") for number in range(1, 4)]
    logs.move("a", "champion", made[1])
    index = indexed(logs)
    assert find(index, "a").number == 3
    assert find(index, "a@latest").number == 3
    assert find(index, "a@v2").number == 2
    assert find(index, "a@~0").number == 3
    assert find(index, "a@~2").number == 1
    assert find(index, "A@champion").number == 2
    assert find(index, f"a@sha256:{made[0].tree.hex[:8]}").number == 1
    assert find(index, f"a@sha256:{made[0].tree.hex}:inside.csv").number == 1
    assert find(index, "a@champion").aliases == ("champion",)
    assert find(index, "a@v3").aliases == ()
    assert find(index, "a@Champion") == find(index, "a@champion")


def test_deleted_versions_are_passed_over_and_answered_with_the_reason() -> None:
    logs = SampleLogs()
    made = [logs.version("a") for _ in range(4)]
    logs.delete(made[3], reason="held names", by="eve")
    logs.delete(made[3], reason="again", by="ann")
    logs.delete(made[1])
    logs.move("a", "champion", made[3])
    index = indexed(logs)
    assert find(index, "a").number == 3
    assert find(index, "a@~1").number == 1
    for ref in ("a@v4", "a@champion", f"a@sha256:{made[3].tree.hex}"):
        error = failure(index, ref)
        assert error.what == "a@v4 was removed"
        assert error.why == "eve removed it on 2026-01-01: held names"
        assert error.about == ref
    assert [v.number for v in versions(index, ArtifactName("a"), deleted=False)] == [3, 1]
    assert [v.number for v in versions(index, ArtifactName("a")) if v.deletion] == [4, 2]


def test_what_is_not_there_is_said_with_what_is() -> None:
    logs = SampleLogs()
    version = logs.version("a")
    index = indexed(logs)
    assert failure(index, "b").what == "no artifact b"
    assert failure(index, "a@v2").why == "The latest one is v1."
    assert failure(index, "a@~1").why == "a has 1 version that can be counted back."
    assert failure(index, "a@champion").why == "It has no aliases."
    why = failure(index, "a@local.1").why
    assert why == "No version of it waits in an outbox here. The latest one is v1."
    assert "digest begins so" in failure(index, "a@sha256:00000000").why
    index.ingest([logs.move("a", "prod", version), logs.move("a", "best", version)])
    error = failure(index, "a@champion")
    assert error.why == "Its aliases are: best, prod."
    assert error.hint == "Set it: thence alias a@v1 champion"
    index.ingest([logs.move("a", "next", Digest.of(b"elsewhere"))])
    assert "which the index has not seen" in failure(index, "a@next").why
    index.ingest([logs.delete(version)])
    assert failure(index, "a").why == "The only version of a is removed."
    assert failure(index, "a@v2").why == "All are removed."
    with pytest.raises(NotFound):
        versions(index, ArtifactName("b"))


@pytest.mark.parametrize("kind", [SelectorKind.NUMBER, SelectorKind.BACK])
def test_a_number_beyond_what_a_database_can_hold_is_not_there(kind: SelectorKind) -> None:
    logs = SampleLogs()
    logs.version("a")
    index = indexed(logs)
    with pytest.raises(NotFound):
        find_version(index, VersionRef(ArtifactName("a"), Selector(kind, number=1 << 70)))


def test_a_digest_of_two_contents_is_ambiguous_and_one_of_a_rolled_back_content_is_not() -> None:
    logs = SampleLogs()
    trees = [Digest.from_hex(f"abcd{digit * 60}") for digit in "123"]
    for tree in (*trees, trees[0]):
        logs.version("a", tree=tree)
    index = indexed(logs)
    error = failure(index, "a@sha256:abcd", InvalidInput)
    assert error.why == "3 contents of a have a digest that begins so."
    assert "a@v2 sha256:abcd22222222" in error.hint
    assert find(index, "a@sha256:abcd1").number == 4
    # Deleted ones do not make it ambiguous.
    for number in (2, 3):
        index.ingest([logs.delete(version_by_record(index, _record(index, number)).original)])
    assert find(index, "a@sha256:abcd").number == 4


def test_versions_by_record() -> None:
    logs = SampleLogs()
    one = logs.version("a", tree="same")
    two = logs.version("b", tree="same")
    three = logs.version("b", tree="same")
    logs.delete(two)
    index = indexed(logs)
    assert version_by_record(index, two.digest).deletion is not None
    lost = Digest.of(b"lost")
    many = [Digest.of(str(number).encode()) for number in range(1200)]
    found = versions_by_record(index, [one.digest, *many, lost, three.digest])
    assert {digest: v.ref for digest, v in found.items()} == {
        one.digest: "a@v1",
        three.digest: "b@v2",
    }
    with pytest.raises(NotFound) as caught:
        version_by_record(index, lost)
    assert caught.value.about == str(lost)


def test_a_record_that_was_appended_twice_is_two_versions_that_share_their_edits() -> None:
    logs = SampleLogs()
    record = logs.version("a", note="one")
    logs.append("refs/artifacts/a/@", record)
    logs.edit(record, note="both")
    index = indexed(logs)
    assert [(v.number, v.note) for v in versions(index, ArtifactName("a"))] == [
        (2, "both"),
        (1, "both"),
    ]
    assert version_by_record(index, record.digest).number == 2


def test_more_versions_than_a_statement_takes_parameters() -> None:
    logs = SampleLogs()
    for number in range(1100):
        logs.version("a", tags={"n": str(number)})
    found = versions(indexed(logs), ArtifactName("a"))
    assert [v.tags["n"] for v in found] == [str(v.number - 1) for v in found]


def _record(index: Index, number: int) -> Digest:
    return find(index, f"a@v{number}").record
