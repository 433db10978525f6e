"""Every error that a person can run into: three lines, and the exit status of its kind."""

import os
import subprocess
from pathlib import Path

import cli_harness
import click
import pytest
from cli_harness import Outcome, Thence

from thence.cli import catalogue, group
from thence.cli.verb import Invocation, verb
from thence.errors import ERRORS, DataDamaged, ThenceError

folder = cli_harness.folder
project = cli_harness.project
thence = cli_harness.thence


def _lines(outcome: Outcome) -> list[str]:
    """The error on stderr, which has all three lines; nothing is on stdout."""
    assert outcome.out == ""
    lines = outcome.err.splitlines()
    assert lines[0].startswith("thence: ")
    assert not lines[0].endswith(".")
    assert all(line.startswith("  ") for line in lines[1:])
    assert len(lines) >= 3
    assert "Traceback" not in outcome.err
    return lines


def test_no_project(folder: Path, thence: Thence) -> None:
    failed = thence("ls", ok=False)
    assert failed.status == 4
    lines = _lines(failed)
    assert lines[0] == f"thence: there is no project in {folder} or above it"
    assert lines[2] == "  Make one here: thence init"


def test_a_folder_that_is_no_project(folder: Path, thence: Thence) -> None:
    failed = thence("ls", "--project", "elsewhere", ok=False)
    assert failed.status == 4
    _lines(failed)


def test_a_project_is_there_already(project: Path, thence: Thence) -> None:
    failed = thence("init", ok=False)
    assert failed.status == 5
    _lines(failed)


@pytest.mark.parametrize("verb", ["show", "get", "history", "describe"])
def test_an_unknown_name_is_answered_with_those_that_are_near(
    project: Path, thence: Thence, verb: str
) -> None:
    failed = thence(verb, "datta", ok=False)
    assert failed.status == 4
    assert _lines(failed)[2] == "  Did you mean data?"


@pytest.mark.parametrize(
    "args",
    [
        ("show", "data@v9"),
        ("show", "data@champion"),
        ("show", "run:last"),
        ("show", "run:abcdef"),
        ("get", "data:day9.csv"),
        ("diff", "data", "data@v9"),
        ("alias", "data@v9", "golden"),
        ("tag", "data@v9", "a=b"),
        ("rollback", "data", "v9"),
        ("reproduce", "data"),
        ("save", "data", "missing.csv"),
        ("save", "data", "--doc", "missing.md"),
        ("describe", "data", "--doc", "missing.md"),
        ("run", "no-such-command"),
        ("log", "auc=0.9"),
    ],
)
def test_what_is_not_there(project: Path, thence: Thence, args: tuple[str, ...]) -> None:
    failed = thence(*args, ok=False)
    assert failed.status == (127 if args[0] == "run" else 4)
    _lines(failed)


def test_nothing_is_saved_where_a_path_is_missing(project: Path, thence: Thence) -> None:
    (project / "new.txt").write_text("x")
    thence("save", "new.txt", "missing.csv", ok=False)
    assert [one["name"] for one in thence("ls", "--json").objects] == ["data"]


@pytest.mark.parametrize(
    ("ref", "position"),
    [("data@v0", 6), ("data@sha256:xyz", 12), ("a//b", 2), ("run:xy", 4), ("data:../x", 5)],
)
def test_a_bad_ref_is_pointed_at(project: Path, thence: Thence, ref: str, position: int) -> None:
    failed = thence("show", ref, ok=False)
    assert failed.status == 2
    lines = _lines(failed)
    assert lines[1] == f"    {ref}"
    assert lines[2] == f"    {' ' * position}^"
    assert len(lines) == 5
    as_object = thence("show", ref, "--json", ok=False).objects[0]
    assert as_object["kind"] == "invalid_input"
    assert as_object["position"] == position


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("save", "data", "--tag", "owner"), "'owner' is not key=value"),
        (("save", "data", "--tag", "=ada"), "'=ada' is not key=value"),
        (("save", "data", "--tag", "a=1", "--tag", "a=2"), "is given twice"),
        (("save", "data", "--metric", "auc=high"), "'high' is not a number"),
        (("save", "data", "--kind", "datset"), "'datset' is not one of"),
        (("save",), "missing argument"),
        (("ls", "--jsno"), "no such option"),
        (("svae", "data"), "no such verb: 'svae'"),
        (("index", "rebuld"), "no such verb: 'rebuld'"),
        (("tag", "data"), "missing argument"),
        (("runs", "list", "--limit", "0"), "not in the range"),
        (("log", "auc"), "'auc' is not key=value"),
        (("run", "--param", "lr"), "'lr' is not key=value"),
        (("alias", "data", "v3"), "reserved"),
        (("alias", "data", "a b"), "not an alias"),
        (("rollback", "data", "other@v1"), ""),
        (("show", ""), "an empty ref"),
        (("reproduce", "run:last", "--secret", "KEY=NOT_SET_ANYWHERE"), "is not set"),
    ],
)
def test_usage(project: Path, thence: Thence, args: tuple[str, ...], words: str) -> None:
    if args[0] == "rollback":
        (project / "other").write_text("x")
        thence("save", "other")
    failed = thence(*args, ok=False)
    assert failed.status == 2
    assert words in _lines(failed)[0]


