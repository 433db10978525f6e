import os
import subprocess
import sys
from pathlib import Path

from thence.execution.scripts import write_scripts


def test_the_commands_of_a_package_work_where_it_is_given_back(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    info = packages / "mine-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text(
        "[console_scripts]\nmine-run = mine:Tool.main [extra]\nbad = mine:x; import os\n"
        "../escape = mine:main\n[other]\nx = y\n"
    )
    (packages / "mine.py").write_text(
        "import sys\nclass Tool:\n    @staticmethod\n    def main():\n"
        "        print(sys.argv[1:])\n        return 3\n"
    )
    (packages / "broken-1.dist-info").mkdir()
    (packages / "broken-1.dist-info" / "entry_points.txt").write_text("no section = here")
    folder = tmp_path / "a folder" / "bin"
    (script,) = write_scripts(packages, Path(sys.executable), folder)
    assert script == folder / "mine-run"
    done = subprocess.run(
        [script, "a b", "c"],
        env={**os.environ, "PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("['a b', 'c']\n", 3)


def test_no_packages_no_scripts(tmp_path: Path) -> None:
    assert write_scripts(tmp_path / "gone", Path(sys.executable), tmp_path / "bin") == []
    assert not (tmp_path / "bin").exists()
