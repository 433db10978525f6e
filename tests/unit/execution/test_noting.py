"""Notes: from inside a program, through the socket, without secrets, into the spool."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from thence.execution.capture.secrets import Redactor
from thence.execution.events import Action, FileEvent
from thence.execution.hearing import Observer, Tally
from thence.execution.inside.child import ANSWER, LATE, SOCKET, Channel, Watcher
from thence.execution.inside.notes import DROPPED, NOTES, Notes, encode
from thence.execution.launch import launch
from thence.execution.noting import Listener, NoteBook, read_notes
from thence.execution.observing import observe
from thence.execution.planting import Planted
from thence.model.observed import PythonProcess


class Heard:
    """A listener in a planted folder, and what it was told."""

    def __init__(self, planted: Planted) -> None:
        self.folder = planted.folder
        self.notes: list[dict[str, Any]] = []
        self.listener = Listener(planted.folder, lambda note: self.notes.append(dict(note)))

    def close(self) -> None:
        self.listener.close()

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.folder / NOTES))
        return connection


@pytest.fixture
def heard() -> Iterator[Heard]:
    with Planted() as planted:
        yield Heard(planted)


@pytest.mark.parametrize(
    "value",
    [None, True, False, 0, -(10**30), 1.5, "", 'ü"\\\n\ud800', [], [1, ["a"]], {"a": {"b": None}}],
)
def test_what_is_encoded_reads_as_it_was(value: Any) -> None:
    assert json.loads(encode(value)) == value


def test_what_json_cannot_say_is_said_as_text() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    told = json.loads(encode({"nan": float("nan"), "path": Path("x"), "broken": Broken(), 1: (2,)}))
    assert told == {"nan": "nan", "path": "x", "broken": "<Broken>", "1": [2]}


def test_notes_arrive_in_order_also_those_from_before_the_listener_listens(heard: Heard) -> None:
    notes = Notes(str(heard.folder))
    notes.tell("a", {"n": 1})
    heard.listener.start()
    notes.tell("b", {"n": 2})
    heard.close()
    assert [(note["kind"], note["n"]) for note in heard.notes] == [("a", 1), ("b", 2)]
    assert {note["pid"] for note in heard.notes} == {os.getpid()}


def test_forks_have_connections_of_their_own(heard: Heard) -> None:
    heard.listener.start()
    code = (
        "import os, sys\n"
        f"sys.path.insert(0, {str(heard.folder)!r})\n"
        "from thence_inside.notes import Notes\n"
        f"notes = Notes({str(heard.folder)!r})\n"
        "notes.tell('first', {})\n"
        "for n in range(3):\n"
        "    if os.fork() == 0:\n"
        "        notes.tell('fork', {'n': n}); os._exit(0)\n"
        "for n in range(3): os.wait()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    heard.close()
    forks = [note for note in heard.notes if note["kind"] == "fork"]
    assert sorted(note["n"] for note in forks) == [0, 1, 2]
    assert len({note["pid"] for note in forks}) == 3


def test_torn_and_foreign_words_do_no_harm(heard: Heard) -> None:
    heard.listener.start()
    with heard.connect() as torn:
        torn.sendall((100).to_bytes(4, "big") + b'{"kind"')
    with heard.connect() as foreign:
        foreign.sendall(b"GET / HTTP/1.1\r\n\r\n")
    with heard.connect() as other:
        other.sendall((3).to_bytes(4, "big") + b"{{{")
    Notes(str(heard.folder)).tell("after", {})
    heard.close()
    assert [note["kind"] for note in heard.notes] == ["after"]
    assert len(heard.listener.problems) == 1


def test_a_program_that_takes_the_descriptor_for_its_own_is_left_alone(heard: Heard) -> None:
    notes = Notes(str(heard.folder))
    notes.tell("a", {})
    assert notes._wire is not None
    ours, theirs = socket.socketpair()
    os.dup2(theirs.fileno(), notes._wire._number)
    notes.tell("b", {})
    ours.setblocking(False)
    with pytest.raises(BlockingIOError):
        ours.recv(1)
    os.close(notes._wire._number)
    ours.close()
    theirs.close()
    heard.listener.start()
    heard.close()
    assert [note["kind"] for note in heard.notes] == ["a"]


def test_nobody_who_listens_is_no_reason_to_stop(tmp_path: Path) -> None:
    Notes(str(tmp_path)).tell("x", {})


def test_a_program_that_hangs_on_does_not_hold_up_the_end(heard: Heard) -> None:
    heard.listener.start()
    with heard.connect():
        heard.close()


def within_a_while(function: Callable[[], None]) -> None:
    """What never ends fails the test instead of stopping it."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), "it waits for ever"


def test_a_recorder_that_stands_still_does_not_stop_a_program(heard: Heard) -> None:
    notes = Notes(str(heard.folder), patience_s=0.05)
    count = 40

    def tell() -> None:
        for number in range(count):
            notes.tell("n", {"number": number, "text": "x" * 100_000})

    within_a_while(tell)
    heard.listener.start()
    within_a_while(notes.finish)
    within_a_while(lambda: notes.tell("after", {}))
    heard.close()
    taken = [note["number"] for note in heard.notes if note["kind"] == "n"]
    assert taken == list(range(len(taken)))
    assert 0 < len(taken) < count
    (dropped,) = [note for note in heard.notes if note["kind"] == DROPPED]
    assert dropped["count"] == count - len(taken)
    assert heard.notes[-1]["kind"] == "after"
    assert heard.listener.problems == ()


