import os
import subprocess
import sys
import time
from pathlib import Path

from thence.vault import leftovers
from workshop import Workshop


def _dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def _left(folder: Path, *, pid: int, age_s: float) -> Path:
    path = folder / f".thence-{pid}-0123456789ab-{int(age_s)}"
    path.write_text("half a fi")
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_what_a_killed_get_left_is_not_saved_and_goes_with_the_next_get(workshop: Workshop) -> None:
    folder = workshop.root / "data"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    workshop.project.save_paths([folder], name="data")
    old = _left(folder, pid=_dead_pid(), age_s=7200)
    young = _left(folder, pid=_dead_pid(), age_s=10)
    (folder / "a.txt").write_text("b")
    workshop.project.save_paths([folder], name="data")
    assert [entry.path for entry in workshop.project.files("data")] == ["a.txt"]
    workshop.project.get("data@v1", folder)
    assert not old.exists()
    assert young.exists()


def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    mine = _left(tmp_path, pid=os.getpid(), age_s=7200)
    other = tmp_path / ".thence-notes"
    other.touch()
    leftovers.sweep(tmp_path)
    assert mine.exists()
    assert other.exists()
    assert leftovers.is_leftover(leftovers.temporary_name())
    assert not leftovers.is_leftover(other.name)
