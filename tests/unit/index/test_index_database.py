import fcntl
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from index_samples import SampleLogs, run_id

from patience import PATIENCE_S
from thence.errors import DataDamaged, InternalError, InvalidInput, StorageError
from thence.index import Index, LogItem, connection
from thence.index.artifacts import artifacts
from thence.index.database import LogProgress
from thence.model.ids import Digest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "index.sqlite"


def names(index: Index) -> list[str]:
    return [str(found.name) for found in artifacts(index)]


def sample(*artifact_names: str) -> list[LogItem]:
    logs = SampleLogs()
    for name in artifact_names:
        logs.version(name)
    return logs.items()


def test_an_index_is_kept_in_its_file(path: Path) -> None:
    with Index(path) as index:
        assert index.ingest(sample("a")) == 1
        assert (index.path, index.in_memory) == (path, False)
        assert index.select("PRAGMA journal_mode") == [("wal",)]
    with Index(str(path)) as index:
        assert names(index) == ["a"]


def test_an_index_in_memory_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Index(":memory:") as index:
        index.ingest(sample("a"))
        assert (index.path, index.in_memory) == (None, True)
    assert list(tmp_path.iterdir()) == []


def test_repeating_is_harmless_and_counts_nothing(path: Path) -> None:
    with Index(path) as index:
        assert index.ingest(sample("a", "b")) == 2
        assert index.ingest([*sample("a", "b"), *sample("a", "b")]) == 0


def test_an_index_of_another_schema_version_is_emptied(path: Path) -> None:
    with Index(path) as index:
        index.ingest(sample("a"))
        index.select("PRAGMA user_version = 999")
        index.select("CREATE TABLE of_the_future (x)")
    with Index(path) as index:
        assert names(index) == []
        assert index.refreshed_at is None
        assert index.select("SELECT name FROM sqlite_master WHERE name = 'of_the_future'") == []
        index.ingest(sample("b"))
        assert names(index) == ["b"]


@pytest.mark.parametrize(
    "content", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 4000]
)
def test_a_file_that_is_no_database_is_replaced(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with Index(path) as index:
        index.ingest(sample("a"))
        assert not index.in_memory
    with Index(path) as index:
        assert names(index) == ["a"]


def test_damage_inside_is_named_and_clear_repairs_it(path: Path) -> None:
    logs = SampleLogs()
    for number in range(300):
        logs.version(f"a{number}")
    with Index(path) as index:
        index.ingest(logs.items())
        found = index.select("SELECT rootpage FROM sqlite_master WHERE tbl_name = 'artifacts'")
        ((page_bytes,),) = index.select("PRAGMA page_size")
    data = bytearray(path.read_bytes())
    for (page,) in found:
        start = (page - 1) * page_bytes
        data[start : start + page_bytes] = b"\xff" * page_bytes
    path.write_bytes(bytes(data))
    with Index(path) as index:
        with pytest.raises(DataDamaged) as caught:
            artifacts(index)
        assert isinstance(caught.value.__cause__, sqlite3.Error)
        assert caught.value.hint == "Rebuild it: thence index rebuild"
        index.clear()
        assert index.ingest(logs.items()) == 300
    with Index(path) as index:
        assert len(names(index)) == 300


def test_who_finds_the_damage_second_waits_and_leaves_the_new_file(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 100)
    replaced: list[sqlite3.Connection] = []
    with path.with_name("index.sqlite.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=lambda: replaced.append(connection.replace(path)))
        second.start()
        second.join(0.2)
        assert second.is_alive()
        with Index(path.with_name("new.sqlite")) as index:
            index.ingest(sample("a"))
        path.with_name("new.sqlite").replace(path)
    second.join(30)
    assert replaced[0].execute("SELECT name FROM artifacts").fetchall() == [("a",)]
    replaced[0].close()


def test_a_database_of_something_else_is_not_touched(path: Path) -> None:
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE precious (x)")
    other.commit()
    other.close()
    with pytest.raises(InvalidInput, match="not an index of thence"):
        Index(path)
    other = sqlite3.connect(path)
    assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("precious",)]
    other.close()


def _a_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def _below_a_file(path: Path) -> Path:
    path.parent.write_text("a file")
    return path


def _read_only(path: Path) -> Path:
    Index(path).close()
    path.chmod(0o444)
    path.parent.chmod(0o555)
    return path


def _where_nobody_may_write(path: Path) -> Path:
    return Path("/proc") / path.name


@pytest.mark.parametrize("spoil", [_a_folder, _below_a_file, _read_only, _where_nobody_may_write])
def test_where_nothing_can_be_written_the_index_is_in_memory(
    path: Path, spoil: Callable[[Path], Path]
) -> None:
    if spoil is _read_only and os.geteuid() == 0:
        pytest.skip("root may write to read-only folders")
    with Index(spoil(path)) as index:
        assert (index.path, index.in_memory) == (None, True)
        index.ingest(sample("a"))
        assert names(index) == ["a"]
    if spoil is _read_only:
        path.parent.chmod(0o755)


def test_clear_forgets_everything(path: Path) -> None:
    with Index(path) as index:
        index.ingest(sample("a"))
        index.mark_refreshed(SampleLogs().now)
        index.clear()
        assert (names(index), index.refreshed_at) == ([], None)
        assert index.progress("refs/artifacts/a/@") == LogProgress(0, 0)
        assert index.ingest(sample("a")) == 1


def test_progress_knows_gaps() -> None:
    logs = SampleLogs()
    for _ in range(4):
        logs.version("a")
    one, two, three, four = logs.items()
    with Index(":memory:") as index:
        seen = []
        for item in (three, one, four, two):
            index.ingest([item])
            seen.append(tuple(index.progress(item.log)))
    assert seen == [(0, 3), (1, 3), (1, 4), (4, 4)]


def test_a_batch_goes_in_whole_or_not_at_all(path: Path) -> None:
    first, second = sample("a", "b")
    logs = SampleLogs()
    conflicting = logs.append(first.log, logs.version("other"), by="bob")
    with Index(path) as index:
        index.ingest([first])
        with pytest.raises(DataDamaged, match="another entry 1"):
            index.ingest([second, conflicting])
        assert names(index) == ["a"]
        assert index.ingest([second]) == 1


def test_missing_contents_are_named_the_latest_run_first() -> None:
    logs = SampleLogs()
    for number in range(3):
        logs.sealed(run_id(number), files=Digest.of(str(number).encode()))
    logs.sealed(run_id(9), files=logs.put(b""))
    with Index(":memory:") as index:
        index.ingest(logs.items(), logs.contents)
        found = [(item.log, item.number) for item in index.missing(2)]
    assert found == [(f"refs/runs/{run_id(2)}", 1), (f"refs/runs/{run_id(1)}", 1)]


def test_a_file_that_another_process_holds_is_a_transient_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_BUSY_TIMEOUT_S", 0.05)
    with Index(path) as index:
        holder = sqlite3.connect(path)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError) as caught:
            index.ingest(sample("a"))
        assert caught.value.transient
        assert names(index) == []  # reading goes on
        holder.execute("ROLLBACK")
        holder.close()
        assert index.ingest(sample("a")) == 1


