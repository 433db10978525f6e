"""The base of everything that a log entry can hold."""

import msgspec

from thence.model import codec
from thence.model.ids import Digest

__all__ = ["Record"]


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of everything that a log entry can hold."""

    @property
    def digest(self) -> Digest:
        """The identity of this record.

        Only for a record made by this process. One that was read must be named by the bytes it was
        read from (`Entry.digest`), which may hold fields that this version does not know.
        """
        return Digest.of(codec.encode(self))
