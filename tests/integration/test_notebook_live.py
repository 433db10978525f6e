"""A live notebook: a real kernel, driven as a front end drives it, with cells out of order."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from patience import PATIENCE_S
from thence.model.observed import Cell
from thence.project import Project

pytest.importorskip("ipykernel")
jupyter_client = pytest.importorskip("jupyter_client")
v4 = pytest.importorskip("nbformat.v4")
nbformat = pytest.importorskip("nbformat")


class Frontend:
    """Executes cells by their ids, as a notebook's page does."""

    def __init__(self, folder: Path, cells: dict[str, str]) -> None:
        self.path = folder / "analysis.ipynb"
        self.cells = dict(cells)
        self.save()
        self._manager = jupyter_client.KernelManager()
        self._manager.kernel_spec.argv[0] = sys.executable
        settings = folder.with_name(f"{folder.name}-settings")  # of IPython, with its history
        variables = {
            **os.environ,
            "JPY_SESSION_NAME": str(self.path),
            "IPYTHONDIR": str(settings),
        }
        self._manager.start_kernel(cwd=str(folder), env=variables)
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=PATIENCE_S)

    def save(self) -> None:
        cells = [v4.new_code_cell(source, id=name) for name, source in self.cells.items()]
        nbformat.write(v4.new_notebook(cells=cells), self.path)

    def execute(self, name: str) -> str:
        """Execute a cell; what it printed."""
        content = {
            "code": self.cells[name],
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        session = self._client.session
        message = session.msg("execute_request", content, metadata={"cellId": name})
        self._client.shell_channel.send(message)
        said = ""
        while True:
            heard: dict[str, Any] = self._client.get_iopub_msg(timeout=PATIENCE_S)
            if heard["parent_header"].get("msg_id") != message["header"]["msg_id"]:
                continue
            told = heard["content"]
            said += str(told.get("text", "")) + "\n".join(told.get("traceback", ()))
            if heard["msg_type"] == "status" and told["execution_state"] == "idle":
                break
        self._client.get_shell_msg(timeout=PATIENCE_S)
        return said

    def close(self) -> None:
        """As `Shut down kernel` does."""
        if self._manager.has_kernel:
            self._client.stop_channels()
            self._manager.shutdown_kernel()


@pytest.fixture
def frontend(tmp_path: Path) -> Iterator[Frontend]:
    Project.init(tmp_path)
    (tmp_path / "sales.csv").write_text("price\n1\n2\n")
    made = Frontend(
        tmp_path,
        {
            "load": "%load_ext thence",
            "read": "import thence\nrows = open('sales.csv').read().split()[1:]",
            "scale": "factor = 10",
            "total": "total = sum(int(row) * factor for row in rows)",
            "grow": "rows = rows + ['3']",
            "save": "saved = thence.save({'total': total}, 'total')\nprint(saved.ref)",
            "finish": "%thence finish",
        },
    )
    try:
        yield made
    finally:
        made.close()


def _problems(folder: Path) -> tuple[str, ...]:
    (run,) = Project.open(folder).runs()
    sealed = Project.open(folder).find_run(f"run:{run.run}").sealed
    assert sealed is not None
    return sealed.problems


def test_a_live_notebook_keeps_its_cells_as_they_were_executed(
    frontend: Frontend, tmp_path: Path
) -> None:
    for name in ("load", "read", "scale", "total", "save"):
        frontend.execute(name)
    assert "5 cells of analysis.ipynb recorded" not in frontend.execute("save")
    said = frontend.execute("finish")
    assert "sealed run:" in said

    project = Project.open(tmp_path)
    (run,) = project.runs()
    detail = project.find_run(f"run:{run.run}")
    cells = [one for one in project.observed(detail) if isinstance(one, Cell)]
    assert [one.source for one in cells][:5] == [
        frontend.cells[name] for name in ("load", "read", "scale", "total", "save")
    ]
    made = {use.record for use in detail.makes}
    assert made
    # What was saved links to the cell that saved it.
    assert {version for one in cells for version in one.makes} == made
    assert all("thence.save" in one.source for one in cells if one.makes)
    assert detail.sealed is not None
    assert detail.sealed.notebook == "analysis.ipynb"
    read = {use.path for use in project.run_files(f"run:{run.run}")}
    assert {"sales.csv", "analysis.ipynb"} <= read


def test_it_warns_of_all_that_a_clean_run_would_do_otherwise(
    frontend: Frontend, tmp_path: Path
) -> None:
    for name in ("load", "read", "scale", "grow", "total", "grow", "save"):
        frontend.execute(name)
    # Edited after it was executed, and one deleted whose name is still used.
    frontend.cells["scale"] = "factor = 11"
    frontend.save()
    said = frontend.execute("finish")

    assert "may differ" in said
    found = "\n".join(_problems(tmp_path))
    assert "cell 3 was edited after it was executed as [3]" in found
    assert "cell 5 was executed 2 times, and each time changes `rows`" in found
    assert "cell 4 (executed as [5]) used `rows` as cell 5 left it" in found
    for sentence in found.splitlines():
        if "may differ" in sentence:
            assert sentence.partition("may differ: ")[2] in said


def test_it_warns_of_cells_that_are_gone_or_further_down(
    frontend: Frontend, tmp_path: Path
) -> None:
    for name in ("load", "read", "scale", "total", "save"):
        frontend.execute(name)
    del frontend.cells["scale"]
    order = ["load", "total", "read", "save", "finish"]
    frontend.cells = {name: frontend.cells[name] for name in order}
    frontend.save()
    frontend.execute("finish")

    found = "\n".join(_problems(tmp_path))
    assert "uses `factor`, which a cell that is no longer there defined as [3]" in found
    assert "uses `rows`, which cell 3, further down, defines" in found
    assert "the cells were executed last in the order 1, 3, 2, 4" in found
    assert "was not executed" not in found


def test_the_end_of_the_kernel_seals_the_run(frontend: Frontend, tmp_path: Path) -> None:
    for name in ("load", "read"):
        frontend.execute(name)
    frontend.close()
    (run,) = Project.open(tmp_path).runs()
    assert run.status.value == "finished"
    sealed = Project.open(tmp_path).find_run(f"run:{run.run}").sealed
    assert sealed is not None
    assert sealed.observed is not None


def test_a_file_that_is_no_notebook_any_more_is_no_reason_to_fail(
    frontend: Frontend, tmp_path: Path
) -> None:
    frontend.execute("load")
    frontend.path.write_text(json.dumps({"cells": 3}))
    assert "sealed run:" in frontend.execute("finish")
