"""Ctrl-C in the middle of a save: nothing is half visible, and the next try reuses what is there.

The program is the real one and so is the signal; only its moment is chosen.
"""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from patience import PATIENCE_S

SIZE = 40_000_000
STOPPED = """
import os, signal, sys
from thence.cli.main import main
from thence.vault import writer

go_on, left = writer.Writer._go_on, int(sys.argv.pop(1))


def and_stop(self, size):
    global left
    before, left = left, left - size
    if before > 0 >= left:  # once: who presses it again wants it to end at once
        os.kill(os.getpid(), signal.SIGINT)
    go_on(self, size)


writer.Writer._go_on = and_stop
main()
"""


def thence(
    project: Path, *words: str, stop_after: int | None = None
) -> subprocess.CompletedProcess[str]:
    code = "from thence.cli.main import main; main()" if stop_after is None else STOPPED
    before = [] if stop_after is None else [str(stop_after)]
    return subprocess.run(
        [sys.executable, "-c", code, *before, *words],
        cwd=project,
        env={**os.environ, "XDG_CONFIG_HOME": str(project.parent / "config")},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def packs(project: Path) -> int:
    return sum(path.stat().st_size for path in project.rglob("store/packs/*/*"))


@pytest.mark.parametrize("files", [1, 20])
def test_ctrl_c_loses_little_and_shows_nothing(tmp_path: Path, files: int) -> None:
    project = tmp_path / "project"
    (project / "data").mkdir(parents=True)
    dice = random.Random(files)
    for number in range(files):
        (project / "data" / f"{number:02}").write_bytes(dice.randbytes(SIZE // files))
    assert thence(project, "init").returncode == 0
    stopped = thence(project, "save", "data", stop_after=SIZE * 9 // 10)
    assert (stopped.returncode, stopped.stdout) == (130, "")
    assert stopped.stderr.startswith("thence: interrupted.")
    assert len(stopped.stderr.splitlines()) == 1
    assert thence(project, "ls", "--json").stdout == ""
    home = project / ".thence"
    assert list(home.rglob("staging/*")) == []
    assert list(home.glob("store/refs/**/*")) == []
    assert [path for path in home.glob("store/tmp/*") if path.is_file()] == []
    left = packs(project)
    assert left > SIZE // 2
    assert thence(project, "save", "data").stdout.startswith("saved data@v1 (")
    assert packs(project) < SIZE * 1.01
    assert thence(project, "get", "data", str(tmp_path / "back")).returncode == 0
    for number in range(files):
        name = f"{number:02}"
        assert (tmp_path / "back" / name).read_bytes() == (project / "data" / name).read_bytes()
