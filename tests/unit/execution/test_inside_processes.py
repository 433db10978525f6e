"""What a program told is not told by its forks, nor taken for that of another in its process."""

import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from thence.execution.capture.queries import KINDS as QUERIES
from thence.execution.capture.queries import read_queries
from thence.execution.capture.remote import KINDS as REMOTE
from thence.execution.capture.remote import prepare_bodies, read_remote, remote_plan
from thence.execution.launch import launch

SENSORS = ["auto", "audit-hook"]

QUERY = """
import sqlite3
connection = sqlite3.connect(":memory:")
def ask():
    return connection.execute("select 42").fetchall()
"""


def run(tmp_path: Path, sensor: Any, code: str, *words: str) -> list[dict[str, Any]]:
    notes: list[dict[str, Any]] = []
    (tmp_path / "program.py").write_text(code)
    if not (tmp_path / "bodies").is_dir():
        prepare_bodies(tmp_path)
    ended = launch(
        [sys.executable, "program.py", *words],
        cwd=tmp_path,
        env=dict(os.environ),
        on_event=lambda _: None,
        on_note=lambda note: notes.append(dict(note)),
        sensor=sensor,
        plan=remote_plan(tmp_path),
    )
    assert ended.exit_code == 0
    return notes


def counts(notes: list[dict[str, Any]]) -> dict[str, int]:
    found = read_queries(one for one in notes if one["kind"] in QUERIES)
    return {one.statement: one.count for one in found.queries}


@pytest.fixture
def server() -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.path.encode() * 3
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


@pytest.mark.parametrize("sensor", SENSORS)
def test_two_programs_in_one_process_are_two(sensor: Any, server: str, tmp_path: Path) -> None:
    code = f"""{QUERY}
import os, sys, urllib.request
ask(); ask(); ask(); ask()
print(urllib.request.urlopen(sys.argv[1] + "/" + sys.argv[2]).read())
if sys.argv[2] == "first":
    os.execv(sys.executable, [sys.executable, "program.py", sys.argv[1], "second"])
"""
    notes = run(tmp_path, sensor, code, server, "first")
    assert counts(notes) == {"select 42": 8}
    assert len({one["pid"] for one in notes}) == 1
    found = read_remote((one for one in notes if one["kind"] in REMOTE), tmp_path)
    assert {name.rpartition("/")[2]: path.read_text() for name, path in found.bodies.items()} == {
        "first": "/first" * 3,
        "second": "/second" * 3,
    }


@pytest.mark.parametrize("sensor", SENSORS)
def test_forks_do_not_tell_what_their_parent_asked(sensor: Any, tmp_path: Path) -> None:
    code = f"""{QUERY}
import os, sys
ask(); ask(); ask()
cursor = connection.execute("values (1), (2)")
assert cursor.fetchone() == (1,)
child = os.fork()
if child == 0:
    if len(sys.argv) > 1:
        ask()
    del cursor
    sys.exit()
os.waitpid(child, 0)
assert cursor.fetchall() == [(2,)]
"""
    assert counts(run(tmp_path, sensor, code)) == {"select 42": 3, "values (1), (2)": 1}
    notes = run(tmp_path, sensor, code, "child asks")
    assert counts(notes) == {"select 42": 4, "values (1), (2)": 1}


@pytest.mark.parametrize("sensor", SENSORS)
def test_what_forked_workers_asked_is_told_at_their_end(sensor: Any, tmp_path: Path) -> None:
    code = f"""
import multiprocessing
def work():
    {QUERY.replace(chr(10), chr(10) + "    ")}
    ask(); ask(); ask()
if __name__ == "__main__":
    for how in ("fork", "spawn"):
        worker = multiprocessing.get_context(how).Process(target=work)
        worker.start()
        worker.join()
        assert worker.exitcode == 0
"""
    assert counts(run(tmp_path, sensor, code)) == {"select 42": 6}


@pytest.mark.parametrize("sensor", SENSORS)
def test_a_body_that_a_fork_has_too_is_its_parents(
    sensor: Any, server: str, tmp_path: Path
) -> None:
    code = """
import os, sys, urllib.request
answer = urllib.request.urlopen(sys.argv[1] + "/shared")
child = os.fork()
if child == 0:
    urllib.request.urlopen(sys.argv[1] + "/own").read()
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
assert answer.read() == b"/shared" * 3
"""
    notes = run(tmp_path, sensor, code, server)
    found = read_remote((one for one in notes if one["kind"] in REMOTE), tmp_path)
    assert {name.rpartition("/")[2]: path.read_text() for name, path in found.bodies.items()} == {
        "shared": "/shared" * 3,
        "own": "/own" * 3,
    }
