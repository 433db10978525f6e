"""Versions that come from another project."""

from pathlib import Path
from typing import Any

import pytest

from team import NOW, Member, Team, objects, ref
from thence.errors import AlreadyExists, NotFound
from thence.model import codec
from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.model.numbers import local
from thence.model.records import Kind, VersionEdit, decode_entry, encode_entry_bytes
from thence.store.memory import MemoryStore
from thence.vault.importing import Imported, import_versions
from thence.vault.layout import make_project
from thence.vault.logs import edits_log, run_log, versions_log


@pytest.fixture(params=[False, True], ids=["folder", "bucket"])
def team(tmp_path: Path, request: pytest.FixtureRequest) -> Team:
    return Team(tmp_path, remote=request.param)


@pytest.fixture
def stranger(team: Team) -> Member:
    """Somebody with a project of their own."""
    store = MemoryStore("stranger")
    make_project(store, project_id="s" * 32, now=NOW)
    vault = team.home_vault(store)
    return Member("stranger", vault, vault)


def bring(source: Member, target: Member, *refs: str) -> Imported:
    return import_versions(
        source.vault, target.vault, [ref(text) for text in refs], by="ann", clock=lambda: NOW
    )


def test_a_version_keeps_its_identity_and_gets_a_new_number(team: Team, stranger: Member) -> None:
    home = team.at_home()
    home.save("data", b"ours")
    run = stranger.log_run(b"made")
    stranger.save("data", b"one")
    stranger.save("data", b"two" * 50_000, run=run)
    digest = stranger.find("data").entry.digest
    stranger.artifacts.edit(ArtifactName("data"), VersionEdit(version=digest, note="good"))
    stranger.artifacts.edit(
        ArtifactName("data"),
        VersionEdit(version=stranger.find("data@v1").entry.digest, note="other"),
    )
    done = bring(stranger, home, "data@v2")
    (version,) = done.versions
    assert version == (ArtifactName("data"), 2, 2, digest, True)
    entry = home.history("data")[1]
    assert (entry.by, entry.digest) == ("ann", digest)
    assert entry.id != stranger.history("data")[1].id
    assert objects(team.home, run_log(run)) == objects(stranger.vault.store, run_log(run))
    assert [entry.record for entry in home.vault.logs.records(edits_log(ArtifactName("data")))] == [
        VersionEdit(version=digest, note="good")
    ]
    reader = team.at_home()
    assert reader.read("data@v2") == b"two" * 50_000
    assert reader.vault.content.read(Digest.of(b"said made")) == b"said made"
    assert len(done.appended) == 2 + 1 + 1
    before = objects(team.home)
    again = bring(stranger, home, "data@v2")
    assert (again.versions[0].new, again.runs, again.appended) == (False, (), ())
    assert objects(team.home) == before


def test_fields_that_we_do_not_know_come_along(team: Team, stranger: Member) -> None:
    home = team.at_home()
    stranger.save("data", b"one")
    log = versions_log(ArtifactName("data"))
    old = decode_entry(stranger.vault.store.get(f"{log}/0000000001"))
    plain = {**codec.decode(old.record_bytes, dict[str, Any]), "colour": "green"}
    newer = encode_entry_bytes("f" * 32, NOW, "future", codec.encode(plain))
    stranger.vault.store.create(f"{log}/0000000002", [newer])
    bring(stranger, home, "data@v2")
    assert b'"colour":"green"' in home.history("data")[0].record_bytes
    assert home.history("data")[0].digest == decode_entry(newer).digest


def test_what_is_imported_into_a_clone_waits_and_is_pushed(team: Team, stranger: Member) -> None:
    run = stranger.log_run(b"made")
    stranger.save("data", b"one", run=run)
    stranger.save("data", b"two")
    ann = team.clone("ann")
    done = bring(stranger, ann, "data@v2", "data@v1")
    assert [(one.source_number, one.number) for one in done.versions] == [
        (2, local(2)),
        (1, local(1)),
    ]
    assert bring(stranger, ann, "data@v1").appended == ()
    ann.push()
    assert bring(stranger, ann, "data@v1").versions[0].number == 1
    reader = team.at_home()
    assert [reader.read("data@v1"), reader.read("data@v2")] == [b"one", b"two"]


def test_a_name_that_is_taken_is_refused_before_anything_is_written(
    team: Team, stranger: Member
) -> None:
    home = team.at_home()
    home.save("data", b"ours", kind=Kind.MODEL)
    home.save("Table", b"ours")
    stranger.save("data", b"theirs")
    stranger.save("table", b"theirs")
    before = objects(team.home, "")
    for name, why in (("data", "Here it is a model"), ("table", "Here it is spelled 'Table'")):
        with pytest.raises(AlreadyExists) as caught:
            bring(stranger, home, name)
        assert why in caught.value.why
    with pytest.raises(NotFound):
        bring(stranger, home, "data@v7")
    assert objects(team.home, "") == before
