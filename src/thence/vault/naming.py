"""Naming: what an entry refers to is looked after before and after the entry is there.

Whoever deletes a pack condemns it first, and then reads the entries. So an entry is safe if it was
there before its packs were condemned, or if who appends it looks at what is condemned afterwards
(design/0011).
"""

import logging
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from thence.errors import Conflict, DataDamaged, NotFound
from thence.model.ids import Digest
from thence.vault.condemned import Condemned
from thence.vault.references import Root
from thence.vault.session import Moment, Session, share

if TYPE_CHECKING:
    from thence.vault.vault import Vault

__all__ = ["Naming"]

_log = logging.getLogger(__name__)
# Far below any period of grace that a bucket allows, and longer than a request takes mostly.
_PROMPT_S = 10.0
_TRIES = 5


class Naming:
    """One entry, or several that refer to the same, on their way into a log.

    Call `look` (it may go on beside other requests), `before` what it refers to gets a name, and
    `after`.

    Args:
        vault: Where.
        session: In which all that the entries name was put or found; None where there was none.
        now: Tells the time, by clocks of this machine.
    """

    def __init__(
        self, vault: "Vault", session: Session | None, *, now: Callable[[], Moment]
    ) -> None:
        self._vault = vault
        self._known = session
        self._has_session = session is not None
        self._here: Session | None = session
        self._now = now
        self._records: tuple[Condemned, ...] | None = None
        self._looked: Moment | None = None
        self._roots: tuple[Root, ...] = ()
        self._spare: Callable[[], Collection[Digest]] = tuple

    def look(self) -> None:
        """See which packs are condemned.

        Raises:
            DataDamaged: A record of them cannot be read.
            StorageError: The store failed.
        """
        # The time first: what is condemned while this is under way may be missed.
        self._looked = self._now()
        self._records = self._vault.condemned.read()

    def before(
        self, roots: Iterable[Root], *, spare: Callable[[], Collection[Digest]] = tuple
    ) -> None:
        """See that all of this is there and will stay; may be called again with other roots.

        Args:
            roots: What is about to get a name.
            spare: Tells, where somebody must look, which contents are neither missed nor refused:
                they were erased, and the entries are of before, or of a run that has read them.

        Raises:
            Conflict: Something of it was collected meanwhile; it must be put again.
            DataDamaged: Something of it is missing, or damaged.
            StorageError: The store failed.
            Denied: Something of it was erased, or the store may not be written to.
        """
        self._roots = tuple(roots)
        self._spare = spare
        if not self._roots:
            return
        if self._here is None:
            self._here = Session(lock=share(self._vault.store))
        if self._records is None or self._looked is None or self._is_late():
            self.look()
        self._settle()

    def after(self) -> None:
        """See that it still is, now that the entry is there.

        Raises:
            DataDamaged: Something of it was collected just before the entry came.
            StorageError: The store failed: whether all of it is there is not known.
            Denied: It may not be written to.
        """
        if not self._roots or (self._vault.remote and not self._is_late()):
            return
        self.look()
        try:
            self._settle()
        except Conflict as error:
            raise DataDamaged(
                "what has just got a name is not whole",
                why=f"It took too long: {error.why}",
                hint="Do it once more: what is missing is then put again, and this is whole.",
            ) from error

    def _is_late(self) -> bool:
        return self._looked is None or self._now().since(self._looked) > _PROMPT_S

    def _settle(self) -> None:
        """See that nothing that the roots need was condemned since, else copy it out."""
        assert self._records is not None
        if self._known is None and not self._records:
            self._known = Session()  # nothing was ever deleted here
        for _ in range(_TRIES):
            if self._known is not None and self._known.still_holds(self._records):
                return
            self._hold(self._records)
            self._known = Session(self._records)
            self.look()
        raise Conflict(
            "what was to be named could not be secured",
            why="Packs were condemned again each time that it was looked at.",
            hint="Repeat it when nobody collects.",
        )

    def _hold(self, records: tuple[Condemned, ...]) -> None:
        from thence.vault.securing import secure  # which needs the vault

        condemned = frozenset[bytes]().union(*(one.packs for one in records))
        try:
            copied = secure(self._vault, self._roots, avoid=condemned, spare=self._spare())
        except NotFound as error:
            if self._has_session:
                raise Conflict(
                    "a part of what was put is gone",
                    why=f"It was collected before it got a name. {error.what}: {error.why}",
                    hint="Repeat the command: what is missing is then put again.",
                    about=error.about,
                ) from error
            raise DataDamaged(
                "a part of what was to be named is missing",
                why=f"{error.what}. {error.why or ''}".strip(),
                hint="See what is damaged, and where it can be healed from: thence check",
                about=error.about,
            ) from error
        if copied:
            _log.info("%d ids were copied out of packs that are about to be deleted", copied)
