"""Opening the file of the index: create, recognise, replace what cannot be used.

Problem: an index may be from another version of thence, may be damaged, may be opened by several
processes at the same moment, and may lie in a folder that cannot be written to. Since it can always
be rebuilt, none of these is an error. A file of another schema is emptied in one transaction, which
SQLite itself makes safe between processes. A file that is no database any more is deleted under a
lock on a file beside it; who waited for the lock looks again before deleting. Opening shares that
lock: who has the deleted file open would take the journal of the new one for its own and roll it
back, and both would fail with an I/O error.
"""

import fcntl
import logging
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thence.errors import DataDamaged, InternalError, InvalidInput, StorageError

__all__ = [
    "SCHEMA_VERSION",
    "connect",
    "copy_in_memory",
    "empty",
    "is_full",
    "replace",
    "translated",
]

SCHEMA_VERSION = 5
"""Of schema.sql, of what `ingest` makes of a record, and of the records that it knows."""

_APPLICATION_ID = 0x74686E63  # "thnc"
_BUSY_TIMEOUT_S = 30.0
_CACHE_KIB = 64 << 10
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_LATER = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_NOT_WRITABLE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}

# SQLite needs some pages at a time, so less than this is nothing.
_NO_ROOM = 256 * 1024

_log = logging.getLogger(__name__)


@contextmanager
def translated(about: str) -> Iterator[None]:
    """Turn what SQLite raises into our errors.

    Args:
        about: The file, for the message.

    Raises:
        DataDamaged: The file is damaged.
        StorageError: It cannot be read or written; `transient` where another process holds it.
        InternalError: A statement of ours is wrong.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = _primary_code(error)
        if code in _DAMAGED:
            raise DataDamaged(
                "the index is damaged",
                why=str(error),
                hint="Rebuild it: thence index rebuild",
                about=about,
            ) from error
        if _tells_full(error, about):
            raise StorageError(
                "the disk is full",
                why=f"There is no room for the index: {error}.",
                hint="Make room and repeat the command; nothing that was saved is lost.",
                about=about,
            ) from error
        if isinstance(error, sqlite3.OperationalError):
            later = code in _LATER
            raise StorageError(
                "the index cannot be used",
                why=str(error),
                hint="Another process is writing to it: try again in a moment."
                if later
                else "Look at the disk and the rights of the file; the index may be deleted.",
                about=about,
                transient=later,
            ) from error
        raise InternalError(
            "a question to the index failed", why=str(error), about=about
        ) from error


def _tells_full(error: sqlite3.Error, path: str) -> bool:
    code = _primary_code(error)
    return code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _has_no_room(path))


def _has_no_room(path: str) -> bool:
    try:
        return shutil.disk_usage(Path(path).parent).free < _NO_ROOM
    except OSError:
        return False


def _primary_code(error: sqlite3.Error) -> int:
    # Errors of the module itself (a wrong number of parameters) carry no code.
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def connect(path: Path | None) -> tuple[sqlite3.Connection, bool]:
    """A connection to an index with the current schema, and whether it is in the file.

    Where the file cannot be written, the index is made in memory instead.

    Args:
        path: The file; None for an index in memory.

    Raises:
        InvalidInput: The file is a SQLite database of something else.
        StorageError: Another process holds it for too long, or the disk fails.
    """
    if path is None:
        return _in_memory(), False
    try:
        with translated(str(path)):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with _turn(path, fcntl.LOCK_SH):
                    return _open(path), True
            except sqlite3.DatabaseError as error:
                if _primary_code(error) not in _DAMAGED:
                    raise
                _log.warning("the index %s is damaged and will be rebuilt: %s", path, error)
            return replace(path), True
    except (StorageError, OSError) as error:
        if not _is_not_writable(error):
            raise
        _log.warning("the index %s cannot be written; using memory: %s", path, error)
        return _in_memory(), False


@contextmanager
def _turn(path: Path, kind: int) -> Iterator[None]:
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, kind)
        yield


def _is_not_writable(error: OSError) -> bool:
    if not isinstance(error, StorageError):
        return True
    cause = error.__cause__
    if not isinstance(cause, sqlite3.Error):
        return False
    return _primary_code(cause) in _NOT_WRITABLE or is_full(error)


def is_full(error: StorageError) -> bool:
    """Whether the index failed because there is no room on the disk."""
    cause = error.__cause__
    return isinstance(cause, sqlite3.Error) and _tells_full(cause, str(error.about))


def copy_in_memory(connection: sqlite3.Connection) -> sqlite3.Connection:
    """An index in memory with what another one holds."""
    copied = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    try:
        connection.backup(copied)
    except BaseException:
        copied.close()
        raise
    return copied


def _in_memory() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    _ensure_schema(connection)
    return connection


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT_S, check_same_thread=False, isolation_level=None
    )
    try:
        # Losing the last transactions at a power cut is harmless here: refresh finds them again.
        connection.execute("PRAGMA synchronous = NORMAL")
        # A limit, not a reservation; with the default of 2 MB a rebuild waits for the disk.
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        _switch_to_wal(connection)
        _ensure_schema(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _ensure_schema(connection: sqlite3.Connection) -> None:
    if _is_current(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not _is_current(connection):
            _refuse_foreign(connection)
            _drop_all(connection)
            for statement in _statements():
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    # The switch needs the file for itself and does not wait for it. Whoever comes second goes on
    # without: the mode is a property of the file, and nothing depends on it but speed.
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if _primary_code(error) not in _LATER:
            raise


def _is_current(connection: sqlite3.Connection) -> bool:
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    return bool(found == SCHEMA_VERSION and _application(connection) == _APPLICATION_ID)


def _application(connection: sqlite3.Connection) -> int:
    (found,) = connection.execute("PRAGMA application_id").fetchone()
    return int(found)


def _refuse_foreign(connection: sqlite3.Connection) -> None:
    (objects,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if objects and _application(connection) != _APPLICATION_ID:
        raise InvalidInput(
            "not an index of thence",
            why="The file is a SQLite database of something else; it was not touched.",
            hint="Give another path for the index.",
        )


def _drop_all(connection: sqlite3.Connection) -> None:
    objects = connection.execute(
        "SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view')"
        " AND name NOT LIKE 'sqlite_%' ORDER BY type = 'table'"
    ).fetchall()
    for kind, name in objects:
        quoted = '"{}"'.format(name.replace('"', '""'))
        connection.execute(f"DROP {kind} {quoted}")


def _statements() -> Iterator[str]:
    from importlib.resources import files  # 6 ms, needed when an index is made

    # `executescript` commits first; the schema must come in one transaction with its version.
    statement = ""
    for line in files(__package__).joinpath("schema.sql").read_text("utf-8").splitlines(True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def empty(connection: sqlite3.Connection) -> None:
    """Remove every row, in the transaction that is open."""
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    for (name,) in tables:
        connection.execute(f'DELETE FROM "{name}"')  # noqa: S608 - names from our own schema


def replace(path: Path) -> sqlite3.Connection:
    """Delete a damaged index and make a new one; a sound one is left and opened.

    Two processes that find the damage at once end with the same new file.
    """
    with _turn(path, fcntl.LOCK_EX):
        try:
            connection = _open(path)
        except sqlite3.DatabaseError as error:
            if _primary_code(error) not in _DAMAGED:
                raise
        else:
            if _is_sound(connection):
                return connection
            connection.close()
        for suffix in ("-wal", "-shm", ""):
            path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
        return _open(path)


def _is_sound(connection: sqlite3.Connection) -> bool:
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        if _primary_code(error) not in _DAMAGED:
            raise
        return False
    return bool(found == "ok")
