"""Computing again what an ingestion touched: logs, artifacts, runs, missing contents.

Each row made here is a function of the other tables alone, so what was computed last is right
whatever came before it.
"""

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from thence.index.ingest import COLUMNS, Row
from thence.model.numbers import LOCAL

__all__ = ["Touched", "settle", "touched_by"]

_RUN_TABLES = {"run_states", "run_edits", "run_tombstones", "verdicts"}
_ARTIFACT_TABLES = {"versions", "tombstones", "artifact_edits"}
_CONTENT_COLUMNS = tuple((role, COLUMNS["run_states"].index(role)) for role in ("files", "series"))


class Touched(NamedTuple):
    """What has to be computed again.

    Attributes:
        contents: Role and digest, as in the table `contents`.
    """

    logs: set[str]
    artifacts: set[str]
    runs: set[str]
    contents: set[tuple[str, str]]

    def add(self, other: "Touched") -> None:
        """Take in what another change bears upon."""
        self.logs.update(other.logs)
        self.artifacts.update(other.artifacts)
        self.runs.update(other.runs)
        self.contents.update(other.contents)


def touched_by(rows: Iterable[Row]) -> Touched:
    """What these rows bear upon."""
    touched = Touched(set(), set(), set(), set())
    for table, values in rows:
        first = str(values[0])
        if table == "entries":
            touched.logs.add(first)
        elif table in _ARTIFACT_TABLES:
            touched.artifacts.add(first)
        elif table in _RUN_TABLES:
            touched.runs.add(first)
        elif table == "contents":
            touched.contents.add((first, str(values[1])))
        elif table == "erasure_contents":
            touched.contents.update((role, str(values[2])) for role, _ in _CONTENT_COLUMNS)
        if table == "run_states":
            for role, column in _CONTENT_COLUMNS:
                if (digest := values[column]) is not None:
                    touched.contents.add((role, str(digest)))
    return touched


def settle(connection: sqlite3.Connection, touched: Touched) -> None:
    """Compute again, in the transaction that is open."""
    for log in sorted(touched.logs):
        _settle_log(connection, log)
    _settle_each(connection, "artifacts", "artifact", _ARTIFACT, touched.artifacts)
    _settle_each(connection, "runs", "run", _RUN, touched.runs)
    _settle_contents(connection, touched.contents)


def _settle_log(connection: sqlite3.Connection, log: str) -> None:
    known = connection.execute("SELECT through, last FROM logs WHERE log = ?", (log,)).fetchone()
    through, last = known or (0, 0)
    for (number,) in connection.execute(
        "SELECT number FROM entries WHERE log = ? AND number > ? AND number <= ? ORDER BY number",
        (log, through, LOCAL),
    ):
        if number == through + 1:
            through = number
        last = max(last, number)
    if (
        last == 0
        and not connection.execute("SELECT 1 FROM entries WHERE log = ? LIMIT 1", (log,)).fetchone()
    ):
        connection.execute("DELETE FROM logs WHERE log = ?", (log,))  # its last waiting entry went
        return
    connection.execute(
        "INSERT INTO logs (log, through, last) VALUES (?, ?, ?)"
        " ON CONFLICT (log) DO UPDATE SET through = excluded.through, last = excluded.last",
        (log, through, last),
    )


def _settle_each(
    connection: sqlite3.Connection, table: str, column: str, insert: str, names: set[str]
) -> None:
    found = [{"name": name} for name in sorted(names)]
    connection.executemany(f"DELETE FROM {table} WHERE {column} = :name", found)  # noqa: S608
    connection.executemany(insert, found)


def _settle_contents(connection: sqlite3.Connection, contents: set[tuple[str, str]]) -> None:
    for role, digest in sorted(contents):
        if not connection.execute(
            f"SELECT 1 FROM run_states WHERE {role} = ? LIMIT 1",  # noqa: S608
            (digest,),
        ).fetchone():
            _drop_content(connection, role, digest)
            continue
        if connection.execute("SELECT 1 FROM erased WHERE digest = ?", (digest,)).fetchone():
            # What was erased must not be read from the index either.
            _drop_content(connection, role, digest)
            continue
        here = connection.execute(
            "SELECT 1 FROM contents WHERE role = ? AND digest = ?", (role, digest)
        ).fetchone()
        connection.execute(
            "DELETE FROM missing_contents WHERE role = ? AND digest = ?"
            if here
            else "INSERT INTO missing_contents (role, digest) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (role, digest),
        )


