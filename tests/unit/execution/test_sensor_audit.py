"""The fallback sensor, and the sensor of this very process."""

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from thence.errors import Conflict
from thence.execution.events import CHANGED, CREATED, Action, Ended, FileEvent
from thence.execution.hearing import parse_events
from thence.execution.inprocess import InProcess, unobserved
from thence.execution.launch import CommandDenied, launch
from thence.execution.planting import Planted
from thence.execution.scanning import TreeScan


class Watched:
    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd
        self.events: list[FileEvent] = []
        self.env = dict(os.environ)

    def run(self, *command: str) -> Ended:
        return launch(
            command, cwd=self.cwd, env=self.env, on_event=self.events.append, sensor="audit-hook"
        )

    def python(self, code: str, *options: str) -> Ended:
        (self.cwd / "script.py").write_text(code)
        return self.run(sys.executable, *options, "script.py")

    def seen(self, action: Action) -> set[str]:
        below = f"{self.cwd}/"
        found = {e.target or e.path for e in self.events if e.action is action}
        return {path.removeprefix(below) for path in found if path.startswith(below)}


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"{name}\n")
    return Watched(tmp_path.resolve())


@pytest.mark.parametrize(
    ("call", "action", "name"),
    [
        ("open('a')", Action.READ, "a"),
        ("open('a', 'a')", Action.WRITE, "a"),
        ("open('a', 'r+')", Action.UPDATE, "a"),
        ("open('x', 'w')", Action.TRUNCATE, "x"),
        ("os.truncate('a', 1)", Action.TRUNCATE, "a"),
        ("os.rename('a', 'x')", Action.RENAME, "x"),
        ("os.replace('a', 'b')", Action.RENAME, "b"),
        ("os.remove('a')", Action.REMOVE, "a"),
        ("os.remove('a', dir_fd=os.open('.', 0))", Action.REMOVE, "a"),
        ("os.link('a', 'x')", Action.LINK, "x"),
        ("os.symlink('a', 'x')", Action.LINK, "x"),
        ("sqlite3.connect('x.db')", Action.UPDATE, "x.db"),
        ("sqlite3.connect('file:a?mode=ro', uri=True)", Action.READ, "a"),
        ("pathlib.Path('a').read_text()", Action.READ, "a"),
        ("shutil.copy('a', 'x')", Action.TRUNCATE, "x"),
        ("multiprocessing.get_context('fork').Pool(1).map(open, ['a', 'x'][:1])", "read", "a"),
        ("subprocess.run([sys.executable, '-c', 'open(\"a\")'])", Action.READ, "a"),
        ("os.execv(sys.executable, [sys.executable, '-c', 'open(\"a\")'])", Action.READ, "a"),
    ],
)
def test_what_python_does_is_seen(watched: Watched, call: str, action: Action, name: str) -> None:
    modules = "multiprocessing, os, pathlib, shutil, sqlite3, subprocess, sys"
    ended = watched.python(f"import {modules}\n{call}\n")
    assert name in watched.seen(Action(action))
    assert "script.py" in watched.seen(Action.READ)
    assert ended.report.name == "audit-hook"
    assert ended.report.completeness == "python-complete"
    assert ended.report.not_seen  # it says what such a sensor cannot see


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("subprocess.run(['sort', 'a'])", "sort"),
        ("subprocess.run('cat a', shell=True)", "sh"),
        ("os.system('cat a')", "sh"),
        ("os.posix_spawn('/bin/cat', ['cat', 'a'], os.environ)", "cat"),
        ("subprocess.run([sys.executable, '-I', '-c', '1'])", os.path.basename(sys.executable)),
        ("subprocess.run([sys.executable, '-sE', '-c', '1'])", os.path.basename(sys.executable)),
        ("subprocess.run([sys.executable], env={}, input=b'')", os.path.basename(sys.executable)),
    ],
)
def test_what_cannot_be_observed_is_named(watched: Watched, call: str, name: str) -> None:
    ended = watched.python(f"import os, subprocess, sys\n{call}\n")
    assert ended.report.completeness == "partial"
    assert f"1 process of the run was not observed: {name}." in " ".join(ended.report.not_seen)


def test_a_command_that_is_not_python_is_named(watched: Watched) -> None:
    ended = watched.run("cat", "a")
    assert "1 process of the run was not observed: cat." in " ".join(ended.report.not_seen)
    assert not watched.seen(Action.READ)


def test_python_below_a_shell_is_observed(watched: Watched) -> None:
    ended = watched.run("sh", "-c", f"{sys.executable} -c 'open(\"a\")'; exit 4")
    assert "a" in watched.seen(Action.READ)
    assert ended.exit_code == 4


