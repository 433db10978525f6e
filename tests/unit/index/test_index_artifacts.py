import pytest
from index_samples import SampleLogs

from thence.errors import NotFound
from thence.index import Index
from thence.index.artifacts import alias_history, aliases, artifact, artifacts
from thence.model.ids import Digest
from thence.model.names import Alias, ArtifactName
from thence.model.records import Kind, Tombstone


def indexed(logs: SampleLogs) -> Index:
    index = Index(":memory:")
    index.ingest(logs.items(), logs.contents)
    return index


def test_an_artifact_shows_its_latest_version_and_what_belongs_to_it() -> None:
    logs = SampleLogs()
    first = logs.version("churn", kind=Kind.DATASET)
    second = logs.version("churn", kind=Kind.MODEL)
    logs.edit_artifact("churn", description="who leaves", tags={"team": "a", "pii": "no"})
    logs.edit_artifact("churn", card=Digest.of(b"card"), tags={"pii": None, "owner": "ann"})
    logs.move("churn", "next", second)
    logs.move("churn", "champion", first)
    found = artifact(indexed(logs), ArtifactName("churn"))
    assert found.name == "churn"
    assert found.kind is Kind.MODEL
    assert found.description == "who leaves"
    assert found.card == Digest.of(b"card")
    assert found.created == first.created
    assert found.changed == second.created
    assert (found.latest, found.versions, found.deleted) == (2, 2, 0)
    assert found.tags == {"owner": "ann", "team": "a"}
    assert [(a.alias, a.number) for a in found.aliases] == [("champion", 1), ("next", 2)]


def test_the_first_version_fixes_the_spelling_and_any_case_finds_it() -> None:
    logs = SampleLogs()
    logs.version("Data")
    logs.version("data")
    assert artifact(indexed(logs), ArtifactName("DATA")).name == "Data"


def test_a_deleted_latest_version_gives_way_to_the_one_before() -> None:
    logs = SampleLogs()
    logs.version("a", kind=Kind.DATASET)
    logs.delete(logs.version("a", kind=Kind.FIGURE))
    found = artifact(indexed(logs), ArtifactName("a"))
    assert (found.latest, found.versions, found.deleted) == (1, 1, 1)
    assert found.kind is Kind.DATASET


def test_an_artifact_whose_versions_are_all_deleted_stays_visible() -> None:
    logs = SampleLogs()
    logs.delete(logs.version("a"))
    found = artifact(indexed(logs), ArtifactName("a"))
    assert (found.latest, found.versions, found.deleted) == (None, 0, 1)


def test_a_tombstone_in_the_log_of_another_artifact_deletes_nothing() -> None:
    logs = SampleLogs()
    version = logs.version("a")
    other = logs.version("b")
    logs.append("refs/artifacts/b/@edits", logs_tombstone(version.digest))
    found = {a.name: a.versions for a in artifacts(indexed(logs))}
    assert found == {"a": 1, "b": 1}
    assert other.digest != version.digest


def logs_tombstone(digest: Digest) -> Tombstone:
    return Tombstone(version=digest, reason="x")


def test_artifacts_are_sorted_and_filtered_by_kind_and_prefix() -> None:
    logs = SampleLogs()
    for name, kind in (("b", Kind.MODEL), ("Sales/x", Kind.DATASET), ("a", Kind.DATASET)):
        logs.version(name, kind=kind)
    index = indexed(logs)
    assert [a.name for a in artifacts(index)] == ["a", "b", "Sales/x"]
    assert [a.name for a in artifacts(index, kind=Kind.DATASET)] == ["a", "Sales/x"]
    assert [a.name for a in artifacts(index, prefix="sales/")] == ["Sales/x"]
    assert artifacts(index, kind=Kind.MODEL, prefix="sales/") == []


def test_tags_and_aliases_in_a_list_go_to_their_own_artifact() -> None:
    logs = SampleLogs()
    logs.move("a", "champion", logs.version("a"))
    logs.version("b")
    logs.edit_artifact("b", tags={"team": "x"})
    found = artifacts(indexed(logs))
    assert [(a.name, a.tags, len(a.aliases)) for a in found] == [
        ("a", {}, 1),
        ("b", {"team": "x"}, 0),
    ]


def test_a_name_that_is_not_there_suggests_those_spelled_alike() -> None:
    logs = SampleLogs()
    for name in ("Customers", "orders"):
        logs.version(name)
    index = indexed(logs)
    with pytest.raises(NotFound) as caught:
        artifact(index, ArtifactName("custmers"))
    assert caught.value.hint == "Did you mean Customers?"
    assert caught.value.about == "custmers"
    with pytest.raises(NotFound) as caught:
        artifact(index, ArtifactName("zebra"))
    assert caught.value.hint == "See what there is: thence ls"


def test_an_alias_that_was_taken_away_is_not_current_but_in_the_history() -> None:
    logs = SampleLogs()
    first, second = logs.version("a"), logs.version("a")
    logs.move("a", "champion", first)
    logs.move("a", "champion", second)
    logs.move("a", "champion", None)
    logs.move("a", "next", first)
    index, name = indexed(logs), ArtifactName("A")
    assert [(a.alias, a.number) for a in aliases(index, name)] == [("next", 1)]
    history = alias_history(index, name, Alias("champion"))
    assert [(m.number, m.version, m.record) for m in history] == [
        (3, None, None),
        (2, 2, second.digest),
        (1, 1, first.digest),
    ]
    assert history[0].by == "ann"
    assert [m.alias for m in alias_history(index, name)] == ["next"] + ["champion"] * 3


def test_an_alias_of_a_version_that_was_not_seen_has_no_number() -> None:
    logs = SampleLogs()
    logs.version("a")
    logs.move("a", "champion", Digest.of(b"elsewhere"))
    (found,) = aliases(indexed(logs), ArtifactName("a"))
    assert found.number is None
    assert found.record == Digest.of(b"elsewhere")
