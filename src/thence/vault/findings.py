"""What a check finds: damage, what is only a cache, and what cannot be judged."""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

__all__ = ["MOST_REFS", "Finding", "Severity"]

MOST_REFS = 20
"""So many refs are named by one finding; the others are counted."""


class Severity(StrEnum):
    """What a finding means."""

    DAMAGE = "damage"
    """Something that was kept is not as it was written, or is gone."""

    CACHE = "cache"
    """Something is wrong that saves time only, and is made again by a repair."""

    UNCHECKED = "unchecked"
    """A newer version of thence wrote it, so it cannot be judged."""

    NOTE = "note"
    """Nothing is wrong, but it is worth knowing."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a check found.

    Attributes:
        severity: What it means.
        what: What was found, one sentence without a full stop.
        why: How it shows.
        key: The object that it is about; None where no single one is.
        start: Where in the object the damage begins; None where all of it is meant.
        end: Where it ends.
        ids: Contents, chunks or lists, in hexadecimal digits.
        refs: Versions and runs that it touches, with paths: `churn@v3:data/a.csv`.
        more_refs: How many more there are, at least.
        heals: Whether a repair would heal it, with the stores that were looked at; None where
            nobody looked.
    """

    severity: Severity
    what: str
    why: str = ""
    key: str | None = None
    start: int | None = None
    end: int | None = None
    ids: tuple[str, ...] = ()
    refs: tuple[str, ...] = ()
    more_refs: int = 0
    heals: bool | None = None

    def about(self, ids: Iterable[bytes]) -> "Finding":
        """The same, with the ids that it is about."""
        return msgspec.structs.replace(self, ids=tuple(sorted(one.hex() for one in ids)))

    def touching(self, refs: Iterable[str]) -> "Finding":
        """The same, with the refs that it touches."""
        known = list(dict.fromkeys(refs))
        return msgspec.structs.replace(
            self, refs=tuple(known[:MOST_REFS]), more_refs=max(0, len(known) - MOST_REFS)
        )
