"""From notes to what the record of a run says of them."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from thence.execution import live
from thence.execution.capture import cells, queries, remote
from thence.execution.capture.arguments import read_arguments
from thence.execution.capture.chance import KINDS, read_chance
from thence.execution.capture.fields import whole
from thence.execution.capture.probe import attempt
from thence.execution.inside import blas
from thence.execution.inside.arguments import KIND
from thence.execution.inside.notes import DROPPED
from thence.execution.noting import read_notes
from thence.model.observed import Observed, PythonProcess
from thence.model.records import Param

__all__ = ["Heard", "Note", "Observations", "observe"]

Note = Mapping[str, Any]
"""As a program told it, without secrets; any field may be missing or of another type."""


class Heard(NamedTuple):
    """What the notes of one kind come to.

    Attributes:
        observed: Lines for the record.
        params: By name.
        defaults: Those that nobody gave.
        left: What is left to guess of the command line, see `arguments`.
        problems: Sentences for people.
        bodies: What was fetched and is to be kept, by address: files in the spool.
        heard_of: Addresses `host:port` whose traffic is accounted for by `observed`.
        blas: What libraries of linear algebra said of themselves, by the names of their files.
    """

    observed: Sequence[Observed] = ()
    params: Mapping[str, Param] = {}
    problems: Sequence[str] = ()
    bodies: Mapping[str, Path] = {}
    heard_of: Sequence[str] = ()
    defaults: Mapping[str, Param] = {}
    left: Mapping[str, Param] | None = None
    blas: Mapping[str, str] = {}


Fold = Callable[[Iterable[Note], Path], Heard]
"""Makes sense of the notes of its kinds; is given the spool."""


class Observations(NamedTuple):
    """All of it."""

    observed: tuple[Observed, ...]
    params: dict[str, Param]
    problems: tuple[str, ...]
    bodies: dict[str, Path]
    heard_of: frozenset[str]
    defaults: Mapping[str, Param] = {}
    left: Mapping[str, Param] | None = None
    blas: Mapping[str, str] = {}


def _processes(notes: Iterable[Note], spool: Path) -> Heard:
    return Heard(
        [
            PythonProcess(
                pid=int(note["pid"]),
                python=str(note["python"]),
                executable=str(note["executable"]),
            )
            for note in notes
        ]
    )


def _chance(notes: Iterable[Note], spool: Path) -> Heard:
    found = read_chance(notes, _root(spool))
    return Heard(found.observed, problems=found.problems)


def _cells(notes: Iterable[Note], spool: Path) -> Heard:
    found = cells.read_cells(notes, live.read_lines(spool))
    return Heard(found.observed, problems=found.problems)


def _remote(notes: Iterable[Note], spool: Path) -> Heard:
    found = remote.read_remote(notes, spool)
    return Heard(found.reads, {}, found.problems, found.bodies, found.peers)


def _arguments(notes: Iterable[Note], spool: Path) -> Heard:
    found = read_arguments(notes, _opened(spool)["command"])
    return Heard((), found.given, defaults=found.defaults, left=found.left)


def _queries(notes: Iterable[Note], spool: Path) -> Heard:
    found = queries.read_queries(notes)
    return Heard(found.queries, problems=found.problems, heard_of=found.peers)


def _blas(notes: Iterable[Note], spool: Path) -> Heard:
    said: dict[str, dict[str, None]] = {}
    for note in notes:
        name, version, threads = (note.get(key) for key in ("file", "version", "threads"))
        if isinstance(name, str) and isinstance(version, str):
            plural = "" if threads == 1 else "s"
            count = "" if whole(threads) is None else f"{threads} thread{plural}"
            said.setdefault(name, {})[", ".join(filter(None, (version, count)))] = None
    return Heard(blas={name: "; ".join(several) for name, several in said.items()})


def _dropped(notes: Iterable[Note], spool: Path) -> Heard:
    count = sum(whole(note.get("count")) or 0 for note in notes)
    return Heard(
        problems=[
            f"{count} notes of what programs fetched, asked or drew were not taken: thence did not"
            " hear them in time"
        ]
    )


def _root(spool: Path) -> Path:
    """The project of a run."""
    return Path(_opened(spool)["root"])


def _opened(spool: Path) -> dict[str, Any]:
    opened: dict[str, Any] = json.loads((spool / "beginning.json").read_bytes())["opened"]
    return opened


_FOLDS: tuple[tuple[str, frozenset[str], Fold], ...] = (
    ("the Python processes", frozenset({"process"}), _processes),
    ("the cells of the notebook", cells.KINDS, _cells),
    ("what was fetched over the network", remote.KINDS, _remote),
    ("what databases were asked", queries.KINDS, _queries),
    ("the random generators", KINDS, _chance),
    ("the parsed arguments", frozenset({KIND}), _arguments),
    ("the libraries of linear algebra", frozenset({blas.KIND}), _blas),
    ("the notes that were dropped", frozenset({DROPPED}), _dropped),
)
"""Name for problems, kinds of notes, what to do with them; in the order of the record."""


def observe(spool: Path) -> Observations:
    """What the notes in a spool say; what cannot be made sense of becomes a problem."""
    notes = list(read_notes(spool))
    observed: list[Observed] = []
    params: dict[str, Param] = {}
    problems: list[str] = []
    bodies: dict[str, Path] = {}
    heard_of: set[str] = set()
    defaults: dict[str, Param] = {}
    left: dict[str, Param] | None = None
    said: dict[str, str] = {}
    for name, kinds, fold in _FOLDS:
        of_kind = [note for note in notes if note["kind"] in kinds]
        if not of_kind:
            continue
        heard, problem = attempt(name, lambda fold=fold, some=of_kind: fold(some, spool))  # type: ignore[misc]
        problems += [problem] if problem else []
        if heard is not None:
            observed += heard.observed
            params |= heard.params
            problems += heard.problems
            bodies |= heard.bodies
            heard_of |= set(heard.heard_of)
            defaults |= heard.defaults
            said |= heard.blas
            left = left if heard.left is None else dict(heard.left)
    return Observations(
        tuple(observed), params, tuple(problems), bodies, frozenset(heard_of), defaults, left, said
    )
