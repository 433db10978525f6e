"""Secrets among the parameters and literals of queries: by the columns that they stand beside.

`where api_key = ?` says of the first parameter what it is; nothing in the parameter does. No
statement is parsed: names, comparisons and lists are followed from left to right, which is enough
for what programs write, and where it is not, a value has no name and its shape decides.
"""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from thence.execution.capture.secrets import Redactor

__all__ = ["Place", "places_in", "scrub_query"]

_TOKEN = re.compile(
    r"""
      (?P<blank> \s+ | --[^\n]* | /\*.*?\*/ )
    | (?P<text> [eEbBnN]? '(?:[^'\\]|''|\\.)*+' )
    | (?P<name> (?:[A-Za-z_][\w$]* | "[^"]*" | `[^`]*` | \[[A-Za-z_][^\]]*\])
                (?:\s*\.\s*(?:[A-Za-z_][\w$]* | "[^"]*" | `[^`]*` | \[[^\]]*\]))* )
    | (?P<cast> :: )
    | (?P<given> \?\d* | %s | \$\d+ | %\(\w+\)[sdf] | [:@$][A-Za-z_]\w* )
    | (?P<number> \d[\w.]* )
    | (?P<compare> <=> | [<>!]= | <> | [=<>~] )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMPARING = {"like", "ilike", "in", "is", "not", "between", "similar", "regexp", "glob", "any"}
_ENDING = {
    *("and", "or", "where", "set", "on", "having", "order", "group", "limit", "offset", "from"),
    *("select", "join", "union", "returning", "when", "then", "else", "end", "case", "using"),
}


class Place(NamedTuple):
    """Where a value stands in a statement.

    Attributes:
        key: Of a parameter, its index from 0 or its name; None for a literal.
        column: Beside which it stands, or empty.
        start: Of a literal, where its text begins.
        end: And where it ends.
    """

    key: int | str | None
    column: str
    start: int
    end: int


def scrub_query(redactor: Redactor, note: Mapping[str, Any]) -> dict[str, Any]:
    """A note of a query without secrets, its parameters as text.

    Args:
        redactor: Learns what is found.
        note: Whose `parameters` are pairs of a name and a value as `repr` gives it, the name empty
            where a place stands for it.
    """
    statement, given = note.get("statement"), note.get("parameters")
    if not isinstance(statement, str):
        return dict(note)
    places = list(places_in(statement))
    scrubbed = dict(note)
    scrubbed["statement"] = redactor.scrub_text(_literals(redactor, statement, places), "program")
    if isinstance(given, list):
        columns = {place.key: place.column for place in places if place.column}
        pairs = [(str(one[0]), str(one[1])) for one in given if _is_pair(one)]
        scrubbed["parameters"] = _parameters(redactor, pairs, columns)
    return scrubbed


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def _parameters(
    redactor: Redactor, pairs: Sequence[tuple[str, str]], columns: Mapping[Any, str]
) -> str:
    shown = []
    for index, (name, value) in enumerate(pairs):
        clean = value
        for one in (name, columns.get(name or index, "")):
            clean = _value(redactor, one, clean)
        shown.append(f"{name!r}: {clean}" if name else clean)
    is_named = any(name for name, _ in pairs)
    return f"{{{', '.join(shown)}}}" if is_named else f"[{', '.join(shown)}]"


def _value(redactor: Redactor, name: str, shown: str) -> str:
    try:
        value = ast.literal_eval(shown)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    text = value if isinstance(value, str) else shown
    clean = redactor.scrub_value(name, text, "program")
    if clean == text:
        return shown
    return repr(clean) if isinstance(value, str) else clean


def _literals(redactor: Redactor, statement: str, places: Sequence[Place]) -> str:
    parts = []
    done = 0
    for place in places:
        if place.key is None:
            text = statement[place.start : place.end]
            parts += [
                statement[done : place.start],
                redactor.scrub_value(place.column, text, "program"),
            ]
            done = place.end
    return "".join(parts) + statement[done:]


def places_in(statement: str) -> Iterator[Place]:
    """The parameters and literals of a statement, with their columns."""
    return _Walk(statement).places()


class _Walk:
    def __init__(self, statement: str) -> None:
        self._statement = statement
        self._name = ""  # the last one that was no keyword
        self._column = ""  # that is compared with what follows
        self._depth = 0
        self._column_depth = 0
        self._listed: list[str] = []  # of an insert
        self._at = 0
        self._is_inserting = False
        self._is_listing = False
        self._values_depth = -1
        self._count = 0
        self._keys: dict[str, int] = {}

    def places(self) -> Iterator[Place]:
        waiting: Place | None = None  # for a name behind: `? = name`
        compared = False
        for token in _TOKEN.finditer(self._statement):
            kind = token.lastgroup
            if kind == "blank":
                continue
            if waiting is not None:
                if kind == "name" and compared and not self._is_word(token):
                    waiting = waiting._replace(column=_plain(token.group()))
                if kind != "compare":
                    yield waiting
                    waiting = None
                compared = kind == "compare"
            if kind in {"text", "given"}:
                place = self._place(token)
                if place.column:
                    yield place
                else:
                    waiting, compared = place, False
            else:
                self._follow(token)
        if waiting is not None:
            yield waiting

    def _is_word(self, token: re.Match[str]) -> bool:
        return token.group().lower() in _COMPARING | _ENDING

    def _place(self, token: re.Match[str]) -> Place:
        column = self._column
        if self._values_depth >= 0 and self._depth == self._values_depth + 1:
            column = self._listed[self._at] if self._at < len(self._listed) else ""
        if token.lastgroup == "text":
            start = self._statement.index("'", token.start()) + 1
            return Place(None, column, start, token.end() - 1)
        return Place(self._key(token.group()), column, token.start(), token.end())

    def _key(self, given: str) -> int | str:
        mark, rest = given[0], given[1:]
        if mark in "?$" and rest.isdigit():
            return int(rest) - 1
        if given in {"?", "%s"}:
            self._count += 1
            return self._count - 1
        return given[2 : given.index(")")] if mark == "%" else rest

    def _follow(self, token: re.Match[str]) -> None:
        kind, word = token.lastgroup, token.group()
        low = word.lower()
        if kind == "compare" or (kind == "name" and low in _COMPARING):
            self._column, self._column_depth = self._column or self._name, self._depth
        elif kind == "name" and low in {"insert", "replace"}:
            self._is_inserting = True
        elif kind == "name" and low == "values" and self._is_inserting:
            self._values_depth, self._is_listing = self._depth, False
        elif kind == "name" and low in _ENDING:
            self._column, self._name = "", ""
        elif kind == "name":
            self._name = _plain(word)
            if self._is_listing:
                self._listed.append(self._name)
        elif kind == "other":
            self._punctuate(word)

    def _punctuate(self, mark: str) -> None:
        if mark == "(":
            self._depth += 1
            self._at = 0 if self._depth == self._values_depth + 1 else self._at
            self._is_listing = self._is_inserting and self._values_depth < 0
        elif mark == ")":
            self._depth -= 1
            self._is_listing = False
        elif mark == "," and self._depth == self._values_depth + 1 > 0:
            self._at += 1
        if mark == "," and self._depth <= self._column_depth:
            self._column = ""


def _plain(name: str) -> str:
    return re.split(r"\s*\.\s*", name)[-1].strip('"`[]')
