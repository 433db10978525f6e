"""Cursors that tell what they execute and fetch (PEP 249); psycopg and ADBC."""

from __future__ import annotations

import os

from .addresses import peer_text, without_secrets
from .rows import HASHED_AT_MOST
from .wrapping import quietly, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .queries import Asked, Queries

    Where = Callable[[Any], "tuple[str, str]"]
    Around = Callable[[Any], Any]
    Text = Callable[[Any, Any], Any]
    After = Callable[[Any, "tuple[Any, ...]", "dict[str, Any]", Any], None]

__all__ = [
    "arounds",
    "framed",
    "iterating",
    "postgres",
    "wrap_adbc",
    "wrap_adbc_driver",
    "wrap_psycopg",
]

_PART = "queries"
# Making rows of a table takes about a microsecond for each of its values.
_MOST_CELLS = 2_000_000


def _as_given(_: Any, statement: Any) -> Any:
    return statement


def arounds(
    queries: Queries,
    library: str,
    where: Where,
    text: Text = _as_given,
    *,
    is_awaited: bool = False,
) -> dict[str, Around]:
    """What is put around the methods of a class of cursors (PEP 249) so that they tell.

    Args:
        queries: Are told.
        library: Whose it is.
        where: Gives the address of the database of a cursor, and where it is.
        text: Gives the text of a statement.
        is_awaited: Whether they are coroutines.
    """

    def execute(self: Any, args: tuple[Any, ...], named: dict[str, Any], _: Any) -> None:
        words = list(args)
        statement = words.pop(0) if words else _first(named, "query", "operation", "sql")
        given = words[0] if words else _first(named, "params", "parameters", "vars")
        queries.asked(
            self, text(self, statement), given, library=library, where=lambda: where(self)
        )

    def finish(self: Any, *_: Any) -> None:
        queries.finished(self)

    def fetchmany(self: Any, _: Any, __: Any, rows: Any) -> None:
        asked = queries.fetching(self)
        if asked is not None:
            asked.rows(rows, is_all=not rows)

    def fetchall(self: Any, _: Any, __: Any, rows: Any) -> None:
        asked = queries.fetching(self)
        if asked is not None:
            asked.rows(rows, is_all=True)

    hooks: dict[str, After] = {
        "execute": execute,
        "executemany": finish,
        "executescript": finish,
        "fetchmany": fetchmany,
        "fetchall": fetchall,
        "close": finish,
    }
    if is_awaited:
        found = {name: _awaited(after) for name, after in hooks.items()}
        return {**found, "fetchone": _fetchone_awaited(queries)}
    found = {name: _called(after) for name, after in hooks.items()}
    return {**found, "fetchone": _fetchone(queries)}


def _first(named: dict[str, Any], *names: str) -> Any:
    return next((named[name] for name in names if name in named), None)


def _called(after: After) -> Around:
    def around(function: Any) -> Any:
        def wrapper(self: Any, *args: Any, **named: Any) -> Any:
            result = function(self, *args, **named)
            try:  # noqa: SIM105 - this may be done for each row
                after(self, args, named, result)
            except Exception:  # noqa: S110
                pass
            return result

        return wrapper

    return around


def _awaited(after: After) -> Around:
    def around(function: Any) -> Any:
        async def wrapper(self: Any, *args: Any, **named: Any) -> Any:
            result = await function(self, *args, **named)
            quietly(lambda: after(self, args, named, result))
            return result

        return wrapper

    return around


def _fetchone(queries: Queries) -> Around:
    def around(function: Any) -> Any:
        def wrapper(self: Any) -> Any:
            row = function(self)
            asked = queries.fetching(self)
            if asked is not None:
                asked.row(row)
            return row

        return wrapper

    return around


def _fetchone_awaited(queries: Queries) -> Around:
    def around(function: Any) -> Any:
        async def wrapper(self: Any) -> Any:
            row = await function(self)
            asked = queries.fetching(self)
            if asked is not None:
                asked.row(row)
            return row

        return wrapper

    return around


def iterating(queries: Queries) -> Around:
    """The same of `__next__`."""

    def around(function: Any) -> Any:
        def wrapper(self: Any) -> Any:
            try:
                row = function(self)
            except StopIteration:
                _ended(self, queries)
                raise
            try:
                asked = self._thence_asked
            except AttributeError:
                asked = queries.by_cursor.get(self)
            if asked is not None:
                asked.add(row)
            return row

        return wrapper

    return around


def _ended(cursor: Any, queries: Queries) -> None:
    asked = queries.fetching(cursor)
    if asked is not None:
        quietly(asked.finish)


def _patch(owner: Any, methods: dict[str, Around]) -> None:
    for name, around in methods.items():
        if name in vars(owner):
            wrap(owner, name, around, _PART)


def _of_socket(descriptor: int) -> str:
    import socket

    with socket.socket(fileno=os.dup(descriptor)) as copy:
        return peer_text(copy.getpeername())


def postgres(connection: Any) -> tuple[str, str]:
    """The address of the database of a connection, and `host:port` that it is at."""
    info = connection.info
    host = str(info.host or "")
    place = "" if host.startswith("/") else f"{host}:{info.port}"
    try:
        peer = _of_socket(connection.fileno())
    except OSError:
        peer = ""
    return f"postgresql://{place}/{info.dbname}", peer


