"""What was erased, by who has read the log of erasures already."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from thence.index.database import Index
from thence.model.ids import Digest

__all__ = ["Erasing", "erased_contents"]


class Erasing(NamedTuple):
    """Who erased a content, when and why."""

    at: datetime
    by: str
    reason: str

    def __str__(self) -> str:
        return f"{self.by} erased it on {self.at:%Y-%m-%d}: {self.reason}"


def erased_contents(index: Index) -> Mapping[Digest, Erasing]:
    """The contents that were erased and may not come back."""
    found = index.select("SELECT digest, at, author, reason FROM erased")
    return {
        Digest.from_hex(digest): Erasing(datetime.fromisoformat(at), author, reason)
        for digest, at, author, reason in found
    }
