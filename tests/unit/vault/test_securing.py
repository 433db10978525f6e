"""What was erased is refused where it would come back, and passed over where it is history."""

from itertools import count
from pathlib import Path

import pytest

from team import Member, Team
from thence.errors import DataDamaged, Denied
from thence.model.ids import Digest
from thence.model.records import Erasure
from thence.vault.condemned import Condemned
from thence.vault.erase import carry_out
from thence.vault.erasures import erased
from thence.vault.logs import ERASURES
from thence.vault.references import Root, RootKind

SECRET = b"Mrs Example, born 1970-01-01"


@pytest.fixture(params=[False, True], ids=["folder", "bucket"])
def team(tmp_path: Path, request: pytest.FixtureRequest) -> Team:
    return Team(tmp_path, remote=request.param)


def erase(member: Member, data: bytes) -> None:
    member.vault.append(
        ERASURES, Erasure(contents=(Digest.of(data),), reason="names"), by=member.name
    )
    carry_out(member.vault)


def condemn_while_it_goes_on(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody condemns packs as soon as who writes has begun."""
    read = member.vault.condemned.read
    calls = count()

    def others_first() -> tuple[Condemned, ...]:
        if next(calls) == 1:
            member.vault.condemned.put([b"\7" * 32], by="somebody")
        return read()

    monkeypatch.setattr(member.vault.condemned, "read", others_first)


@pytest.mark.parametrize("has_run", [False, True])
def test_a_pull_passes_over_what_was_erased_of_a_version(
    team: Team, monkeypatch: pytest.MonkeyPatch, has_run: bool
) -> None:
    home, ann = team.at_home(), team.clone("ann")
    home.save("data", SECRET)
    home.save("data", b"fine")
    if has_run:
        home.log_run()
    erase(home, SECRET)
    condemn_while_it_goes_on(ann, monkeypatch)
    ann.pull()
    assert ann.vault.condemned.read()
    assert ann.read("data@v2") == b"fine"


def test_a_new_name_for_it_is_refused_unless_it_is_said_to_be_of_before(team: Team) -> None:
    home = team.at_home()
    home.save("data", SECRET)
    tree = Root(home.find("data@v1").version.tree, RootKind.TREE)
    erase(home, SECRET)
    files = Root(home.content(b""), RootKind.FILES)
    for roots in ((tree,), (tree, files)):
        with pytest.raises(Denied, match="must not come back"):
            home.vault.naming().before(roots)
        home.vault.naming().before(roots, spare=lambda: erased(home.vault))
    lost = Root(Digest.of(b"never put"), RootKind.CONTENT)
    with pytest.raises(DataDamaged, match="is missing"):
        home.vault.naming().before((tree, lost), spare=lambda: erased(home.vault))
