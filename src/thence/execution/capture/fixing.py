"""Fixing what a file holds at one moment: its bytes, or their digest where the store has them."""

import os
from collections.abc import Callable

from thence.execution.capture.beside import Copying
from thence.execution.capture.keeper import Glance, Keeper, Kept, Signature
from thence.execution.capture.states import FileState
from thence.model.ids import Digest

__all__ = ["Fixer", "Known", "Protect"]

Known = Callable[[str, os.stat_result], Digest | None]
"""The digest of a file whose content is in the store already; None where that is not certain."""

Protect = Callable[[str], bool]
"""Whether a file is secret by its name, so that its content must never be kept."""


class Fixer:
    """Gives the states of files. Not for several threads at once.

    Args:
        keeper: Makes copies, while the program waits.
        copying: Makes those of large files, beside the run.
        known: Spares copying what the store has.
        protect: Spares secrets.

    Attributes:
        problems: What went wrong, sentences.
    """

    def __init__(self, keeper: Keeper, copying: Copying, known: Known, protect: Protect) -> None:
        self._keeper = keeper
        self._copying = copying
        self._known = known
        self._protect = protect
        self._copy_of: dict[Signature, FileState] = {}
        self.problems: dict[str, None] = {}

    def is_protected(self, path: str) -> bool:
        """Whether what a file holds must never be kept."""
        return self._protect(path)

    def fix(
        self,
        real: str,
        status: os.stat_result,
        *,
        limit: int | None,
        then: Callable[[], None],
        read: Glance | None = None,
    ) -> FileState:
        """The state of a file now, with its bytes in a safe place where that is possible.

        Args:
            real: The file.
            status: What a look at it said just now.
            limit: Larger ones are copied beside the run, if at all.
            then: See `Copying.begin`.
            read: What it held then, where that was read.
        """
        state = FileState.seen(real, status)
        try:
            if self._protect(real):
                return state._replace(why_not_kept="secret")
            if (digest := self._known(real, status)) is not None:
                return state._replace(digest=digest)
            if state.signature in self._copy_of:  # another name of the same file
                return self._copy_of[state.signature]._replace(name=real)
            if limit is not None and status.st_size > limit:
                return self._begin_copy(state, then)
            if read is not None:
                copy = self._keeper.keep_glance(read)
            else:
                copy = self._keeper.keep(real, seen=status)
        except Exception as error:  # a bug in a callback: the run goes on, the record says so
            self.problems[f"{real} could not be kept: {error!r}"] = None
            return state._replace(why_not_kept="failed")
        return self._copied(state, copy)

    def _copied(self, state: FileState, copy: Kept) -> FileState:
        state = state.with_copy(copy)
        if state.kept is not None and state.signature is not None and not copy.unstable:
            self._copy_of[state.signature] = state
        return state

    def _begin_copy(self, state: FileState, then: Callable[[], None]) -> FileState:
        """Copy a large file: at once where blocks can be shared, else while the program goes on."""
        number = self._keeper.reserve()
        shared = self._keeper.clone(state.name, number=number)
        if shared is not None:
            return self._copied(state, shared)
        self._copying.begin(state.name, number, then)
        return state

    def settled(self, first: FileState) -> FileState | None:
        """What became of a copy beside the run, when it is made; None where none could be made.

        Args:
            first: The file as it was when its copy was begun.
        """
        copy = self._copying.take(first.name)
        if copy is None or copy.copy is None:
            return None  # it is looked at again at the end
        state = self._copied(first, copy)
        if state.signature != first.signature:
            state = state._replace(changed_during_run=True)
        return state
