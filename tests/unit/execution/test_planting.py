import os
import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from thence.execution import planting
from thence.execution.planting import Planted


def _loaded_from(planted: Planted) -> list[str]:
    """The files of the planted folder that a Python takes its modules from."""
    planted.write_plan({"files": False})
    env = {**planted.variables(os.environ), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-v", "-c", "pass"], env=env, capture_output=True, text=True, check=True
    )
    said = [line.split("'")[1] for line in done.stderr.splitlines() if "code object from" in line]
    return [path for path in said if path.startswith(str(planted.folder))]


def _is_compiled(paths: list[str]) -> bool:
    return "sitecustomize" in paths[0] and all(path.endswith(".pyc") for path in paths)


def test_no_python_of_a_run_compiles_what_is_planted(tmp_path: Path) -> None:
    with Planted() as planted:
        assert _is_compiled(_loaded_from(planted))
        names = {path.name for path in (planted.folder / "thence_inside").glob("*.py")}
        assert {"child.py", "observation.py"} < names


def test_where_thence_has_no_bytecode_it_is_made_for_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(source: str) -> str:
        return str(tmp_path / Path(cache_from_source(source)).name)

    monkeypatch.setattr(planting, "cache_from_source", nowhere)
    with Planted() as planted:
        assert _is_compiled(_loaded_from(planted))