def test_the_program_waits_for_the_recorder(watched: Watched) -> None:
    found = []

    def look(event: FileEvent) -> None:
        if event.path == str(watched.cwd / "a"):
            found.append((watched.cwd / "a").read_text())

    launch(
        [sys.executable, "-c", "open('a', 'w').write('new')"],
        cwd=watched.cwd,
        env=watched.env,
        on_event=look,
        sensor="audit-hook",
    )
    assert found == ["a\n"]


def test_the_users_own_sitecustomize_still_runs(watched: Watched) -> None:
    (watched.cwd / "mine").mkdir()
    (watched.cwd / "mine/sitecustomize.py").write_text("import builtins\nbuiltins.mine = 7\n")
    watched.env["PYTHONPATH"] = str(watched.cwd / "mine")
    ended = watched.python(
        "import sys, sitecustomize\n"
        "assert mine == 7 and sitecustomize.__file__.endswith('mine/sitecustomize.py')\n"
        "assert not any('thence-sensor' in entry for entry in sys.path)\n"
        "open('a')\n"
    )
    assert ended.exit_code == 0
    assert "a" in watched.seen(Action.READ)


def test_a_run_inside_a_run_is_told_by_the_inner_one(watched: Watched) -> None:
    code = (
        "import os, sys\n"
        "from thence.execution.launch import launch\n"
        "seen = []\n"
        "launch([sys.executable, '-c', 'open(\"a\")'], cwd='.', env=os.environ,\n"
        "       on_event=seen.append, sensor='audit-hook')\n"
        "assert sum(e.path.endswith('/a') for e in seen) == 1, seen\n"
    )
    ended = watched.python(code)
    assert ended.exit_code == 0
    assert ended.report.completeness == "partial"  # and the outer one says so


def test_threads_and_forks_at_once(watched: Watched) -> None:
    watched.python(
        "import os, threading\n"
        "def work(n):\n"
        "    for i in range(20):\n"
        "        open(f't{n}-{i}', 'w').close()\n"
        "threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]\n"
        "[t.start() for t in threads]\n"
        "for n in range(4, 8):\n"
        "    if not os.fork():\n"
        "        work(n); os._exit(0)\n"
        "for n in range(4, 8): os.wait()\n"
        "[t.join() for t in threads]\n"
    )
    assert {f"t{n}-{i}" for n in range(8) for i in range(20)} <= watched.seen(Action.TRUNCATE)


def test_a_file_that_is_no_program(watched: Watched) -> None:
    (watched.cwd / "x").write_bytes(b"#!/no/such/interpreter\n")
    (watched.cwd / "x").chmod(0o755)
    with pytest.raises(CommandDenied):
        watched.run("./x")


def test_native_readers_and_writers_are_seen_at_their_entry_points(watched: Watched) -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("polars")
    pytest.importorskip("pandas")
    ended = watched.python(
        "import pandas, polars, pyarrow as pa, pyarrow.csv, pyarrow.dataset, pyarrow.feather\n"
        "import pyarrow.parquet as pq\n"
        "table = pa.table({'x': [1, 2]})\n"
        "pq.write_table(table, '1.parquet'); pq.read_table('1.parquet')\n"
        "pandas.DataFrame({'x': [1]}).to_parquet('2.parquet'); pandas.read_parquet('2.parquet')\n"
        "polars.read_parquet('*.parquet').write_csv('3.csv')\n"
        "polars.scan_csv('3.csv').sink_parquet('4.parquet')\n"
        "pa.csv.write_csv(pa.csv.read_csv('3.csv'), '5.csv')\n"
        "pa.feather.write_feather(table, '6.arrow'); pa.memory_map('6.arrow', 'r')\n"
        "pa.dataset.write_dataset(pa.dataset.dataset('1.parquet'), 'folder', format='parquet')\n"
        "with pq.ParquetWriter('7.parquet', table.schema) as writer: writer.write(table)\n"
        "assert isinstance(pa.OSFile('5.csv'), pa.NativeFile)\n"
    )
    assert ended.exit_code == 0
    read, written = watched.seen(Action.READ), watched.seen(Action.TRUNCATE)
    assert {"1.parquet", "2.parquet", "3.csv", "6.arrow", "5.csv"} <= read
    assert {f"{n}.parquet" for n in (1, 2, 4, 7)} | {"3.csv", "5.csv", "6.arrow"} <= written
    assert "folder/part-0.parquet" in written


# Stand-ins for libraries that are not installed here: each opens files behind Python's back, as the
# real one does, with the real one's signature.
STAND_INS = {
    "h5py": "class File:\n    def __init__(self, name, mode='r', driver=None): pass\n",
    "duckdb": "def connect(database=':memory:', read_only=False): pass\ndef sql(query): pass\n",
    "lightgbm": "class Booster:\n    def __init__(self, params=None, train_set=None, "
    "model_file=None): pass\n    def save_model(self, filename): pass\n",
    "torch": "def load(f, map_location=None): pass\ndef save(obj, f): pass\n",
}


