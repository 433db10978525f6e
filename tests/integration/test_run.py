"""What the record of a run holds when an unchanged command has run."""

import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from patience import PATIENCE_S, wait_for
from thence.errors import InvalidInput, NotFound
from thence.execution.capture.environment import Environment
from thence.execution.launch import CommandDenied, CommandNotFound
from thence.execution.supervisor import probe
from thence.index.views import RunDetail, VersionDetail
from thence.model import codec
from thence.model.records import FileRole, Kind, MetricPoint, RunStatus, decode_lines
from thence.project import Project
from workshop import Workshop, environment, seal_of

needs_kernel_sensor = pytest.mark.skipif(
    probe() is not None, reason=f"no kernel-level sensor: {probe()}"
)

TRAIN = """
import csv, json, os, subprocess, sys
import msgspec, yaml
import features, thence

rows = list(csv.reader(open("../data/table.csv")))
with open("../conf.yaml") as file:
    conf = yaml.safe_load(file)
count = int(open("../data/counter.txt").read())
with open("../data/counter.txt", "w") as file:
    file.write(str(count + features.STEP))
for step, loss in enumerate((0.5, 0.25, 0.125)):
    thence.log(loss=loss, step=step)
thence.log(optimizer="adam", accuracy=0.75)
os.makedirs("../out/deep")
with open("../out/metrics.json", "w") as file:
    json.dump({"auc": 0.9, "val": {"f1": 0.8}}, file)
with open("../out/deep/test.metrics.json", "w") as file:
    json.dump({"rmse": 1.5}, file)
subprocess.run(["sh", "-c", "wc -l < ../data/table.csv > ../out/lines.txt"], check=True)
print("rows", len(rows))
print("careful", file=sys.stderr)
"""


class Recorded(NamedTuple):
    """A run, and how its project lay there."""

    workshop: Workshop
    run: RunDetail
    commit: str


@pytest.fixture(scope="module")
def recorded(module_workshop: Workshop) -> Recorded:
    at = module_workshop
    at.write("study/train.py", "print('not yet')\n")
    at.write("data/table.csv", "a,b\n1,2\n3,4\n")
    at.write("README.md", "# A study\n")
    at.write("docs/guide.md", "How to run it.\n")
    at.write("docs/figure.png", b"\x89PNG")
    at.git("init", "-q", "-b", "main")
    at.git("remote", "add", "origin", "https://ada:hunter22222@example.org/study.git")
    at.git("add", "-A")
    at.git("commit", "-qm", "first")
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=at.root, capture_output=True, text=True, check=True
    ).stdout.strip()
    at.write("study/train.py", TRAIN)
    at.write("study/features.py", "STEP = 1\n")
    at.write("conf.yaml", "model:\n  depth: 3\n  lr: 0.1\n")
    at.write("data/counter.txt", "41")
    run = at.run(
        *(sys.executable, "train.py", "--epochs", "3", "--lr=0.2", "seed=7"),
        cwd="study",
        variables={"THENCE_AUTHOR": "ada", "OMP_NUM_THREADS": "2", "MY_COLOUR": "mauve"},
        name="baseline",
        experiment="first-study",
        note="does it work?",
        tags={"team": "blue"},
        params={"fold": 4},
    )
    return Recorded(at, run, commit)


def test_the_command_its_folder_and_its_outcome(recorded: Recorded) -> None:
    at, run, _ = recorded
    sealed = seal_of(run)
    assert sealed.command == (sys.executable, "train.py", "--epochs", "3", "--lr=0.2", "seed=7")
    assert (sealed.root, sealed.cwd) == (str(at.root), "study")
    assert (sealed.status, sealed.exit_code, sealed.traceback) == (RunStatus.FINISHED, 0, None)
    assert timedelta(0) < sealed.ended - sealed.started < timedelta(seconds=60)
    assert sealed.duration_s == (sealed.ended - sealed.started).total_seconds()
    assert run.opened is not None
    assert run.opened.started == sealed.started
    assert sealed.problems == ()


def test_who_where_and_what_people_said(recorded: Recorded) -> None:
    sealed = seal_of(recorded.run)
    assert sealed.host.name == os.uname().nodename
    assert sealed.host.cpus == os.cpu_count()
    assert sealed.author == recorded.workshop.project.site.author
    assert (sealed.name, sealed.experiment) == ("baseline", "first-study")
    assert (sealed.note, sealed.tags) == ("does it work?", {"team": "blue"})


