"""Pushing: what waits in the outbox of a clone goes home and gets its numbers there.

Content first, a hint in the journal for all, then the entries: versions, edits, runs, aliases. The
content of what was removed before it got home stays here, so its tombstone goes first; what was
erased here is then taken out of the home's packs as well. An entry leaves the outbox when it is in
the mirrored log. So a push that was cut anywhere is simply repeated: what got through before is
found by its id.
"""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import groupby
from typing import NamedTuple

from thence.errors import Conflict, DataDamaged
from thence.model.ids import Digest
from thence.model.records import AliasMove, Entry, Restored, Tombstone, VersionEdit, decode_entry
from thence.vault.conflicts import (
    Conflicting,
    ConflictingVersions,
    WaitingEntry,
    list_conflicts,
    outbox_of,
    waiting_in,
)
from thence.vault.copying import mark_partial, mirror_entries
from thence.vault.erase import carry_out
from thence.vault.erasures import erased
from thence.vault.journal import Announced
from thence.vault.logs import ERASURES, versions_of
from thence.vault.mirroring import (
    Mirrored,
    Progress,
    at_once,
    follow,
    place,
    rank,
    same_project,
)
from thence.vault.references import Root, RootKind, roots_of
from thence.vault.removals import Removals, Whole, edits_of
from thence.vault.settling import Numbered, Settled, settle
from thence.vault.transfer import Transferred, transfer
from thence.vault.turn import turn
from thence.vault.vault import Vault

__all__ = ["Pushed", "push"]

_ROUNDS = 100
_ANNOUNCED_AT_ONCE = 5000
# More packs or roots than these are not worth a hint of each: merged directories tell faster.
_HINTED_PACKS = 64
_HINTED_ROOTS = 256


class Pushed(NamedTuple):
    """What a push did.

    Attributes:
        numbered: The entries that went home, or were found there: local and new number of each.
        contents: How many contents the home did not have.
        size_bytes: Of these contents.
        sent_bytes: Of the packs that were written.
        moot: Alias moves that led where the home's alias is already; they are forgotten.
        conflicts: What cannot be pushed, from this push and earlier ones.
        fetched: What others did to the same logs meanwhile, and was mirrored.
    """

    numbered: tuple[Numbered, ...]
    contents: int
    size_bytes: int
    sent_bytes: int
    moot: int
    conflicts: tuple[Conflicting, ...]
    fetched: Mirrored


class _Queue(NamedTuple):
    """What goes to one log, in order."""

    log: str
    entries: tuple[WaitingEntry, ...]

    @property
    def rank(self) -> int:
        """In which order it goes: nobody may see a version whose content was left out."""
        removes = any(isinstance(one.entry.record, Tombstone) for one in self.entries)
        return -1 if removes and self.log.endswith("/@edits") else rank(self.log)


def push(
    clone: Vault,
    home: Vault,
    *,
    with_content: bool = True,
    progress: Progress = lambda contents, size: None,
) -> Pushed:
    """Send what waits in the outbox home.

    Args:
        clone: Where the outbox is.
        home: What gives the numbers.
        with_content: Fetch the content of what others did to the same logs too; not for a clone
            that holds a part.
        progress: Is told contents and bytes sent so far.

    Raises:
        InvalidInput: They are different projects.
        NotFound: A content is neither here nor there.
        Conflict: Others were faster a hundred times.
        DataDamaged: The clone is no mirror of this home, or an entry or content is damaged.
        StorageError: A store failed; repeat the push.
        Denied: A store may not be read, or not be written to.
    """
    same_project(clone, home)
    with turn(clone):
        return _Push(clone, home, progress, with_content=with_content).run()