def test_usage_points_at_the_help_of_the_verb(project: Path, thence: Thence) -> None:
    lines = _lines(thence("save", ok=False))
    assert lines[1] == "  It is written: thence save [OPTIONS] PATH..."
    assert lines[2] == "  See: thence save --help"
    near = _lines(thence("svae", ok=False))
    assert near[1].startswith("  Did you mean save?")


@pytest.mark.parametrize("args", [(), ("runs",), ("index",)])
def test_without_a_verb_the_help_is_shown(
    folder: Path, thence: Thence, args: tuple[str, ...]
) -> None:
    failed = thence(*args, ok=False)
    assert failed.status == 2
    assert failed.out == ""
    assert failed.err == thence(*args, "--help").out
    as_object = thence(*args, "--json", ok=False).objects[0]
    assert as_object["exit_status"] == 2


def test_names_that_differ_by_case(project: Path, thence: Thence) -> None:
    (project / "Data").write_text("x")
    failed = thence("save", "Data", ok=False)
    assert failed.status == 5
    assert "collides with 'data'" in _lines(failed)[0]


def test_the_wrong_kind(project: Path, thence: Thence) -> None:
    failed = thence("save", "data", "--kind", "model", ok=False)
    assert failed.status == 5
    assert "data is a dataset, not a model" in _lines(failed)[0]


def test_unsaved_work_is_not_overwritten(project: Path, thence: Thence) -> None:
    (project / "data" / "day1.csv").write_text("my work\n")
    failed = thence("get", "data@v1", "data", ok=False)
    assert failed.status == 5
    assert "day1.csv" in _lines(failed)[0]
    assert (project / "data" / "day1.csv").read_text() == "my work\n"
    assert (project / "data" / "day3.csv").exists()
    thence("get", "data@v1", "data", "--force")
    assert (project / "data" / "day1.csv").read_text() == "1,2\n"


def test_a_socket_cannot_be_saved_by_itself(folder: Path, thence: Thence) -> None:
    thence("init")
    os.mkfifo("pipe")
    failed = thence("save", "pipe", ok=False)
    assert failed.status == 2
    assert "no content" in _lines(failed)[1]
    assert thence("ls", "--json").objects == []


def test_a_broken_link_by_itself(folder: Path, thence: Thence) -> None:
    thence("init")
    (folder / "alone").symlink_to("nowhere")
    failed = thence("save", "alone", ok=False)
    assert failed.status == 4
    assert "nowhere" in _lines(failed)[1]


def test_the_projects_folder_needs_a_name(project: Path, thence: Thence) -> None:
    failed = thence("save", ".", ok=False)
    assert failed.status == 2
    assert "--as NAME" in _lines(failed)[2]
    assert thence("save", ".", "--as", "all").out.startswith("saved all@v1")


def test_some_paths_are_saved_and_others_not(project: Path, thence: Thence) -> None:
    (project / "Data").write_text("x")
    (project / "good.txt").write_text("x")
    failed = thence("save", "Data", "good.txt", ok=False)
    assert failed.status == 3
    assert failed.out == "saved good.txt@v1 (document, 1 file, 1 B)\n"
    assert "collides" in failed.err
    only_bad = thence("save", "Data", "Data", ok=False)
    assert only_bad.status == 5


