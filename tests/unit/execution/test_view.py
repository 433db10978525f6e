"""What a reproduced command sees: tried in real namespaces."""

import os
import subprocess
from pathlib import Path

import pytest

from namespaces import needs_namespaces
from thence.errors import InvalidInput
from thence.execution import view as module
from thence.execution.mounts import Bind, Entrance, reason_against
from thence.execution.view import Scene, View

NOWHERE = "/nowhere-on-this-machine"


def run_in(scene: Scene, command: str) -> str:
    done = subprocess.run(
        ["sh", "-c", command],
        preexec_fn=scene.entrance.enter,
        check=False,
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


@pytest.fixture
def given(tmp_path: Path) -> Path:
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "a.txt").write_text("given")
    return folder


@needs_namespaces
class TestNamespaces:
    def test_a_folder_is_seen_where_this_machine_has_none(
        self, tmp_path: Path, given: Path
    ) -> None:
        view = View(tmp_path / "view")
        view.give(f"{NOWHERE}/alice/project", given)
        scene = view.lay_out(f"{NOWHERE}/alice/project")
        assert run_in(scene, "pwd; cat a.txt; echo new > b.txt") == (
            f"{NOWHERE}/alice/project\ngiven"
        )
        assert (given / "b.txt").read_text() == "new\n"
        assert not Path(NOWHERE).exists()
        assert Path(scene.real(f"{NOWHERE}/alice/project/b.txt")).read_text() == "new\n"

    def test_a_folder_covers_the_one_of_this_machine(self, tmp_path: Path, given: Path) -> None:
        there = tmp_path / "project"
        there.mkdir()
        (there / "secret.txt").write_text("of this machine")
        (tmp_path / "beside.txt").write_text("beside")
        view = View(tmp_path / "view")
        view.give(str(there), given)
        scene = view.lay_out(str(there))
        assert run_in(scene, "ls; cat ../beside.txt; echo x > a.txt; rm a.txt") == ("a.txt\nbeside")
        assert (there / "secret.txt").read_text() == "of this machine"
        assert scene.hides(str(there / "secret.txt"))
        assert not scene.hides(str(tmp_path / "beside.txt"))
        assert not scene.hides(str(there / "never.txt"))

    def test_links_of_this_machine_are_no_detour(self, tmp_path: Path, given: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        view = View(tmp_path / "view")
        view.give(str(tmp_path / "link" / "project"), given)
        scene = view.lay_out(str(tmp_path / "link" / "project"))
        assert run_in(scene, f"cat {tmp_path}/real/project/a.txt a.txt") == "givengiven"

    def test_what_is_made_in_an_opened_folder_stays_with_us(
        self, tmp_path: Path, given: Path
    ) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "old.txt").write_text("of this machine")
        (tmp_path / "out" / "kept.txt").write_text("kept")
        view = View(tmp_path / "view")
        view.open_up(str(tmp_path / "out"))
        view.hide(str(tmp_path / "out" / "old.txt"))
        view.give(str(tmp_path / "out" / "in.txt"), given / "a.txt")
        scene = view.lay_out("/")
        out = tmp_path / "out"
        command = f"cd {out}; ls; cat in.txt kept.txt; echo new > old.txt; mv in.txt moved.txt"
        assert run_in(scene, command) == "in.txt\nkept.txt\ngivenkept"
        assert sorted(os.listdir(out)) == ["kept.txt", "old.txt"]
        assert (out / "old.txt").read_text() == "of this machine"
        assert Path(scene.real(str(out / "old.txt"))).read_text() == "new\n"
        assert Path(scene.real(str(out / "moved.txt"))).read_text() == "given"

    def test_strictly_nothing_of_this_machine_is_there_but_the_system(
        self, tmp_path: Path, given: Path
    ) -> None:
        (tmp_path / "private.txt").write_text("private")
        view = View(tmp_path / "view", strict=True)
        view.give(f"{NOWHERE}/project", given)
        scene = view.lay_out(f"{NOWHERE}/project")
        said = run_in(scene, f"cat a.txt; ls -d {tmp_path} /home /root; ls /bin/sh")
        assert said.startswith("given")
        assert said.count("No such file") == 3
        assert "/bin/sh" in said
        assert scene.hides(str(tmp_path / "private.txt"))

    def test_given_folders_may_hold_others(self, tmp_path: Path, given: Path) -> None:
        other = tmp_path / "other"
        other.mkdir()
        (other / "b.txt").write_text("other")
        view = View(tmp_path / "view")
        view.give(f"{NOWHERE}/project", given)
        view.give(f"{NOWHERE}/project/.cache/other", other)
        scene = view.lay_out(f"{NOWHERE}/project")
        assert run_in(scene, "cat a.txt .cache/other/b.txt") == "givenother"
        assert scene.real(f"{NOWHERE}/project/.cache/other/b.txt") == str(other / "b.txt")

    def test_what_vanishes_before_it_is_entered_is_not_there(
        self, tmp_path: Path, given: Path
    ) -> None:
        (tmp_path / "gone").mkdir()
        view = View(tmp_path / "view")
        view.give(str(tmp_path / "new" / "project"), given)
        scene = view.lay_out("/")
        (tmp_path / "gone").rmdir()
        assert "given" in run_in(scene, f"cat {tmp_path}/new/project/a.txt")


def test_a_folder_with_too_many_entries_is_not_replaced(
    tmp_path: Path, given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ENTRIES_AT_MOST", 2)
    for name in "abc":
        (tmp_path / "full" / name).mkdir(parents=True)
    view = View(tmp_path / "view")
    view.give(str(tmp_path / "full" / "new"), given)
    with pytest.raises(InvalidInput, match="too many entries"):
        view.lay_out("/")


def test_what_cannot_be_entered_has_a_reason(tmp_path: Path) -> None:
    assert reason_against(Entrance(os.fsencode(tmp_path / "nothing"), (), b"/"))
    broken = (Bind(b"/etc/passwd", os.fsencode(tmp_path)),)
    assert reason_against(Entrance(os.fsencode(tmp_path), broken, b"/"))
