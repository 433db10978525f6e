"""What was gathered of a run: all that will be sealed, before its files are versions."""

import msgspec

from thence.execution.binding import Stored
from thence.model.ids import Digest
from thence.model.records import FileUse, RunSealed

__all__ = ["Gathered"]


class Gathered(msgspec.Struct, frozen=True, kw_only=True):
    """A run but for the versions of its files; all content is named in it.

    Attributes:
        draft: The sealed record without files, uses and makes.
        others: Files that never become versions.
        used: Digests of versions that the program loaded.
        made: Digests of versions that the program saved.
    """

    draft: RunSealed
    inputs: tuple[Stored, ...] = ()
    overwritten: tuple[Stored, ...] = ()
    outputs: tuple[Stored, ...] = ()
    others: tuple[FileUse, ...] = ()
    used: tuple[Digest, ...] = ()
    made: tuple[Digest, ...] = ()

    def contents(self) -> set[Digest]:
        """Digests of everything that the record will refer to, but for the list of its files."""
        draft = self.draft
        single = (
            *(draft.series, draft.observed, draft.environment),
            *(draft.stdout, draft.stderr, draft.code.diff),
        )
        uses = [item.use for item in (*self.inputs, *self.overwritten, *self.outputs)]
        files = (use.digest for use in (*uses, *self.others))
        return {digest for digest in (*single, *files) if digest is not None}
