"""Programs find in sqlite3 what they would have found: classes and what they derive from them."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from thence.execution.launch import launch

AS_BEFORE = """
import abc, copy, pickle, sqlite3
connection = sqlite3.connect(":memory:")
cursor = connection.execute("select 1")
assert type(connection) is sqlite3.Connection is sqlite3.dbapi2.Connection
assert type(cursor) is type(connection.cursor()) is sqlite3.Cursor
assert isinstance(connection, sqlite3.Connection) and isinstance(cursor, sqlite3.Cursor)
for function in (pickle.dumps, copy.copy, copy.deepcopy):
    for one in (connection, cursor):
        try:
            function(one)
        except TypeError:
            continue
        raise AssertionError(function)
for one in (connection, cursor):
    try:
        one.anything = 1
    except AttributeError:
        continue
    raise AssertionError
for one in (sqlite3.Connection, sqlite3.Cursor, sqlite3.connect):
    assert pickle.loads(pickle.dumps(one)) is one
class Program:
    connect = sqlite3.connect
Program().connect(":memory:").close()
with sqlite3.connect(":memory:") as other:
    connection.backup(other)
assert sqlite3.Connection(":memory:").execute("values (3)").fetchone() == (3,)
"""
HEIRS = """
import abc, sqlite3
class Told(type):
    known = []
    def __init__(cls, *words):
        Told.known.append(cls)
class Mine(sqlite3.Connection, metaclass=Told):
    known = []
    def __init_subclass__(cls):
        Mine.known.append(cls)
class Abstract(sqlite3.Connection, abc.ABC):
    pass
class Cursor(sqlite3.Cursor):
    known = []
    def __init_subclass__(cls):
        Cursor.known.append(cls)
for kind in (Mine, Abstract):
    connection = sqlite3.connect("a.db", factory=kind)
    assert type(connection) is kind
    cursor = connection.cursor(Cursor)
    assert type(cursor) is Cursor
    cursor.execute("values (1), (2)")
    assert list(cursor) == [(1,), (2,)]
    assert connection.execute("select 'as of its parent'").fetchall()
assert Told.known == [Mine] and Mine.known == Cursor.known == []
"""


def run(tmp_path: Path, code: str, sensor: Any) -> list[dict[str, Any]]:
    notes: list[dict[str, Any]] = []
    ended = launch(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=dict(os.environ),
        on_event=lambda _: None,
        on_note=lambda note: notes.append(dict(note)),
        sensor=sensor,
    )
    assert ended.exit_code == 0
    return [one for one in notes if one["kind"] == "query"]


@pytest.mark.parametrize("sensor", ["auto", "audit-hook"])
def test_connections_are_what_they_were(sensor: Any, tmp_path: Path) -> None:
    assert any(one["rows"] == 1 for one in run(tmp_path, AS_BEFORE, sensor))


@pytest.mark.parametrize("sensor", ["auto", "audit-hook"])
def test_classes_of_the_program_get_no_heirs_and_tell(sensor: Any, tmp_path: Path) -> None:
    found = run(tmp_path, HEIRS, sensor)
    database = str(tmp_path / "a.db")
    assert {(one["database"], one["statement"]): one["count"] for one in found} == {
        (database, "values (1), (2)"): 2,
        (database, "select 'as of its parent'"): 2,
    }
