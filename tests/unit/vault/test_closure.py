"""What of a run is missed: all that is not kept by a version."""

from pathlib import Path

import pytest

from team import Member, Team, objects
from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.model.records import FileRole, FileUse, Tombstone, encode_lines
from thence.vault.check import Checked, check
from thence.vault.logs import edits_log
from thence.vault.pack import entries_of, parse_pack_key, read_directory
from thence.vault.reach import live_roots, reach

MODEL, PLOT = b"the model", b"a plot"


@pytest.fixture
def home(tmp_path: Path) -> Member:
    """A run made a version and a plot; the plot's version is none, and it is lost."""
    home = Team(tmp_path).at_home()
    home.save("model", MODEL)
    return home


def lose(home: Member, data: bytes) -> None:
    """Delete the pack that has a content."""
    digest = Digest.of(data).raw
    for key in objects(home.vault.store, "packs/"):
        pack = parse_pack_key(key)
        assert pack is not None
        if digest in {one.id for one in entries_of(read_directory(home.vault.store, pack))}:
            home.vault.store.delete(key)
    home.vault.directory.forget()


def log_run(home: Member, *, version: Digest | None = None, makes: tuple[Digest, ...] = ()) -> str:
    uses = [
        FileUse(
            path="model",
            role=FileRole.OUTPUT,
            size=len(MODEL),
            digest=Digest.of(MODEL),
            version=version,
        ),
        FileUse(path="plot.png", role=FileRole.OUTPUT, size=len(PLOT), digest=Digest.of(PLOT)),
    ]
    home.content(PLOT)
    return home.log_run(files=home.content(encode_lines(uses)), makes=makes).short


def remove(home: Member) -> None:
    stone = Tombstone(version=home.find("model@v1").entry.digest, reason="bad")
    home.vault.append(edits_log(ArtifactName("model")), stone, by="ann")


def needed(found: Checked) -> set[bytes]:
    return {one for one in (Digest.of(MODEL).raw, Digest.of(PLOT).raw) if one in found.needed}


def collected(home: Member) -> set[bytes]:
    """What of both a collection misses."""
    live = live_roots(home.vault, now_s=0)
    return {one.id for one in reach(home.vault, live.roots).missing}


def test_an_output_that_is_no_version_is_missed_whatever_was_removed(home: Member) -> None:
    made = home.find("model@v1").entry.digest
    run = log_run(home, version=made, makes=(made,))
    lose(home, PLOT)
    (before,) = check(home.vault).findings
    remove(home)
    (after,) = check(home.vault).findings
    assert before.refs == after.refs == (f"{run}:plot.png",)
    assert needed(check(home.vault)) == collected(home) == {Digest.of(PLOT).raw}


def test_an_output_that_is_a_version_goes_with_it(home: Member) -> None:
    log_run(home, version=home.find("model@v1").entry.digest)
    lose(home, MODEL)
    assert any("model@v1" in one.refs for one in check(home.vault).findings)
    remove(home)  # the run does not say that it made this version
    assert needed(check(home.vault)) == collected(home) == set()
    assert check(home.vault).findings == ()


def test_an_output_that_names_no_version_stays_though_another_one_has_it(home: Member) -> None:
    run = log_run(home)
    lose(home, MODEL)
    remove(home)
    (finding,) = check(home.vault).findings
    assert finding.refs == (f"{run}:model",)
    assert needed(check(home.vault)) == collected(home) == {Digest.of(MODEL).raw}
