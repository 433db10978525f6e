"""What databases are asked for, and what they give: told when a result was fetched, or let go."""

from __future__ import annotations

import re
import weakref

from .fetches import via
from .rows import Rows
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
_LONGEST_PARAMETERS = 4_000
_FEW = 100
_COMMENT = re.compile(r"\s+|--[^\n]*\n?|/\*.*?\*/", re.DOTALL)
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


def _reads(statement: str) -> bool:
    at = 0
    while found := _COMMENT.match(statement, at):
        at = found.end()
    word = re.match(r"\(*\s*([A-Za-z]+)", statement[at : at + 40])
    if word is None:
        return False
    if word[1].lower() in _PASSED_OVER:
        return bool(re.search(r"\breturning\b", statement, re.IGNORECASE))
    return not _OF_THE_CATALOG.search(statement)


class Asked:
    """One statement, and the rows that came so far.

    Args:
        queries: Are told.
        facts: Of the note, but for the result.
    """

    def __init__(self, queries: Queries, facts: dict[str, Any]) -> None:
        self._queries = queries
        self._facts = facts
        self._rows = Rows()
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
            self.finish()
        elif not self._done:
            self._rows.add(row)

    def rows(self, rows: Any, *, is_all: bool) -> None:
        """They were fetched."""
        if not self._done:
            self._rows.extend(rows)
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
        self._queries.open.pop(id(self), None)

    def finish(self) -> None:
        """Nothing more comes."""
        if not self._done:
            self._done = True
            self._queries.open.pop(id(self), None)
            digest = self._rows.digest() if self._seen else None
            rows = None if self._unknown else self._rows.count
            self._queries.told(self._facts, rows, digest)

    def __del__(self) -> None:
        quietly(self.finish)  # Python itself may be ending


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
        before = self.by_cursor.pop(cursor, None)
        if before is not None:
            before.finish()
        text = str(statement)
        if not self.listening or not _reads(text):
            return None
        made: list[Asked] = []

        def note(_: Any) -> None:
            database, peer = where()
            facts = {
                "database": database,
                "via": via(library),
                "statement": text.strip()[:_LONGEST],
                "parameters": _shown(parameters),
                "peer": peer,
            }
            made.append(Asked(self, facts))

        self.guard(note)
        if not made:
            return None
        self.by_cursor[cursor] = made[0]
        if hasattr(cursor, "__dict__"):
            cursor._thence_asked = made[0]  # noqa: SLF001 - found sooner, for each row
        return made[0]

    def told(self, facts: dict[str, Any], rows: int | None, digest: str | None) -> None:
        """A result is complete."""
        key = (*facts.values(), rows, digest)
        count = self._counts.get(key, 0) + 1
        if count == 1 and len(self._counts) >= _MOST:
            self._cut += 1
            return
        self._counts[key] = count
        # Each time there are twice as many: who ends without a word loses half at most.
        if count & (count - 1) == 0:
            self._tell(key, count)

    def _tell(self, key: tuple[Any, ...], count: int) -> None:
        names = ("database", "via", "statement", "parameters", "peer", "rows", "digest")
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


def _shown(parameters: Any) -> tuple[tuple[str, str], ...] | str | None:
    """Names and values as text; who listens takes secrets out of them, which it knows by more."""
    if parameters is None or (hasattr(parameters, "__len__") and not len(parameters)):
        return None
    if isinstance(parameters, dict):
        few: Any = list(parameters.items())[:_FEW]
    elif isinstance(parameters, (list, tuple)):
        few = [("", value) for value in parameters[:_FEW]]
    else:
        return f"<{type(parameters).__name__}>"
    shown = []
    left = _LONGEST_PARAMETERS
    for name, value in few:
        text = repr(value)[:left]
        left -= len(text)
        shown.append((str(name), text))
        if left <= 0:
            break
    return tuple(shown)
