"""What the record of a run holds of what databases were asked."""

import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

import postgres as postgres_server
from thence.execution.inside.rows import HASHED_AT_MOST
from thence.execution.supervisor import probe
from thence.index.views import RunDetail
from thence.model.observed import Query, decode_observed
from workshop import Workshop

SENSORS = [
    pytest.param(
        "seccomp", marks=pytest.mark.skipif(probe() is not None, reason=f"no sensor: {probe()}")
    ),
    "audit-hook",
]
ROWS = b'[[0,"n0"],[1,"n1"],[2,"n2"]]'
SELECT = "select a, b from t where a < ? order by a"


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    found = Workshop(tmp_path / "project")
    with sqlite3.connect(found.root / "a.db") as made:
        made.execute("create table t (a integer, b text)")
        made.executemany("insert into t values (?, ?)", [(one, f"n{one}") for one in range(10)])
    made.close()
    return found


def queries(workshop: Workshop, run: RunDetail) -> list[Query]:
    assert run.sealed is not None
    assert run.exit_code == 0, workshop.read(run.sealed.stderr)
    if run.sealed.observed is None:
        return []
    lines = workshop.read(run.sealed.observed).splitlines()
    return [one for one in decode_observed(lines) if isinstance(one, Query)]


WAYS = {
    "fetchall": "rows = connection.execute(SELECT, (3,)).fetchall()",
    "cursor": "rows = list(connection.cursor().execute(SELECT, (3,)))",
    "row by row": """
cursor = connection.cursor()
cursor.execute(SELECT, (3,))
rows = []
while (row := cursor.fetchone()) is not None:
    rows.append(row)
""",
    "pieces": """
cursor = connection.execute(SELECT, (3,))
rows = [*cursor.fetchmany(2), *cursor.fetchmany(2)]
""",
    "rows by name": """
connection.row_factory = sqlite3.Row
rows = connection.execute(SELECT, (3,)).fetchall()
assert rows[0]["b"] == "n0"
""",
}


