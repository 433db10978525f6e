"""Every example in the help of a command works as it stands there."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import click
import pytest

from seaweed import S3Server
from thence.cli.catalogue import SECTIONS, VERBS
from thence.cli.group import cli
from thence.cli.verb import Verb, VerbGroup

_SCRIPTS = Path(sys.executable).parent
_TRAIN = """\
import json, sys
rate = float(sys.argv[2]) if len(sys.argv) > 2 else 0.1
json.dump({"auc": 0.5 + rate}, open("metrics.json", "w"))
"""
_NOTEBOOK = """\
{"cells": [{"cell_type": "code", "execution_count": null, "id": "a", "outputs": [],
            "metadata": {"tags": ["parameters"]}, "source": "lr = 0.1"}],
 "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
 "nbformat": 4, "nbformat_minor": 5}
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
    (folder / "train.ipynb").write_text(_NOTEBOOK)
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
    shutil.copytree(folder, _untouched(folder))
    return folder


def _untouched(prepared: Path) -> Path:
    """The same project, as it was before any example."""
    return prepared.with_name(f"{prepared.name}-untouched")


def _run(
    line: str, folder: Path, env: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("THENCE_")}
    kept |= env
    path = f"{_SCRIPTS}{os.pathsep}{kept.get('PATH', '')}"
    return subprocess.run(
        line, shell=True, cwd=folder, env={**kept, "PATH": path},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


def _is_shared(example: str) -> bool:
    return example.split()[1] in SECTIONS["Share"] or "s3://" in example


@pytest.mark.parametrize(
    ("name", "example"), [one for one in _examples() if not _is_shared(one[1])]
)
def test_an_example_works(name: str, example: str, prepared: Path, tmp_path: Path) -> None:
    folder = tmp_path if example.startswith("thence init") else prepared
    if name in {"rm", "erase"}:
        # What they take away, the other examples still need.
        folder = Path(shutil.copytree(_untouched(prepared), tmp_path / "copy"))
    if "--undo" in example:
        assert _run("thence rm -q data@v1 --reason over", folder).returncode == 0
    if name == "reproduce":
        assert _run("thence run -q python train.py", folder).returncode == 0
    done = _run(example, folder)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def cloud(seaweed: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The buckets of the examples, on a service of our own; the environment that leads there."""
    env = {**seaweed.environment, "AWS_ENDPOINT_URL": seaweed.endpoint}
    for bucket, project in (("bucket", "team"), ("other", "project"), ("backup", None)):
        seaweed.make_bucket(bucket)
        if project is not None:
            folder = tmp_path_factory.mktemp(project)
            _save_churn(folder, f"s3://{bucket}/{project}", env)
    return env


def _save_churn(folder: Path, store: str, env: Mapping[str, str]) -> None:
    (folder / "model.json").write_text("[1]\n")
    for line in (
        f"thence init -q --store {store}",
        "thence save -q model.json --as churn",
        "echo '[2]' > model.json && thence save -q model.json --as churn",
        "echo '[3]' > model.json && thence save -q model.json --as churn",
        "thence alias churn champion",
    ):
        done = _run(line, folder, env)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("example", sorted({one for _, one in _examples() if _is_shared(one)}))
def test_an_example_of_a_team_works(example: str, cloud: Mapping[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    if "../team" in example:
        (tmp_path / "work").mkdir()
        _save_churn(tmp_path / "work", str(tmp_path / "team"), cloud)
    if example.split()[1] in {"push", "pull", "mirror", "outbox", "import", "repair"}:
        for line in (
            "thence clone -q s3://bucket/team .",
            "echo '[4]' > own.json && thence save -q own.json --as churn",
        ):
            assert _run(line, folder, cloud).returncode == 0
    done = _run(example, folder, cloud)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
