"""Reproducing at the original paths, on a machine that does not have them."""

import shutil
import sys
from pathlib import Path

import pytest

from namespaces import needs_namespaces
from thence.errors import StorageError
from thence.execution import staging, strace, supervisor
from thence.execution.supervisor import probe
from thence.model.records import FileRole, Finding, Isolation
from workshop import Workshop, again

needs_kernel_sensor = pytest.mark.skipif(
    probe() is not None, reason=f"no kernel-level sensor: {probe()}"
)


pytestmark = needs_namespaces


def test_hard_coded_paths_work_where_the_original_is_gone(workshop: Workshop) -> None:
    source = workshop.write("data/in.txt", "text")
    result = workshop.root / "out" / "result.txt"
    run = workshop.script(
        "import os, subprocess, pathlib\n"
        f"text = open({str(source)!r}).read()\n"
        f"os.makedirs({str(result.parent)!r}, exist_ok=True)\n"
        f"subprocess.run(['cp', {str(source)!r}, 'copy.txt'], check=True)\n"
        f"pathlib.Path({str(result)!r}).write_text(text + os.getcwd() + __file__)\n"
    )
    verdict = again(workshop, run)
    assert verdict.finding is Finding.REPRODUCED, verdict
    assert verdict.isolation is Isolation.NAMESPACE
    assert workshop.outcomes(verdict) == {"out/result.txt": "identical", "copy.txt": "identical"}
    assert not source.exists()


@needs_kernel_sensor
def test_the_original_folder_cannot_be_used(workshop: Workshop) -> None:
    path = workshop.write("in.txt", "text")
    run = workshop.script(f"open('out.txt', 'w').write(open({str(path)!r}).read())\n")
    path.write_text("changed since")
    verdict = workshop.reproduce(f"run:{run.run}")
    assert verdict.finding is Finding.REPRODUCED, verdict
    assert verdict.opened_outside == ()
    assert path.read_text() == "changed since"


@needs_kernel_sensor
def test_a_file_that_the_run_did_not_have_is_named_where_something_differs(
    workshop: Workshop,
) -> None:
    run = workshop.script(
        "try: text = open('later.txt').read()\n"
        "except OSError: text = 'none'\n"
        "import os\n"
        "open('out.txt', 'w').write(text + os.urandom(4).hex())\n"
    )
    workshop.write("later.txt", "made after the run")
    verdict = workshop.reproduce(f"run:{run.run}")
    assert verdict.finding is Finding.CANNOT_BE_CHECKED
    assert verdict.hidden == (str(workshop.root / "later.txt"),)
    missing = f"missing: {workshop.root}/later.txt, which it looked for, is not of the run"
    assert missing in verdict.reasons
    assert verdict.missing == ()


def test_inputs_at_absolute_paths_are_given_back(workshop: Workshop, tmp_path: Path) -> None:
    elsewhere = Path("/var/tmp") / f"thence-test-{tmp_path.name}" / "deep" / "in.txt"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_text("far")
    try:
        run = workshop.script(f"open('out.txt', 'w').write(open({str(elsewhere)!r}).read())\n")
        assert str(elsewhere) in workshop.files(run, FileRole.INPUT)
        elsewhere.write_text("other")
        assert workshop.reproduce(f"run:{run.run}").finding is Finding.REPRODUCED
        assert elsewhere.read_text() == "other"
    finally:
        shutil.rmtree(elsewhere.parent.parent)
    verdict = again(workshop, run)
    assert verdict.finding is Finding.REPRODUCED, verdict
    assert verdict.missing == ()
    assert not elsewhere.parent.parent.exists()


def test_outputs_at_absolute_paths_are_compared_and_stay_away(
    workshop: Workshop, tmp_path: Path
) -> None:
    folder = Path("/var/tmp") / f"thence-test-{tmp_path.name}"
    folder.mkdir()
    try:
        run = workshop.script(
            "import os\n"
            f"open('{folder}/same.txt', 'w').write('same')\n"
            f"open('{folder}/draft', 'w').write(os.urandom(4).hex())\n"
            f"os.replace('{folder}/draft', '{folder}/random.txt')\n"
        )
        (folder / "same.txt").write_text("newer work")
        verdict = workshop.reproduce(f"run:{run.run}")
        assert workshop.outcomes(verdict) == {
            f"{folder}/same.txt": "identical",
            f"{folder}/random.txt": "different",
        }
        assert (folder / "same.txt").read_text() == "newer work"
    finally:
        shutil.rmtree(folder)
    assert workshop.outcomes(again(workshop, run))[f"{folder}/same.txt"] == "identical"
    assert not folder.exists()


@needs_kernel_sensor
def test_strictly_only_what_was_kept_is_there(workshop: Workshop, tmp_path: Path) -> None:
    tool = tmp_path / "other" / "words.txt"
    tool.parent.mkdir()
    run = workshop.script(
        "import pathlib, os\n"
        f"words = pathlib.Path({str(tool)!r})\n"
        "try: text = words.read_text()\n"
        "except OSError: text = 'none'\n"
        "open('out.txt', 'w').write(text)\n"
    )
    tool.write_text("here, but not of the run")
    loose = workshop.reproduce(f"run:{run.run}")
    assert loose.finding is Finding.DIFFERS
    strict = workshop.reproduce(f"run:{run.run}", strict=True)
    assert strict.finding is Finding.REPRODUCED, strict
    assert strict.is_strict
    assert strict.hidden == (str(tool),)


def test_strict_is_refused_where_it_cannot_be_had(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = workshop.script("open('out.txt', 'w').write('x')\n")
    monkeypatch.setattr(staging, "reason_against", lambda _: "It is forbidden.")
    with pytest.raises(StorageError, match="strict") as caught:
        workshop.reproduce(f"run:{run.run}", strict=True)
    assert caught.value.why == "It is forbidden."
    assert workshop.project.find_run(f"run:{run.run}").verdicts == ()


@pytest.mark.parametrize("sensor", ["strace", "audit-hook"])
def test_other_sensors_follow_into_the_namespace(
    workshop: Workshop, sensor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sensor == "strace" and (reason := strace.probe()):
        pytest.skip(reason)
    source = workshop.write("in.txt", "text")
    run = workshop.script(f"open('out.txt', 'w').write(open({str(source)!r}).read())\n")
    monkeypatch.setattr(supervisor, "probe", lambda: "It is forbidden.")
    if sensor == "audit-hook":
        monkeypatch.setattr(strace, "probe", lambda: "It is forbidden.")
    verdict = again(workshop, run)
    assert verdict.finding is Finding.REPRODUCED, verdict
    assert verdict.sensor is not None
    assert verdict.sensor.name == sensor
    assert verdict.isolation is Isolation.NAMESPACE


def test_a_shell_script_and_its_children(workshop: Workshop) -> None:
    workshop.write("data/numbers.txt", "3\n1\n2\n")
    workshop.write(
        "run.sh",
        f"#!/bin/sh\nset -e\ncd {workshop.root}/data\n"
        f"sort numbers.txt | tee {workshop.root}/sorted.txt | wc -l > ../count.txt\n"
        f"{sys.executable} {workshop.root}/child.py\n",
        executable=True,
    )
    workshop.write(
        "child.py", f"open('{workshop.root}/py.txt', 'w').write(open('numbers.txt').read())\n"
    )
    run = workshop.run(f"{workshop.root}/run.sh")
    verdict = again(workshop, run)
    assert verdict.finding is Finding.REPRODUCED, verdict
    assert set(workshop.outcomes(verdict)) == {"sorted.txt", "count.txt", "py.txt"}