def test_wrappers_know_positions_keywords_and_modes(watched: Watched) -> None:
    for name, source in STAND_INS.items():
        (watched.cwd / f"{name}.py").write_text(source)
    ended = watched.python(
        "import duckdb, h5py, lightgbm, torch\n"
        "h5py.File('h1'); h5py.File('h2', 'w'); h5py.File(name='h3', mode='a')\n"
        "duckdb.connect('d1'); duckdb.sql(\"copy (select * from 'a') to 'd2'\")\n"
        "lightgbm.Booster(model_file='l1').save_model('l2')\n"
        "torch.save({}, 't1'); torch.load(f='t2')\n"
        "assert h5py.__spec__.loader.get_source('h5py')\n"
    )
    assert ended.exit_code == 0
    assert {"h1", "a", "l1", "t2"} <= watched.seen(Action.READ)
    assert {"h2", "d2", "l2", "t1"} <= watched.seen(Action.TRUNCATE)
    assert {"h3", "d1"} <= watched.seen(Action.UPDATE)


def test_wrappers_pass_for_what_they_wrap(watched: Watched) -> None:
    pytest.importorskip("pyarrow")
    ended = watched.python(
        "import inspect, pickle\n"
        "import pyarrow as pa, pyarrow.csv, pyarrow.fs, pyarrow.parquet as pq, pyarrow.dataset\n"
        "for one in (pa.csv.read_csv, pa.OSFile, pa.fs.LocalFileSystem, pq.read_table):\n"
        "    assert pickle.loads(pickle.dumps(one)) is one, one\n"
        "local = pickle.loads(pickle.dumps(pa.fs.LocalFileSystem()))\n"
        "assert isinstance(local, pa.fs.LocalFileSystem)\n"
        "assert isinstance(pa.fs.FileSystem.from_uri('file:///tmp')[0], pa.fs.LocalFileSystem)\n"
        "class Mine(pa.fs.LocalFileSystem): pass\n"
        "assert isinstance(Mine(), pa.fs.LocalFileSystem) and issubclass(Mine, pa.fs.FileSystem)\n"
        "assert not isinstance(local, Mine)\n"
        "pq.write_table(pa.table({'x': [1]}), 'x.parquet', filesystem=local)\n"
        "assert pa.dataset.dataset('x.parquet', filesystem=local).count_rows() == 1\n"
        "assert 'memory_map' in inspect.signature(pq.read_table).parameters\n"
        "try: pa.csv.read_csv('not-there.csv')\n"
        "except FileNotFoundError: pass\n"
    )
    assert ended.exit_code == 0


def test_what_nobody_told_of_is_found(watched: Watched) -> None:
    (watched.cwd / "script.py").write_text(
        "import os, subprocess\n"
        "subprocess.run(['cp', 'a', 'new'])\n"
        "subprocess.run('echo more >> b; rm c', shell=True)\n"
        "open('told', 'w').close()\n"
    )
    (watched.cwd / "c").touch()
    ended = launch(
        [sys.executable, "script.py"],
        cwd=watched.cwd,
        env=watched.env,
        on_event=watched.events.append,
        sensor="audit-hook",
        scan=lambda: TreeScan(str(watched.cwd)),
    )
    found = {
        os.path.basename(event.path): event.detail
        for event in watched.events
        if event.detail in {CREATED, CHANGED}
    }
    assert found == {"new": CREATED, "b": CHANGED}
    said = " ".join(ended.report.not_seen)
    assert "2 processes of the run were not observed: cp, sh." in said
    assert "2 files (b, new) were written by what was not observed" in said
    assert "1 file (b) was changed so, and what was there before is not kept." in said
    assert "1 file (c) was removed so" in said
    assert ended.report.completeness == "partial"


def test_without_the_variable_what_is_planted_does_nothing(tmp_path: Path) -> None:
    with Planted() as planted:
        code = (
            "import sys\n"
            f"sys.path.insert(0, {str(planted.folder)!r})\n"
            "before = list(sys.meta_path)\n"
            "from thence_inside import observation\n"
            "observation.begin()\n"
            "assert sys.meta_path == before\n"
            "assert not any(name.split('.')[0] == 'thence' for name in sys.modules)\n"
        )
        subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, cwd=tmp_path)


def test_half_an_event_waits_for_the_rest() -> None:
    body = b"\0".join([b"read", b"/\xff", b"", b"7", b""])
    message = len(body).to_bytes(4, "big") + body
    events, rest = parse_events(message + message[:9])
    assert events == [FileEvent(Action.READ, "/\udcff", "", 7, "")]
    assert rest == message[:9]


# -- this process ---------------------------------------------------------------------------------


