"""What databases are asked for, and what they give: told when a result was fetched, or let go."""

from __future__ import annotations

import re
import weakref

from .fetches import via
from .rows import Rows
from .showing import clean, shown
from .wrapping import quietly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .observation import Observation

__all__ = ["QUERY", "Asked", "Queries"]

QUERY = "query"

_MOST = 10_000
_LONGEST = 50_000
_COMMENT = re.compile(r"\s+|--[^\n]*\n?|/\*.*?\*/", re.DOTALL)
_RETURNING = re.compile(r"\breturning\b", re.IGNORECASE)
_FACTS = ("database", "via", "statement", "parameters", "peer")
# What does not read the data of a user.
_PASSED_OVER = {
    *("begin", "commit", "rollback", "savepoint", "release", "end", "start", "set", "reset"),
    *("pragma", "create", "drop", "alter", "vacuum", "analyze", "reindex", "attach", "detach"),
    *("grant", "revoke", "comment", "truncate", "show", "use", "load", "install", "deallocate"),
    *("insert", "update", "delete", "replace", "merge", "declare", "close", "listen", "checkpoint"),
    *("explain", "describe", "prepare", "export", "import"),
}
_OF_THE_CATALOG = re.compile(
    r"\b(pg_(catalog|type|class|namespace|attribute|index|proc|constraint|enum|range|settings)|"
    r"information_schema|sqlite_master|sqlite_schema|sqlite_temp_master)\b|"
    r"^\s*select\s+(1|version\(\)|current_schema\(\))\s*;?\s*$",
    re.IGNORECASE,
)


def _statement(given: Any) -> tuple[str, bool]:
    """The text of a statement as it is told, and whether it reads."""
    if isinstance(given, str):
        whole = str.__str__(given)
    elif isinstance(given, (bytes, bytearray)):
        whole = bytes(given[: 2 * _LONGEST]).decode("utf-8", "replace")
    elif type(given).__module__.partition(".")[0] in {"sqlalchemy", "psycopg", "psycopg2"}:
        whole = str(given)
    else:
        return "", False
    text = whole[:_LONGEST].strip()
    return text, _reads(text, whole[-_LONGEST:])


def _reads(statement: str, end: str) -> bool:
    at = 0
    while found := _COMMENT.match(statement, at):
        at = found.end()
    word = re.match(r"\(*\s*([A-Za-z]+)", statement[at : at + 40])
    if word is None:
        return False
    if word[1].lower() in _PASSED_OVER:
        return bool(_RETURNING.search(statement) or _RETURNING.search(end))
    return not _OF_THE_CATALOG.search(statement)


class Asked:
    """One statement, and the rows that came so far.

    Args:
        queries: Are told.
        facts: Of the note, but for the result.

    Attributes:
        add: Takes a row that was fetched; programs wait for it at each.
    """

    def __init__(self, queries: Queries, facts: dict[str, Any]) -> None:
        self._queries = queries
        self._facts = facts
        self._rows = Rows()
        self.add: Callable[[Any], None] = self._rows.add
        self._seen = True
        self._done = False
        self._unknown = False
        queries.open[id(self)] = self

    @property
    def is_done(self) -> bool:
        """Whether nothing more comes."""
        return self._done

    def row(self, row: Any) -> None:
        """It was fetched; None is the end."""
        if row is None:
            quietly(self.finish)
        else:
            self.add(row)

    def rows(self, rows: Any, *, is_all: bool, uncounted: int = 0) -> None:
        """They were fetched, and after these so many more that are not looked at."""
        if type(rows) is not list and type(rows) is not tuple:
            self.unseen(None)  # the program's own: a generator can be read only once
            return
        if not self._done:
            self._rows.extend(rows, uncounted=uncounted)
        if is_all:
            self.finish()

    def unseen(self, count: int | None) -> None:
        """They went to the program in a form that is not looked into."""
        if not self._done:
            self._seen = False
            self._unknown = count is None
            self._rows.count += count or 0
            self.finish()

    def drop(self) -> None:
        """Somebody else tells of it."""
        self._done = True
        self.add = _nowhere
        self._queries.open.pop(id(self), None)

    def finish(self) -> None:
        """Nothing more comes."""
        if not self._done:
            self.drop()
            digest, hashed = self._rows.digest() if self._seen else (None, 0)
            rows = None if self._unknown else self._rows.count
            of = hashed if digest is not None and hashed != rows else None
            self._queries.told(self._facts, rows, digest, of)

    def __del__(self) -> None:
        quietly(self.finish)  # Python itself may be ending


