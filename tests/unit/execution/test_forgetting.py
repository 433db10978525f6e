"""What a machine keeps of what was erased elsewhere goes with its next command."""

from pathlib import Path

import pytest

from thence.errors import Conflict
from thence.execution import erasing
from thence.index.database import Index
from thence.project import Project
from thence.vault import erase
from thence.vault.erase import CarriedOut
from thence.vault.vault import Vault

MARK = "Mrs Example, born 1970-01-01"


def kept(folder: Path) -> list[Path]:
    """Files of the folder's own that hold the marker as it is."""
    files = (path for path in (folder / ".thence").rglob("*") if path.is_file())
    return [path for path in files if MARK.encode() in path.read_bytes()]


@pytest.fixture
def shared(tmp_path: Path) -> tuple[Project, Project]:
    """Two folders that work in one home."""
    (tmp_path / "home").mkdir()
    made = [
        Project.init(tmp_path / name, store=f"file://{tmp_path}/home") for name in ("ann", "bob")
    ]
    return made[0], made[1]


def test_the_other_folder_follows(shared: tuple[Project, Project]) -> None:
    ann, bob = shared
    path = ann.root / "names.csv"
    path.write_text(MARK)
    ann.save_paths([path])
    path.unlink()
    bob.get("names.csv", bob.root / "got.csv", link="hard")
    (bob.root / "got.csv").unlink()
    assert kept(bob.root)
    plan = ann.plan_erasure(["names.csv@v1"])
    done = ann.erase(plan, reason="names")
    assert done.contents == 2
    assert not done.waits
    assert kept(ann.root) == []
    bob.ls()
    assert kept(bob.root) == []
    assert (bob.root / ".thence/cache/erased").read_text() == "1"
    shown = bob.show("names.csv@v1")
    assert shown.deletion is not None
    assert shown.deletion.reason == "erased: names"


def test_until_the_bytes_are_gone_the_index_is_written_anew_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project.init(tmp_path)
    (tmp_path / "names.csv").write_text(MARK)
    project.save_paths([tmp_path / "names.csv"])
    written: list[int] = []
    listed: list[Vault] = []
    with monkeypatch.context() as patched:
        patched.setattr(erasing, "carry_out", lambda vault, **_: CarriedOut())  # it was cut
        patched.setattr(erase, "carry_out", lambda vault: CarriedOut())  # and we may not
        patched.setattr(Index, "compact", lambda index: written.append(1))
        patched.setattr(erase, "forget_pages", listed.append)
        project.erase(project.plan_erasure(["names.csv@v1"]), reason="names")
        project.ls()
        project.ls()
        assert len(written) == 1
        assert listed == []
    project.ls()
    assert (tmp_path / ".thence/cache/erased").read_text() == "1"
    assert kept(tmp_path) == []


def test_a_plan_names_who_else_has_it_and_spares_what_others_have_of_a_run(
    tmp_path: Path,
) -> None:
    project = Project.init(tmp_path)
    project.save("shared", "a")
    with project.run() as session:
        project.load("a")
        project.save("made", "b")
    with project.run():
        pass  # it shares the environment with the one before
    run = f"run:{session.run}"
    plan = project.plan_erasure(["a@v1"])
    assert plan.shared == (run[:12],)
    assert not plan.done
    of_run = project.plan_erasure([run])
    assert of_run.shared == ()
    assert of_run.spared > 0
    project.erase(of_run, reason="wrong")
    assert project.load("a") == "shared"
    assert project.load("b") == "made"
    assert project.find_run(run).deletion is not None
    assert project.plan_erasure(["a@v1"]).shared == ()
    again = project.plan_erasure([run])
    assert again.contents == ()


def test_who_comes_to_have_it_after_the_plan_is_asked_too(tmp_path: Path) -> None:
    project = Project.init(tmp_path)
    for name in ("a.csv", "b.csv", "old.csv"):
        (tmp_path / name).write_text(MARK)
    project.save_paths([tmp_path / "old.csv"])
    project.remove(project.plan_removal(["old.csv@v1"]), reason="old")
    project.save_paths([tmp_path / "a.csv"])
    plan = project.plan_erasure(["a.csv@v1"])
    assert plan.shared == ()
    project.save_paths([tmp_path / "b.csv"])
    with pytest.raises(Conflict, match="others have some") as caught:
        project.erase(plan, reason="names")
    assert "b.csv@v1" in (caught.value.why or "")
    project.remove(project.plan_removal(["b.csv@v1"]), reason="not this one")
    project.undo_removal(["old.csv@v1"])
    with pytest.raises(Conflict, match="others have some") as caught:
        project.erase(plan, reason="names")
    assert "old.csv@v1" in (caught.value.why or "")
    assert (tmp_path / ".thence/store/refs/erasures").exists() is False
    project.remove(project.plan_removal(["old.csv@v1"]), reason="not this one")
    project.erase(plan, reason="names")
    assert project.show("a.csv@v1").deletion is not None


def test_a_run_that_reads_it_after_the_plan_is_named_before_it_goes(tmp_path: Path) -> None:
    project = Project.init(tmp_path)
    project.save("names", "a")
    plan = project.plan_erasure(["a@v1"])
    with project.run() as session:
        project.load("a")
    with pytest.raises(Conflict, match="others have some") as caught:
        project.erase(plan, reason="names")
    assert session.run.short in (caught.value.why or "")
    assert project.load("a") == "names"
    project.erase(plan, reason="names", everywhere=True)
    assert project.show("a@v1").deletion is not None


def test_twins_of_an_erased_version_are_removed_with_it(tmp_path: Path) -> None:
    project = Project.init(tmp_path)
    project.save("one", "a")
    project.save("two", "a")
    project.rollback("a", "v1")
    plan = project.plan_erasure(["a@v1"], everywhere=True)
    assert plan.shared == ("a@v3",)
    project.erase(plan, reason="names", everywhere=True)
    assert project.load("a") == "two"
    assert [one.label for one in project.history("a") if one.deletion is None] == ["v2"]


def test_one_entry_has_a_bounded_number_of_contents_and_lists_come_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "_CONTENTS_IN_AN_ENTRY", 2)
    project = Project.init(tmp_path)
    (tmp_path / "many").mkdir()
    for n in range(5):
        (tmp_path / "many" / f"{n}.txt").write_text(str(n))
    project.save_paths([tmp_path / "many"])
    version = project.show("many@v1")
    plan = project.plan_erasure(["many@v1"])
    assert plan.contents[-1] == version.tree  # type: ignore[union-attr]
    project.erase(plan, reason="names")
    assert len(list((tmp_path / ".thence/store/refs/erasures").iterdir())) == 3
