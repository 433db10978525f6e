"""What databases were asked: from what programs told to lines of a record."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from thence.errors import InvalidInput
from thence.execution.capture.fields import Program, program_of, whole
from thence.execution.inside.queries import QUERY
from thence.model.ids import Digest
from thence.model.observed import Query

__all__ = ["KINDS", "FoundQueries", "read_queries"]

KINDS = frozenset({QUERY, "queries-cut"})
_MOST = 10_000


class FoundQueries(NamedTuple):
    """What the notes say.

    Attributes:
        queries: In the order in which their results were first complete.
        peers: `host:port` of the databases.
        problems: Sentences.
    """

    queries: Sequence[Query]
    peers: Sequence[str]
    problems: Sequence[str]


def read_queries(notes: Iterable[Mapping[str, Any]]) -> FoundQueries:
    """Add up equal queries with equal results, over all processes."""
    # Each program tells how often it asked until then.
    counts: dict[Query, dict[Program, int]] = {}
    peers: dict[str, None] = {}
    cut = 0
    for note in notes:
        if note["kind"] == "queries-cut":
            cut += whole(note.get("count")) or 0
            continue
        query = _query(note)
        if query is None or "/.thence/" in query.database:
            continue  # what thence asks of its own index says nothing of the program
        if note.get("peer"):
            peers[str(note["peer"])] = None
        if query not in counts and len(counts) >= _MOST:
            cut += 1
            continue
        known = counts.setdefault(query, {})
        program = program_of(note)
        known[program] = max(known.get(program, 0), whole(note.get("count")) or 1)
    problems = []
    if cut:
        problems.append(
            f"{cut} more queries of databases are not listed: only the first {_MOST:,} different"
            " ones are"
        )
    found = [msgspec.structs.replace(query, count=sum(counts[query].values())) for query in counts]
    return FoundQueries(found, tuple(peers), problems)


def _query(note: Mapping[str, Any]) -> Query | None:
    if not isinstance(note.get("statement"), str):
        return None
    parameters, digest = note.get("parameters"), note.get("digest")
    try:
        found = Digest.from_hex(digest) if isinstance(digest, str) else None
    except InvalidInput:
        found = None
    return Query(
        database=str(note.get("database") or ""),
        via=str(note.get("via") or ""),
        statement=note["statement"],
        parameters=parameters if isinstance(parameters, str) else None,
        rows=whole(note.get("rows")),
        digest=found,
        digest_rows=whole(note.get("digest_rows")),
    )