def test_a_recorder_that_accepts_nobody_does_not_stop_a_program(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / NOTES))
        server.listen(0)
        crowd = []
        while True:
            one = socket.socket(socket.AF_UNIX)
            crowd.append(one)
            one.setblocking(False)
            try:
                one.connect(str(tmp_path / NOTES))
            except BlockingIOError:
                break
        notes = Notes(str(tmp_path), patience_s=0.05)
        within_a_while(lambda: notes.tell("a", {}))
        for one in crowd:
            one.close()


def test_a_note_that_is_too_long_counts_as_dropped(heard: Heard) -> None:
    heard.listener.start()
    notes = Notes(str(heard.folder))
    notes.tell("n", {"text": "x" * (1 << 20)})
    notes.tell("after", {})
    heard.close()
    assert [(note["kind"], note.get("count")) for note in heard.notes] == [
        (DROPPED, 1),
        ("after", None),
    ]


def test_dropped_notes_are_a_problem_of_the_record(tmp_path: Path) -> None:
    book = NoteBook(tmp_path, Redactor(b"key"))
    for count in (2, 3):
        book.add({"kind": DROPPED, "pid": 1, "count": count})
    book.close()
    assert observe(tmp_path).problems == (
        "5 notes of what programs fetched, asked or drew were not taken: thence did not hear them"
        " in time",
    )


def test_a_file_event_that_nobody_answers_does_not_stop_a_program_with_patience(
    tmp_path: Path,
) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / SOCKET))
        server.listen(1)
        channel = Channel(str(tmp_path), patience_s=0.05)
        within_a_while(lambda: channel.send("read", "/a", "", 1, ""))
    assert b"read\0/a" in (tmp_path / LATE).read_bytes()


def test_the_timeout_that_a_program_sets_for_its_sockets_is_not_for_ours(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / SOCKET))
        server.listen(1)

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                go_on.wait(30)
                connection.send(ANSWER)

        go_on = threading.Event()
        answering = threading.Thread(target=answer)
        answering.start()
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(1e-6)
        try:
            channel = Channel(str(tmp_path))
            asking = threading.Thread(target=channel.send, args=("read", "/a", "", 1, ""))
            asking.start()
            asking.join(0.05)  # long enough for such a timeout
            go_on.set()
            asking.join(30)
        finally:
            socket.setdefaulttimeout(before)
        answering.join(30)
    assert not (tmp_path / LATE).exists()


@pytest.mark.parametrize(
    "path", ["/v/lib/python3.11/site-packages/a/b.pyc", "/usr/lib/python3/dist-packages/c.so"]
)
def test_modules_of_packages_are_told_without_waiting(tmp_path: Path, path: str) -> None:
    heard: list[FileEvent] = []
    with Observer(Tally(heard.append), tmp_path) as observer:  # which does not listen yet
        channel = Channel(str(tmp_path))
        for _ in range(3):
            channel.send("read", path, "", 1, "")
        assert observer.late_events() == []
        channel.send("read", path, "", 2, "")
        assert observer.late_events() == []
    assert heard == [FileEvent(Action.READ, path, "", pid, "") for pid in (1, 1, 1, 2)]


