"""`check` and `repair` as people see them."""

import shutil
from pathlib import Path

import cli_harness
import pytest
from cli_harness import Thence

folder = cli_harness.folder
thence = cli_harness.thence
project = cli_harness.project


def packs(root: Path) -> list[Path]:
    return sorted(
        (root / ".thence/store/packs").rglob("*"), key=lambda path: (path.is_dir(), str(path))
    )[: sum(path.is_file() for path in (root / ".thence/store/packs").rglob("*"))]


def hurt(path: Path, at: int = 10) -> None:
    """Flip a bit of a file that nobody should write to."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.fixture
def clone(project: Path, thence: Thence, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the project."""
    target = tmp_path_factory.mktemp("clones") / "clone"
    thence("clone", str(project), str(target))
    return target


def test_a_sound_project_is_said_to_be_sound(project: Path, thence: Thence) -> None:
    assert thence("check").out.startswith("sound: 2 log entries")
    assert " read" in thence("check", "--deep").out


def test_damage_has_its_own_status_and_is_named_by_what_it_touches(
    project: Path, thence: Thence
) -> None:
    hurt(packs(project)[0])
    done = thence("check", "--deep", ok=False)
    assert done.status == 6
    assert "data@v" in done.out
    assert "thence repair --from URL" in done.out


def test_with_json_each_finding_is_an_object(project: Path, thence: Thence) -> None:
    hurt(packs(project)[0])
    done = thence("check", "--deep", "--json", ok=False)
    *findings, last = done.objects
    assert {one["type"] for one in findings} == {"finding"}
    assert findings[0]["severity"] == "damage"
    assert findings[0]["key"].startswith("packs/")
    assert last["type"] == "check"
    assert last["sound"] is False


def test_a_clone_says_that_its_home_would_heal_it_and_is_healed(
    project: Path, clone: Path, thence: Thence
) -> None:
    for pack in packs(clone):
        hurt(pack)
    done = thence("--project", str(clone), "check", "--deep", ok=False)
    assert "would heal all" in done.out
    planned = thence("--project", str(clone), "repair", "--dry-run")
    assert "would be healed, 0 left" in planned.out
    assert thence("--project", str(clone), "check", "--deep", ok=False).status == 6
    assert "0 left" in thence("--project", str(clone), "repair").out
    assert thence("--project", str(clone), "check", "--deep").out.startswith("sound")
    thence("--project", str(clone), "get", "data", str(clone / "again"))
    assert (clone / "again" / "day3.csv").read_text() == "7,8\n"


def test_a_home_that_lost_everything_is_healed_from_a_clone(
    project: Path, clone: Path, thence: Thence
) -> None:
    shutil.rmtree(project / ".thence/store/packs")
    shutil.rmtree(project / ".thence/store/refs")
    assert thence("check", "--from", str(clone), ok=False).status == 6
    thence("repair", "--from", str(clone))
    assert thence("check", "--deep").out.startswith("sound: 2 log entries")
    assert [one["number"] for one in thence("history", "data", "--json").objects] == [2, 1]


def test_what_the_index_remembers_shows_that_the_end_of_a_log_was_lost(
    project: Path, clone: Path, thence: Thence
) -> None:
    (project / ".thence/store/refs/artifacts/data/@/0000000002").unlink()
    done = thence("check", ok=False)
    assert done.status == 6
    assert "data@v2" in done.out
    thence("repair", "--from", str(clone))
    assert thence("check").status == 0


def test_entries_that_were_swapped_are_noticed(project: Path, clone: Path, thence: Thence) -> None:
    log = project / ".thence/store/refs/artifacts/data/@"
    (log / "0000000001").rename(log / "spare")
    (log / "0000000002").rename(log / "0000000001")
    (log / "spare").rename(log / "0000000002")
    assert thence("check", ok=False).status == 6
    assert "2 damages healed, 0 left" in thence("repair", "--from", str(clone)).out
    assert thence("check", "--from", str(clone)).status == 0


@pytest.mark.parametrize("lost", [True, False])
def test_a_project_without_its_project_json_is_repaired(
    project: Path, clone: Path, thence: Thence, lost: bool
) -> None:
    path = project / ".thence/store/project.json"
    whole = path.read_bytes()
    path.unlink()
    if not lost:
        path.write_bytes(whole[:40])
    assert thence("check", ok=False).status in {4, 6}
    assert "project.json was restored" in thence("repair", "--from", str(clone)).out
    assert path.read_bytes() == whole
    assert thence("check").status == 0


def test_another_project_heals_nothing(
    project: Path, thence: Thence, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    thence("init", str(other))
    done = thence("check", "--from", str(other), ok=False)
    assert done.status == 2
    assert "different projects" in done.err
    assert thence("repair", "--from", str(project), ok=False).status == 2


def test_what_nobody_has_is_named_and_saving_it_again_heals_it(
    project: Path, thence: Thence
) -> None:
    thence("save", "data", "--note", "the same")
    for pack in packs(project):
        hurt(pack)
    done = thence("repair", ok=False)
    assert done.status == 6
    assert "data@v" in done.out
    assert "note: " in thence("check", ok=False).out  # what was put aside
    (project / "data" / "day4.csv").write_text("9\n")
    thence("save", "data")
    remaining = thence("check", "--json", ok=False).objects
    touched = {ref for one in remaining for ref in one.get("refs", ())}
    assert not any(ref.startswith("data@v3") for ref in touched)