def _drop_content(connection: sqlite3.Connection, role: str, digest: str) -> None:
    for table in ("contents", "missing_contents"):
        connection.execute(
            f"DELETE FROM {table} WHERE role = ? AND digest = ?",  # noqa: S608
            (role, digest),
        )
    listed = "listed_files" if role == "files" else "metric_points"
    connection.execute(f"DELETE FROM {listed} WHERE {role} = ?", (digest,))  # noqa: S608


# The first version gives the spelling, the latest that is not deleted the kind.
_ARTIFACT = """
INSERT INTO artifacts (
    artifact, name, kind, description, card, created, changed, latest, versions, deleted
)
SELECT
    first.artifact, first.name, shown.kind,
    (
        SELECT edit.description FROM artifact_edits AS edit
        WHERE edit.artifact = first.artifact AND edit.description IS NOT NULL
        ORDER BY edit.number DESC LIMIT 1
    ),
    (
        SELECT edit.card FROM artifact_edits AS edit
        WHERE edit.artifact = first.artifact AND edit.card IS NOT NULL
        ORDER BY edit.number DESC LIMIT 1
    ),
    first.created, shown.created, counted.latest,
    counted.total - counted.deleted, counted.deleted
FROM (
    SELECT
        MIN(version.number) AS first,
        COALESCE(
            MAX(CASE WHEN stone.version IS NULL THEN version.number END), MAX(version.number)
        ) AS shown,
        MAX(CASE WHEN stone.version IS NULL THEN version.number END) AS latest,
        COUNT(*) AS total,
        COUNT(stone.version) AS deleted
    FROM versions AS version
    LEFT JOIN (
        SELECT DISTINCT given.version FROM tombstones AS given
        WHERE given.artifact = :name AND given.removes = 1 AND NOT EXISTS (
            SELECT 1 FROM tombstones AS later
            WHERE later.artifact = given.artifact AND later.version = given.version
                AND later.removes = 0 AND later.number > given.number
        )
    ) AS stone ON stone.version = version.record
    WHERE version.artifact = :name
) AS counted
JOIN versions AS first ON first.artifact = :name AND first.number = counted.first
JOIN versions AS shown ON shown.artifact = :name AND shown.number = counted.shown
"""

# What the end of the run says counts, then what its beginning said; edits come on top of both,
# because a note that somebody wrote while the run went on must not vanish when it ends.
_RUN = """
INSERT INTO runs (
    run, opened, sealed, name, experiment, note, command, root, cwd, started, ended, status,
    exit_code, author, host, python, code_commit, dirty, sensor, completeness, inputs_count,
    outputs_count, files, series, finding, tombstone
)
SELECT
    base.run, opened.number, sealed.number,
    COALESCE(sealed.name, opened.name), COALESCE(sealed.experiment, opened.experiment),
    COALESCE(
        (
            SELECT edit.note FROM run_edits AS edit
            WHERE edit.run = :name AND edit.note IS NOT NULL
            ORDER BY edit.number DESC LIMIT 1
        ),
        sealed.note, opened.note
    ),
    base.command, base.root, base.cwd, base.started, base.ended, base.status, base.exit_code,
    base.author, base.host, base.python, base.code_commit, base.dirty, base.sensor,
    base.completeness, base.inputs_count, base.outputs_count, base.files, base.series,
    (
        SELECT verdict.finding FROM verdicts AS verdict
        WHERE verdict.run = :name ORDER BY verdict.number DESC LIMIT 1
    ),
    (
        SELECT MIN(stone.number) FROM run_tombstones AS stone
        WHERE stone.run = :name AND stone.removes = 1 AND NOT EXISTS (
            SELECT 1 FROM run_tombstones AS later
            WHERE later.run = :name AND later.removes = 0 AND later.number > stone.number
        )
    )
FROM (
    SELECT
        MIN(CASE WHEN type = 'opened' THEN number END) AS opened,
        MAX(CASE WHEN type = 'sealed' THEN number END) AS sealed
    FROM run_states WHERE run = :name
) AS found
LEFT JOIN run_states AS opened ON opened.run = :name AND opened.number = found.opened
LEFT JOIN run_states AS sealed ON sealed.run = :name AND sealed.number = found.sealed
JOIN run_states AS base
    ON base.run = :name AND base.number = COALESCE(found.sealed, found.opened)
"""
