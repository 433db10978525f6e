"""Versions are found by the logs alone."""

from pathlib import Path

import pytest

from team import Member, Team
from thence.errors import InvalidInput, NotFound
from thence.model.names import ArtifactName
from thence.model.numbers import local
from thence.model.records import Restored, Tombstone
from thence.store.wrap import Trace
from thence.vault.logs import edits_log


@pytest.fixture(params=[False, True], ids=["folder", "bucket"])
def home(tmp_path: Path, request: pytest.FixtureRequest) -> Member:
    """Versions 1 to 40 of `data`; 40 and 7 are deleted, and 12 has the content of 3."""
    member = Team(tmp_path, remote=request.param, around=Trace).at_home()
    for n in range(1, 41):
        member.save("data", b"3" if n == 12 else b"%d" % n)
    for n in (40, 7):
        digest = member.find(f"data@v{n}").entry.digest
        member.vault.append(
            edits_log(ArtifactName("data")), Tombstone(version=digest, reason="old"), by="x"
        )
    member.move("data", "best", "v12")
    member.move("data", "best", "v5")
    return member


def test_each_way_of_naming_a_version(home: Member) -> None:
    tree = home.find("data@v3").version.tree
    found = {
        text: home.find(f"data{text}").number
        for text in ("", "@latest", "@~1", "@~33", "@best", f"@{tree}", f"@{tree}"[:20])
    }
    assert (
        found
        == {
            "": 39,
            "@latest": 39,
            "@~1": 38,
            "@~33": 5,  # the deleted version 7 is not counted
            "@best": 5,
            f"@{tree}": 12,
            f"@{tree}"[:20]: 12,
        }
    )


def test_what_is_not_there_is_said(home: Member) -> None:
    for text in ("data@v41", "data@v9999999999", "data@~38", "data@worst", "other", "data@local.1"):
        with pytest.raises(NotFound) as caught:
            home.find(text)
        assert caught.value.about == text
    first = home.find("data@v1").version.tree.hex[:4]
    trees = {home.find(f"data@v{n}").version.tree.hex for n in range(1, 40) if n != 7}
    assert sum(tree.startswith(first) for tree in trees) == 1


def test_what_was_removed_says_by_whom_and_why_until_it_is_restored(home: Member) -> None:
    digest = home.history("data")[0].digest
    edits = edits_log(ArtifactName("data"))
    home.vault.append(edits, Tombstone(version=digest, reason="held names"), by="eve")
    with pytest.raises(NotFound) as caught:
        home.find("data@v1")
    assert caught.value.what == "data@v1 was removed"
    assert "eve removed it on " in caught.value.why
    assert caught.value.why.endswith(": held names")
    home.vault.append(edits, Restored(version=digest), by="eve")
    assert home.find("data@v1").number == 1


def test_a_digest_of_several_contents_is_refused(home: Member) -> None:
    beginnings: dict[str, int] = {}
    for n in range(41, 2000):
        tree = home.find(f"data@v{home.save('data', b'%d' % n)}").version.tree.hex
        beginnings[tree[:4]] = beginnings.get(tree[:4], 0) + 1
        if beginnings[tree[:4]] == 2:
            break
    with pytest.raises(InvalidInput, match="more than one content"):
        home.find(f"data@sha256:{tree[:4]}")


def test_what_waits_in_an_outbox_comes_last(tmp_path: Path) -> None:
    team = Team(tmp_path)
    team.at_home().save("data", b"theirs")
    ann = team.clone("ann")
    ann.save("data", b"mine")
    assert [ann.find(f"data{text}").number for text in ("", "@~1", "@local.1")] == [
        local(1),
        1,
        local(1),
    ]


def test_a_long_log_is_read_in_few_steps_where_each_takes_a_while(home: Member) -> None:
    calls = home.vault.store
    assert isinstance(calls, Trace)
    calls.clear()
    log = "refs/artifacts/data/@"
    assert [number for number, _ in home.vault.logs.after(log, 0)] == list(range(1, 41))
    gets = calls.counters["get"].calls
    # Some that are asked for ahead lie behind the end; they are given up where it is found in time.
    assert 41 <= gets <= (63 if home.vault.remote else 41)
    calls.clear()
    assert [number for number, _ in home.vault.logs.after(log, 38)] == [39, 40]
    assert calls.counters["get"].calls == 3
