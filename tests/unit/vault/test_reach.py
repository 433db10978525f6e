"""What is alive: the last word about a removal counts, and what runs have read stays with them."""

from pathlib import Path

import pytest

from team import NOW, Member, Team
from thence.model.ids import Digest, RunId
from thence.model.names import ArtifactName
from thence.model.records import (
    Entry,
    Erasure,
    Host,
    Restored,
    RunOpened,
    RunSealed,
    RunStatus,
    SensorReport,
    Tombstone,
    VersionEdit,
)
from thence.store.memory import MemoryStore
from thence.vault import replica
from thence.vault.erase import carry_out
from thence.vault.gc import collect
from thence.vault.logs import ERASURES, edits_log, run_log, versions_log
from thence.vault.references import references
from thence.vault.vault import Vault
from workshop import Workshop

DATA = b"rows" * 5_000
CARD = b"a card with a name" * 20
LOG = edits_log(ArtifactName("data"))


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


def _version(member: Member) -> Entry:
    return next(iter(member.vault.logs.records(versions_log(ArtifactName("data")))))


def _has(team: Team, data: bytes) -> bool:
    vault = team.home_vault()
    vault.directory.refresh()
    return vault.content.info(Digest.of(data)) is not None


def _a_run_that_read(member: Member, version: Digest) -> None:
    run = RunId.from_bytes(b"0123456789")
    host = Host(name="m", system="Linux", release="6", machine="x86_64")
    opened = RunOpened(
        run=run, started=NOW, author="ann", command=("t",), root="/", cwd=".", host=host
    )
    member.vault.append(run_log(run), opened, by="ann")
    with member.vault.writer(lanes=1) as writer:
        files = writer.put_bytes(b"").digest
    sealed = RunSealed(
        run=run,
        started=NOW,
        ended=NOW,
        status=RunStatus.FINISHED,
        author="ann",
        sensor=SensorReport(name="audit-hook", completeness="partial"),
        files=files,
        uses=(version,),
        command=("t",),
        root="/",
        cwd=".",
        host=host,
    )
    member.vault.append(run_log(run), sealed, by="ann", session=writer.session)


def test_a_restoration_in_the_outbox_is_the_last_word(team: Team) -> None:
    home = team.at_home()
    home.save("data", DATA)
    clone = team.clone("c")
    version = _version(home)
    home.vault.append(LOG, Tombstone(version=version.digest, reason="x"), by="ann")
    clone.pull()
    restored = Restored(version=version.digest, reason="y")
    assert version.record is not None
    clone.vault.append(LOG, restored, by="bob", also=tuple(references(version.record)))
    collect(clone.vault, by="bob", grace_s=0)
    collect(home.vault, by="ann", grace_s=0)
    assert clone.read("data") == DATA
    clone.push()
    assert home.read("data") == DATA


def test_what_a_run_has_read_stays_without_its_card(team: Team) -> None:
    home = team.at_home()
    home.save("data", DATA)
    version = _version(home)
    with home.vault.writer(lanes=1) as writer:
        card = writer.put_bytes(CARD).digest
    edit = VersionEdit(version=version.digest, card=card)
    home.vault.append(LOG, edit, by="ann", session=writer.session)
    _a_run_that_read(home, version.digest)
    home.vault.append(LOG, Tombstone(version=version.digest, reason="x"), by="ann")
    home.vault.append(ERASURES, Erasure(contents=(card,), reason="r"), by="eve")
    carry_out(home.vault)
    collect(team.home_vault(), by="ann", grace_s=0)
    assert not _has(team, CARD)
    assert _has(team, DATA)


def test_what_a_run_has_read_moves_with_its_home(team: Team, tmp_path: Path) -> None:
    home = team.at_home()
    home.save("data", DATA)
    version = _version(home)
    _a_run_that_read(home, version.digest)
    home.save("data", b"other")
    home.vault.append(LOG, Tombstone(version=version.digest, reason="x"), by="ann")
    moved = Vault(MemoryStore(), tmp_path / "moved")
    replica.found_home(home.vault, moved, switch=lambda: None)
    moved.directory.refresh()
    assert moved.content.info(Digest.of(DATA)) is not None


def test_who_saved_and_does_nothing_stops_no_collection(workshop: Workshop) -> None:
    workshop.write("a.csv", "a\n1\n")
    workshop.project.save(workshop.root / "a.csv")
    assert workshop.thence("gc", "--grace", "0").returncode == 0
