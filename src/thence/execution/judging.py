"""Judging a reproduction: each result against the original, then the run as a whole."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from thence.errors import DataDamaged, NotFound
from thence.execution.settings import ResultSettings
from thence.formats import registry
from thence.formats.base import CompareContext
from thence.model.paths import path_from_text
from thence.model.records import Comparison, FileRole, FileUse, Finding, Grade
from thence.store.failures import failures_of
from thence.vault.content import Content

__all__ = ["Evidence", "compare_results", "conclude", "results_of"]

_ORDER = list(Grade)


class Evidence(NamedTuple):
    """What is known when the verdict is found.

    Attributes:
        obstacles: Why the reproduction could not take place as recorded; each forbids `reproduced`.
        missing: What could not be given back.
        exit_codes: Of the original and of the reproduction; None where it did not start.
    """

    results: tuple[Comparison, ...]
    obstacles: tuple[str, ...]
    missing: tuple[str, ...]
    exit_codes: tuple[int | None, int | None]


def results_of(uses: Iterable[FileUse], settings: ResultSettings) -> list[FileUse]:
    """The outputs of a run that count as its results."""
    return [use for use in uses if use.role is FileRole.OUTPUT and settings.is_result(use.path)]


def compare_results(
    results: Iterable[FileUse],
    content: Content,
    *,
    root: Path,
    originals: Path,
    inputs: Mapping[str, Path],
    settings: ResultSettings,
    python: Path | None,
    progress: Callable[[str], None],
) -> list[Comparison]:
    """Grade each result; never raises for what the files are.

    Args:
        results: As recorded.
        content: Where the original bytes are.
        root: Where the reproduced ones are.
        originals: An empty folder for the original ones.
        inputs: Restored inputs, on which models are compared by what they predict.
        settings: Tolerances.
        python: Interpreter of the reproduced environment.
        progress: Is told which result is compared.
    """
    graded = []
    for number, use in enumerate(results):
        progress(f"comparing {use.path}")
        path = path_from_text(use.path, percent=use.percent)
        reproduced = root / path
        if use.digest is None:
            detail = f"the original was not kept: {use.why_not_kept}"
            graded.append(Comparison(path=use.path, grade=Grade.UNCHECKED, detail=detail))
            continue
        if not reproduced.is_file():
            detail = "the reproduction did not write it"
            graded.append(Comparison(path=use.path, grade=Grade.MISSING, detail=detail))
            continue
        original = originals / str(number) / reproduced.name
        try:
            with failures_of(f"write {original}"):
                original.parent.mkdir(parents=True)
            content.write_to(use.digest, original)
        except (NotFound, DataDamaged) as error:
            detail = f"the original cannot be read: {error.what}"
            graded.append(Comparison(path=use.path, grade=Grade.UNCHECKED, detail=detail))
            continue
        context = CompareContext(
            tolerance=settings.tolerance_of(use.path), inputs=inputs, python=python, root=root
        )
        found = registry.compare(original, reproduced, use.path, context)
        if use.redacted and found.grade is not Grade.IDENTICAL:
            found = Comparison(
                path=use.path,
                grade=Grade.UNCHECKED,
                rule=found.rule,
                detail="a secret was replaced in the original, and it is not the same otherwise",
            )
        graded.append(found)
    return graded


def conclude(evidence: Evidence) -> tuple[Finding, tuple[str, ...]]:
    """The verdict, and the reasons for it.

    The worst result decides. Nothing that could not be checked counts as reproduced; and where
    something was missing, a difference is no proof that the result does not reproduce.
    """
    reasons = list(evidence.obstacles)
    original, reproduced = evidence.exit_codes
    worst = max((one.grade for one in evidence.results), key=_ORDER.index, default=None)
    if reproduced is not None and original != reproduced:
        reasons.append(f"the command ended with status {reproduced}; originally with {original}")
        worst = Grade.DIFFERENT if worst is None else max(worst, Grade.DIFFERENT, key=_ORDER.index)
    if not evidence.results:
        reasons.append("the run has no results to compare")
        return Finding.CANNOT_BE_CHECKED, tuple(reasons)
    counts = {grade: sum(one.grade is grade for one in evidence.results) for grade in _ORDER}
    reasons += [
        f"{counts[grade]} of {len(evidence.results)} results: {grade}"
        for grade in (Grade.DIFFERENT, Grade.MISSING, Grade.UNCHECKED)
        if counts[grade]
    ]
    if worst in {Grade.DIFFERENT, Grade.MISSING} and evidence.missing:
        reasons += [f"missing: {what}" for what in evidence.missing]
        return Finding.CANNOT_BE_CHECKED, tuple(reasons)
    if evidence.obstacles or counts[Grade.UNCHECKED]:
        if worst in {Grade.DIFFERENT, Grade.MISSING} and not evidence.obstacles:
            return Finding.DIFFERS, tuple(reasons)
        return Finding.CANNOT_BE_CHECKED, tuple(reasons)
    if worst in {Grade.DIFFERENT, Grade.MISSING}:
        return Finding.DIFFERS, tuple(reasons)
    if worst is Grade.WITHIN_TOLERANCE:
        return Finding.WITHIN_TOLERANCE, tuple(reasons)
    return Finding.REPRODUCED, tuple(reasons)