def wrap_psycopg(module: Any, queries: Queries) -> None:
    """Observe the cursors of psycopg 3; of the module `psycopg`."""

    def where(cursor: Any) -> tuple[str, str]:
        return postgres(cursor.connection)

    def text(cursor: Any, statement: Any) -> Any:
        is_composed = type(statement).__module__.partition(".")[0] == "psycopg"
        return statement.as_string(cursor) if is_composed else statement

    methods = arounds(queries, "psycopg", where, text)
    methods["__next__"] = iterating(queries)
    for cursor in (module.Cursor, module.ServerCursor):
        # Before 3.3 it is a generator that iterates.
        is_next = hasattr(cursor, "__next__")
        _patch(cursor, methods if is_next else {**methods, "__iter__": _generating(queries)})
    methods = arounds(queries, "psycopg", where, text, is_awaited=True)
    methods["__anext__"] = _iterating_async(queries)
    for cursor in (module.AsyncCursor, module.AsyncServerCursor):
        is_next = hasattr(cursor, "__anext__")
        _patch(cursor, methods if is_next else {**methods, "__aiter__": _generating_async(queries)})


def _iterating_async(queries: Queries) -> Around:
    def around(function: Any) -> Any:
        async def wrapper(self: Any) -> Any:
            try:
                row = await function(self)
            except StopAsyncIteration:
                _ended(self, queries)
                raise
            asked = queries.fetching(self)
            if asked is not None:
                asked.add(row)
            return row

        return wrapper

    return around


def _generating(queries: Queries) -> Around:
    def around(function: Any) -> Any:
        def wrapper(self: Any) -> Any:
            asked = queries.fetching(self)
            for row in function(self):
                if asked is not None:
                    asked.add(row)
                yield row
            _ended(self, queries)

        return wrapper

    return around


def _generating_async(queries: Queries) -> Around:
    def around(function: Any) -> Any:
        async def wrapper(self: Any) -> Any:
            asked = queries.fetching(self)
            async for row in function(self):
                if asked is not None:
                    asked.add(row)
                yield row
            _ended(self, queries)

        return wrapper

    return around


def wrap_adbc(module: Any, queries: Queries) -> None:
    """Observe ADBC; of the module `adbc_driver_manager.dbapi`."""

    def where(cursor: Any) -> tuple[str, str]:
        known = queries.databases.get(cursor._conn)  # noqa: SLF001 - there is no public name
        return known or ("adbc", "")

    cursor = module.Cursor
    _patch(cursor, arounds(queries, "adbc_driver_manager", where))
    for name in ("fetch_arrow", "fetch_arrow_table", "fetch_df", "fetch_polars"):
        _patch(cursor, {name: lambda inner: _framed(inner, queries)})
    wrap_adbc_driver(module, queries)


def wrap_adbc_driver(module: Any, queries: Queries) -> None:
    """Know the databases that a driver of ADBC connects to; of its module `dbapi`."""
    name = module.__name__.partition(".")[0]

    def connecting(connect: Any) -> Any:
        def wrapper(*args: Any, **named: Any) -> Any:
            made = connect(*args, **named)
            quietly(lambda: queries.databases.__setitem__(made, _of_driver(name, args, named)))
            return made

        return wrapper

    wrap(module, "connect", connecting, _PART)


def _of_driver(name: str, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[str, str]:
    options = {**(named.get("db_kwargs") or {}), **named}
    uri = str(options.get("uri") or "")
    if name == "adbc_driver_manager":
        name = os.path.basename(str(named.get("driver") or (args[0] if args else "") or ""))
    else:
        uri = uri or str(args[0] if args else "")
    name = name.partition(".")[0]
    if "sqlite" in name:
        path = uri[5:].partition("?")[0] if uri.startswith("file:") else uri
        return (os.path.abspath(path) if path not in {"", ":memory:"} else ":memory:"), ""
    clean = without_secrets(uri) or name
    place = clean.partition("://")[2].partition("/")[0].partition("?")[0]
    return clean, place.replace("localhost", "127.0.0.1")


def _framed(function: Any, queries: Queries) -> Any:
    def wrapper(self: Any, *args: Any, **named: Any) -> Any:
        result = function(self, *args, **named)
        asked = queries.fetching(self)
        if asked is not None:
            quietly(lambda: framed(asked, result))
        return result

    return wrapper


def framed(asked: Asked, frame: Any) -> None:
    """The whole result came as a table; one of moderate size is hashed by its rows."""
    count = getattr(frame, "num_rows", None)
    columns = getattr(frame, "num_columns", None)
    if count is None:
        count, columns = frame.shape
    looked_at = min(count, HASHED_AT_MOST)
    if looked_at * (columns or 0) > _MOST_CELLS:
        asked.unseen(count)
        return
    if hasattr(frame, "to_pylist"):  # of Arrow
        few = frame.slice(0, looked_at)
        rows: Any = zip(*(column.to_pylist() for column in few.itercolumns()))  # noqa: B905
    elif hasattr(frame, "itertuples"):  # of pandas
        rows = frame.head(looked_at).itertuples(index=False, name=None)
    else:  # of polars
        rows = frame.head(looked_at).iter_rows()
    asked.rows(list(rows), is_all=True, uncounted=count - looked_at)
