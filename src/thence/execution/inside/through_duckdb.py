"""DuckDB: what connections execute, and what relations give."""

from __future__ import annotations

import os

from . import wrapping
from .databases import framed
from .wrapping import quietly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .queries import Queries

__all__ = ["wrap"]

_PART = "queries"
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
    wrapping.wrap(connection, "execute", lambda inner: _executing(inner, queries), _PART)
    for owner in (connection, relation):
        for name in ("fetchone", "fetchmany", "fetchall", *_FRAMES, *_UNSEEN):
            _wrap_fetch(owner, name, queries, is_lazy=owner is relation)
    wrapping.wrap(module, "connect", lambda inner: _connecting(inner, queries), _PART)


def _connecting(connect: Any, queries: Queries) -> Any:
    def wrapper(*args: Any, **named: Any) -> Any:
        made = connect(*args, **named)
        queries.guard(lambda _: queries.databases.__setitem__(made, _path(args, named)))
        return made

    return wrapper


def _path(args: tuple[Any, ...], named: dict[str, Any]) -> str:
    name = os.fsdecode(args[0] if args else named.get("database", ":memory:"))
    if name.startswith((":", "md:")) or "://" in name:
        return name.partition("?")[0]
    return os.path.abspath(name) if name else ":memory:"


def _executing(execute: Any, queries: Queries) -> Any:
    def wrapper(self: Any, *args: Any, **named: Any) -> Any:
        result = execute(self, *args, **named)
        quietly(lambda: tell(self, args, named))
        return result

    def tell(self: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        statement = args[0] if args else named.get("query", "")
        given = args[1] if len(args) > 1 else named.get("parameters")
        if isinstance(statement, str):
            _ask(self, statement, given, queries)

    return wrapper


def _ask(source: Any, statement: str, given: Any, queries: Queries) -> None:
    def where() -> tuple[str, str]:
        return queries.databases.get(source, "duckdb"), ""

    queries.asked(source, statement, given, library="duckdb", where=where)


def _wrap_fetch(owner: Any, name: str, queries: Queries, *, is_lazy: bool) -> None:
    def around(inner: Any) -> Any:
        return _fetching(inner, name, queries, is_lazy=is_lazy)

    wrapping.wrap(owner, name, around, _PART)


def _fetching(original: Any, name: str, queries: Queries, *, is_lazy: bool) -> Any:
    def wrapper(self: Any, *args: Any, **named: Any) -> Any:
        result = original(self, *args, **named)
        if queries.listening and not queries.is_busy:
            quietly(lambda: tell(self, result))
        return result

    def tell(self: Any, result: Any) -> None:
        asked = queries.fetching(self)
        if is_lazy and (asked is None or asked.is_done):
            if asked is not None and name in {"fetchone", "fetchmany"}:
                return  # there is nothing more
            _ask(self, self.sql_query(), None, queries)
            asked = queries.fetching(self)
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
