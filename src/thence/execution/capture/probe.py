"""A probe asks one question about a run and never breaks it."""

import logging
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

__all__ = ["Attempt", "attempt"]

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Attempt(NamedTuple, Generic[T]):
    """What a probe found out; exactly one of the two is None, unless the probe itself found None.

    Attributes:
        value: What it returned.
        problem: One sentence for people that says what is not known now, and why.
    """

    value: T | None
    problem: str | None


def attempt(name: str, function: Callable[[], T]) -> Attempt[T]:
    """Call a probe; whatever it raises becomes a sentence in the record of the run.

    Args:
        name: What the probe finds out: `the git state`, `system packages`.
        function: The probe.
    """
    try:
        return Attempt(function(), None)
    except Exception as error:  # a probe may fail in any way, and the run goes on
        _log.debug("probe failed: %s", name, exc_info=True)
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Attempt(None, f"{name} could not be recorded: {first_line}")