def test_inputs_are_kept_as_they_were_when_they_were_used(recorded: Recorded) -> None:
    at, run, _ = recorded
    inputs = at.files(run, FileRole.INPUT)
    assert set(inputs) == {"data/table.csv", "data/counter.txt"}
    assert at.read(inputs["data/table.csv"].digest) == b"a,b\n1,2\n3,4\n"
    assert at.read(inputs["data/counter.txt"].digest) == b"41"
    assert (at.root / "data/counter.txt").read_text() == "42"
    assert not any(use.changed_during_run for use in inputs.values())
    assert seal_of(run).inputs_count == 2


def test_outputs_and_what_they_overwrote(recorded: Recorded) -> None:
    at, run, _ = recorded
    outputs = at.files(run, FileRole.OUTPUT)
    assert set(outputs) == {
        *("out/metrics.json", "out/deep/test.metrics.json", "out/lines.txt"),
        "data/counter.txt",
    }
    assert at.read(outputs["out/lines.txt"].digest).strip() == b"3"
    assert at.read(outputs["data/counter.txt"].digest) == b"42"
    overwritten = at.files(run, FileRole.OVERWRITTEN)
    assert set(overwritten) == {"data/counter.txt"}
    assert at.read(overwritten["data/counter.txt"].digest) == b"41"
    # The folder was there before; `out` was made by the script itself.
    assert seal_of(run).folders == ("data",)


def test_the_code_with_modules_that_git_does_not_know(recorded: Recorded) -> None:
    at, run, commit = recorded
    code = at.files(run, FileRole.CODE)
    # thence itself, which the script imports, may be an editable installation outside.
    assert {path for path in code if not path.startswith("/")} == {
        "study/train.py",
        "study/features.py",
    }
    assert at.read(code["study/train.py"].digest) == TRAIN.encode()
    assert at.read(code["study/features.py"].digest) == b"STEP = 1\n"
    sealed = seal_of(run)
    assert (sealed.code.commit, sealed.code.branch, sealed.code.dirty) == (commit, "main", True)
    assert sealed.code.remote == "https://example.org/study.git"
    assert set(sealed.code.untracked) == {"study/features.py", "conf.yaml"}
    diff = at.read(sealed.code.diff).decode()
    assert "-print('not yet')" in diff
    assert "+import features" in diff


def test_the_documents(recorded: Recorded) -> None:
    at, run, _ = recorded
    documents = at.files(run, FileRole.DOCUMENT)
    assert set(documents) == {"README.md", "docs/guide.md"}
    assert at.read(documents["README.md"].digest) == b"# A study\n"


def test_the_environment_with_all_that_it_needs(recorded: Recorded) -> None:
    at, run, _ = recorded
    sealed = seal_of(run)
    assert sealed.python == ".".join(map(str, sys.version_info[:3]))
    environment = codec.decode(at.read(sealed.environment), Environment)
    used = {item.name for item in environment.used}
    assert {"msgspec", "pyyaml"} <= used
    assert "pandas" not in used
    assert "pandas" in {pin.partition("==")[0] for pin in environment.installed}
    assert all(item.record is not None for item in environment.used if item.source == "index")
    assert sealed.environment_variables["OMP_NUM_THREADS"] == "2"
    assert "MY_COLOUR" in sealed.omitted_variables
    assert "mauve" not in repr(sealed)


def test_params_come_from_options_arguments_files_and_the_program(recorded: Recorded) -> None:
    params = {name: (one.value, one.origin) for name, one in recorded.run.params.items()}
    assert params["epochs"] == (3, "argv")
    assert params["lr"] == (0.2, "argv")
    assert params["seed"] == (7, "argv")
    assert params["fold"] == (4, "option")
    assert params["optimizer"] == ("adam", "log")
    assert params["model.depth"] == (3, "conf.yaml")
    assert params["model.lr"] == (0.1, "conf.yaml")


