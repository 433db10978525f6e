"""Mirrors of a project, and homes that move."""

from pathlib import Path

import pytest

from team import NOW, Member, Team, objects
from thence.errors import AlreadyExists, Conflict, DataDamaged, InvalidInput, StorageError
from thence.model.ids import Digest
from thence.store.memory import MemoryStore
from thence.store.wrap import Trace
from thence.testing.faulty import Fault, FaultyStore, Rule
from thence.vault.layout import MIRROR, make_project, mirror_of
from thence.vault.replica import CLAIM, found_home, mirror
from thence.vault.vault import Vault


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


def never() -> None:
    pytest.fail("nothing was to be switched")


def fill(member: Member) -> None:
    run = member.log_run(b"made")
    member.save("data", b"one", run=run)
    member.save("data", b"two" * 50_000)
    member.move("data", "best")


def test_a_mirror_is_an_exact_copy_and_follows(team: Team) -> None:
    home = team.at_home()
    fill(home)
    target = Trace(MemoryStore("copy"))
    done = mirror(home.vault, team.home_vault(target), of="s3://team/home")
    assert objects(target) == objects(team.home)
    assert target.get("project.json") == team.home.get("project.json")
    found = mirror_of(target)
    assert found is not None
    assert (found.of, found.project) == ("s3://team/home", "p" * 32)
    written = [one.key for one in target.operations if one.name.startswith("create")]
    assert (written[0], written[-1]) == (MIRROR, "project.json")
    assert done.entries == 5
    home.save("data", b"three")
    assert mirror(home.vault, team.home_vault(target)).entries == 1
    assert mirror(home.vault, team.home_vault(target)) == (0, 0, 0, 0, (), 0)
    assert Member("reader", team.home_vault(target), home.vault).read("data") == b"three"


def test_a_mirror_is_made_only_of_nothing_or_of_the_same(team: Team, tmp_path: Path) -> None:
    home = team.at_home()
    fill(home)
    other_home = MemoryStore()
    make_project(other_home, project_id="q" * 32, now=NOW)
    with pytest.raises(AlreadyExists) as caught:
        mirror(home.vault, team.home_vault(other_home))
    assert "q" * 32 in caught.value.why
    assert "p" * 32 in caught.value.why
    with pytest.raises(AlreadyExists, match="is a home already"):
        mirror(home.vault, home.vault)
    other_mirror = MemoryStore()
    mirror(team.home_vault(other_home), team.home_vault(other_mirror))
    with pytest.raises(InvalidInput) as refused:
        mirror(home.vault, team.home_vault(other_mirror))
    assert "q" * 32 in refused.value.why
    used = MemoryStore()
    used.create("photos/1.jpg", [b"x"])
    with pytest.raises(InvalidInput, match="is not empty"):
        mirror(home.vault, team.home_vault(used))
    for store in (other_home, used):
        assert mirror_of(store) is None


def test_an_empty_store_becomes_the_home(team: Team) -> None:
    home = team.at_home()
    fill(home)
    target = MemoryStore("new")
    switched = []

    def switch() -> None:
        assert "project.json" not in objects(target, "")
        switched.append(len(objects(target)))
        home.save("data", b"late")  # somebody who had it open still

    done = found_home(home.vault, team.home_vault(target), switch=switch)
    assert (done.entries, switched) == (6, [5])
    assert objects(target) == objects(team.home)
    assert CLAIM not in objects(target, "")
    # The old home goes on as a clone of the new one.
    clone = Vault(team.home, team.folder / "old", clone=True)
    ann = Member("ann", clone, team.home_vault(target))
    ann.save("data", b"mine")
    assert [one.number for one in ann.push().numbered] == [4]
    assert objects(target) == objects(team.home)


def test_a_store_that_is_taken_does_not_become_the_home(team: Team) -> None:
    home = team.at_home()
    fill(home)
    for key, error in (
        (CLAIM, Conflict),
        (MIRROR, InvalidInput),
        ("photos/1.jpg", InvalidInput),
    ):
        target = MemoryStore()
        target.create(key, [b'{"project":"other"}'])
        with pytest.raises(error):
            found_home(home.vault, team.home_vault(target), switch=never)
        assert list(objects(target, "")) == [key]
    with pytest.raises(AlreadyExists):
        found_home(home.vault, team.home_vault(), switch=never)


def test_a_home_is_not_moved_without_what_cannot_be_read(team: Team) -> None:
    home = team.at_home()
    fill(home)
    key = "refs/artifacts/data/@/0000000001"
    team.home.replace(key, [b"{}"])
    target = MemoryStore()
    with pytest.raises(DataDamaged) as caught:
        found_home(team.home_vault(), team.home_vault(target), switch=lambda: None)
    assert key in caught.value.why
    assert "project.json" not in objects(target, "")


@pytest.mark.parametrize("fault", [Fault.FAIL_BEFORE, Fault.LOSE_RESPONSE])
def test_moving_a_home_goes_on_after_a_failure_at_any_operation(team: Team, fault: Fault) -> None:
    home = team.at_home()
    fill(home)
    switched: list[int] = []
    for step in range(1, 1000):
        target = MemoryStore()
        switched.clear()
        faulty = FaultyStore(target, Rule(fault=fault, on=frozenset({step})))
        try:
            found_home(home.vault, team.home_vault(faulty), switch=lambda: switched.append(1))
        except StorageError:
            found_home(home.vault, team.home_vault(target), switch=lambda: switched.append(2))
        assert objects(target) == objects(team.home)
        assert target.get("project.json") == team.home.get("project.json")
        assert switched
        reader = Member("reader", team.home_vault(target), home.vault)
        assert reader.read("data@v2") == b"two" * 50_000
        assert reader.vault.content.read(Digest.of(b"said made")) == b"said made"
        if not faulty.injected:
            break
    assert step > 15
