"""The verdict on a run that was run again, and the grades of its results."""

from datetime import datetime
from enum import StrEnum

import msgspec

from thence.model.ids import RunId
from thence.model.record import Record
from thence.model.run_facts import Host, SensorReport

__all__ = ["Comparison", "Finding", "Grade", "Isolation", "Verdict"]


class Grade(StrEnum):
    """How well one result, or a whole run, was reproduced. Ordered from best to worst."""

    IDENTICAL = "identical"
    EQUIVALENT = "equivalent"
    WITHIN_TOLERANCE = "within tolerance"
    DIFFERENT = "different"
    MISSING = "missing"
    UNCHECKED = "unchecked"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What comparing one result gave.

    Attributes:
        rule: By which rule it was compared: `bytes`, `json`, `csv`, `image` …
        detail: The first difference and where; the largest deviation and where.
    """

    path: str
    grade: Grade
    rule: str = "bytes"
    detail: str = ""


class Finding(StrEnum):
    """The verdict on a run, in one phrase."""

    REPRODUCED = "reproduced"
    WITHIN_TOLERANCE = "within tolerance"
    DIFFERS = "differs"
    CANNOT_BE_CHECKED = "cannot be checked"

    @property
    def exit_status(self) -> int:
        """What `thence reproduce` exits with."""
        return {"differs": 7, "cannot be checked": 3}.get(self.value, 0)


class Isolation(StrEnum):
    """How a reproduction was kept apart from the machine that it took place on."""

    NAMESPACE = "namespace"
    FOLDER = "folder"


class Verdict(Record, frozen=True, kw_only=True, tag="verdict"):
    """The result of reproducing a run; an entry in the run's log.

    Attributes:
        reasons: Why it is what it is, sentences for people.
        deviations: In what the environment was not the recorded one.
        missing: Inputs, packages and secrets that could not be given back.
        opened_outside: Files below the original root that were opened.
        hidden: Files of the machine that the command looked for and that were kept from it.
        isolation: `namespace` where the command saw everything at its original path, and `folder`
            where it ran in a plain folder.
        is_strict: Nothing of the machine could be seen but its system.
    """

    run: RunId
    finding: Finding
    results: tuple[Comparison, ...]
    started: datetime
    ended: datetime
    author: str
    host: Host
    reasons: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    opened_outside: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    isolation: Isolation | None = None
    is_strict: bool = False
    exit_code: int | None = None
    original_exit_code: int | None = None
    sensor: SensorReport | None = None