def test_metrics_come_from_the_program_and_from_files(recorded: Recorded) -> None:
    at, run, _ = recorded
    assert run.metrics == {
        "loss": 0.125,
        "accuracy": 0.75,
        "auc": 0.9,
        "val.f1": 0.8,
        "rmse": 1.5,
    }
    points = decode_lines(at.read(seal_of(run).series), MetricPoint)
    assert [(p.step, p.value) for p in points if p.name == "loss"] == [
        (0, 0.5),
        (1, 0.25),
        (2, 0.125),
    ]
    assert all(p.at is not None and run.started <= p.at for p in points)


def test_what_it_printed(recorded: Recorded) -> None:
    at, run, _ = recorded
    assert at.read(seal_of(run).stdout) == b"rows 3\n"
    assert at.read(seal_of(run).stderr) == b"careful\n"


@needs_kernel_sensor
def test_which_sensor_watched(recorded: Recorded) -> None:
    sensor = seal_of(recorded.run).sensor
    assert (sensor.name, sensor.completeness) == ("seccomp", "kernel-complete")
    assert sensor.not_seen == ()
    assert sensor.events > 100


def test_outputs_are_versions_of_the_kind_that_they_are(recorded: Recorded) -> None:
    at, run, _ = recorded
    made = {str(one.artifact): one.number for one in run.makes}
    assert set(made) == {
        *("out/metrics.json", "out/deep/test.metrics.json", "out/lines.txt"),
        "data/counter.txt",
    }
    kinds = {str(item.name): item.kind for item in at.project.ls()}
    assert kinds["out/metrics.json"] is Kind.METRICS
    assert kinds["data/table.csv"] is Kind.DATASET
    version = at.project.show("out/metrics.json")
    assert isinstance(version, VersionDetail)
    assert version.run == run.run
    assert at.project.find_run("out/metrics.json").run == run.run


def test_nothing_stays_in_the_spool(recorded: Recorded) -> None:
    assert recorded.workshop.spools() == []


def test_the_index_can_be_deleted_or_damaged(recorded: Recorded) -> None:
    at, run, _ = recorded
    path = at.project.site.local / "cache" / "index.sqlite"

    def answers() -> object:
        project = Project.open(at.root)
        try:
            found = project.find_run(f"run:{run.run}")
            return found, project.run_files(f"run:{run.run}"), project.ls(), project.runs()
        finally:
            project.site.index.close()

    before = answers()
    at.project.site.index.close()
    for leftover in path.parent.glob("index.sqlite*"):
        leftover.unlink()
    assert answers() == before
    for damage in (b"", b"not a database at all" * 1000, path.read_bytes()[:5000]):
        for leftover in path.parent.glob("index.sqlite-*"):
            leftover.unlink()
        path.write_bytes(damage)
        assert answers() == before


# Runs that fail


def test_a_failing_script_is_recorded_with_its_traceback(workshop: Workshop) -> None:
    run = workshop.script(
        """
        with open("half.txt", "w") as file:
            file.write("half")
        raise ValueError("no more data")
        """.replace("\n        ", "\n")
    )
    sealed = seal_of(run)
    assert (sealed.status, sealed.exit_code) == (RunStatus.FAILED, 1)
    assert sealed.traceback is not None
    assert sealed.traceback.startswith("Traceback (most recent call last):")
    assert sealed.traceback.endswith("ValueError: no more data")
    outputs = workshop.files(run, FileRole.OUTPUT)
    assert workshop.read(outputs["half.txt"].digest) == b"half"
    assert outputs["half.txt"].version is None
    assert run.makes == ()
    assert workshop.project.ls(prefix="half") == []


def test_the_exit_code_of_a_command_is_kept(workshop: Workshop) -> None:
    run = workshop.run("sh", "-c", "exit 42")
    assert (run.status, run.exit_code) == (RunStatus.FAILED, 42)
    assert seal_of(run).python is None
    run = workshop.run("sh", "-c", "kill -9 $$")
    assert (run.status, run.exit_code) == (RunStatus.FAILED, 137)


def test_an_interrupted_run_is_recorded_as_that(workshop: Workshop) -> None:
    workshop.write(
        "wait.py",
        "open('begun', 'w').close()\nimport time\nprint('x', flush=True)\ntime.sleep(600)\n",
    )
    code = (
        "import sys\nfrom thence.project import Project\n"
        "print(Project.open().execute([sys.executable, 'wait.py']).status)\n"
    )
    with environment():
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=workshop.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    wait_for(workshop.root / "begun")
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does
    out, err = process.communicate(timeout=PATIENCE_S)
    assert out.splitlines()[-1] == "interrupted", err
    run = workshop.project.find_run("run:last")
    assert run.status is RunStatus.INTERRUPTED
    assert set(workshop.files(run, FileRole.OUTPUT)) == {"begun"}
    assert run.makes == ()
    assert workshop.spools() == []


