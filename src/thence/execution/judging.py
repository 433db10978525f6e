"""Judging a reproduction: each result against the original, then the run as a whole."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from thence.errors import DataDamaged, NotFound
from thence.execution.restore import put_back
from thence.execution.settings import ResultSettings
from thence.formats import registry
from thence.formats.base import CompareContext
from thence.model.ids import Digest
from thence.model.paths import path_from_text
from thence.model.records import Comparison, FileRole, FileUse, Finding, Grade
from thence.store.failures import failures_of
from thence.vault.content import Content

__all__ = ["Evidence", "Result", "compare_results", "conclude", "results_of"]

_DIFFERENCES = {Grade.DIFFERENT, Grade.MISSING}


class Evidence(NamedTuple):
    """What is known when the verdict is found.

    Attributes:
        obstacles: Why the reproduction could not take place as recorded; each forbids `reproduced`.
        missing: What could not be given back.
        exit_codes: Of the original and of the reproduction; None where it is not known, or where it
            did not start.
    """

    results: tuple[Comparison, ...]
    obstacles: tuple[str, ...]
    missing: tuple[str, ...]
    exit_codes: tuple[int | None, int | None]


class Result(NamedTuple):
    """One thing to compare.

    Attributes:
        path: How the verdict names it; its end tells the format.
        original: Content digest; None where it was not kept.
        reproduced: Where the new one should be.
        redacted: Secrets in the original were replaced.
        why_not_kept: Where there is no original.
    """

    path: str
    original: Digest | None
    reproduced: Path
    redacted: bool = False
    why_not_kept: str | None = None


def results_of(uses: Iterable[FileUse], settings: ResultSettings, root: Path) -> list[Result]:
    """The outputs of a run that count as its results."""
    return [
        Result(
            use.path,
            use.digest,
            root / path_from_text(use.path, percent=use.percent),
            use.redacted,
            use.why_not_kept,
        )
        for use in uses
        if use.role is FileRole.OUTPUT and settings.is_result(use.path)
    ]


def compare_results(
    results: Iterable[Result],
    content: Content,
    *,
    originals: Path,
    settings: ResultSettings,
    context: CompareContext,
    secrets: Mapping[str, str],
    progress: Callable[[str], None],
) -> list[Comparison]:
    """Grade each result; never raises for what the files are.

    Args:
        results: As recorded.
        content: Where the original bytes are.
        originals: An empty folder for the original ones.
        settings: Tolerances.
        context: Inputs and interpreter of the reproduction.
        secrets: Values by placeholder, to be put back into the originals.
        progress: Is told which result is compared.

    Raises:
        StorageError: The originals cannot be written.
    """
    graded = []
    for number, result in enumerate(results):
        progress(f"comparing {result.path}")
        folder = originals / str(number)
        with failures_of(f"make {folder}"):
            folder.mkdir(parents=True)
        own = msgspec.structs.replace(context, tolerance=settings.tolerance_of(result.path))
        graded.append(_compare(result, content, folder, own, secrets))
    return graded


def _compare(
    result: Result,
    content: Content,
    folder: Path,
    context: CompareContext,
    secrets: Mapping[str, str],
) -> Comparison:
    if result.original is None:
        detail = f"the original was not kept: {result.why_not_kept}"
        return Comparison(path=result.path, grade=Grade.UNCHECKED, detail=detail)
    if not result.reproduced.is_file():
        detail = "the reproduction did not write it"
        return Comparison(path=result.path, grade=Grade.MISSING, detail=detail)
    original = folder / result.reproduced.name
    try:
        content.write_to(result.original, original)
        if result.redacted:
            put_back(original, secrets)
    except (NotFound, DataDamaged) as error:
        detail = f"the original cannot be read: {error.what}"
        return Comparison(path=result.path, grade=Grade.UNCHECKED, detail=detail)
    found = registry.compare(original, result.reproduced, result.path, context)
    if result.redacted and found.grade is not Grade.IDENTICAL:
        detail = "a secret was replaced in the original, and it is not the same otherwise"
        return Comparison(path=result.path, grade=Grade.UNCHECKED, rule=found.rule, detail=detail)
    return found


def conclude(evidence: Evidence) -> tuple[Finding, tuple[str, ...]]:
    """The verdict, and the reasons for it.

    One difference decides, whatever could not be checked beside it; but where something was
    missing or in the way, a difference proves nothing. What could not be checked never counts as
    reproduced.
    """
    reasons = list(evidence.obstacles)
    original, reproduced = evidence.exit_codes
    is_different = any(one.grade in _DIFFERENCES for one in evidence.results)
    if None not in evidence.exit_codes and original != reproduced:
        reasons.append(f"the command ended with status {reproduced}; originally with {original}")
        is_different = True
    if not evidence.results:
        reasons.append("the run has no results to compare")
        return Finding.CANNOT_BE_CHECKED, tuple(reasons)
    counts = {grade: sum(one.grade is grade for one in evidence.results) for grade in Grade}
    reasons += [
        f"{counts[grade]} of {len(evidence.results)} results: {grade}"
        for grade in (Grade.DIFFERENT, Grade.MISSING, Grade.UNCHECKED)
        if counts[grade]
    ]
    if is_different and evidence.missing:
        reasons += [f"missing: {what}" for what in evidence.missing]
        return Finding.CANNOT_BE_CHECKED, tuple(reasons)
    if evidence.obstacles:
        return Finding.CANNOT_BE_CHECKED, tuple(reasons)
    if is_different:
        return Finding.DIFFERS, tuple(reasons)
    if counts[Grade.UNCHECKED]:
        return Finding.CANNOT_BE_CHECKED, tuple(reasons)
    if counts[Grade.WITHIN_TOLERANCE]:
        return Finding.WITHIN_TOLERANCE, tuple(reasons)
    return Finding.REPRODUCED, tuple(reasons)
