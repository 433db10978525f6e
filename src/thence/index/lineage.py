"""Lineage: walks over versions and runs, up (where from) and down (what came of it)."""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Literal, NamedTuple

from thence.index.database import Index
from thence.index.views import Edge, LineageGraph, Node
from thence.model.ids import Digest, RunId
from thence.model.numbers import label
from thence.model.records import Kind, RunStatus

__all__ = ["Direction", "lineage"]

_CHUNK = 500


class Direction(StrEnum):
    """Which way to walk."""

    UP = "up"
    DOWN = "down"


class _Id(NamedTuple):
    type: Literal["version", "run"]
    text: str


class _Step(NamedTuple):
    """One way to go from a set of nodes to their neighbours.

    Attributes:
        sql: Pairs (from, to); `{marks}` stands for the nodes to go from.
    """

    begins: Literal["version", "run"]
    ends: Literal["version", "run"]
    relation: Literal["used", "made", "source"]
    sql: str


# A version names its run, and the run names what it made; either may have been lost.
_UP = (
    _Step(
        "version",
        "run",
        "made",
        "SELECT record, run FROM versions WHERE record IN ({marks}) AND run IS NOT NULL"
        " UNION SELECT version, run FROM run_versions WHERE version IN ({marks}) AND role='makes'",
    ),
    _Step(
        "version",
        "version",
        "source",
        "SELECT version, source FROM direct_sources WHERE version IN ({marks})",
    ),
    _Step(
        "run",
        "version",
        "used",
        "SELECT run, version FROM run_versions WHERE run IN ({marks}) AND role = 'uses'",
    ),
)
_DOWN = (
    _Step(
        "version",
        "run",
        "used",
        "SELECT version, run FROM run_versions WHERE version IN ({marks}) AND role = 'uses'",
    ),
    _Step(
        "version",
        "version",
        "source",
        "SELECT source, version FROM direct_sources WHERE source IN ({marks})",
    ),
    _Step(
        "run",
        "version",
        "made",
        "SELECT run, record FROM versions WHERE run IN ({marks})"
        " UNION SELECT run, version FROM run_versions WHERE run IN ({marks}) AND role = 'makes'",
    ),
)

_VERSIONS = """
SELECT
    current.record, COALESCE(artifacts.name, current.name), current.number, current.kind,
    current.created, current.tombstone
FROM current_versions AS current
LEFT JOIN artifacts ON artifacts.artifact = current.artifact
"""


def lineage(
    index: Index,
    start: Digest | RunId,
    direction: Direction,
    *,
    depth: int = 100,
    max_nodes: int = 10_000,
) -> LineageGraph:
    """Where a version or a run came from, or what came of it; cycles do no harm.

    A source of a version that was also an input of the run that made it is reached through that
    run, not beside it.

    Args:
        index: Where to ask.
        start: Digest of a version record, or a run.
        direction: Which way to walk.
        depth: How many steps at most; from a version to the version that a run made it from are
            two.
        max_nodes: The walk ends with the step that reaches so many.
    """
    begin = _Id("run", str(start)) if isinstance(start, RunId) else _Id("version", start.hex)
    depths = {begin: 0}
    edges: set[Edge] = set()
    frontier = {begin}
    is_complete = True
    for distance in range(1, depth + 2):
        found = list(_neighbours(index, frontier, direction))
        fresh = sorted({end for end, _ in found} - depths.keys())
        # One step beyond the depth is looked at, to tell whether there is more.
        room = max_nodes - len(depths) if distance <= depth else 0
        is_complete = len(fresh) <= room
        frontier = set(fresh[: max(room, 0)])
        depths.update(dict.fromkeys(fresh[: max(room, 0)], distance))
        edges.update(edge for end, edge in found if end in depths)
        if not frontier or not is_complete:
            break
    return LineageGraph(
        nodes=tuple(_nodes(index, depths)),
        edges=tuple(sorted(edges)),
        is_complete=is_complete,
    )


def _neighbours(
    index: Index, frontier: set[_Id], direction: Direction
) -> Iterator[tuple[_Id, Edge]]:
    for step in _UP if direction is Direction.UP else _DOWN:
        ids = sorted(node.text for node in frontier if node.type == step.begins)
        for chunk in _chunks(ids):
            sql = step.sql.format(marks=", ".join("?" * len(chunk)))
            for begin, end in index.select(sql, chunk * step.sql.count("{marks}")):
                pair = (end, begin) if direction is Direction.UP else (begin, end)
                yield _Id(step.ends, end), Edge(*pair, step.relation)


def _nodes(index: Index, depths: dict[_Id, int]) -> list[Node]:
    known = dict(_known_versions(index, depths)) | dict(_known_runs(index, depths))
    return [
        known.get(node.text)
        or Node(
            type=node.type,
            id=node.text,
            depth=depth,
            label=f"run:{node.text[:8]}" if node.type == "run" else f"sha256:{node.text[:12]}",
            is_known=False,
        )
        for node, depth in sorted(depths.items(), key=lambda found: (found[1], found[0]))
    ]


def _known_versions(index: Index, depths: dict[_Id, int]) -> Iterator[tuple[str, Node]]:
    for chunk in _chunks([node.text for node in depths if node.type == "version"]):
        marks = ", ".join("?" * len(chunk))
        for record, name, number, kind, created, tombstone in index.select(
            f"{_VERSIONS} WHERE current.record IN ({marks}) ORDER BY current.number",
            chunk,
        ):
            yield (
                record,
                Node(
                    type="version",
                    id=record,
                    depth=depths[_Id("version", record)],
                    label=f"{name}@{label(number)}",
                    kind=Kind(kind),
                    created=datetime.fromisoformat(created),
                    is_deleted=tombstone is not None,
                ),
            )


def _known_runs(index: Index, depths: dict[_Id, int]) -> Iterator[tuple[str, Node]]:
    for chunk in _chunks([node.text for node in depths if node.type == "run"]):
        marks = ", ".join("?" * len(chunk))
        for run, name, status, started, tombstone in index.select(
            f"SELECT run, name, status, started, tombstone FROM runs"  # noqa: S608
            f" WHERE run IN ({marks})",
            chunk,
        ):
            yield (
                run,
                Node(
                    type="run",
                    id=run,
                    depth=depths[_Id("run", run)],
                    label=name or f"run:{run[:8]}",
                    status=RunStatus(status),
                    created=datetime.fromisoformat(started),
                    is_deleted=tombstone is not None,
                ),
            )


def _chunks(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]
