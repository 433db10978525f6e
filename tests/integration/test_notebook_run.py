"""`thence run notebook.ipynb`: a notebook executed by a real kernel under capture."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from library_http import TABLE, library
from patience import PATIENCE_S, wait_for
from thence.errors import InvalidInput, NotFound
from thence.execution import notebook_kernel
from thence.index.views import RunDetail
from thence.model.observed import Cell
from thence.model.records import FileRole, Finding, Param, RunStatus
from workshop import Workshop, environment, seal_of

pytest.importorskip("ipykernel")
pytest.importorskip("nbclient")
v4: Any = pytest.importorskip("nbformat.v4")
nbformat: Any = pytest.importorskip("nbformat")

_CELLS = (
    "# a comment that stands for imports\nimport json",
    "rows = open('data.csv').read().split()",
    "total = sum(map(int, rows)) * factor\nprint('total', total)",
    "json.dump({'total': total}, open('total.json', 'w'))",
)


def write(workshop: Workshop, *sources: str, name: str = "train.ipynb") -> bytes:
    cells = [
        v4.new_markdown_cell("# Train", id="title"),
        v4.new_code_cell("factor = 2\nmode = 'fast'", id="p", metadata={"tags": ["parameters"]}),
        *(v4.new_code_cell(source, id=f"c{i}") for i, source in enumerate(sources)),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python", "language": "python"}}
    path = workshop.write(name, nbformat.writes(v4.new_notebook(cells=cells, metadata=metadata)))
    workshop.write("data.csv", "1\n2\n3\n")
    return path.read_bytes()


def execute(workshop: Workshop, *params: tuple[str, str], **more: Any) -> RunDetail:
    before = Path.cwd()
    os.chdir(workshop.root)
    try:
        with environment():
            return workshop.project.execute_notebook("train.ipynb", params, **more)
    finally:
        os.chdir(before)


def cells_of(workshop: Workshop, run: RunDetail) -> list[Cell]:
    return [one for one in workshop.project.observed(run) if isinstance(one, Cell)]


def executed(workshop: Workshop, run: RunDetail, name: str = "train.executed.ipynb") -> Any:
    files = workshop.project.run_files(f"run:{run.run}", FileRole.OUTPUT)
    (digest,) = [one.digest for one in files if one.path == name]
    return nbformat.reads(workshop.read(digest).decode(), as_version=4)


def test_a_notebook_is_a_run_and_is_reproduced(workshop: Workshop) -> None:
    source = write(workshop, *_CELLS)
    told: list[tuple[int, int]] = []

    run = execute(
        workshop, ("factor", "10"), progress=lambda number, total: told.append((number, total))
    )

    sealed = seal_of(run)
    assert run.status is RunStatus.FINISHED
    assert sealed.notebook == "train.ipynb"
    assert run.command == ("train.ipynb", "-p", "factor", "10")
    assert told == [(number, 6) for number in range(1, 7)]
    # What was given wins over the defaults in the cell of parameters.
    assert run.params == {
        "factor": Param(value=10, origin="notebook"),
        "mode": Param(value="fast", origin="notebook"),
    }
    # The source stays as it is, and nothing lies beside it.
    assert (workshop.root / "train.ipynb").read_bytes() == source
    assert sorted(path.name for path in workshop.root.iterdir() if path.name[0] != ".") == [
        *("data.csv", "total.json", "train.ipynb")
    ]
    files = {one.path: one.role for one in workshop.project.run_files(f"run:{run.run}")}
    assert files["train.ipynb"] is FileRole.CODE
    assert files["data.csv"] is FileRole.INPUT
    assert files["total.json"] is FileRole.OUTPUT
    notebook = executed(workshop, run)
    assert [one.execution_count for one in notebook.cells if one.cell_type == "code"] == [
        *range(1, 7)
    ]
    assert notebook.cells[4 + 1].outputs[0].text == "total 60\n"
    cells = cells_of(workshop, run)
    assert [one.position for one in cells] == [1, None, 2, 3, 4, 5]
    assert cells[1].source == "# Parameters\nfactor = 10"
    assert all(one.ok and one.seconds is not None for one in cells)
    assert not any("may differ" in text for text in sealed.problems)
    made = {one.ref for one in run.makes}
    assert made == {"total.json@v1", "train.executed.ipynb@v1"}


@pytest.mark.slow
def test_a_notebook_is_reproduced(workshop: Workshop) -> None:
    write(workshop, *_CELLS)
    run = execute(workshop, ("factor", "10"))
    with environment():
        verdict = workshop.project.reproduce(f"run:{run.run}")
    assert verdict.finding is Finding.REPRODUCED, verdict
    assert {one.path for one in verdict.results} == {"total.json", "train.executed.ipynb"}


def test_the_verdict_names_the_cell_that_differs(workshop: Workshop) -> None:
    write(
        workshop,
        "print(object())",  # with its address
        "import os\nprint(os.urandom(4).hex())",
    )
    execute(workshop)
    verdict = workshop.reproduce()
    assert verdict.finding is Finding.DIFFERS
    result = workshop.result(verdict, "train.executed.ipynb")
    assert result.rule == "notebook"
    assert result.detail.startswith("cell 4 (import os), stdout, line 1: ")
    assert "more)" not in result.detail


def test_what_cells_fetched_is_kept_and_given_back(workshop: Workshop) -> None:
    with library() as server:
        write(
            workshop,
            "import urllib.request as web",
            f"body = web.urlopen({server.url + 'table.csv'!r}).read()",
            "print(len(body), file=open('size.txt', 'w'))",
        )
        done = workshop.thence("run", "train.ipynb", "--keep-remote")
        assert done.returncode == 0, done.stderr
        run = workshop.project.find_run("run:last")
        kept = workshop.files(run, FileRole.REMOTE)
        assert workshop.read(kept[f"{server.url}table.csv"].digest) == TABLE
        server.asked.clear()
    verdict = workshop.reproduce()
    assert verdict.finding is Finding.REPRODUCED, verdict
    assert verdict.missing == ()
    assert server.asked == []


def test_an_error_in_a_cell_fails_the_run_and_names_the_cell(workshop: Workshop) -> None:
    write(workshop, "x = 1", "x / 0", "never = True")
    run = execute(workshop)

    assert run.status is RunStatus.FAILED
    assert run.exit_code == 1
    trace = seal_of(run).traceback or ""
    assert trace.startswith("In cell 3 of 4:")
    assert "ZeroDivisionError: division by zero" in trace
    assert "\x1b" not in trace
    assert [one.ok for one in cells_of(workshop, run)] == [True, True, False]
    notebook = executed(workshop, run)
    # What was executed is there, with the error; the rest is empty.
    assert notebook.cells[3].outputs[0].ename == "ZeroDivisionError"
    assert notebook.cells[4].execution_count is None


def test_a_kernel_that_dies_fails_the_run(workshop: Workshop) -> None:
    write(workshop, "import os; os._exit(9)", "never = True")
    run = execute(workshop)
    assert run.status is RunStatus.FAILED
    assert "cell 2 of 3" in (seal_of(run).traceback or "")


def test_secrets_in_cells_and_outputs_are_not_kept(workshop: Workshop) -> None:
    secret = "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ01234567"
    write(workshop, f"token = '{secret}'", "print(token)", "token")
    run = execute(workshop)

    kept = executed(workshop, run)
    assert secret not in nbformat.writes(kept)
    for one in cells_of(workshop, run):
        assert secret not in one.source
    for use in workshop.project.run_files(f"run:{run.run}"):
        if use.digest is not None and use.path.endswith(".ipynb"):
            assert secret.encode() not in workshop.read(use.digest)
    assert seal_of(run).withheld


def test_the_executed_notebook_is_written_where_it_is_wanted(workshop: Workshop) -> None:
    write(workshop, *_CELLS)
    run = execute(workshop, output="done.ipynb")
    written = nbformat.read(workshop.root / "done.ipynb", as_version=4)
    assert written.cells[4].outputs[0].text == "total 12\n"
    assert executed(workshop, run, "done.ipynb") == written
    with pytest.raises(InvalidInput, match="overwrite its source"):
        execute(workshop, output="train.ipynb")


def test_what_cannot_be_executed_is_said_before_anything_runs(workshop: Workshop) -> None:
    with pytest.raises(NotFound, match="no notebook"):
        execute(workshop)
    write(workshop)
    with pytest.raises(NotFound, match="no kernel 'nope'"):
        execute(workshop, kernel="nope")
    with pytest.raises(InvalidInput, match="cannot be a parameter"):
        execute(workshop, ("not a name", "1"))
    assert workshop.project.runs() == []


def test_what_a_cell_saves_links_to_it(workshop: Workshop) -> None:
    write(workshop, "import thence", "thence.save({'a': 1}, 'one')", "thence.load('one')")
    run = execute(workshop)
    cells = cells_of(workshop, run)
    by_source = {one.source: one for one in cells}
    (made,) = by_source["thence.save({'a': 1}, 'one')"].makes
    assert by_source["thence.load('one')"].uses == (made,)
    assert made in {one.record for one in run.makes}


def test_ctrl_c_leaves_what_was_executed(workshop: Workshop) -> None:
    write(workshop, "x = 1", "open('ready', 'w').close()\nimport time; time.sleep(600)", "y = 2")
    with environment():
        running = subprocess.Popen(
            [sys.executable, "-m", "thence", "run", "--json", "train.ipynb"],
            cwd=workshop.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        wait_for(workshop.root / "ready")
        os.killpg(running.pid, signal.SIGINT)  # as the terminal does
        _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 130, err
    told = json.loads(err.splitlines()[-1])
    run = workshop.project.find_run(told["ref"])
    assert run.status is RunStatus.INTERRUPTED
    counts = [one.get("execution_count") for one in executed(workshop, run).cells]
    assert counts == [None, 1, 2, 3, None]


def test_a_kernel_that_does_not_end_is_ended(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook_kernel, "_SHUTDOWN_S", 0.1)
    write(
        workshop,
        "import atexit, time",
        "atexit.register(time.sleep, 3600)",
        "print('done', file=open('done.txt', 'w'))",
    )
    run = execute(workshop)
    assert (workshop.root / "done.txt").read_text() == "done\n"
    assert run.status is RunStatus.FINISHED
