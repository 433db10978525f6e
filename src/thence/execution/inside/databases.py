"""sqlite3, psycopg, psycopg2 and ADBC: cursors that tell what they execute and fetch."""

from __future__ import annotations

import functools
import os

from .addresses import peer_text, without_secrets
from .wrapping import heir, quietly, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .queries import Asked, Queries

    Where = Callable[[Any], "tuple[str, str]"]
    After = Callable[[Any, "tuple[Any, ...]", "dict[str, Any]", Any], None]

__all__ = [
    "cursor_methods",
    "framed",
    "wrap_adbc",
    "wrap_adbc_driver",
    "wrap_psycopg",
    "wrap_psycopg2",
    "wrap_sqlite",
]

_PART = "queries"
# Making rows of a table takes about a microsecond for each of its values.
_MOST_CELLS = 2_000_000


def cursor_methods(
    original: Any,
    queries: Queries,
    library: str,
    where: Where,
    text: Callable[[Any, Any], Any] = lambda cursor, statement: statement,
    *,
    is_awaited: bool = False,
) -> dict[str, Any]:
    """The methods of a class of cursors (PEP 249), as they are and telling.

    Args:
        original: The class.
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
        asked = queries.by_cursor.pop(self, None)
        if asked is not None:
            asked.finish()

    def fetchone(self: Any, _: Any, __: Any, row: Any) -> None:
        asked = queries.by_cursor.get(self)
        if asked is not None:
            asked.row(row)

    def fetchmany(self: Any, _: Any, __: Any, rows: Any) -> None:
        asked = queries.by_cursor.get(self)
        if asked is not None:
            looked_at(asked, rows, is_all=not rows)

    def fetchall(self: Any, _: Any, __: Any, rows: Any) -> None:
        asked = queries.by_cursor.get(self)
        if asked is not None:
            looked_at(asked, rows, is_all=True)

    def looked_at(asked: Any, rows: Any, *, is_all: bool) -> None:
        if isinstance(rows, (list, tuple)):
            asked.rows(rows, is_all=is_all)
        else:  # a method of the program's own gave it: a generator can be read only once
            asked.unseen(None)

    hooks: dict[str, After] = {
        "execute": execute,
        "executemany": finish,
        "executescript": finish,
        "fetchone": fetchone,
        "fetchmany": fetchmany,
        "fetchall": fetchall,
        "close": finish,
    }
    around = _awaited if is_awaited else _called
    return {
        name: around(getattr(original, name), after)
        for name, after in hooks.items()
        if hasattr(original, name)
    }


def _first(named: dict[str, Any], *names: str) -> Any:
    return next((named[name] for name in names if name in named), None)


def _called(function: Any, after: After) -> Any:
    @functools.wraps(function)
    def wrapper(self: Any, *args: Any, **named: Any) -> Any:
        result = function(self, *args, **named)
        quietly(lambda: after(self, args, named, result))
        return result

    return wrapper


def _awaited(function: Any, after: After) -> Any:
    @functools.wraps(function)
    async def wrapper(self: Any, *args: Any, **named: Any) -> Any:
        result = await function(self, *args, **named)
        quietly(lambda: after(self, args, named, result))
        return result

    return wrapper


def next_method(original: Any, queries: Queries) -> Any:
    """The same of `__next__`."""
    function = original.__next__

    @functools.wraps(function)
    def wrapper(self: Any) -> Any:
        asked = getattr(self, "_thence_asked", None) or queries.by_cursor.get(self)
        try:
            row = function(self)
        except StopIteration:
            if asked is not None:
                quietly(asked.finish)
            raise
        if asked is not None:
            try:  # noqa: SIM105 - this is done for each row
                asked.row(row)
            except Exception:  # noqa: S110
                pass
        return row

    return wrapper


class _Heirs:
    """Subclasses of classes that are closed: of cursors, and of connections that make them."""

    def __init__(self, queries: Queries, library: str, where: Where, cursor: Any) -> None:
        self._queries = queries
        self._library = library
        self._where = where
        self._cursor = cursor
        self._known: dict[Any, Any] = {}

    def cursor(self, original: Any) -> Any:
        if not isinstance(original, type) or not issubclass(original, self._cursor):
            return original
        if original not in self._known:
            methods = cursor_methods(original, self._queries, self._library, self._where)
            methods["__next__"] = next_method(original, self._queries)
            self._known[original] = heir(original, methods, _PART)
            self._known[self._known[original]] = self._known[original]
        return self._known[original]


def wrap_sqlite(module: Any, queries: Queries) -> None:
    """Observe the connections that `sqlite3.connect` opens."""

    def where(cursor: Any) -> tuple[str, str]:
        return queries.databases.get(cursor.connection, "sqlite3"), ""

    heirs = _Heirs(queries, "sqlite3", where, module.Cursor)
    connections: dict[Any, Any] = {}

    def of(factory: Any) -> Any:
        if not isinstance(factory, type) or not issubclass(factory, module.Connection):
            return factory  # a function: it makes what it likes
        if factory not in connections:

            def cursor(self: Any, factory: Any = module.Cursor) -> Any:
                return original(self, heirs.cursor(factory))

            original = getattr(factory, "cursor")  # noqa: B009 - mypy knows `type` only
            # One that makes its cursors itself is left alone.
            body = {"cursor": cursor} if original is module.Connection.cursor else {}
            for name in ("execute", "executemany") if body else ():
                if getattr(factory, name) is getattr(module.Connection, name):
                    body[name] = _shortcut(getattr(factory, name), name)
            connections[factory] = heir(factory, body, _PART)
        return connections[factory]

    def connecting(connect: Any) -> Any:
        def wrapper(*args: Any, **named: Any) -> Any:
            if not queries.listening:
                return connect(*args, **named)
            if len(args) > 5:
                args = (*args[:5], of(args[5]), *args[6:])
            else:
                named["factory"] = of(named.get("factory", module.Connection))
            made = connect(*args, **named)
            quietly(lambda: queries.databases.__setitem__(made, _path(args, named)))
            return made

        return wrapper

    wrap(module, "connect", connecting, _PART)
    module.dbapi2.connect = module.connect


def _shortcut(original: Any, name: str) -> Any:
    """What a connection does in C, without asking itself for a cursor."""

    @functools.wraps(original)
    def method(self: Any, *args: Any) -> Any:
        return getattr(self.cursor(), name)(*args)

    return method


def _path(args: tuple[Any, ...], named: dict[str, Any]) -> str:
    name = os.fsdecode(args[0] if args else named["database"])
    if name.startswith("file:"):
        name = name[5:].partition("?")[0]
    if name in {"", ":memory:"}:
        return ":memory:"
    return os.path.abspath(name)


def _patch(owner: Any, methods: dict[str, Any]) -> None:
    for name, method in methods.items():
        if name in vars(owner):
            setattr(owner, name, method)


def _of_socket(descriptor: int) -> str:
    import socket

    with socket.socket(fileno=os.dup(descriptor)) as copy:
        return peer_text(copy.getpeername())


def _postgres(connection: Any) -> tuple[str, str]:
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
        return _postgres(cursor.connection)

    def text(cursor: Any, statement: Any) -> Any:
        if isinstance(statement, bytes):
            return statement.decode("utf-8", "replace")
        as_string = getattr(statement, "as_string", None)
        return as_string(cursor) if as_string is not None else statement

    for cursor in (module.Cursor, module.ServerCursor):
        methods = cursor_methods(cursor, queries, "psycopg", where, text)
        if hasattr(cursor, "__next__"):
            methods["__next__"] = next_method(cursor, queries)
        else:  # before 3.3
            methods["__iter__"] = _iterating(cursor.__iter__, queries)
        _patch(cursor, methods)
    for cursor in (module.AsyncCursor, module.AsyncServerCursor):
        methods = cursor_methods(cursor, queries, "psycopg", where, text, is_awaited=True)
        if hasattr(cursor, "__anext__"):
            methods["__anext__"] = _next_awaited(cursor, queries)
        else:
            methods["__aiter__"] = _iterating_async(cursor.__aiter__, queries)
        _patch(cursor, methods)


def _next_awaited(original: Any, queries: Queries) -> Any:
    function = original.__anext__

    @functools.wraps(function)
    async def wrapper(self: Any) -> Any:
        asked = queries.by_cursor.get(self)
        try:
            row = await function(self)
        except StopAsyncIteration:
            if asked is not None:
                quietly(asked.finish)
            raise
        if asked is not None:
            quietly(lambda: asked.row(row))
        return row

    return wrapper


def _iterating(function: Any, queries: Queries) -> Any:
    @functools.wraps(function)
    def wrapper(self: Any) -> Any:
        asked = queries.by_cursor.get(self)
        for row in function(self):
            if asked is not None:
                asked.row(row)
            yield row
        if asked is not None:
            asked.finish()

    return wrapper


def _iterating_async(function: Any, queries: Queries) -> Any:
    @functools.wraps(function)
    async def wrapper(self: Any) -> Any:
        asked = queries.by_cursor.get(self)
        async for row in function(self):
            if asked is not None:
                asked.row(row)
            yield row
        if asked is not None:
            asked.finish()

    return wrapper


def wrap_psycopg2(module: Any, queries: Queries) -> None:
    """Observe the connections that `psycopg2.connect` opens."""
    connect, extensions = module.connect, module.extensions

    def where(cursor: Any) -> tuple[str, str]:
        return _postgres(cursor.connection)

    heirs = _Heirs(queries, "psycopg2", where, extensions.cursor)

    def cursor(self: Any, *args: Any, **named: Any) -> Any:
        factory = named.get("cursor_factory") or (args[1] if len(args) > 1 else None)
        if len(args) < 2:
            chosen = factory or self.cursor_factory or extensions.cursor
            named["cursor_factory"] = heirs.cursor(chosen)
        return extensions.connection.cursor(self, *args, **named)

    plain = heir(extensions.connection, {"cursor": cursor}, _PART)

    @functools.wraps(connect)
    def wrapper(*args: Any, **named: Any) -> Any:
        has_own = len(args) > 1 or named.get("connection_factory") is not None
        if not has_own and queries.listening and "async" not in named and "async_" not in named:
            named["connection_factory"] = plain
        return connect(*args, **named)

    module.connect = wrapper


def wrap_adbc(module: Any, queries: Queries) -> None:
    """Observe ADBC; of the module `adbc_driver_manager.dbapi`."""

    def where(cursor: Any) -> tuple[str, str]:
        known = queries.databases.get(cursor._conn)  # noqa: SLF001 - there is no public name
        return known or ("adbc", "")

    cursor = module.Cursor
    _patch(cursor, cursor_methods(cursor, queries, "adbc_driver_manager", where))
    for name in ("fetch_arrow", "fetch_arrow_table", "fetch_df", "fetch_polars"):
        if name in vars(cursor):
            setattr(cursor, name, _framed(getattr(cursor, name), queries))
    wrap_adbc_driver(module, queries)


def wrap_adbc_driver(module: Any, queries: Queries) -> None:
    """Know the databases that a driver of ADBC connects to; of its module `dbapi`."""
    connect = module.connect
    name = module.__name__.partition(".")[0]

    @functools.wraps(connect)
    def wrapper(*args: Any, **named: Any) -> Any:
        made = connect(*args, **named)
        quietly(lambda: queries.databases.__setitem__(made, _of_driver(name, args, named)))
        return made

    module.connect = wrapper


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
    @functools.wraps(function)
    def wrapper(self: Any, *args: Any, **named: Any) -> Any:
        result = function(self, *args, **named)
        asked = queries.by_cursor.get(self)
        if asked is not None:
            quietly(lambda: framed(asked, result))
        return result

    return wrapper


def framed(asked: Asked, frame: Any) -> None:
    """The whole result came as a table; one of moderate size is hashed by its rows."""
    rows = getattr(frame, "num_rows", None)
    columns = getattr(frame, "num_columns", None)
    if rows is None:
        rows, columns = frame.shape
    if rows * (columns or 0) > _MOST_CELLS:
        asked.unseen(rows)
    elif hasattr(frame, "to_pylist"):  # of Arrow
        columns = [column.to_pylist() for column in frame.itercolumns()]
        asked.rows(zip(*columns), is_all=True)  # noqa: B905 - not in Python 3.9
    elif hasattr(frame, "itertuples"):  # of pandas
        asked.rows(frame.itertuples(index=False, name=None), is_all=True)
    else:  # of polars
        asked.rows(frame.iter_rows(), is_all=True)
