"""The sensor that reads what strace tells."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from patience import wait_for
from thence.errors import StorageError
from thence.execution import strace, supervisor
from thence.execution.capture.files import FileLedger
from thence.execution.events import Action, Ended, FileEvent
from thence.execution.launch import CommandDenied, launch
from thence.execution.strace_lines import Lines

REASON = strace.probe()
needs_strace = pytest.mark.skipif(REASON is not None, reason=f"no strace: {REASON}")


def hex_of(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(text))


def told(*lines: str) -> list[tuple[str, str, str, str]]:
    """Events of lines, in which «text» stands for hexadecimal text."""
    parser, found = Lines("/work"), []
    for line in lines:
        while "«" in line:
            begin, _, rest = line.partition("«")
            text, _, end = rest.partition("»")
            line = begin + hex_of(text) + end  # noqa: PLW2901
        event = parser.feed(line.encode())
        if event is not None:
            found.append((event.action.value, event.path, event.target, event.detail))
    return found


def test_relative_paths_follow_the_folder_of_their_process() -> None:
    assert told(
        '10 openat(AT_FDCWD<«/work»>, "«a»", O_RDONLY|O_CLOEXEC) = 3<«/work/a»>',
        '10 chdir("«sub»") = 0',
        '10 unlink("«b»") = 0',
        "10 vfork( <unfinished ...>",
        '11 chdir("«..»") = 0',
        '11 rename("«c»", "«d»") = 0',
        "10 <... vfork resumed>) = 11",
        "11 +++ exited with 0 +++",
        '10 mkdir("«e»", 0777) = 0',
        '10 openat(5<«/data»>, "«f»", O_RDONLY) = 6<«/data/f»>',
    ) == [
        ("read", "/work/a", "", ""),
        ("remove", "/work/sub/b", "", ""),
        ("rename", "/work/c", "/work/d", ""),
        ("make-folder", "/work/sub/e", "", ""),
        ("read", "/data/f", "", ""),
    ]


def test_threads_have_one_folder_and_processes_have_their_own() -> None:
    assert told(
        '10 execve("«/bin/x»", ["«x»"], 0x7ff /* 3 vars */) = 0',
        "10 clone3({flags=CLONE_VM|CLONE_FS|CLONE_THREAD, exit_signal=0}, 88) = 12",
        "10 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7) = 13",
        '12 chdir("«/etc»") = 0',
        '10 unlink("«a»") = 0',
        '13 unlink("«a»") = 0',
    )[1:] == [("remove", "/etc/a", "", ""), ("remove", "/work/a", "", "")]


def test_what_failed_was_not_written_and_what_was_looked_for_is_told() -> None:
    assert told(
        '10 openat(AT_FDCWD<«/w»>, "«a»", O_WRONLY|O_CREAT|O_TRUNC, 0666) = -1 EACCES (No)',
        '10 openat(AT_FDCWD<«/w»>, "«b»", O_RDONLY) = -1 ENOENT (No such file or directory)',
        '10 unlink("«/w/c»") = -1 ENOENT (No such file or directory)',
    ) == [("read", "/w/b", "", "")]


def test_calls_in_two_pieces_are_told_once() -> None:
    assert told(
        '10 openat(AT_FDCWD<«/w»>, "«a»", O_RDONLY <unfinished ...>',
        '11 openat(AT_FDCWD<«/w»>, "«b»", O_RDWR|O_CREAT, 0644 <unfinished ...>',
        "10 <... openat resumed>) = 3<«/w/a»>",
        "11 <... openat resumed>) = 3<«/w/b»>",
    ) == [("read", "/w/a", "", ""), ("update", "/w/b", "", "create")]


def test_names_that_look_like_something_else() -> None:
    name = "O_WRONLY|O_TRUNC) = -1 <unfinished ...>\n"
    assert told(f'10 openat(AT_FDCWD<«/w»>, "«{name}»", O_RDONLY) = 3<«/w/x»>') == [
        ("read", f"/w/{name}", "", "")
    ]


def test_folders_and_paths_alone_are_not_told() -> None:
    assert not told(
        '10 openat(AT_FDCWD<«/w»>, "«a»", O_RDONLY|O_DIRECTORY) = 3<«/w/a»>',
        '10 openat(AT_FDCWD<«/w»>, "«a»", O_RDONLY|O_PATH) = 3<«/w/a»>',
        '10 unlinkat(AT_FDCWD<«/w»>, "«a»", AT_REMOVEDIR) = 0',
    )


def test_other_calls() -> None:
    assert told(
        '10 openat2(AT_FDCWD<«/w»>, "«a»", {flags=O_RDWR|O_TRUNC, resolve=0}, 24) = 3<«/w/a»>',
        '10 execveat(3<«/bin/x»>, "", ["«x»"], 0x7 /* 3 vars */, AT_EMPTY_PATH) = 0',
        '10 symlink("«a b»", "«/w/l»") = 0',
        '10 linkat(AT_FDCWD<«/w»>, "«a»", AT_FDCWD<«/w»>, "«b»", 0) = 0',
        '10 renameat2(4<«/v»>, "«a»", AT_FDCWD<«/w»>, "«b»", RENAME_EXCHANGE) = 0',
        '10 truncate("«/w/a»", 0) = 0',
        '10 truncate("«/w/a»", 10) = 0',
    ) == [
        ("truncate", "/w/a", "", ""),
        ("execute", "/bin/x", "", ""),
        ("link", "/w/a b", "/w/l", "symbolic"),
        ("link", "/w/a", "/w/b", ""),
        ("rename", "/v/a", "/w/b", "exchange"),
        ("truncate", "/w/a", "", ""),
        ("truncate", "/w/a", "", "length"),
    ]


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
            sensor="strace",
            stdout=self.output.extend,
        )

    def names(self, *actions: Action) -> set[str]:
        return {os.path.basename(e.path) for e in self.events if e.action in actions}


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"{name}\n")
    (tmp_path / "sub").mkdir()
    return Watched(tmp_path.resolve())


@needs_strace
@pytest.mark.parametrize(
    "command",
    [
        ["cat", "a"],
        ["sh", "-c", "cd sub; cat ../a"],
        ["sh", "-c", "(cat a | sort) | cat"],
        [sys.executable, "-c", "import os; os.fork() or (open('a'), os._exit(0)); os.wait()"],
        [sys.executable, "-c", "import ctypes; ctypes.CDLL(None).fopen(b'a', b'r')"],
        [sys.executable, "-c", "import os; os.execv('/bin/cat', ['cat', 'a'])"],
    ],
)
def test_programs_that_read(watched: Watched, command: Sequence[str]) -> None:
    ended = watched.run(*command)
    assert f"{watched.cwd}/a" in {e.path for e in watched.events if e.action is Action.READ}
    assert (ended.exit_code, ended.report.name) == (0, "strace")
    assert ended.report.completeness == "trace-complete"
    assert "not before" in ended.report.not_seen[1]


@needs_strace
@pytest.mark.parametrize(
    ("code", "status", "number"),
    [
        ("raise SystemExit(3)", 3, None),
        ("import os; os.kill(os.getpid(), 9)", 137, signal.SIGKILL),
        ("import signal; assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN", 0, None),
    ],
)
def test_the_end_is_that_of_the_command(
    watched: Watched, code: str, status: int, number: int | None
) -> None:
    ended = watched.run(sys.executable, "-c", code)
    assert (ended.exit_code, ended.signal) == (status, number)


@needs_strace
def test_programs_that_cannot_run_and_scripts_without_a_first_line(watched: Watched) -> None:
    for name, text in (("x", "#!/no/such/interpreter\n"), ("y", "cat a; exit $1\n")):
        (watched.cwd / name).write_text(text)
        (watched.cwd / name).chmod(0o755)
    with pytest.raises(CommandDenied, match="cannot run"):
        watched.run("./x")
    assert watched.run("./y", "5").exit_code == 5
    assert bytes(watched.output) == b"a\n"


@needs_strace
def test_name_environment_and_descriptors_are_those_given(watched: Watched) -> None:
    code = "import os; print(sorted(os.environ)); print(sorted(os.listdir('/proc/self/fd')))"
    said = []
    for sensor in ("strace", "audit-hook"):
        output = bytearray()
        launch(
            [sys.executable, "-S", "-c", code],
            cwd=watched.cwd,
            env={"LANG": "C", "X": "1"},
            on_event=lambda _: None,
            sensor=sensor,
            stdout=output.extend,
        )
        said.append(bytes(output))
    assert said[0] == said[1]
    watched.run("sh", "-c", "cat /proc/$$/cmdline | tr '\\0' ' '")
    assert watched.output.startswith(b"sh -c ")


@needs_strace
def test_a_signal_to_the_supervisor_is_passed_on(watched: Watched) -> None:
    def end() -> None:
        wait_for(watched.cwd / "ready")
        os.kill(os.getpid(), signal.SIGTERM)

    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(33))\n"
        "open('ready', 'w').close()\n"
        "time.sleep(600)\n"
    )
    other = threading.Thread(target=end)
    other.start()
    assert watched.run(sys.executable, "-c", code).exit_code == 33
    other.join()


@needs_strace
def test_a_process_left_behind_goes_on_and_is_named(watched: Watched) -> None:
    late_one = "while [ ! -e go ]; do sleep 0.05; done; cat a > late.new; mv late.new late"
    ended = watched.run("sh", "-c", f"({late_one}) & cat b")
    assert ended.report.completeness == "partial"
    assert "left running" in " ".join(ended.report.not_seen)
    (watched.cwd / "go").touch()
    wait_for(watched.cwd / "late")
    assert (watched.cwd / "late").read_text() == "a\n"


@needs_strace
def test_connections_have_addresses_and_transports(watched: Watched) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        watched.run(
            sys.executable,
            "-c",
            "import socket\n"
            f"socket.create_connection(('127.0.0.1', {port})).close()\n"
            f"socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', {port}))\n",
        )
    seen = [(e.path, e.detail) for e in watched.events if e.action is Action.CONNECT]
    assert seen == [(f"127.0.0.1:{port}", "tcp"), (f"127.0.0.1:{port}", "udp")]


@needs_strace
def test_a_ledger_learns_what_was_read_written_and_replaced(tmp_path: Path) -> None:
    for name in ("read", "emptied", "appended", "moved"):
        (tmp_path / name).write_text(f"{name}\n")
    spool = tmp_path / ".thence/spool"
    ledger = FileLedger(tmp_path, cwd=tmp_path, spool=spool).open()
    time.sleep(0.05)
    script = (
        "cat read > made; sleep 0.1; cat made > again; mv made made2; "
        "echo more >> appended; echo new > emptied; mv moved moved2; echo x > t; rm t"
    )
    ended = launch(
        ["sh", "-c", script],
        cwd=tmp_path,
        env=os.environ,
        on_event=ledger.on_event,
        sensor="strace",
    )
    assert (ended.exit_code, ended.problems) == (0, ())
    found = ledger.finish()
    outputs = {one.path.name: one.existed_before for one in found.outputs}
    assert outputs == {
        "again": False,
        "made2": False,
        "appended": True,
        "emptied": True,
        "moved2": False,
    }
    assert "read" in {state.path.name for state in found.reads}
    assert "emptied" not in {state.path.name for state in found.reads}
    assert [one.kept for one in found.overwritten if one.path.name == "emptied"] in ([], [None])


@needs_strace
def test_without_the_kernel_sensor_it_is_taken_by_itself(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "probe", lambda: "Not today.")
    ended = launch(["cat", "a"], cwd=watched.cwd, env=os.environ, on_event=lambda _: None)
    assert ended.report.name == "strace"
    assert ended.report.not_seen[0] == "The kernel-level sensor was not used: Not today."


def test_without_both_the_audit_hook_is_taken(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "probe", lambda: "Not today.")
    monkeypatch.setenv("PATH", "/nowhere")
    ended = launch(["/bin/cat", "a"], cwd=watched.cwd, env={}, on_event=lambda _: None)
    assert ended.report.name == "audit-hook"
    assert "Not today. strace is not installed." in ended.report.not_seen[0]
    with pytest.raises(StorageError, match="strace does not work"):
        watched.run("/bin/cat", "a")


@needs_strace
def test_a_thread_that_executes_a_program(watched: Watched) -> None:
    ended = watched.run(
        sys.executable,
        "-c",
        "import os, threading, time\n"
        "threading.Thread(target=os.execv, args=('/bin/cat', ['cat', 'a'])).start()\n"
        "time.sleep(600)\n",
    )
    assert ended.exit_code == 0
    assert "a" in watched.names(Action.READ)
    assert ended.report.completeness == "trace-complete"
