"""The verbs of `import thence`, in scripts as people write them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import thence
from patience import PATIENCE_S
from thence import errors, verbs
from thence.execution import live


def _script(
    folder: Path, text: str, *, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    path = folder / "script.py"
    path.write_text(f"import thence\n{text}\n")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("THENCE_")}
    return subprocess.run(
        [sys.executable, str(path)], cwd=cwd or folder, env=kept,
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


def _runs(folder: Path) -> list[Any]:
    return thence.Project.open(folder).runs()


def test_a_project_is_made_beside_the_script_and_it_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    done = _script(tmp_path / "work", "thence.save([1], 'a')\nthence.save([2], 'a')", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"thence: made a project in {tmp_path / 'work'}, which had none\n"
    again = _script(tmp_path / "work", "print(thence.load('a'))", cwd=tmp_path)
    assert (again.stdout, again.stderr) == ("[2]\n", "")
    assert not (tmp_path / ".thence").exists()


def test_the_project_above_the_working_directory_comes_first(tmp_path: Path) -> None:
    thence.init(tmp_path / "here")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "here" / "deep").mkdir()
    done = _script(tmp_path / "scripts", "thence.save([1], 'a')", cwd=tmp_path / "here" / "deep")
    assert done.stderr == ""
    assert [one.name for one in thence.Project.open(tmp_path / "here").ls()] == ["a"]


def test_the_first_save_opens_a_run_that_ends_with_the_script(tmp_path: Path) -> None:
    thence.init(tmp_path)
    (tmp_path / "raw.csv").write_text("x\n1\n")
    thence.Project.open(tmp_path).save({"a": 1}, "settings")
    done = _script(
        tmp_path,
        "table = thence.load('./raw.csv')\n"
        "settings = thence.load('settings')\n"
        "thence.save(settings, 'copy')\n"
        "thence.log(auc=0.5, optimizer='adam')\n",
    )
    assert done.returncode == 0, done.stderr
    (found,) = _runs(tmp_path)
    run = thence.Project.open(tmp_path).find_run(f"run:{found.run}")
    assert run.status == "finished"
    assert run.metrics == {"auc": 0.5}
    assert run.params["optimizer"].value == "adam"
    assert "settings" in [str(one.artifact) for one in run.uses]
    assert [str(one.artifact) for one in run.makes] == ["copy"]
    files = thence.Project.open(tmp_path).run_files(f"run:{found.run}")
    assert "raw.csv" in {file.path for file in files}


def test_looking_at_things_opens_no_run(tmp_path: Path) -> None:
    thence.init(tmp_path)
    thence.Project.open(tmp_path).save({"a": 1}, "settings")
    assert _script(tmp_path, "thence.load('settings')").returncode == 0
    assert _runs(tmp_path) == []


def test_finish_gives_the_run_back(tmp_path: Path) -> None:
    thence.init(tmp_path)
    done = _script(
        tmp_path,
        "assert thence.finish() is None\n"
        "thence.log(loss=1.0, step=1)\n"
        "run = thence.finish()\n"
        "print(run.status.value, run.metrics)",
    )
    assert done.stdout == "finished {'loss': 1.0}\n", done.stderr


def test_a_block_is_a_run(tmp_path: Path) -> None:
    thence.init(tmp_path)
    done = _script(
        tmp_path,
        "with thence.run(name='first', tags={'k': 'v'}, params={'lr': 0.1}):\n"
        "    thence.log({'odd name': 2}, step=3)\n"
        "    raise SystemExit(4)",
    )
    assert done.returncode == 4
    (run,) = _runs(tmp_path)
    assert (run.name, run.tags, run.status) == ("first", {"k": "v"}, "failed")
    assert run.metrics == {"odd name": 2.0}


def test_log_never_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise errors.StorageError("the disk is full")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verbs, "_said_lost", False)
    monkeypatch.setattr(live, "current", lambda: None)
    monkeypatch.setattr(verbs, "_current", fail)
    thence.log(auc=0.5)
    thence.log(auc=0.6)
    (record,) = caplog.records
    assert "the disk is full" in record.getMessage()


def test_the_project_of_the_variable_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THENCE_PROJECT", str(tmp_path / "nowhere"))
    with pytest.raises(errors.NotFound):
        thence.load("data")
    assert not (tmp_path / "nowhere").exists()


def test_a_kind_is_one_of_the_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    thence.init(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("THENCE_PROJECT", raising=False)
    with pytest.raises(errors.InvalidInput, match="not a kind: 'pictures'"):
        thence.save([1], "a", kind="pictures")
    assert thence.Project.open(tmp_path).ls() == []


def test_diff_and_reproduce_act_on_the_current_project(tmp_path: Path) -> None:
    thence.init(tmp_path)
    done = _script(
        tmp_path,
        "thence.save('one', 'text')\nthence.save('two', 'text')\n"
        "print(len(thence.diff('text@v1', 'text@v2').changed))\n"
        "try:\n    thence.reproduce('run:0123456789')\n"
        "except thence.errors.NotFound as error:\n    print(error.kind)",
    )
    assert done.stdout == "1\nnot_found\n", done.stderr
