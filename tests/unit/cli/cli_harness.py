"""A folder, a project in it, and the command line in this process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from thence.cli.group import cli


class Outcome(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Thence = Callable[..., Outcome]


@pytest.fixture
def thence() -> Thence:
    def call(*args: str, ok: bool = True) -> Outcome:
        result = CliRunner().invoke(cli, list(args), prog_name="thence")
        outcome = Outcome(result.exit_code, result.stdout, result.stderr)
        if ok:
            assert outcome.status == 0, outcome
        return outcome

    return call


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, far from any project."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("THENCE_PROJECT", raising=False)
    monkeypatch.delenv("THENCE_RUN", raising=False)
    monkeypatch.delenv("THENCE_SPOOL", raising=False)
    monkeypatch.setenv("THENCE_AUTHOR", "ada")
    return tmp_path


@pytest.fixture
def project(folder: Path, thence: Thence) -> Path:
    """A project with two versions of `data`: day2.csv was changed, day3.csv added."""
    thence("init")
    (folder / "data").mkdir()
    (folder / "data" / "day1.csv").write_text("1,2\n")
    (folder / "data" / "day2.csv").write_text("3,4\n")
    thence("save", "data", "--note", "as delivered")
    (folder / "data" / "day2.csv").write_text("3,4\n5,6\n")
    (folder / "data" / "day3.csv").write_text("7,8\n")
    thence("save", "data")
    return folder
