"""Removing the rows of one entry: of one that waited in an outbox, and waits no longer.

Entries of numbered logs never go. Rows that several entries share (a version record that was
appended twice) go with the last of them; contents go when tables are settled.
"""

import sqlite3

from thence.index.settle import Touched
from thence.index.subjects import subject

__all__ = ["forget"]

_OF_EDITS = ("version_edits", "tombstones", "artifact_edits", "artifact_tag_edits")
_OF_RUNS = (
    "run_states",
    "run_edits",
    "run_tombstones",
    "run_tag_edits",
    "sealed_params",
    "sealed_metrics",
    "sealed_versions",
    "verdicts",
)


def forget(connection: sqlite3.Connection, log: str, number: int) -> Touched:
    """Remove the rows of an entry, in the transaction that is open.

    Returns:
        What has to be settled afterwards.
    """
    touched = Touched({log}, set(), set(), set())
    for table in ("entries", "entry_problems"):
        connection.execute(
            f"DELETE FROM {table} WHERE log = ? AND number = ?",  # noqa: S608
            (log, number),
        )
    about = subject(log)
    if about is None:
        return touched
    match about.kind:
        case "versions":
            touched.artifacts.add(about.key)
            _forget_version(connection, about.key, number)
        case "edits":
            touched.artifacts.add(about.key)
            _forget_edit(connection, about.key, number)
        case "alias":
            connection.execute(
                "DELETE FROM alias_moves WHERE artifact = ? AND alias = ? AND number = ?",
                (about.key, about.alias, number),
            )
        case "run":
            touched.runs.add(about.key)
            for role in ("files", "series"):
                for (digest,) in connection.execute(
                    f"SELECT {role} FROM run_states"  # noqa: S608
                    f" WHERE run = ? AND number = ? AND {role} IS NOT NULL",
                    (about.key, number),
                ):
                    touched.contents.add((role, digest))
            for table in _OF_RUNS:
                connection.execute(
                    f"DELETE FROM {table} WHERE run = ? AND number = ?",  # noqa: S608
                    (about.key, number),
                )
        case "erasures":
            _forget_erasure(connection, number, touched)
    return touched


def _forget_erasure(connection: sqlite3.Connection, number: int, touched: Touched) -> None:
    for (digest,) in connection.execute(
        "SELECT digest FROM erasure_contents WHERE number = ?", (number,)
    ):
        touched.contents.update((role, digest) for role in ("files", "series"))
    for table in ("erasures", "erasure_contents"):
        connection.execute(f"DELETE FROM {table} WHERE number = ?", (number,))  # noqa: S608


def _forget_version(connection: sqlite3.Connection, artifact: str, number: int) -> None:
    found = connection.execute(
        "SELECT record FROM versions WHERE artifact = ? AND number = ?", (artifact, number)
    ).fetchone()
    if found is None:
        return
    connection.execute("DELETE FROM versions WHERE artifact = ? AND number = ?", (artifact, number))
    # The record names its artifact, so that whoever shares it is a version of the same one.
    if connection.execute("SELECT 1 FROM versions WHERE record = ? LIMIT 1", found).fetchone():
        return
    connection.execute("DELETE FROM version_sources WHERE version = ?", found)
    _forget_values(connection, artifact, found[0], 0)


def _forget_edit(connection: sqlite3.Connection, artifact: str, number: int) -> None:
    for (version,) in connection.execute(
        "SELECT version FROM version_edits WHERE artifact = ? AND number = ?", (artifact, number)
    ).fetchall():
        _forget_values(connection, artifact, version, number)
    for table in _OF_EDITS:
        connection.execute(
            f"DELETE FROM {table} WHERE artifact = ? AND number = ?",  # noqa: S608
            (artifact, number),
        )


def _forget_values(
    connection: sqlite3.Connection, artifact: str, version: str, number: int
) -> None:
    for table in ("version_tag_edits", "version_metric_edits"):
        connection.execute(
            f"DELETE FROM {table} WHERE artifact = ? AND version = ? AND number = ?",  # noqa: S608
            (artifact, version, number),
        )
