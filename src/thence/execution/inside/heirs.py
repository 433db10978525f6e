"""sqlite3 and psycopg2: their classes are closed, and heirs of them tell what is executed.

Where a module is just being imported, the heirs take the names of the classes: a program finds no
others, what it derives from them tells too, and `type(connection) is sqlite3.Connection`. Where a
program has imported it before, classes and names stay, and only new connections are of an heir.
"""

from __future__ import annotations

import os
import sys

from .databases import arounds, iterating, postgres
from .wrapping import heir, is_wrapped, like, quietly, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .databases import Text, Where
    from .queries import Queries

__all__ = ["wrap_psycopg2", "wrap_sqlite"]

_PART = "queries"
# Later ones make the cursors of these methods without asking `cursor`.
_ASKS_FOR_CURSOR = sys.version_info < (3, 11)


class _Cursors:
    """Classes of cursors that tell, one for each class.

    Args:
        original: Of the library.
    """

    def __init__(
        self, original: Any, queries: Queries, library: str, where: Where, *text: Text
    ) -> None:
        self._original = original
        self._around = arounds(queries, library, where, *text)
        self._around["__next__"] = iterating(queries)
        self._known: dict[Any, Any] = {}
        self.plain = self.of(original)

    def of(self, kind: Any) -> Any:
        """The heir of a class; of what is no class of cursors, or tells already, itself."""
        if not isinstance(kind, type) or not issubclass(kind, self._original):
            return kind
        if kind is not self._original and issubclass(kind, self.plain):
            return kind
        if kind not in self._known:
            body = {
                name: like(around(getattr(kind, name)), getattr(kind, name), _PART)
                for name, around in self._around.items()
                if hasattr(kind, name)
            }
            body["__slots__"] = _slots(kind, "_thence_asked")
            self._known[kind] = heir(kind, body, _PART)
        return self._known[kind]


def _slots(kind: Any, *names: str) -> tuple[str, ...]:
    """What an heir has that its parent has not; no more, as programs may put nothing there."""
    return names if kind.__weakrefoffset__ else (*names, "__weakref__")


def _rename(holders: tuple[Any, ...], names: dict[str, Any]) -> None:
    """Give the heirs the names of what they are heirs of, where nobody has taken that yet."""
    if getattr(holders[0].__spec__, "_initializing", False):
        for holder in holders:
            for name, kind in names.items():
                setattr(holder, name, kind)


def wrap_sqlite(module: Any, queries: Queries) -> None:
    """Observe the connections of `sqlite3`."""

    def where(cursor: Any) -> tuple[str, str]:
        return queries.databases.get(cursor.connection, "sqlite3"), ""

    original = module.Connection
    if is_wrapped(module.connect, _PART):
        return
    cursors = _Cursors(module.Cursor, queries, "sqlite3", where)
    plain = _connection(original, cursors, queries)
    known: dict[Any, Any] = {original: plain}

    def of(factory: Any) -> Any:
        if not isinstance(factory, type) or not issubclass(factory, original):
            return factory  # a function: it makes what it likes
        if issubclass(factory, plain):
            return factory
        if factory not in known:
            # One that makes its cursors itself is left alone.
            is_own = getattr(factory, "cursor", None) is not original.cursor
            known[factory] = factory if is_own else _connection(factory, cursors, queries)
        return known[factory]

    def connecting(connect: Any) -> Any:
        def wrapper(*args: Any, **named: Any) -> Any:
            if len(args) > 5:
                args = (*args[:5], of(args[5]), *args[6:])
            else:
                named["factory"] = of(named.get("factory", original))
            return connect(*args, **named)

        return wrapper

    wrap(module, "connect", connecting, _PART)
    module.dbapi2.connect = module.connect
    holders = (module, module.dbapi2, sys.modules["_sqlite3"])
    _rename(holders, {"Connection": plain, "Cursor": cursors.plain})


def _connection(kind: Any, cursors: _Cursors, queries: Queries) -> Any:
    make = kind.__init__

    def __init__(self: Any, *args: Any, **named: Any) -> None:  # noqa: N807
        make(self, *args, **named)
        quietly(lambda: queries.databases.__setitem__(self, _path(args, named)))

    def cursor(self: Any, factory: Any = cursors.plain) -> Any:
        return kind.cursor(self, cursors.of(factory))

    body = {"__init__": like(__init__, make, _PART), "cursor": like(cursor, kind.cursor, _PART)}
    for name in ("execute", "executemany"):
        body[name] = like(_shortcut(cursor, name), getattr(kind, name), _PART)
    return heir(kind, {**body, "__slots__": _slots(kind)}, _PART)


def _shortcut(cursor: Any, name: str) -> Any:
    """What a connection does in C, without a cursor of Python's."""

    def method(self: Any, *args: Any) -> Any:
        made = self.cursor() if _ASKS_FOR_CURSOR else cursor(self)
        return getattr(made, name)(*args)

    return method


def _path(args: tuple[Any, ...], named: dict[str, Any]) -> str:
    name = os.fsdecode(args[0] if args else named["database"])
    if name.startswith("file:"):
        name = name[5:].partition("?")[0]
    if name in {"", ":memory:"}:
        return ":memory:"
    return os.path.abspath(name)


def wrap_psycopg2(module: Any, queries: Queries) -> None:
    """Observe the connections of `psycopg2`."""
    extensions = module.extensions
    original = extensions.connection

    def where(cursor: Any) -> tuple[str, str]:
        return postgres(cursor.connection)

    def text(cursor: Any, statement: Any) -> Any:
        is_composed = type(statement).__module__.partition(".")[0] == "psycopg2"
        return statement.as_string(cursor) if is_composed else statement

    cursors = _Cursors(extensions.cursor, queries, "psycopg2", where, text)

    def cursor(self: Any, *args: Any, **named: Any) -> Any:
        if len(args) < 2:
            chosen = named.get("cursor_factory") or self.cursor_factory or cursors.plain
            named["cursor_factory"] = cursors.of(chosen)
        return original.cursor(self, *args, **named)

    body = {"cursor": like(cursor, original.cursor, _PART), "__slots__": _slots(original)}
    plain = heir(original, body, _PART)

    def connecting(connect: Any) -> Any:
        def wrapper(*args: Any, **named: Any) -> Any:
            if len(args) < 2 and named.get("connection_factory") is None:
                named["connection_factory"] = plain
            return connect(*args, **named)

        return wrapper

    wrap(module, "connect", connecting, _PART)
    _rename(
        (module, extensions, module._psycopg),  # noqa: SLF001
        {"connection": plain, "cursor": cursors.plain},
    )
