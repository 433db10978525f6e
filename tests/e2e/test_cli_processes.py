"""The installed command, as a process among others: pipes, terminals, races."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

_THENCE = Path(sys.executable).with_name("thence")
_TIMEOUT_S = 200


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _call(tmp_path, "init", "-q")
    return tmp_path


def _environment(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("THENCE_")}
    for name in ("NO_COLOR", "COLUMNS", "FORCE_COLOR"):
        kept.pop(name, None)
    # The command is found by scripts that are run, too.
    path = f"{_THENCE.parent}{os.pathsep}{kept.get('PATH', '')}"
    return {**kept, "PATH": path, "THENCE_AUTHOR": "ada", "TERM": "xterm", **more}


def _call(folder: Path, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [_THENCE, *args],
        cwd=folder,
        env=_environment(**more),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )


def _start(folder: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [_THENCE, *args],
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _on_terminal(folder: Path, *args: str, **more: str) -> str:
    """What a person sees: stdout and stderr are one terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [_THENCE, *args],
        cwd=folder,
        env=_environment(**more),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    assert process.wait(_TIMEOUT_S) == 0, seen
    return seen.decode()


def test_module_and_script_are_the_same(folder: Path) -> None:
    module = subprocess.run(
        [sys.executable, "-m", "thence", "--version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert module.stdout == _call(folder, "--version").stdout


def test_colours_are_for_terminals(folder: Path) -> None:
    (folder / "a.csv").write_text("x\n")
    _call(folder, "save", "a.csv")
    assert "\x1b[" in _on_terminal(folder, "ls")
    assert "\x1b[" not in _on_terminal(folder, "ls", NO_COLOR="1")
    assert "\x1b[" not in _on_terminal(folder, "show", "a.csv", NO_COLOR="1")
    assert "\x1b[" not in _on_terminal(folder, "ls", TERM="dumb")
    assert "\x1b" not in _call(folder, "ls").stdout


def test_a_narrow_terminal_cuts_names_and_nothing_else(folder: Path) -> None:
    (folder / ("long" * 30 + ".csv")).write_text("x\n")
    _call(folder, "save", "long" * 30 + ".csv")
    seen = _on_terminal(folder, "ls", NO_COLOR="", COLUMNS="60")
    assert "…" in seen
    assert "dataset" in seen
    assert "long" * 30 + ".csv" in _call(folder, "ls", COLUMNS="60").stdout


def test_a_reader_that_goes_away_is_no_trouble(folder: Path) -> None:
    (folder / "many").mkdir()
    for number in range(3000):
        (folder / "many" / f"{number:04}").write_text(str(number))
    _call(folder, "save", "many")
    piped = subprocess.run(
        "set -o pipefail; thence show many --json | head -1",
        shell=True, executable="/bin/bash", cwd=folder, env=_environment(),
        capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
    )  # fmt: skip
    assert json.loads(piped.stdout)["type"] == "version"
    assert piped.stderr == ""
    assert piped.returncode == 0


def test_two_processes_save_one_name_at_once(folder: Path) -> None:
    for who in ("ada", "bob"):
        (folder / who).mkdir()
        (folder / who / "data.csv").write_text(f"{who}\n" * 1000)
        (folder / who / "more.csv").write_text(f"{who}\n")
    started = [_start(folder, "save", f"{who}/", "--as", "data") for who in ("ada", "bob")]
    said = [process.communicate(timeout=_TIMEOUT_S) for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    listed = _call(folder, "history", "data", "--json").stdout.splitlines()
    assert sorted(json.loads(line)["number"] for line in listed) == [1, 2]
    assert sorted(text.split()[1] for text, _ in said) == ["data@v1", "data@v2"]
    for who, (text, _) in zip(("ada", "bob"), said, strict=True):
        ref = text.split()[1]
        assert _call(folder, "get", ref, f"copy-{who}").returncode == 0
        assert (folder / f"copy-{who}" / "more.csv").read_text() == f"{who}\n"


def test_run_leaves_stdout_to_the_program(folder: Path) -> None:
    (folder / "in.txt").write_text("7\n")
    (folder / "double.py").write_text(
        "print(2 * int(open('in.txt').read()), file=open('out.txt', 'w')); print('doubled')\n"
    )
    done = _call(folder, "run", "--tag", "purpose=test", sys.executable, "double.py", "--json")
    assert done.returncode == 0
    assert done.stdout == "doubled\n"
    summary = done.stderr.splitlines()
    assert summary[0].startswith("thence: run:")
    assert "finished" in summary[0]
    assert "1 output: out.txt@v1" in summary[1]
    assert summary[-1].startswith("  prove it: thence reproduce run:")

    quiet = _call(folder, "run", "-q", "--", sys.executable, "double.py")
    assert (quiet.stdout, quiet.stderr) == ("doubled\n", "")

    objects = _call(folder, "run", "--json", sys.executable, "double.py")
    assert objects.stdout == "doubled\n"
    assert json.loads(objects.stderr.splitlines()[-1])["outputs_count"] == 1

    shown = _call(folder, "show", "out.txt").stdout
    assert "run:" in shown
    page = _call(folder, "show", "run:last").stdout
    for wanted in ("finished", "double.py", "in.txt", "out.txt@v1", "python", "sensor"):
        assert wanted in page


def test_run_keeps_the_exit_status_of_the_command(folder: Path) -> None:
    (folder / "bad.py").write_text("raise SystemExit(9)\n")
    failed = _call(folder, "run", sys.executable, "bad.py")
    assert failed.returncode == 9
    assert failed.stdout == ""
    assert "failed with 9" in failed.stderr
    assert "thence show run:" in failed.stderr
    listed = _call(folder, "runs", "list", "--status", "failed", "--json").stdout
    assert json.loads(listed)["exit_code"] == 9
    missing = _call(folder, "run", "--json", "no-such-command")
    assert missing.returncode == 127
    assert missing.stdout == ""
    assert json.loads(missing.stderr)["type"] == "error"


def test_log_from_a_shell_script(folder: Path) -> None:
    done = _call(folder, "run", "sh", "-c", "thence log auc=0.5 --step 1; thence log opt=adam")
    assert done.returncode == 0, done.stderr
    run = json.loads(_call(folder, "runs", "list", "--json").stdout)
    assert run["metrics"] == {"auc": 0.5}
    shown = json.loads(_call(folder, "show", "run:last", "--json").stdout.splitlines()[0])
    assert shown["params"]["opt"] == {"value": "adam", "origin": "log"}


def test_reproduce_says_how_each_result_came_out(folder: Path) -> None:
    (folder / "make.py").write_text(
        "import os\n"
        "open('same.txt', 'w').write('same\\n')\n"
        "open('other.txt', 'w').write(os.urandom(8).hex())\n"
    )
    assert _call(folder, "run", sys.executable, "make.py").returncode == 0
    done = _call(folder, "reproduce", "run:last", "--report", "report.html")
    assert done.returncode == 7, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.split()[:2] == ["identical", "same.txt"] for line in lines)
    assert any(line.split()[:2] == ["different", "other.txt"] for line in lines)
    assert any(" differs" in line for line in lines)
    assert "<html" in (folder / "report.html").read_text()
    (folder / "make.py").write_text("open('same.txt', 'w').write('again\\n')\n")
    assert _call(folder, "run", sys.executable, "make.py").returncode == 0
    good = _call(folder, "reproduce", "same.txt", "--json")
    assert good.returncode == 0, good.stdout
    objects = [json.loads(line) for line in good.stdout.splitlines()]
    assert objects[-1]["type"] == "verdict"
    assert objects[-1]["finding"] == "reproduced"
    assert "reproduced" in _call(folder, "show", "run:last").stdout


def test_reading_costs_little(folder: Path) -> None:
    """Modules that no read needs are not loaded by `import thence`, the help and `ls`."""
    heavy = {"numpy", "zstandard", "pandas", "pyfastcdc", "yaml", "psutil", "rich.console"}
    (folder / "a.csv").write_text("x\n")
    _call(folder, "save", "a.csv")
    for code, light in (
        ("import thence", {"click", "msgspec", "rich", "thence.project", "thence.verbs"}),
        (_main("--help"), {"msgspec", "rich", "thence.project", "sqlite3"}),
        (_main("ls"), {"thence.formats.registry", "thence.execution.record"}),
    ):
        printed = subprocess.run(
            [sys.executable, "-c", f"{code}\nimport sys; print(chr(10) + ' '.join(sys.modules))"],
            cwd=folder, env=_environment(), capture_output=True, text=True, check=True,
        )  # fmt: skip
        loaded = set(printed.stdout.splitlines()[-1].split())
        assert not loaded & (heavy | light), code


def _main(*args: str) -> str:
    return (
        f"import sys; sys.argv = ['thence', *{args!r}]\n"
        "from thence.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code"
    )
