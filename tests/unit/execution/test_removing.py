"""Removing: who, when and why is told everywhere; it can be undone while the bytes are there."""

from pathlib import Path

import pytest

from thence.errors import Conflict, InvalidInput, NotFound
from thence.index.views import VersionDetail
from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.model.records import Erasure, VersionEdit
from thence.project import Project
from thence.vault.erase import carry_out
from thence.vault.logs import ERASURES, edits_log
from thence.vault.pack import pack_key, parse_pack_key
from thence.vault.vault import Vault


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Three versions of `data`, a model made of the first of them, and a run that read the last."""
    made = Project.init(tmp_path)
    for text in ("one", "two", "three"):
        made.save(text, "data")
    return made


def remove(project: Project, *refs: str, reason: str = "held names", force: bool = False) -> None:
    project.remove(project.plan_removal(refs), reason=reason, force=force)


def failure(project: Project, ref: str) -> NotFound:
    with pytest.raises(NotFound) as caught:
        project.load(ref)
    return caught.value


def test_every_way_to_a_removed_version_tells_who_when_and_why(project: Project) -> None:
    version = project.show("data@v3")
    project.alias("data@v3", "gold")
    remove(project, "data@v3", force=True)
    for ref in ("data@v3", "data@gold", f"data@sha256:{version.tree.hex[:12]}"):  # type: ignore[union-attr]
        error = failure(project, ref)
        assert error.what == "data@v3 was removed"
        assert error.why.startswith(f"{project.site.author} removed it on ")
        assert error.why.endswith(": held names")
        assert error.hint == ("Its content is still there. To undo it: thence rm --undo data@v3")
    assert project.load("data") == "two"
    assert project.load("data@~1") == "one"
    shown = project.show("data@v3")
    assert shown.deletion is not None
    assert shown.deletion.reason == "held names"


def test_undo_brings_it_back_and_the_last_word_counts(project: Project) -> None:
    for _ in range(2):
        remove(project, "data@v3")
        assert project.load("data") == "two"
        (back,) = project.undo_removal(["data@v3"])
        assert back.ref == "data@v3"
        assert project.load("data") == "three"
    project.refresh(full=True)
    assert project.load("data@v3") == "three"
    assert project.show("data@v3").deletion is None
    with pytest.raises(InvalidInput, match="is not removed"):
        project.undo_removal(["data@v3"])


def test_undo_without_the_bytes_is_refused(project: Project) -> None:
    remove(project, "data@v3")
    store = project.site.vault.store
    for info in list(store.list("packs/")):
        store.delete(info.key)
    project.site.vault.directory.forget()
    error = failure(project, "data@v3")
    assert error.hint == "Its content is gone. A clone or mirror from before may still have it."
    with pytest.raises(NotFound, match="cannot be given back"):
        project.undo_removal(["data@v3"])
    shown = project.show("data@v3")
    assert not project.can_undo(shown)


def test_what_an_alias_or_a_model_depends_on_is_removed_only_by_force(project: Project) -> None:
    project.alias("data@v1", "gold")
    with pytest.raises(Conflict) as caught:
        remove(project, "data@v2", "data@v1")
    assert caught.value.why == "data@gold points at it."
    assert project.load("data@v2") == "two"  # nothing was removed
    remove(project, "data@v1", force=True)
    failure(project, "data@gold")


def test_a_name_alone_a_path_and_no_reason_are_refused(project: Project) -> None:
    with pytest.raises(InvalidInput, match="not a version"):
        project.plan_removal(["data"])
    with pytest.raises(InvalidInput, match="part of a version"):
        project.plan_removal(["data@v1:data.txt"])
    with pytest.raises(InvalidInput, match="a reason is needed"):
        remove(project, "data@v1", reason=" ")
    assert len(project.plan_removal((), artifacts=["data"])) == 3


def test_all_versions_of_an_artifact(project: Project) -> None:
    project.remove(project.plan_removal((), artifacts=["data"]), reason="over")
    assert failure(project, "data").why == "All 3 versions of data are removed."
    with pytest.raises(NotFound, match="no version that is not removed"):
        project.plan_removal((), artifacts=["data"])
    project.save("three", "data")  # the content that the last one had: a name must come back
    assert project.load("data") == "three"


def test_a_run_is_removed_and_comes_back(project: Project) -> None:
    with project.run(name="first") as session:
        project.load("data@v3")
        project.save("made", "result")
    run = f"run:{session.run}"
    (removal,) = project.plan_removal(["data@v3"])
    assert removal.used_by == (run[:12],)
    assert removal.made_from_it == ("result@v1",)
    (removal,) = project.plan_removal([run])
    assert removal.makes == ("result@v1",)
    remove(project, run, reason="wrong input")
    with pytest.raises(NotFound, match="was removed"):
        project.reproduce(run)
    with pytest.raises(NotFound, match="no run yet"):
        project.find_run("run:last")
    found = project.find_run(run)
    assert found.deletion is not None
    assert found.deletion.reason == "wrong input"
    (removal,) = project.plan_removal(["data@v3"])
    assert removal.used_by == ()
    project.undo_removal([run])
    assert project.find_run("run:last").deletion is None


CARD = b"# What the third one is"


def card_of(project: Project, ref: str, text: bytes = CARD) -> None:
    """Give a version a card, in a pack of its own."""
    vault = project.site.vault
    with vault.writer(lanes=1) as writer:
        card = writer.put_bytes(text).digest
    version = shown(project, ref).record
    edit = VersionEdit(version=version, card=card)
    log = edits_log(ArtifactName("data"))
    vault.append(log, edit, by="ann", session=writer.session)
    writer.session.release()


def shown(project: Project, ref: str) -> VersionDetail:
    found = project.show(ref)
    assert isinstance(found, VersionDetail)
    return found


def packs(project: Project) -> set[bytes]:
    keys = (info.key for info in project.site.vault.store.list("packs/"))
    return {pack for key in keys if (pack := parse_pack_key(key)) is not None}


def delete(project: Project, gone: set[bytes]) -> Vault:
    """Delete packs; the project as somebody sees it who never saw it."""
    for pack in gone:
        project.site.vault.store.delete(pack_key(pack))
    project.site.vault.directory.forget()
    return Vault(project.site.vault.store, project.site.vault.cache / "fresh")


def test_undo_takes_everything_out_of_packs_that_are_about_to_go(project: Project) -> None:
    """A collector has read the entries before, and deletes right after."""
    card_of(project, "data@v3")
    remove(project, "data@v3")
    going = packs(project)
    project.site.vault.condemned.put(going, by="a collection")
    project.undo_removal(["data@v3"])
    fresh = delete(project, going)
    assert fresh.content.read(Digest.of(CARD)) == CARD
    assert project.load("data@v3") == "three"


def test_undo_without_a_card_is_refused(project: Project) -> None:
    before = packs(project)
    card_of(project, "data@v3")
    remove(project, "data@v3")
    assert project.can_undo(project.show("data@v3"))
    delete(project, packs(project) - before)
    assert not project.can_undo(project.show("data@v3"))
    with pytest.raises(NotFound, match="cannot be given back"):
        project.undo_removal(["data@v3"])


def test_a_card_that_was_erased_is_no_reason_against_an_undo(project: Project) -> None:
    card_of(project, "data@v3")
    remove(project, "data@v3")
    vault = project.site.vault
    vault.append(ERASURES, Erasure(contents=(Digest.of(CARD),), reason="names"), by="eve")
    carry_out(vault)
    project.undo_removal(["data@v3"])
    assert project.load("data@v3") == "three"


def removed_run(project: Project) -> str:
    """A run that was removed, and before it what it had read."""
    card_of(project, "data@v3")
    with project.run(name="first") as session:
        project.load("data@v3")
        project.save("made", "result")
    run = f"run:{session.run}"
    remove(project, "data@v3", run, force=True)
    return run


def test_a_run_comes_back_with_what_it_has_read(project: Project) -> None:
    run = removed_run(project)
    tree = shown(project, "data@v3").tree
    going = packs(project)
    project.site.vault.condemned.put(going, by="a collection")
    project.undo_removal([run])
    fresh = delete(project, going)
    assert not fresh.content.missing([tree, Digest.of(CARD)])


def test_a_run_whose_input_is_gone_is_not_given_back(project: Project) -> None:
    before = packs(project)
    card_of(project, "data@v3")
    gone = packs(project) - before
    run = removed_run(project)
    assert project.can_undo(project.find_run(run))
    delete(project, gone)
    assert not project.can_undo(project.find_run(run))
    with pytest.raises(NotFound, match="cannot be given back"):
        project.undo_removal([run])


def test_an_input_that_was_erased_is_no_reason_against_an_undo(project: Project) -> None:
    run = removed_run(project)
    tree = shown(project, "data@v3").tree
    vault = project.site.vault
    listed = vault.content.read(tree)
    wanted = next(
        Digest.of(data)
        for data in (b"three", b'"three"', b"three\n")
        if Digest.of(data).hex.encode() in listed
    )
    vault.append(ERASURES, Erasure(contents=(wanted,), reason="names"), by="eve")
    carry_out(vault)
    assert project.can_undo(project.find_run(run))
    project.undo_removal([run])
    assert project.find_run(run).deletion is None
