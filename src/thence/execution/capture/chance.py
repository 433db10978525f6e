"""What the notes of random number generators come to: their lines, and who had no seed."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from thence.execution.capture.drawing import Source
from thence.execution.capture.fields import Program, program_of
from thence.execution.inside.chance import KIND, SOURCES
from thence.model.observed import Randomness

__all__ = ["KINDS", "WITHOUT_A_SEED", "Found", "read_chance"]

KINDS = frozenset({KIND, SOURCES})

WITHOUT_A_SEED = "without a seed: results will differ"
"""Stands in the problems that tell of such generators."""

_LIMIT = 1000
_SHARED = {"random": "Python's", "numpy": "numpy's", "torch": "torch's"}
_ENTROPY = "numpy.entropy"


class Found(NamedTuple):
    """The generators of a run.

    Attributes:
        problems: Of those that were used without a seed, sentences.
    """

    observed: list[Randomness]
    problems: list[str]


def read_chance(notes: Iterable[Mapping[str, Any]], root: Path) -> Found:
    """The generators of a run, and those of them that were used without a seed.

    A generator that a library shares counts as used by the program where it was seen to be asked
    for, or where a source of the program draws from it: what libraries draw for their own ends (a
    boundary in a message, the pause before another try) does not change results.

    Args:
        notes: As they were told.
        root: What paths are made relative to.
    """
    heard = list(notes)
    reader = _Reader(root, {program_of(note): note for note in heard if note["kind"] == SOURCES})
    for note in heard:
        if note["kind"] == KIND:
            reader.read(note)
    if (more := len(reader.observed) - _LIMIT) > 0:
        reader.problems.append(f"{more} more random generators were used than are listed")
    return Found(reader.observed[:_LIMIT], list(dict.fromkeys(reader.problems)))


class _Reader:
    def __init__(self, root: Path, sources: Mapping[Program, Mapping[str, Any]]) -> None:
        self.observed: list[Randomness] = []
        self.problems: list[str] = []
        self._root = root
        self._told = sources
        self._sources: dict[str, Source] = {}

    def read(self, note: Mapping[str, Any]) -> None:
        library = str(note["library"])
        site = _as_site(note.get("site"))
        seeded = note.get("seeded")
        if library == _ENTROPY:
            made = site and self._source(site[0], note).made_without_seed(site[1])
            if not made:
                return
            library = f"numpy.{made}"
        if library in _SHARED and note.get("used") and not seeded:
            if site is None:
                site = self._draws(library, note)
            if note.get("late") and self._seeds(library, note):
                seeded = None
        one = Randomness(
            pid=program_of(note)[0],
            library=library,
            seeded=seeded,
            seed=note.get("seed"),
            start=note.get("start"),
            end=note.get("end"),
            used=note.get("used"),
            site=None if site is None else self._text(site),
        )
        self.observed.append(one)
        if (problem := self._problem(one, note)) is not None:
            self.problems.append(problem)

    def _problem(self, one: Randomness, note: Mapping[str, Any]) -> str | None:
        where = f" ({one.site})" if one.site else ""
        owner = _SHARED.get(one.library)
        if owner is None:
            if one.seeded is not False or one.used is False or one.library == "torch.cuda":
                return None
            return f"a {one.library} was made {WITHOUT_A_SEED}{where}"
        if note.get("before") and one.seeded and one.library != "random":
            return f"{owner} generator was used before it had a seed: results may differ"
        # Whoever draws from torch does the work of the program; the others serve libraries too.
        is_own = one.site is not None or one.library == "torch" or self._is_typed(note)
        if one.used and one.seeded is False and is_own:
            return f"{owner} generator was used {WITHOUT_A_SEED}{where}"
        return None

    def _is_typed(self, note: Mapping[str, Any]) -> bool:
        return note["library"] != "random" and bool(self._of_program(note).get("prompt"))

    def _of_program(self, note: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._told.get(program_of(note), {})

    def _draws(self, library: str, note: Mapping[str, Any]) -> tuple[str, int] | None:
        for path in self._paths(note):
            line = self._source(path, note).draws(library)
            if line is not None:
                return path, line
        return None

    def _seeds(self, library: str, note: Mapping[str, Any]) -> bool:
        return any(self._source(path, note).seeds(library) for path in self._paths(note))

    def _paths(self, note: Mapping[str, Any]) -> list[str]:
        told = self._of_program(note)
        typed = ["<string>"] if told.get("text") else []
        return [*typed, *(str(path) for path in told.get("files", ()))]

    def _source(self, path: str, note: Mapping[str, Any]) -> Source:
        if path == "<string>":
            return Source(str(self._of_program(note).get("text", "")))
        found = self._sources.get(path)
        if found is None:
            found = self._sources[path] = Source.read(Path(path))
        return found

    def _text(self, site: tuple[str, int]) -> str:
        path, line = site
        below = os.path.relpath(path, self._root) if path.startswith(f"{self._root}/") else path
        return f"{below}:{line}"


def _as_site(told: Any) -> tuple[str, int] | None:
    return (str(told[0]), int(told[1])) if isinstance(told, list) and len(told) == 2 else None