def test_a_command_that_cannot_run_leaves_no_run(workshop: Workshop) -> None:
    with pytest.raises(CommandNotFound) as missing:
        workshop.run("no-such-command-here")
    assert missing.value.exit_status == 127
    workshop.write("plain.txt", "text")
    with pytest.raises(CommandDenied) as denied:
        workshop.run("./plain.txt")
    assert denied.value.exit_status == 126
    with pytest.raises(InvalidInput):
        workshop.run()
    assert workshop.project.runs() == []
    assert workshop.spools() == []


def test_a_program_that_the_system_refuses_is_a_failed_run(workshop: Workshop) -> None:
    workshop.write("script", "#!/no/such/interpreter\n", executable=True)
    with pytest.raises(CommandDenied):
        workshop.run("./script")
    run = workshop.project.find_run("run:last")
    assert (run.status, run.exit_code) == (RunStatus.FAILED, 126)
    assert any("cannot run './script'" in text for text in seal_of(run).problems)
    assert workshop.spools() == []


def test_a_settings_file_that_means_nothing_is_refused(workshop: Workshop) -> None:
    workshop.write("thence.toml", "[results]\npath = ['x']\n")
    with pytest.raises(InvalidInput) as refused:
        workshop.run("true")
    assert "path" in str(refused.value)
    assert workshop.project.runs() == []
    assert workshop.spools() == []


def test_a_run_needs_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("THENCE_PROJECT", raising=False)
    with pytest.raises(NotFound, match="no project") as refused:
        Project.open()
    assert "thence init" in refused.value.hint


