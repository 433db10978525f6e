"""Every example in the help of a command works as it stands there."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from thence.cli.catalogue import VERBS
from thence.cli.group import cli
from thence.cli.verb import Verb, VerbGroup

_SCRIPTS = Path(sys.executable).parent
_TRAIN = """\
import json, sys
rate = float(sys.argv[2]) if len(sys.argv) > 2 else 0.1
json.dump({"auc": 0.5 + rate}, open("metrics.json", "w"))
"""


def _examples() -> list[tuple[str, str]]:
    root = click.Context(cli, info_name="thence", **cli.context_settings)
    commands: list[click.Command] = [cli]
    for name in VERBS.keys() - {"demo"}:  # test_demo.py runs that one
        command = cli.get_command(root, name)
        assert command is not None
        commands += [
            command,
            *(command.commands.values() if isinstance(command, click.Group) else ()),
        ]
    found = []
    for command in commands:
        assert isinstance(command, (Verb, VerbGroup))
        found += [(command.name or "thence", example) for example in command.examples]
    return sorted(set(found))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the examples make sense."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "data").mkdir()
    for day in (1, 2):
        (folder / "data" / f"day{day}.csv").write_text(f"x\n{day}\n")
    (folder / "CARD.md").write_text("# Sales\n")
    (folder / "train.py").write_text(_TRAIN)
    (folder / "model.json").write_text('{"weights": [1, 2]}\n')
    for line in (
        "thence init -q",
        "thence save data/ -q",
        "echo 3 >> data/day1.csv",
        "thence save data/ -q",
        "thence run -q python train.py",
    ):
        assert _run(line, folder).returncode == 0
    return folder


def _run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("THENCE_")}
    path = f"{_SCRIPTS}{os.pathsep}{kept.get('PATH', '')}"
    return subprocess.run(
        line, shell=True, cwd=folder, env={**kept, "PATH": path},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("name", "example"), _examples())
def test_an_example_works(name: str, example: str, prepared: Path, tmp_path: Path) -> None:
    folder = tmp_path if example.startswith("thence init") else prepared
    if name == "reproduce":
        assert _run("thence run -q python train.py", folder).returncode == 0
    done = _run(example, folder)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
