"""What a log is about, by its name."""

import re
from typing import NamedTuple

__all__ = ["Subject", "subject"]

_ARTIFACT_LOG = re.compile(r"refs/artifacts/(?P<key>.+)/@(?P<part>|edits)")
_ALIAS_LOG = re.compile(r"refs/aliases/(?P<key>.+)/@(?P<alias>[^/]+)")
_RUN_LOG = re.compile(r"refs/runs/(?P<run>[0-9a-f]+)")
_ERASURES = "refs/erasures"


class Subject(NamedTuple):
    """What a log is about.

    Attributes:
        kind: `versions`, `edits`, `alias`, `run` or `erasures`.
        key: Key of the artifact, or id of the run; empty for `erasures`.
        alias: Of an `alias` log; else empty.
    """

    kind: str
    key: str
    alias: str = ""


def subject(log: str) -> Subject | None:
    """What a log is about; None for one that is not known."""
    if found := _ARTIFACT_LOG.fullmatch(log):
        return Subject("edits" if found["part"] else "versions", found["key"])
    if found := _ALIAS_LOG.fullmatch(log):
        return Subject("alias", found["key"], found["alias"])
    if found := _RUN_LOG.fullmatch(log):
        return Subject("run", found["run"])
    return Subject("erasures", "") if log == _ERASURES else None