def test_errors_of_sqlite_do_not_leave(path: Path) -> None:
    index = Index(path)
    with pytest.raises(StorageError):
        index.select("SELECT nothing FROM nowhere")
    with pytest.raises(InternalError):
        index.select("SELECT ?", ())
    index.close()
    index.close()
    with pytest.raises(StorageError, match="the index is closed"):
        names(index)
    with pytest.raises(StorageError, match="the index is closed"):
        index.ingest(sample("a"))


def test_threads_may_share_an_index(path: Path) -> None:
    logs = SampleLogs()
    for number in range(60):
        logs.version(f"a{number % 6}", tags={"n": str(number)})
    items = logs.items()
    failures: list[Exception] = []

    def work(part: int) -> None:
        try:
            for item in items[part::4]:
                index.ingest([item])
                artifacts(index)
        except Exception as error:
            failures.append(error)

    with Index(path) as index:
        threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert sum(found.versions for found in artifacts(index)) == 60


_PROCESS = """
import sys
sys.path.insert(0, sys.argv[1])
from index_samples import SampleLogs
from thence.index import Index
path, part = sys.argv[2], int(sys.argv[3])
logs = SampleLogs()
for number in range(40):
    logs.version(f"a{number}")
sys.stdin.readline()
with Index(path) as index:
    for item in logs.items()[part::8]:
        index.ingest([item])
    print(index.in_memory)
"""


@pytest.mark.parametrize("before", ["nothing", "damaged", "of another schema"])
def test_processes_that_open_at_once_end_with_one_index(path: Path, before: str) -> None:
    path.parent.mkdir()
    if before == "damaged":
        path.write_bytes(b"not a database" * 1000)
    elif before == "of another schema":
        with Index(path) as index:
            index.ingest(sample("old"))
            index.select("PRAGMA user_version = 999")
    arguments = [sys.executable, "-c", _PROCESS, str(Path(__file__).parent), str(path)]
    processes = [
        subprocess.Popen(
            [*arguments, str(part)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for part in range(8)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ends = [(process.communicate(timeout=PATIENCE_S), process.returncode) for process in processes]
    for (out, errors), status in ends:
        assert (status, out.strip()) == (0, "False"), errors
    with Index(path) as index:
        assert names(index) == sorted(f"a{number}" for number in range(40))