@pytest.fixture
def events() -> list[FileEvent]:
    return []


@pytest.fixture
def sensor(events: list[FileEvent]) -> Iterator[InProcess]:
    sensor = InProcess(events.append)
    sensor.start()
    yield sensor
    sensor.stop()


def paths(events: list[FileEvent]) -> list[str]:
    return [event.path for event in events]


def test_in_process_only_while_on(
    sensor: InProcess, events: list[FileEvent], tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("x")
    report = sensor.stop()
    (tmp_path / "b").write_text("x")
    assert str(tmp_path / "a") in paths(events)
    assert str(tmp_path / "b") not in paths(events)
    assert report.events == len(events)
    assert sensor.stop() == report


def test_in_process_again_sees_the_same_file_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    for _ in range(2):
        events: list[FileEvent] = []
        sensor = InProcess(events.append)
        sensor.start()
        (tmp_path / "a").read_text()
        sensor.stop()
        assert str(tmp_path / "a") in paths(events)


def test_in_process_does_not_see_what_the_recorder_does(tmp_path: Path) -> None:
    seen = []

    def record(event: FileEvent) -> None:
        (tmp_path / "journal").open("a").close()
        seen.append(event.path)

    sensor = InProcess(record)
    sensor.start()
    try:
        (tmp_path / "a").write_text("x")
        with unobserved():
            (tmp_path / "b").write_text("x")
        (tmp_path / "c").write_text("x")
    finally:
        sensor.stop()
    assert [os.path.basename(path) for path in seen if "journal" not in path][-2:] == ["a", "c"]
    assert str(tmp_path / "journal") not in seen


def test_in_process_sees_threads_one_at_a_time(tmp_path: Path) -> None:
    inside = []
    overlaps = []

    def make(n: int) -> None:
        for i in range(50):
            (tmp_path / f"{n}-{i}").touch()

    def record(event: FileEvent) -> None:
        inside.append(event)
        overlaps.append(len(inside) > 1)
        inside.pop()

    sensor = InProcess(record)
    sensor.start()
    try:
        work = [threading.Thread(target=make, args=(n,)) for n in range(4)]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
    finally:
        report = sensor.stop()
    assert report.events >= 200
    assert not any(overlaps)


def test_in_process_hears_of_forked_children(
    sensor: InProcess, events: list[FileEvent], tmp_path: Path
) -> None:
    pid = os.fork()
    if pid == 0:
        (tmp_path / "from-child").write_text("x")
        os._exit(0)
    os.waitpid(pid, 0)
    assert str(tmp_path / "from-child") in paths(events)  # before the child had gone on
    assert sensor.stop().completeness == "python-complete"


def test_in_process_hears_of_children_that_are_python(
    sensor: InProcess, events: list[FileEvent], tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("x")
    subprocess.run([sys.executable, "-c", "open('a')"], check=True, cwd=tmp_path)
    context = multiprocessing.get_context("spawn")
    worker = context.Process(target=os.mkdir, args=(str(tmp_path / "made"),))
    worker.start()
    worker.join()
    report = sensor.stop()
    reads = [event for event in events if event.path == str(tmp_path / "a")]
    assert {event.pid == os.getpid() for event in reads} == {True, False}
    assert str(tmp_path / "made") in paths(events)
    assert report.completeness == "python-complete"
    assert "THENCE_SENSOR" not in os.environ


def test_in_process_a_fork_that_outlives_the_run_goes_on(tmp_path: Path) -> None:
    sensor = InProcess(lambda _: None)
    sensor.start()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(read, 1)
        (tmp_path / "afterwards").write_text("x")
        os._exit(0)
    sensor.stop()
    os.write(write, b"x")
    assert os.waitpid(pid, 0)[1] == 0
    assert (tmp_path / "afterwards").exists()


def test_in_process_names_children_that_it_cannot_see(sensor: InProcess) -> None:
    subprocess.run([sys.executable, "-I", "-c", "1"], check=True)
    subprocess.run(["cat", "/dev/null"], check=True)
    subprocess.run(["cat", "/dev/null"], check=True)
    name = os.path.basename(sys.executable)
    assert (
        f"3 processes of the run were not observed: {name}, cat (2 times)."
        in (sensor.stop().not_seen[-1])
    )


def test_in_process_survives_a_recorder_that_fails(tmp_path: Path) -> None:
    def fail(_event: FileEvent) -> None:
        raise RuntimeError("full")

    sensor = InProcess(fail)
    sensor.start()
    (tmp_path / "a").write_text("x")
    sensor.stop()
    assert sensor.problems[0].endswith("RuntimeError: full")


def test_in_process_is_one_at_a_time(sensor: InProcess) -> None:
    with pytest.raises(Conflict):
        InProcess(lambda _: None).start()