@pytest.mark.parametrize(
    "broken",
    [
        "code_record.capture_code",
        "gathering.capture_environment",
        "gathering.find_documents",
        "gathering.read_config",
        "gathering.read_metrics",
        "gathering.live.read_lines",
        "gathering.registry.sniff",
    ],
)
def test_a_probe_that_fails_never_breaks_the_run(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("this probe is broken")

    monkeypatch.setattr(f"thence.execution.{broken}", fail)
    workshop.write("conf.yaml", "a: 1\n")
    run = workshop.script(
        "open('conf.yaml').read()\nopen('metrics.json', 'w').write('{\"auc\": 1}')\n"
    )
    sealed = seal_of(run)
    assert sealed.status is RunStatus.FINISHED
    assert any("this probe is broken" in text for text in sealed.problems), sealed.problems
    outputs = workshop.files(run, FileRole.OUTPUT)
    assert workshop.read(outputs["metrics.json"].digest) == b'{"auc": 1}'


# Versions


def test_unchanged_outputs_make_no_new_version(workshop: Workshop) -> None:
    script = "import sys\nopen('out.csv', 'w').write('a\\n' + sys.argv[1] + '\\n')\n"
    first = workshop.script(script, "1")
    second = workshop.script(script, "1")
    third = workshop.script(script, "2")
    assert [one.number for one in workshop.project.history("out.csv")] == [2, 1]
    assert [[m.number for m in r.makes] for r in (first, second, third)] == [[1], [1], [2]]
    # The version is of the run that made it first.
    assert workshop.project.find_run("out.csv@v1").run == first.run


def test_many_files_in_one_folder_are_one_artifact(workshop: Workshop) -> None:
    run = workshop.script(
        "import os\n"
        "os.makedirs('parts/train')\n"
        "for n in range(40):\n"
        "    open(f'parts/train/{n}.csv', 'w').write(f'a\\n{n}\\n')\n"
        "open('parts/note.txt', 'w').write('x')\n"
    )
    assert {str(one.artifact) for one in run.makes} == {"parts/train", "parts/note.txt"}
    version = workshop.project.show("parts/train")
    assert isinstance(version, VersionDetail)
    assert len(workshop.project.files("parts/train")) == 40
    outputs = workshop.files(run, FileRole.OUTPUT)
    assert len(outputs) == 41
    assert outputs["parts/train/7.csv"].version == version.record


def test_inputs_that_were_saved_are_recognised(workshop: Workshop) -> None:
    workshop.write("raw/a.csv", "x\n1\n")
    workshop.write("raw/b.csv", "x\n2\n")
    workshop.write("single.csv", "x\n3\n")
    with environment():
        folder = workshop.project.save(workshop.root / "raw", "raw-data")
        single = workshop.project.save(workshop.root / "single.csv")
    run = workshop.script(
        "text = open('raw/a.csv').read() + open('single.csv').read()\n"
        "open('sum.txt', 'w').write(text)\n"
    )
    assert {one.record for one in run.uses} == {folder.record, single.record}
    assert {str(one.artifact) for one in run.uses} == {"raw-data", "single.csv"}
    made = workshop.project.show("sum.txt")
    assert isinstance(made, VersionDetail)
    assert set(made.sources) == {folder.record, single.record}
    # Changed since, it is another version.
    workshop.write("single.csv", "x\n4\n")
    again = workshop.script(
        "open('sum.txt', 'w').write(open('single.csv').read())\n",
    )
    (used,) = again.uses
    assert used.record != single.record


def test_outside_inputs_are_kept_by_their_absolute_paths(
    workshop: Workshop, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "x.csv").write_text("a\n1\n")
    (shared / "y.csv").write_text("a\n2\n")
    run = workshop.script(
        f"text = open('../shared/x.csv').read() + open({str(shared / 'y.csv')!r}).read()\n"
        "open('both.txt', 'w').write(text)\n"
    )
    inputs = workshop.files(run, FileRole.INPUT)
    assert set(inputs) == {str(shared / "x.csv"), str(shared / "y.csv")}
    assert workshop.read(inputs[str(shared / "x.csv")].digest) == b"a\n1\n"
    assert {str(one.artifact) for one in run.makes} == {"both.txt"}


def test_an_input_that_another_process_changes_is_flagged(workshop: Workshop) -> None:
    workshop.write("table.csv", "a\n1\n")

    def disturb() -> None:
        wait_for(workshop.root / "read")
        (workshop.root / "table.csv").write_text("a\n1\n2\n")
        (workshop.root / "go").touch()

    other = threading.Thread(target=disturb)
    other.start()
    run = workshop.script(
        "import os, time\n"
        "text = open('table.csv').read()\n"
        "open('read', 'w').close()\n"
        "while not os.path.exists('go'): time.sleep(0.01)\n"
        "open('out.txt', 'w').write(text)\n"
    )
    other.join()
    use = workshop.files(run, FileRole.INPUT)["table.csv"]
    assert use.changed_during_run
    assert workshop.read(use.digest) == b"a\n1\n"


def test_two_runs_at_a_time_do_not_mix(workshop: Workshop) -> None:
    workshop.write(
        "work.py",
        "import sys, time\nname = sys.argv[1]\nopen(name, 'w').write(name)\n"
        "time.sleep(0.5)\nprint(name)\n",
    )
    code = (
        "import sys\nfrom thence.project import Project\n"
        "print(Project.open().execute([sys.executable, 'work.py', sys.argv[1]]).run)\n"
    )
    with environment():
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code, name],
                cwd=workshop.root,
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in ("one.txt", "two.txt", "three.txt")
        ]
    ids = [process.communicate(timeout=PATIENCE_S)[0].splitlines()[-1] for process in processes]
    for name, run in zip(("one.txt", "two.txt", "three.txt"), ids, strict=True):
        found = workshop.project.find_run(f"run:{run}")
        assert set(workshop.files(found, FileRole.OUTPUT)) == {name}
        assert workshop.read(seal_of(found).stdout).decode().strip() == name


def test_the_audit_hook_records_the_same_for_a_python_program(workshop: Workshop) -> None:
    workshop.write("in.csv", "a\n1\n")
    run = workshop.script(
        "open('out.csv', 'w').write(open('in.csv').read())\n", sensor="audit-hook"
    )
    assert seal_of(run).sensor.name == "audit-hook"
    assert set(workshop.files(run, FileRole.INPUT)) == {"in.csv"}
    assert set(workshop.files(run, FileRole.OUTPUT)) == {"out.csv"}
    assert set(workshop.files(run, FileRole.CODE)) == {"script.py"}
