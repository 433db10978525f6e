"""The cells of a notebook in a run's record: what was executed, in which order, what came of it."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from thence.execution import live
from thence.execution.capture.cell_order import DocumentCell, ExecutedCell, doubts
from thence.model.ids import Digest
from thence.model.observed import Cell

__all__ = ["KINDS", "FoundCells", "read_cells"]

KINDS = frozenset({"cell", "document"})
"""The notes that are about cells: one for each that was executed, and the notebook at the end."""

_PREFIX = "a run of the notebook from top to bottom may differ: "


class FoundCells(NamedTuple):
    """The cells, and why a run from top to bottom might differ."""

    observed: tuple[Cell, ...]
    problems: tuple[str, ...]


def read_cells(notes: Iterable[Mapping[str, Any]], lines: Iterable[live.Line]) -> FoundCells:
    """The cells of a run.

    Args:
        notes: Of `KINDS`.
        lines: What the program said of versions that it saved and loaded.
    """
    notes = list(notes)
    made: dict[int, list[Digest]] = {}
    used: dict[int, list[Digest]] = {}
    for line in lines:
        if isinstance(line, (live.MadeVersion, live.UsedVersion)) and line.cell is not None:
            found = made if isinstance(line, live.MadeVersion) else used
            found.setdefault(line.cell, []).append(line.version)
    executed = [note for note in notes if note["kind"] == "cell"]
    cells = tuple(
        Cell(
            order=int(note["order"]),
            source=str(note["source"]),
            position=note.get("position"),
            seconds=note.get("seconds"),
            ok=bool(note.get("ok", True)),
            makes=tuple(dict.fromkeys(made.get(int(note["order"]), ()))),
            uses=tuple(dict.fromkeys(used.get(int(note["order"]), ()))),
        )
        for note in executed
    )
    document: list[DocumentCell] = []
    for note in notes:
        if note["kind"] == "document":
            document = [
                DocumentCell(str(one.get("id", "")), str(one.get("source", "")))
                for one in note.get("cells", ())
            ]
    history = [
        ExecutedCell(
            int(note["order"]), str(note["source"]), str(note.get("id") or ""), note.get("position")
        )
        for note in executed
    ]
    return FoundCells(cells, tuple(f"{_PREFIX}{one}" for one in doubts(history, document)))