class _Push:
    """One push, in rounds: each begins with what others did to the logs meanwhile."""

    def __init__(
        self, clone: Vault, home: Vault, progress: Progress, *, with_content: bool
    ) -> None:
        self._clone = clone
        self._home = home
        self._progress = progress
        self._with_content = with_content
        self._ahead: set[str] = set()
        self._damaged: set[str] = set()
        self._lost_race = False
        self._numbered: list[Numbered] = []
        self._settled = Settled()
        self._fetched = Mirrored()
        self._sent = Transferred(0, 0, 0, ())

    def run(self) -> Pushed:
        for _ in range(_ROUNDS):
            self._catch_up()
            queues = [one for one in _queues(self._clone) if one.log not in self._damaged]
            if not queues:
                break
            self._send(queues)
        else:
            raise Conflict(
                "the outbox could not be pushed", why="Others changed the same logs every time."
            )
        if self._clone.numbered.tail(ERASURES):
            # Also one that a push before had brought home and was cut before it was carried out.
            carry_out(self._home)
        return Pushed(
            (*self._settled.numbered, *self._numbered),
            self._sent.contents,
            self._sent.size_bytes,
            self._sent.sent_bytes,
            self._settled.moot,
            list_conflicts(self._clone),
            self._fetched,
        )

    def _catch_up(self) -> None:
        """Mirror what others did to the logs, and settle by it."""
        waiting = {one.log for one in outbox_of(self._clone).waiting()}
        # Nobody else writes to the log of a run made here, mostly: it is not asked for beforehand.
        logs = {log for log in waiting if not log.startswith("refs/runs/")} | self._ahead
        # An alias that others moved leads to what they saved, mostly.
        logs |= {versions_of(log) for log in waiting if log.startswith("refs/aliases/")}
        self._ahead = set()
        spans = follow(self._home, self._clone, sorted(logs))
        if spans:
            if not self._with_content:
                mark_partial(self._clone)
            done = mirror_entries(
                self._home, self._clone, spans, with_content=lambda log, entry: self._with_content
            )
            self._fetched = self._fetched.plus(done)
            # What follows damage cannot be mirrored, so what is appended there would wait for ever.
            self._damaged.update(key.rpartition("/")[0] for key in done.damaged)
        self._settled = self._settled.plus(settle(self._clone))

    def _send(self, queues: list[_Queue]) -> None:
        self._lost_race = False
        found = roots_of(self._needed(queues))
        naming = self._home.naming(self._home.session())
        hints: list[Callable[[], None]] = []
        if found.roots:
            so_far = self._sent
            done = self._send_content(found.roots)
            self._sent = Transferred(
                so_far.contents + done.contents,
                so_far.size_bytes + done.size_bytes,
                so_far.sent_bytes + done.sent_bytes,
                done.packs,
            )
            hints = self._hints(found.roots, done.packs)
        announced = [
            Announced(one.entry.id, queue.log) for queue in queues for one in queue.entries
        ]
        hints += [
            partial(self._home.journal.note, announced[start : start + _ANNOUNCED_AT_ONCE])
            for start in range(0, len(announced), _ANNOUNCED_AT_ONCE)
        ]
        at_once(lambda write: write(), [*hints, naming.look], self._home)
        naming.before(found.roots, spare=self._erased)
        try:
            self._append_all(queues)
            naming.after()
        except DataDamaged:
            # It took so long that some of it was collected before the entries came; it is here.
            again = self._home.naming(self._home.session())
            self._send_content(found.roots)
            again.before(found.roots, spare=self._erased)

    def _send_content(self, roots: Iterable[Root]) -> Transferred:
        so_far = self._sent
        return transfer(
            self._clone,
            self._home,
            roots,
            progress=lambda contents, size: self._progress(
                so_far.contents + contents, so_far.size_bytes + size
            ),
            without=self._erased(),
        )

    def _erased(self) -> frozenset[Digest]:
        return erased(self._clone) | erased(self._home)

    def _append_all(self, queues: list[_Queue]) -> None:
        queues.sort(key=lambda queue: queue.rank)
        for _, same_rank in groupby(queues, key=lambda queue: queue.rank):
            at_once(self._append, list(same_rank), self._home)
            if self._lost_race:
                return  # what follows may name what is not there yet

    def _needed(self, queues: list[_Queue]) -> list[Entry]:
        """The entries whose content the home needs: not of what was removed, but of what came back.

        Of a version that was removed and restored here, the home may have collected the content.
        """
        logs = self._clone.logs
        removals = Removals()
        for log in dict.fromkeys(edits_of(queue.log) or queue.log for queue in queues):
            if log.startswith(("refs/artifacts/", "refs/runs/")):
                for _, data in logs.after(log, 0):
                    removals.tell(decode_entry(data).record)
        whole = Whole(logs, removals)
        return [
            entry
            for queue in queues
            for one in queue.entries
            for entry in whole.entries(queue.log, one.entry)
        ]

    def _hints(self, roots: tuple[Root, ...], packs: tuple[bytes, ...]) -> list[Callable[[], None]]:
        lists = [root.digest for root in roots if root.kind is not RootKind.CONTENT]
        if not self._home.remote or len(packs) > _HINTED_PACKS or len(lists) > _HINTED_ROOTS:
            return []
        return [partial(self._home.hint, digest, packs) for digest in lists]

    def _append(self, queue: _Queue) -> None:
        log = queue.log
        outbox = outbox_of(self._clone)
        since = tail = self._clone.numbered.tail(log)
        for one in queue.entries:
            # What was decided by what the home has must not come after something else.
            decided = log.startswith("refs/aliases/") or (since == 0 and log.endswith("/@"))
            try:
                done = self._home.numbered.append_bytes(
                    log, one.entry, one.data, since=since, **({"tries": 1} if decided else {})
                )
            except Conflict:
                self._ahead.add(log)
                self._lost_race = True
                return
            if done.number == tail + 1:
                place(self._home, self._clone, log, done.number, one.data)
                outbox.remove(log, one.number)
                tail = done.number
                self._numbered.append(Numbered(log, one.number, done.number))
            else:
                # Others were between: what they did is mirrored first, in the next round.
                self._ahead.add(log)
            since = done.number


def _queues(clone: Vault) -> list[_Queue]:
    """What can go, in the order in which it goes."""
    blocked: dict[str, set[int]] = {}
    for conflict in list_conflicts(clone):
        if isinstance(conflict, ConflictingVersions):
            blocked[conflict.log] = set(conflict.numbers)
    logs = dict.fromkeys(one.log for one in outbox_of(clone).waiting())
    waiting = {log: waiting_in(clone, log) for log in logs}
    held = {
        one.entry.digest
        for log, numbers in blocked.items()
        for one in waiting[log]
        if one.number in numbers
    }
    queues = []
    for log, entries in sorted(waiting.items(), key=lambda item: (rank(item[0]), item[0])):
        going = [one for one in entries if one.number not in blocked.get(log, ())]
        names = [_named(one) in held for one in going]
        if log.startswith("refs/aliases/") and True in names:
            going = going[: names.index(True)]
        else:
            going = [one for one, is_held in zip(going, names, strict=True) if not is_held]
        if going:
            queues.append(_Queue(log, tuple(going)))
    return queues


def _named(one: WaitingEntry) -> Digest | None:
    """The version that an entry is about, where it makes no sense without it."""
    record = one.entry.record
    about = VersionEdit | Tombstone | Restored | AliasMove
    return record.version if isinstance(record, about) else None