def test_a_program_that_closes_all_descriptors_gets_nothing_of_ours_into_its_files(
    tmp_path: Path,
) -> None:
    code = (
        "import os, sys\n"
        "from thence.execution.inside.child import Channel\n"
        "channel = Channel(sys.argv[1])\n"
        "channel.send('read', '/x/site-packages/a.py', '', 1, '')\n"
        "os.closerange(3, 100)\n"
        "mine = open('mine', 'wb')\n"
        "channel.send('read', '/x/site-packages/b.py', '', 1, '')\n"
        "mine.write(b'of the program')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=tmp_path, check=True)
    assert (tmp_path / "mine").read_bytes() == b"of the program"
    heard: list[FileEvent] = []
    with Observer(Tally(heard.append), tmp_path) as observer:
        observer.late_events()
    assert [event.path[-4:] for event in heard] == ["a.py", "b.py"]


@pytest.mark.parametrize(
    ("action", "path"),
    [
        ("write", "/v/lib/python3.11/site-packages/a/b.py"),
        ("read", "/v/lib/python3.11/site-packages/a/data.csv"),
        ("read", "/home/me/project/a.py"),
    ],
)
def test_for_all_else_the_program_waits(tmp_path: Path, action: str, path: str) -> None:
    heard: list[FileEvent] = []
    with Observer(Tally(heard.append), tmp_path) as observer:
        Channel(str(tmp_path), patience_s=0.05).send(action, path, "", 1, "")
        assert heard == []
        assert [event.path for event in observer.late_events()] == [path]  # no answer came


def test_ctrl_c_at_any_line_leaves_no_thread_deaf() -> None:
    watcher = Watcher(lambda *_: None)
    first, last = (watcher.guarded.__code__.co_firstlineno, 40)
    for line in range(first, first + last):

        def trace(frame: FrameType, event: str, _: Any, line: int = line) -> Any:
            if frame.f_code is not watcher.guarded.__code__:
                return None
            if event == "line" and frame.f_lineno == line:
                sys.settrace(None)
                frame.f_trace = None
                raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            watcher.guarded(lambda _: None, None)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        heard: list[int] = []
        watcher.guarded(heard.append, line)
        assert heard == [line]


def test_secrets_are_taken_out_before_anything_is_written(tmp_path: Path) -> None:
    redactor = Redactor(b"key")
    secret = "hf_" + "Ab3dEf6hIj" * 3
    redactor.scrub_environment({"HF_TOKEN": secret})
    book = NoteBook(tmp_path, redactor)
    book.add({"kind": "x", "pid": 1, "url": f"https://a/{secret}", "deep": [{secret: secret}]})
    book.close()
    assert secret not in (tmp_path / "notes.jsonl").read_text()
    (note,) = read_notes(tmp_path)
    assert note["url"].startswith("https://a/<secret:")


def test_what_follows_the_name_of_a_secret_is_taken_out_of_arguments(tmp_path: Path) -> None:
    secret = "hunter2horse"
    book = NoteBook(tmp_path, Redactor(b"key"))
    words = ["train.py", "-p", "8080", "--password", secret, "--lr", "0.5"]
    book.add({"kind": "params", "origin": "argparse", "values": {}, "argv": words, "rest": words})
    book.close()
    (note,) = read_notes(tmp_path)
    placeholder = Redactor(b"key").placeholder(secret)
    assert note["argv"] == note["rest"] == [*words[:4], placeholder, *words[5:]]


def test_torn_lines_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_bytes(b'{"kind":"a"}\n[1]\n{"kind":1}\n{"kind":"b"}\n{"ki')
    assert [note["kind"] for note in read_notes(tmp_path)] == ["a", "b"]


def test_a_fold_that_fails_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_bytes(b'{"kind":"process","pid":"no number"}\n')
    seen = observe(tmp_path)
    assert seen.observed == ()
    assert len(seen.problems) == 1


@pytest.mark.parametrize("sensor", ["auto", "audit-hook"])
def test_each_python_of_a_command_is_heard(sensor: Any, tmp_path: Path) -> None:
    redactor = Redactor(b"key")
    book = NoteBook(tmp_path, redactor)
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'pass'])"
    launch(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=dict(os.environ),
        on_event=lambda _: None,
        on_note=book.add,
        sensor=sensor,
    )
    book.close()
    found = [one for one in observe(tmp_path).observed if isinstance(one, PythonProcess)]
    assert len({one.pid for one in found}) == 2
    version = f"cpython {sys.version.split()[0]}"
    assert {one.python for one in found} == {version}


PICKLED = """
import pickle, sqlite3, sys
for name in sys.argv[1:]:
    module, _, leaf = name.rpartition(".")
    __import__(module)
    function = getattr(sys.modules[module], leaf)
    assert pickle.loads(pickle.dumps(function)) is function, name
class Cursor(sqlite3.Cursor):
    def fetchall(self):
        return (row[0] for row in super().fetchall())
cursor = sqlite3.connect(":memory:").cursor(Cursor)
cursor.execute("values (1), (2)")
assert list(cursor.fetchall()) == [1, 2]
"""
GONE = """
import os, random
os.rmdir(os.getcwd())
exec(compile("random.seed(3)", "fit.py", "exec"))
assert random.random() == random.Random(3).random()
"""


def run(tmp_path: Path, sensor: Any, *words: str) -> tuple[int, list[dict[str, Any]]]:
    notes: list[dict[str, Any]] = []
    ended = launch(
        [sys.executable, *words],
        cwd=tmp_path,
        env=dict(os.environ),
        on_event=lambda _: None,
        on_note=lambda note: notes.append(dict(note)),
        sensor=sensor,
    )
    return ended.exit_code, notes


@pytest.mark.parametrize("sensor", ["auto", "audit-hook"])
def test_programs_do_with_what_is_wrapped_as_before(sensor: Any, tmp_path: Path) -> None:
    names = ["sqlite3.connect", "polars.read_csv", "polars.scan_parquet", "random.seed"]
    assert run(tmp_path, sensor, "-c", PICKLED, *names)[0] == 0


@pytest.mark.parametrize("sensor", ["auto", "audit-hook"])
def test_a_working_directory_that_is_gone_is_the_programs_own_affair(
    sensor: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    assert run(folder, sensor, "-c", GONE)[0] == 0


@pytest.mark.parametrize("sensor", ["auto", "audit-hook"])
def test_duckdb_is_heard_under_each_sensor(sensor: Any, tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    code = "import duckdb; print(duckdb.connect().execute('select 42').fetchall())"
    status, notes = run(tmp_path, sensor, "-c", code)
    assert status == 0
    assert [one["statement"] for one in notes if one["kind"] == "query"] == ["select 42"]