@pytest.mark.parametrize("sensor", SENSORS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_sqlite_leaves_statement_parameters_and_digest(
    workshop: Workshop, way: str, sensor: str
) -> None:
    script = f"""
import sqlite3
SELECT = {SELECT!r}
connection = sqlite3.connect("a.db")
assert isinstance(connection, sqlite3.Connection)
assert isinstance(connection.cursor(), sqlite3.Cursor)
connection.execute("pragma user_version").fetchall()
connection.execute("begin")
{way}
assert len(rows) == 3
connection.rollback()
connection.close()
"""
    (one,) = queries(workshop, workshop.script(script, sensor=sensor))
    assert one.database == str(workshop.root / "a.db")
    assert (one.via, one.statement, one.parameters) == ("sqlite3", SELECT, "[3]")
    assert one.rows == 3
    assert one.digest is not None
    assert one.digest.hex == sha256(ROWS).hexdigest()


def test_equal_queries_are_counted(workshop: Workshop) -> None:
    script = f"""
import sqlite3
connection = sqlite3.connect("a.db")
for _ in range(11):
    connection.execute({SELECT!r}, (3,)).fetchall()
"""
    (one,) = queries(workshop, workshop.script(script))
    assert one.count == 11


def test_a_factory_of_the_program_is_its_own(workshop: Workshop) -> None:
    script = f"""
import sqlite3
class Mine(sqlite3.Connection):
    def hello(self):
        return 7
class Cursor(sqlite3.Cursor):
    def first(self):
        return self.fetchone()[0]
connection = sqlite3.connect("a.db", factory=Mine)
assert isinstance(connection, Mine) and connection.hello() == 7
cursor = connection.cursor(Cursor)
assert cursor.execute({SELECT!r}, (3,)).first() == 0
try:
    connection.execute("select x from nowhere")
except sqlite3.OperationalError as error:
    assert 'no such' in str(error)
else:
    raise AssertionError
"""
    (one,) = queries(workshop, workshop.script(script))
    assert (one.rows, one.via) == (1, "sqlite3")


LATE = """
import sqlite3
class Mine(sqlite3.Connection):
    known = []
    def __init_subclass__(cls):
        Mine.known.append(cls)
before, connect = sqlite3.connect(":memory:"), sqlite3.connect
import thence
with thence.run():
    assert isinstance(before, sqlite3.Connection)
    after = sqlite3.connect(":memory:")
    assert isinstance(after, sqlite3.Connection)
    assert after.execute("values (8)").fetchall() == [(8,)]
    mine = sqlite3.connect(":memory:", factory=Mine)
    assert type(mine) is Mine and Mine.known == []
    assert mine.execute("values (9)").fetchall() == [(9,)]
"""


def test_classes_that_a_run_finds_stay_what_they_are(workshop: Workshop) -> None:
    workshop.write("inside.py", LATE)
    subprocess.run([sys.executable, "inside.py"], cwd=workshop.root, check=True, timeout=120)
    run = workshop.project.find_run("run:last")
    assert run.sealed is not None
    assert run.sealed.observed is not None
    found = decode_observed(workshop.read(run.sealed.observed).splitlines())
    asked = {one.statement for one in found if isinstance(one, Query)}
    assert "values (8)" in asked


def test_of_many_rows_the_first_are_hashed(workshop: Workshop) -> None:
    many = HASHED_AT_MOST + 5
    script = f"""
import sqlite3
connection = sqlite3.connect("a.db")
numbers = "with recursive n(a) as (select 0 union all select a + 1 from n limit {many})"
for row in connection.execute(numbers + " select a from n"):
    pass
"""
    (one,) = queries(workshop, workshop.script(script))
    first = b"[" + b",".join(b"[%d]" % number for number in range(HASHED_AT_MOST)) + b"]"
    assert (one.rows, one.digest_rows) == (many, HASHED_AT_MOST)
    assert one.digest is not None
    assert one.digest.hex == sha256(first).hexdigest()


def test_half_characters_are_recorded(workshop: Workshop) -> None:
    script = """
import os, sqlite3
connection = sqlite3.connect(os.fsdecode(b"\\xff.db"))
cursor = connection.cursor()
try:
    connection.execute("select ?", ["\\udc80"]).fetchall()
except UnicodeEncodeError:
    pass
connection.text_factory = lambda data: data.decode("ascii", "surrogateescape")
(row,) = connection.execute("select cast(x'80' as text), ?", ["a"]).fetchall()
assert row[0] == "\\udc80"
"""
    (one,) = queries(workshop, workshop.script(script))
    assert (one.rows, one.database) == (1, str(workshop.root) + "/\\udcff.db")


def test_a_result_through_sqlalchemy_is_one_entry(workshop: Workshop) -> None:
    pytest.importorskip("sqlalchemy")
    script = """
import sqlalchemy
engine = sqlalchemy.create_engine("sqlite:///a.db")
with engine.connect() as connection:
    text = sqlalchemy.text("select a, b from t where a < :most order by a")
    assert len(connection.execute(text, {"most": 3}).all()) == 3
engine.dispose()
"""
    (one,) = queries(workshop, workshop.script(script))
    assert (one.via, one.statement, one.rows) == ("sqlalchemy", SELECT, 3)
    assert one.digest is not None
    assert one.digest.hex == sha256(ROWS).hexdigest()


def test_duckdb_leaves_what_connections_and_relations_give(workshop: Workshop) -> None:
    pytest.importorskip("duckdb")
    pytest.importorskip("pandas")
    script = """
import duckdb
with duckdb.connect("d.duckdb") as connection:
    connection.execute("create table t as select range a, 'n' || range b from range(10)")
    asked = connection.execute("select a, b from t where a < ? order by a", [3])
    assert len(asked.fetchall()) == 3
    frame = connection.sql("select a, b from t where a < 3 order by a").df()
    assert len(frame) == 3
"""
    found = queries(workshop, workshop.script(script))
    first, second = sorted(found, key=lambda one: one.parameters is None)
    assert first.database == str(workshop.root / "d.duckdb")
    assert (first.via, first.parameters, first.rows, second.rows) == ("duckdb", "[3]", 3, 3)
    assert first.digest is not None
    assert first.digest.hex == sha256(ROWS).hexdigest()
    assert second.digest == first.digest


def test_adbc_leaves_rows_and_tables(workshop: Workshop) -> None:
    pytest.importorskip("adbc_driver_sqlite")
    pytest.importorskip("pyarrow")
    script = """
import adbc_driver_sqlite.dbapi
with adbc_driver_sqlite.dbapi.connect("a.db") as connection:
    for fetch in ("fetchall", "fetch_arrow_table"):
        with connection.cursor() as cursor:
            cursor.execute("select a, b from t where a < 3 order by a")
            assert len(getattr(cursor, fetch)()) == 3
"""
    (one,) = queries(workshop, workshop.script(script))
    assert (one.database, one.rows, one.count) == (str(workshop.root / "a.db"), 3, 2)
    assert one.digest is not None
    assert one.digest.hex == sha256(ROWS).hexdigest()


def test_secret_parameters_are_not_kept(workshop: Workshop) -> None:
    script = """
import sqlite3
connection = sqlite3.connect("a.db")
given = {"password": "hidden-word-83", "most": 3}
connection.execute("select a from t where a < :most and b <> :password", given).fetchall()
"""
    (one,) = queries(workshop, workshop.script(script))
    assert one.parameters is not None
    assert re.fullmatch(r"\{'password': '<secret:\w{16}>', 'most': 3\}", one.parameters)


def test_a_long_list_is_cut(workshop: Workshop) -> None:
    script = """
import sqlite3
connection = sqlite3.connect("a.db")
for number in range(10_005):
    connection.execute(f"select a + {number} from t limit 1").fetchall()
"""
    run = workshop.script(script)
    assert len(queries(workshop, run)) == 10_000
    assert run.sealed is not None
    assert any("5 more queries" in problem for problem in run.sealed.problems)


@pytest.fixture(scope="module")
def postgres() -> Iterator[postgres_server.Postgres]:
    if reason := postgres_server.available():
        pytest.skip(reason)
    with postgres_server.postgres() as found:
        yield found


POSTGRES = {
    "psycopg": """
import psycopg
with psycopg.connect(URL) as connection:
    connection.execute("create temp table t as select g as a, 'n' || g as b"
                       " from generate_series(0, 9) g")
    rows = connection.execute("select a, b from t where a < %s order by a", [3]).fetchall()
""",
    "psycopg2": """
import psycopg2, psycopg2.extensions
connection = psycopg2.connect(URL)
assert isinstance(connection, psycopg2.extensions.connection)
cursor = connection.cursor()
cursor.execute("create temp table t as select g as a, 'n' || g as b from generate_series(0, 9) g")
cursor.execute("select a, b from t where a < %s order by a", [3])
rows = list(cursor)
connection.close()
""",
    "psycopg2 by name": """
import psycopg2, psycopg2.extensions, psycopg2.extras, psycopg2.sql
class Mine(psycopg2.extensions.connection):
    pass
connection = psycopg2.connect(URL, connection_factory=Mine)
assert type(connection) is Mine
connection.close()
connection = psycopg2.connect(URL, cursor_factory=psycopg2.extras.DictCursor)
assert type(connection) is psycopg2.extensions.connection
assert type(psycopg2.connect(URL).cursor()) is psycopg2.extensions.cursor
with connection, connection.cursor() as cursor:
    assert type(cursor) is psycopg2.extras.DictCursor
    cursor.execute("create temp table t as select g as a, 'n' || g as b"
                   " from generate_series(0, 9) g")
    cursor.execute(psycopg2.sql.SQL("select a, b from t where a < %s order by a"), [3])
    rows = cursor.fetchall()
    assert rows[0]["b"] == "n0"
connection.close()
""",
    "sqlalchemy": """
import psycopg, sqlalchemy
engine = sqlalchemy.create_engine(URL.replace("postgresql", "postgresql+psycopg"))
with engine.connect() as connection:
    connection.execute(sqlalchemy.text(
        "create temp table t as select g as a, 'n' || g as b from generate_series(0, 9) g"))
    rows = connection.execute(
        sqlalchemy.text("select a, b from t where a < :most order by a"), {"most": 3}).all()
engine.dispose()
""",
    "asynchronous": """
import asyncio, psycopg
async def main():
    async with await psycopg.AsyncConnection.connect(URL) as connection:
        await connection.execute("create temp table t as select g as a, 'n' || g as b"
                                 " from generate_series(0, 9) g")
        cursor = await connection.execute("select a, b from t where a < %s order by a", [3])
        return [row async for row in cursor]
rows = asyncio.run(main())
""",
}


@pytest.mark.parametrize("sensor", SENSORS)
@pytest.mark.parametrize("way", POSTGRES)
def test_postgresql_leaves_rows_and_is_no_unknown_connection(
    workshop: Workshop, postgres: postgres_server.Postgres, way: str, sensor: str
) -> None:
    for name in {"asynchronous": ["psycopg"], "sqlalchemy": ["psycopg", "sqlalchemy"]}.get(
        way, [way.partition(" ")[0]]
    ):
        pytest.importorskip(name)
    script = f"URL = {postgres.url!r}\n{POSTGRES[way]}\nassert len(rows) == 3\n"
    run = workshop.script(script, sensor=sensor)
    (one,) = queries(workshop, run)
    assert one.database == f"postgresql://127.0.0.1:{postgres.port}/postgres"
    assert one.via == {"asynchronous": "psycopg"}.get(way, way.partition(" ")[0])
    assert one.rows == 3
    assert one.digest is not None
    assert one.digest.hex == sha256(ROWS).hexdigest()
    assert run.sealed is not None
    assert run.sealed.connections == ()