def test_a_project_of_a_newer_format(project: Path, thence: Thence) -> None:
    path = project / ".thence" / "store" / "project.json"
    path.chmod(0o644)
    path.write_text('{"format":"9"}')
    failed = thence("ls", ok=False)
    assert failed.status == 1
    assert "format '9'" in _lines(failed)[0]
    assert "pip install --upgrade thence" in failed.err


def test_damaged_data(project: Path, thence: Thence) -> None:
    for pack in (project / ".thence" / "store" / "packs").rglob("*"):
        if pack.is_file():
            pack.chmod(0o644)
            data = pack.read_bytes()
            pack.write_bytes(data[:8] + bytes(len(data) - 16) + data[-8:])
    failed = thence("get", "data@v1", "copy", ok=False)
    assert failed.status == 6
    _lines(failed)


def test_no_right_to_write(folder: Path, thence: Thence, request: pytest.FixtureRequest) -> None:
    if os.geteuid() != 0:
        (folder / "locked").mkdir(mode=0o500)
    else:
        # Root may write everywhere but where nobody can.
        (folder / "locked").mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder / "locked")]
        if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
            pytest.skip("this root may not mount a read-only file system")
        request.addfinalizer(lambda: subprocess.run(["umount", str(folder / "locked")], check=True))
    failed = thence("init", "locked", ok=False)
    assert failed.status == 1
    _lines(failed)
    thence("init")
    (folder / "a.txt").write_text("x")
    thence("save", "a.txt")
    failed = thence("get", "a.txt", "locked/a.txt", ok=False)
    assert failed.status == 1
    _lines(failed)


def test_errors_as_objects(project: Path, thence: Thence) -> None:
    failed = thence("show", "nothing", "--json", ok=False)
    assert failed.err == ""
    (found,) = failed.objects
    assert found["type"] == "error"
    assert found["kind"] == "not_found"
    assert found["exit_status"] == failed.status == 4
    assert found["why"]
    assert found["hint"]
    usage = thence("show", "--json", ok=False)
    assert usage.objects[0]["exit_status"] == usage.status == 2
    assert thence("show", "--wrong", "--json", ok=False).objects[0]["type"] == "error"


def _use(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make a verb `fail` that raises this."""

    @verb("fail", examples=["thence fail"])
    def fail(invocation: Invocation) -> None:
        raise error

    monkeypatch.setattr(group.Root, "get_command", lambda self, ctx, name: fail)


def test_a_bug_is_said_to_be_one(
    folder: Path, thence: Thence, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use(monkeypatch, ZeroDivisionError("division by zero"))
    failed = thence("fail", ok=False)
    assert failed.status == 1
    lines = _lines(failed)
    assert lines[0] == "thence: an unexpected ZeroDivisionError: division by zero"
    assert "bug in thence" in lines[2]
    loud = thence("-v", "fail", ok=False).err
    assert "Traceback" in loud
    assert "raise error" in loud
    assert thence("fail", "--json", ok=False).objects[0]["kind"] == "internal_error"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_interrupted(
    folder: Path, thence: Thence, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    _use(monkeypatch, error)
    failed = thence("fail", ok=False)
    assert failed.status == 130
    assert len(failed.err.splitlines()) == 1
    assert failed.err.startswith("thence: interrupted.")
    assert thence("fail", "--json", ok=False).objects[0]["kind"] == "interrupted"


def test_errors_that_say_little_still_have_three_lines(
    folder: Path, thence: Thence, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: tuple[type[ThenceError], ...] = (ThenceError, *ERRORS)
    for kind in kinds:
        _use(monkeypatch, kind("something happened"))
        failed = thence("fail", ok=False)
        assert failed.status == kind.exit_status
        if failed.status != 130:
            _lines(failed)


def test_the_cause_is_the_why_where_nothing_else_is(
    folder: Path, thence: Thence, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = DataDamaged("cannot be read")
    error.__cause__ = ValueError("bad magic")
    _use(monkeypatch, error)
    failed = thence("fail", ok=False)
    assert failed.status == 6
    assert _lines(failed)[1] == "  bad magic."


def test_an_error_cannot_drive_the_terminal(project: Path, thence: Thence) -> None:
    failed = thence("show", "evil\x1b[31m", ok=False)
    assert failed.status == 2
    assert "\x1b" not in failed.err


def test_the_overview_names_only_verbs_that_are_there() -> None:
    assert set(catalogue.VERBS) == set(group.cli.list_commands(click.Context(group.cli)))
