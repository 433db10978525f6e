"""The kernel-level sensor on real programs."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from patience import PATIENCE_S, wait_for
from thence.errors import InvalidInput, NotFound, StorageError
from thence.execution import supervisor
from thence.execution.events import Action, Ended, FileEvent
from thence.execution.launch import CommandDenied, CommandNotFound, launch

REASON = supervisor.probe()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no kernel-level sensor: {REASON}")


class Watched:
    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd
        self.events: list[FileEvent] = []
        self.output = bytearray()

    def run(self, *command: str) -> Ended:
        return launch(
            command,
            cwd=self.cwd,
            env=os.environ,
            on_event=self.events.append,
            sensor="seccomp",
            stdout=self.output.extend,
        )

    def python(self, code: str) -> Ended:
        return self.run(sys.executable, "-c", code)

    def seen(self, action: Action) -> set[str]:
        below = f"{self.cwd}/"
        return {
            e.path.removeprefix(below)
            for e in self.events
            if e.action is action and e.path.startswith(below)
        }

    def pairs(self, action: Action) -> set[tuple[str, str]]:
        return {
            (os.path.basename(e.path), os.path.basename(e.target))
            for e in self.events
            if e.action is action and e.target.startswith(str(self.cwd))
        }


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(f"{name}\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/d").write_text("d\n")
    return Watched(tmp_path.resolve())


@pytest.mark.parametrize(
    "command",
    [
        ["cat", "a"],
        ["sh", "-c", "cat < a"],
        ["sh", "-c", "cd sub; cat ../a"],
        ["sh", "-c", "exec cat ./a"],
        ["sh", "-c", "(cat a | sort) | cat"],
        ["dd", "if=a", "of=x", "status=none"],
        ["cp", "a", "x"],
        ["grep", "-r", "nothing", "a"],
        ["tail", "-c", "1", "a"],
    ],
)
def test_programs_that_read(watched: Watched, command: Sequence[str]) -> None:
    watched.run(*command)
    assert "a" in watched.seen(Action.READ)


@pytest.mark.parametrize(
    ("command", "action"),
    [
        (["sh", "-c", "echo > x"], Action.TRUNCATE),
        (["sh", "-c", "echo >> x"], Action.WRITE),
        (["sh", "-c", "echo <> x"], Action.UPDATE),
        (["dd", "if=a", "of=x", "conv=notrunc", "status=none"], Action.WRITE),
        (["dd", "if=a", "of=x", "status=none"], Action.TRUNCATE),
        (["rm", "x"], Action.REMOVE),
        (["./x"], Action.EXECUTE),
    ],
)
def test_programs_that_change(watched: Watched, command: Sequence[str], action: Action) -> None:
    (watched.cwd / "x").write_text("#!/bin/sh\n")
    (watched.cwd / "x").chmod(0o755)
    watched.run(*command)
    assert "x" in watched.seen(action)


@pytest.mark.parametrize(
    ("call", "action"),
    [
        ("open('a')", Action.READ),
        ("os.open('a', os.O_RDONLY, dir_fd=os.open('.', os.O_RDONLY))", Action.READ),
        ("os.open('../a', 0, dir_fd=os.open('sub', os.O_RDONLY | os.O_DIRECTORY))", Action.READ),
        ("os.chdir('sub'); open('../a')", Action.READ),
        ("open('a', 'ab')", Action.WRITE),
        ("open('a', 'r+')", Action.UPDATE),
        ("open('a', 'w')", Action.TRUNCATE),
        ("os.truncate('a', 1)", Action.TRUNCATE),
        ("os.remove('a')", Action.REMOVE),
        ("mmap.mmap(os.open('a', os.O_RDWR), 0)", Action.UPDATE),
        ("sqlite3.connect('a').execute('pragma user_version')", Action.UPDATE),
        ("ctypes.CDLL(None).fopen(b'a', b'r')", Action.READ),
        ("ctypes.CDLL(None).creat(b'a', 0o644)", Action.TRUNCATE),
        ("[t := threading.Thread(target=open, args=('a',)), t.start(), t.join()]", Action.READ),
        ("multiprocessing.get_context('fork').Process(target=open, args=('a',)).start()", "read"),
        ("os.fork() or (open('a'), os._exit(0)); os.wait()", Action.READ),
        ("open('/dev/fd/%d' % os.open('a', 0))", Action.READ),
        ("os.execv('/bin/cat', ['cat', 'a'])", Action.READ),
        ("subprocess.run(['/bin/cat', 'a'], close_fds=False)", Action.READ),  # by vfork
    ],
)
def test_calls_of_python(watched: Watched, call: str, action: Action) -> None:
    modules = "ctypes, mmap, multiprocessing, os, sqlite3, subprocess, threading"
    ended = watched.python(f"import {modules}\n{call}")
    assert "a" in watched.seen(Action(action))
    assert ended.report.completeness == "kernel-complete"


def test_programs_that_are_linked_statically(watched: Watched) -> None:
    program = next((p for p in ("/sbin/ldconfig.real", "/sbin/ldconfig") if is_static(p)), None)
    if program is None:
        pytest.skip("no statically linked program here")
    watched.run(program, "-p")
    assert any(e.path == "/etc/ld.so.cache" and e.action is Action.READ for e in watched.events)


def is_static(path: str) -> bool:
    """Whether it is an ELF program that names no interpreter."""
    try:
        head = Path(path).read_bytes()[:4096]
    except OSError:
        return False
    return head.startswith(b"\x7fELF") and b"ld-linux" not in head


def test_openat2_flags_are_read_from_the_struct(watched: Watched) -> None:
    watched.python(
        "import ctypes, os, struct\n"
        "how = struct.pack('QQQ', os.O_WRONLY | os.O_TRUNC, 0, 0)\n"
        "fd = ctypes.CDLL(None).syscall(437, -100, b'sub/d', how, len(how))\n"
        "assert fd >= 0\n"
    )
    assert "sub/d" in watched.seen(Action.TRUNCATE)


def test_an_open_descriptor_that_is_executed_has_a_name(watched: Watched) -> None:
    ended = watched.python(
        "import os\nos.execve(os.open('/bin/true', os.O_RDONLY), ['true'], {})\n"
    )
    assert ended.exit_code == 0
    true = os.path.realpath("/bin/true")
    assert any(e.action is Action.EXECUTE and e.path == true for e in watched.events)


def test_renames_and_links_have_both_names(watched: Watched) -> None:
    watched.run("sh", "-c", "mv a A; ln b B; ln -s c C")
    assert watched.pairs(Action.RENAME) == {("a", "A")}
    assert watched.pairs(Action.LINK) == {("b", "B"), ("c", "C")}
    assert [e.detail for e in watched.events if e.action is Action.LINK] == ["", "symbolic"]


def test_an_exchange_is_told_from_a_rename(watched: Watched) -> None:
    watched.python(
        "import ctypes\n"
        "assert ctypes.CDLL(None).renameat2(-100, b'a', -100, b'b', 2) == 0\n"
    )  # fmt: skip
    assert [e.detail for e in watched.events if e.action is Action.RENAME] == ["exchange"]


def test_names_that_are_not_utf8(watched: Watched) -> None:
    name = os.fsdecode(b"\xff\xfe")
    (watched.cwd / name).write_text("x")
    watched.run("cat", name)
    assert name in watched.seen(Action.READ)


def test_long_paths_cross_pages(watched: Watched) -> None:
    deep = watched.cwd.joinpath(*["x" * 200] * 15)
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    watched.run("cat", str(deep / "file"))
    assert str(deep / "file").removeprefix(f"{watched.cwd}/") in watched.seen(Action.READ)


def test_the_event_comes_before_the_program_proceeds(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("old")
    found = {}

    def look(event: FileEvent) -> None:
        if event.path == str(tmp_path / "in"):
            found[event.action] = (tmp_path / "in").read_text()

    launch(["sh", "-c", "echo new > in"], cwd=tmp_path, env=os.environ, on_event=look)
    assert found == {Action.TRUNCATE: "old"}
    assert (tmp_path / "in").read_text() == "new\n"


def test_connections_have_addresses_and_transports(watched: Watched) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        watched.python(
            "import socket\n"
            f"socket.create_connection(('127.0.0.1', {port})).close()\n"
            f"socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', {port}))\n"
            "socket.socket(socket.AF_UNIX).connect_ex('/nowhere')\n"
        )
    seen = [(e.path, e.detail) for e in watched.events if e.action is Action.CONNECT]
    assert seen == [(f"127.0.0.1:{port}", "tcp"), (f"127.0.0.1:{port}", "udp")]


def test_folders_are_let_through_in_the_kernel(watched: Watched) -> None:
    watched.run("ls", str(watched.cwd / "sub"))
    assert "sub" not in watched.seen(Action.READ)


@pytest.mark.parametrize(
    ("code", "status", "number"),
    [
        ("raise SystemExit(3)", 3, None),
        ("import os; os.kill(os.getpid(), 9)", 137, signal.SIGKILL),
        ("import os; os.abort()", 134, signal.SIGABRT),
    ],
)
def test_the_end_is_reported_as_a_shell_does(
    watched: Watched, code: str, status: int, number: int | None
) -> None:
    ended = watched.python(code)
    assert (ended.exit_code, ended.signal) == (status, number)


def test_a_command_that_is_not_there(watched: Watched) -> None:
    with pytest.raises(CommandNotFound) as caught:
        watched.run("no-such-program")
    assert caught.value.exit_status == 127


def test_a_command_that_cannot_be_executed(watched: Watched) -> None:
    with pytest.raises(CommandDenied) as caught:
        watched.run("./a")
    assert caught.value.exit_status == 126


def test_a_file_that_is_no_program(watched: Watched) -> None:
    (watched.cwd / "x").write_bytes(b"#!/no/such/interpreter\n")
    (watched.cwd / "x").chmod(0o755)
    with pytest.raises(CommandDenied) as caught:
        watched.run("./x")
    assert "No such file" in caught.value.why


def test_a_script_without_a_first_line_is_run_by_the_shell(watched: Watched) -> None:
    (watched.cwd / "x").write_text("cat a; exit $1\n")
    (watched.cwd / "x").chmod(0o755)
    assert watched.run("./x", "5").exit_code == 5
    assert bytes(watched.output) == b"a\n"


def test_no_command_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        launch([], cwd=tmp_path, env={}, on_event=lambda _: None)
    with pytest.raises(NotFound):
        launch(["true"], cwd=tmp_path / "no", env={}, on_event=lambda _: None)


def test_working_directory_and_environment_are_those_given(watched: Watched) -> None:
    launch(
        [
            sys.executable,
            "-c",
            "import os, json; print(json.dumps([os.getcwd(), os.environ['X']]))",
        ],
        cwd=watched.cwd / "sub",
        env={"X": "y"},
        on_event=watched.events.append,
        stdout=watched.output.extend,
    )
    assert json.loads(watched.output) == [str(watched.cwd / "sub"), "y"]


def test_a_file_on_standard_input_is_read(watched: Watched) -> None:
    code = (
        "import sys\nfrom thence.execution.launch import launch\n"
        "launch(['true'], cwd='/', env={}, on_event=lambda e: print(e.path, e.detail))\n"
    )
    script = f'{sys.executable} -c "{code}" < a > seen'
    os.spawnlp(os.P_WAIT, "sh", "sh", "-c", f"cd {watched.cwd}; {script}")
    assert f"{watched.cwd}/a stdin" in (watched.cwd / "seen").read_text()


def test_threads_of_the_supervisor_do_no_harm(watched: Watched) -> None:
    done = threading.Event()
    threads = [threading.Thread(target=done.wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    try:
        assert watched.run("cat", "a").exit_code == 0
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert "a" in watched.seen(Action.READ)


def test_it_works_outside_the_main_thread(watched: Watched) -> None:
    thread = threading.Thread(target=watched.run, args=("cat", "a"))
    thread.start()
    thread.join()
    assert "a" in watched.seen(Action.READ)


def test_many_processes_at_once(watched: Watched) -> None:
    watched.run("sh", "-c", "for i in $(seq 40); do (cat a > out$i; cat b >> out$i) & done; wait")
    assert {f"out{i}" for i in range(1, 41)} <= watched.seen(Action.TRUNCATE)
    assert (watched.cwd / "out40").read_text() == "a\nb\n"


def test_a_process_left_behind_goes_on_and_is_named(watched: Watched) -> None:
    late_one = "while [ ! -e go ]; do sleep 0.05; done; cat a > late.new; mv late.new late"
    ended = watched.run("sh", "-c", f"({late_one}) & cat b")
    assert ended.report.completeness == "partial"
    assert "left running" in " ".join(ended.report.not_seen)
    (watched.cwd / "go").touch()
    wait_for(watched.cwd / "late")
    assert (watched.cwd / "late").read_text() == "a\n"


def test_what_ends_just_after_the_command_is_seen(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_GRACE_S", PATIENCE_S)
    ended = watched.run("sh", "-c", "(sleep 0.1; cat a) & cat b")
    assert "a" in watched.seen(Action.READ)
    assert ended.report.completeness == "kernel-complete"


def test_a_signal_to_the_supervisor_is_passed_on(watched: Watched) -> None:
    def end() -> None:
        wait_for(watched.cwd / "ready")
        os.kill(os.getpid(), signal.SIGTERM)

    other = threading.Thread(target=end)
    other.start()
    ended = watched.python(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(33))\n"
        "open('ready', 'w').close()\n"
        "time.sleep(600)\n"
    )
    other.join()
    assert ended.exit_code == 33


@pytest.mark.skipif(os.getuid() != 0, reason="shown by changing the user, which only root can")
def test_no_rights_are_needed() -> None:
    code = (
        "import ctypes, os, sys, tempfile\n"
        "from thence.execution.launch import launch\n"
        "import thence.execution.seccomp, thence.execution.supervisor\n"
        "os.setgid(65534); os.setuid(65534)\n"
        # A process that changed its user is protected until it executes a program; undo that.
        "ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)\n"
        "seen = []\n"
        "ended = launch(['cat', '/etc/hosts'], cwd='/', env={'PATH': '/usr/bin:/bin'},\n"
        "               on_event=seen.append, sensor='seccomp')\n"
        "assert ended.exit_code == 0 and '/etc/hosts' in {e.path for e in seen}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_asking_for_what_is_not_there_is_an_error(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "probe", lambda: "Not today.")
    with pytest.raises(StorageError, match="Not today"):
        watched.run("true")


def test_no_descriptors_processes_or_threads_are_left(watched: Watched) -> None:
    watched.run("true")
    before = (len(os.listdir("/proc/self/fd")), threading.active_count())
    for _ in range(3):
        watched.run("sh", "-c", "cat a | cat")
    # Fewer, where something of an earlier test is only now collected.
    assert len(os.listdir("/proc/self/fd")) <= before[0]
    assert threading.active_count() <= before[1]
