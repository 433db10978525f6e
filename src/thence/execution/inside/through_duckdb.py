"""DuckDB: what connections execute, and what relations give."""

from __future__ import annotations

import functools
import os

from .databases import framed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .queries import Queries

__all__ = ["wrap"]

_FRAMES = (
    *("df", "fetchdf", "fetch_df", "to_df", "pl", "arrow", "fetch_arrow_table", "to_arrow_table"),
)
_UNSEEN = (
    *("fetchnumpy", "fetch_df_chunk", "fetch_record_batch", "fetch_arrow_reader"),
    *("to_arrow_reader", "to_dicts", "iter_rows", "torch", "tf"),
)


def wrap(module: Any, queries: Queries) -> None:
    """Observe its connections and relations; of the modules `_duckdb` and `duckdb`."""
    connection, relation = module.DuckDBPyConnection, module.DuckDBPyRelation
    if not hasattr(connection.execute, "thence_query"):
        _wrap_execute(connection, queries)
        for owner in (connection, relation):
            _wrap_fetches(owner, queries, is_lazy=owner is relation)
    _wrap_connect(module, queries)


def _wrap_connect(module: Any, queries: Queries) -> None:
    connect = getattr(module, "connect", None)
    if connect is None or hasattr(connect, "thence_database"):
        return

    @functools.wraps(connect)
    def wrapper(*args: Any, **named: Any) -> Any:
        made = connect(*args, **named)
        queries.guard(lambda _: queries.databases.__setitem__(made, _path(args, named)))
        return made

    wrapper.thence_database = True  # type: ignore[attr-defined]
    module.connect = wrapper


def _path(args: tuple[Any, ...], named: dict[str, Any]) -> str:
    name = os.fsdecode(args[0] if args else named.get("database", ":memory:"))
    if name.startswith((":", "md:")) or "://" in name:
        return name.partition("?")[0]
    return os.path.abspath(name) if name else ":memory:"


def _wrap_execute(connection: Any, queries: Queries) -> None:
    execute = connection.execute

    @functools.wraps(execute)
    def wrapper(self: Any, *args: Any, **named: Any) -> Any:
        result = execute(self, *args, **named)
        queries.quietly(lambda: tell(self, args, named))
        return result

    def tell(self: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        statement = args[0] if args else named.get("query", "")
        given = args[1] if len(args) > 1 else named.get("parameters")
        if isinstance(statement, str):
            _ask(self, statement, given, queries)

    wrapper.thence_query = True  # type: ignore[attr-defined]
    connection.execute = wrapper


def _ask(source: Any, statement: str, given: Any, queries: Queries) -> None:
    def where() -> tuple[str, str]:
        return queries.databases.get(source, "duckdb"), ""

    queries.asked(source, statement, given, library="duckdb", where=where)


def _wrap_fetches(owner: Any, queries: Queries, *, is_lazy: bool) -> None:
    for name in ("fetchone", "fetchmany", "fetchall", *_FRAMES, *_UNSEEN):
        original = getattr(owner, name, None)
        if original is not None:
            setattr(owner, name, _fetching(original, name, queries, is_lazy=is_lazy))


def _fetching(original: Any, name: str, queries: Queries, *, is_lazy: bool) -> Any:
    @functools.wraps(original)
    def wrapper(self: Any, *args: Any, **named: Any) -> Any:
        result = original(self, *args, **named)
        if queries.listening and not queries.is_busy:
            queries.quietly(lambda: tell(self, result))
        return result

    def tell(self: Any, result: Any) -> None:
        asked = queries.by_cursor.get(self)
        if is_lazy and (asked is None or asked.is_done):
            if asked is not None and name in {"fetchone", "fetchmany"}:
                return  # there is nothing more
            _ask(self, self.sql_query(), None, queries)
            asked = queries.by_cursor.get(self)
        if asked is None:
            return
        if name == "fetchone":
            asked.row(result)
        elif name == "fetchmany":
            asked.rows(result, is_all=not result)
        elif name == "fetchall":
            asked.rows(result, is_all=True)
        elif name in _FRAMES and hasattr(result, "shape"):
            framed(asked, result)
        else:
            asked.unseen(None)

    return wrapper