def _nowhere(_: Any) -> None:
    """Takes a row of a result that was told of."""


def _point(cursor: Any, asked: Asked | None) -> None:
    """So that it is found sooner, for each row."""
    try:  # noqa: SIM105 - contextlib would have to be imported
        cursor._thence_asked = asked  # noqa: SLF001
    except AttributeError:
        pass


class Queries:
    """Tells of them; equal ones are counted.

    Args:
        observation: Of this process.
    """

    def __init__(self, observation: Observation) -> None:
        self._observation = observation
        self._counts: dict[tuple[Any, ...], int] = {}
        self._cut = 0
        self.open: Any = weakref.WeakValueDictionary()
        # By what fetches: a cursor, or a connection.
        self.by_cursor: Any = weakref.WeakKeyDictionary()
        self.databases: Any = weakref.WeakKeyDictionary()
        observation.on_end(self.end)
        observation.on_fork(self.begin_fork)

    @property
    def listening(self) -> bool:
        """Whether anybody wants to know."""
        observation = self._observation
        return bool(observation.watcher.active or not observation.plan.get("files", True))

    def guard(self, function: Any, argument: Any = None) -> None:
        """Call a function; what it does is not observed, and it cannot fail."""
        self._observation.watcher.guarded(function, argument)

    @property
    def is_busy(self) -> bool:
        """Whether it is one of us who asks."""
        free: list[None] = []
        self.guard(free.append)
        return not free

    def asked(
        self,
        cursor: Any,
        statement: Any,
        parameters: Any,
        *,
        library: str,
        where: Callable[[], tuple[str, str]],
    ) -> Asked | None:
        """A statement was executed, and gave no error.

        Args:
            cursor: By which its rows are fetched.
            statement: Text.
            parameters: As they were given.
            library: Which did it, if no other is found among those that called it.
            where: Gives the address of the database, and the `host:port` it is at or nothing.
        """
        self.finished(cursor)
        if not self.listening:
            return None
        text, is_reading = _statement(statement)
        if not is_reading:
            return None
        made: list[Asked] = []

        def note(_: Any) -> None:
            database, peer = where()
            values = (clean(database), via(library), clean(text), shown(parameters), peer)
            facts = dict(zip(_FACTS, values))  # noqa: B905
            made.append(Asked(self, facts))

        self.guard(note)
        if not made:
            return None
        self.by_cursor[cursor] = made[0]
        _point(cursor, made[0])
        return made[0]

    def fetching(self, cursor: Any) -> Asked | None:
        """What a cursor fetches the rows of."""
        try:
            found: Asked | None = cursor._thence_asked  # noqa: SLF001
        except AttributeError:
            found = self.by_cursor.get(cursor)
        return found

    def finished(self, cursor: Any) -> None:
        """A cursor fetches no more of what it was asked."""
        asked = self.by_cursor.pop(cursor, None)
        _point(cursor, None)
        if asked is not None:
            asked.finish()

    def told(
        self, facts: dict[str, Any], rows: int | None, digest: str | None, of: int | None
    ) -> None:
        """A result is complete.

        Args:
            facts: Of the note.
            rows: How many were fetched, if that is known.
            digest: Of them, or of the first ones.
            of: How many these are, if they are not all.
        """
        key = (*facts.values(), rows, digest, of)
        count = self._counts.get(key, 0) + 1
        if count == 1 and len(self._counts) >= _MOST:
            self._cut += 1
            return
        self._counts[key] = count
        # Each time there are twice as many: who ends without a word loses half at most.
        if count & (count - 1) == 0:
            self._tell(key, count)

    def _tell(self, key: tuple[Any, ...], count: int) -> None:
        names = (*_FACTS, "rows", "digest", "digest_rows")
        self._observation.tell(QUERY, **dict(zip(names, key)), count=count)  # noqa: B905

    def begin_fork(self) -> None:
        """What the parent asked, it tells itself; also what it is still fetching."""
        for one in list(self.open.values()):
            one.drop()
        self._counts.clear()
        self._cut = 0

    def end(self) -> None:
        """The run, or this process, ends."""
        for one in list(self.open.values()):
            one.finish()
        for key, count in self._counts.items():
            if count & (count - 1):
                self._tell(key, count)
        if self._cut:
            self._observation.tell("queries-cut", count=self._cut)
        self._counts.clear()
        self._cut = 0
