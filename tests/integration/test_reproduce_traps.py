"""What could fool a reproduction, or leak through it."""

import subprocess
import sys
from pathlib import Path

import pytest

from thence.errors import Interrupted
from thence.execution.supervisor import probe
from thence.model.records import Finding, Grade
from workshop import Workshop, seal_of

SECRET = "sk-live-4f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c"


@pytest.mark.skipif(probe() is not None, reason=f"no kernel-level sensor: {probe()}")
@pytest.mark.usefixtures("in_a_plain_folder")
def test_a_link_into_the_original_folder_is_noticed(workshop: Workshop, tmp_path: Path) -> None:
    way_in = tmp_path / "way-in"
    way_in.symlink_to(workshop.root)
    workshop.write("in.txt", "7")
    workshop.script(f"open('out.txt', 'w').write(open({str(way_in / 'in.txt')!r}).read())\n")

    verdict = workshop.reproduce()

    assert verdict.finding is Finding.CANNOT_BE_CHECKED
    assert verdict.opened_outside == (str(way_in / "in.txt"),)


def test_a_file_as_standard_input_is_given_back(workshop: Workshop) -> None:
    workshop.write("in.txt", "5\n8\n")
    code = "import sys; open('out.txt', 'w').write(str(sum(map(int, sys.stdin))))\n"
    workshop.write("script.py", code)
    command = [sys.executable, "-m", "thence", "run", sys.executable, "script.py"]
    with (workshop.root / "in.txt").open() as file:
        subprocess.run(command, stdin=file, cwd=workshop.root, check=True, capture_output=True)
    run = workshop.project.find_run("run:last")
    assert seal_of(run).stdin == "in.txt"

    (workshop.root / "in.txt").unlink()
    assert workshop.reproduce().finding is Finding.REPRODUCED


def test_a_pipe_as_standard_input_is_named_where_something_differs(workshop: Workshop) -> None:
    code = "import sys; open('out.txt', 'w').write(sys.stdin.read())\n"
    workshop.write("script.py", code)
    command = [sys.executable, "-m", "thence", "run", sys.executable, "script.py"]
    subprocess.run(command, input=b"7", cwd=workshop.root, check=True, capture_output=True)

    verdict = workshop.reproduce()

    assert verdict.finding is Finding.CANNOT_BE_CHECKED
    assert "what came through the pipe that was its standard input" in verdict.missing


def test_saves_of_one_name_are_compared_one_by_one(workshop: Workshop) -> None:
    run = workshop.script(
        "import thence\nfor epoch in range(3): thence.save({'epoch': epoch}, 'checkpoint')\n"
    )
    assert len(run.makes) == 3

    verdict = workshop.reproduce()

    assert verdict.finding is Finding.REPRODUCED
    assert [result.path.partition(":")[0] for result in verdict.results] == [
        "checkpoint@v1",
        "checkpoint@v2",
        "checkpoint@v3",
    ]


def test_an_input_that_was_only_listed_counts_as_missing(workshop: Workshop) -> None:
    workshop.write("data/a.json", "1")
    workshop.write("data/.env", "TOKEN=x")
    workshop.script(
        "import os\nopen('data/.env').close()\nopen('data/a.json').close()\n"
        "open('out.txt', 'w').write(' '.join(sorted(os.listdir('data'))))\n"
    )
    verdict = workshop.reproduce()

    assert verdict.finding is Finding.CANNOT_BE_CHECKED
    assert any(what.startswith("data/.env") for what in verdict.missing)


def test_what_the_program_prints_brings_no_secret_into_the_verdict(workshop: Workshop) -> None:
    code = (
        "import os, sys\nopen('out.txt', 'w').write('x')\n"
        "if not os.path.exists('first'): sys.exit('login failed: ' + os.environ['MY_API_KEY'])\n"
    )
    workshop.write("first", "")
    workshop.script(code, variables={"MY_API_KEY": SECRET})

    verdict = workshop.reproduce(variables={"MY_API_KEY": SECRET})

    said = [reason for reason in verdict.reasons if "login failed" in reason]
    assert said
    assert SECRET not in repr(verdict)
    assert "<secret:" in said[0]


def test_a_program_whose_name_begins_with_python_is_itself(workshop: Workshop) -> None:
    script = "#!/bin/sh\necho done > out.txt\n"
    workshop.write("python_pipeline.sh", script, executable=True)
    workshop.run("./python_pipeline.sh")

    assert workshop.reproduce().finding is Finding.REPRODUCED


@pytest.mark.parametrize("isolation", ["namespace", "folder"])
def test_files_outside_of_the_project_are_not_overwritten(
    workshop: Workshop, tmp_path: Path, isolation: str, request: pytest.FixtureRequest
) -> None:
    if isolation == "folder":
        request.getfixturevalue("in_a_plain_folder")
    outside = tmp_path / "shared" / "out.txt"
    outside.parent.mkdir()
    workshop.script(f"open({str(outside)!r}, 'w').write('first')\n")
    outside.write_text("precious, and changed since")

    verdict = workshop.reproduce()

    assert verdict.finding is Finding.REPRODUCED
    assert outside.read_text() == "precious, and changed since"


def test_outputs_beside_the_project_are_not_compared_with_themselves(workshop: Workshop) -> None:
    workshop.script("import os\nopen('../beside.txt', 'w').write(os.urandom(8).hex())\n", cwd=".")
    verdict = workshop.reproduce()

    assert verdict.finding is Finding.DIFFERS
    (result,) = verdict.results
    assert result.grade is Grade.DIFFERENT


@pytest.mark.usefixtures("in_a_plain_folder")
def test_a_file_outside_that_is_not_written_again_is_no_result(
    workshop: Workshop, tmp_path: Path
) -> None:
    once = tmp_path / "elsewhere" / "once.txt"
    once.parent.mkdir()
    workshop.script(
        f"import os\nif not os.path.exists({str(once)!r}): open({str(once)!r}, 'w').write('v1')\n"
    )
    verdict = workshop.reproduce()

    assert verdict.finding is not Finding.REPRODUCED
    assert once.read_text() == "v1"


@pytest.mark.usefixtures("in_a_plain_folder")
def test_unsaved_work_in_the_original_folder_survives(workshop: Workshop) -> None:
    path = workshop.root / "result.txt"
    workshop.script(f"open({str(path)!r}, 'w').write('first')\n")
    path.write_text("newer work, saved nowhere")

    verdict = workshop.reproduce()

    assert verdict.finding is Finding.CANNOT_BE_CHECKED
    assert path.read_text() == "newer work, saved nowhere"


def test_an_interrupted_reproduction_has_no_verdict(workshop: Workshop) -> None:
    workshop.write("first", "")
    workshop.script(
        "import os, signal\nopen('out.txt', 'w').write('x')\n"
        "if not os.path.exists('first'): os.kill(os.getpid(), signal.SIGINT)\n"
    )
    with pytest.raises(Interrupted):
        workshop.reproduce()
    assert workshop.project.find_run("run:last").verdicts == ()
