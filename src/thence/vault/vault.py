"""The vault: everything that a store keeps, put together for one process."""

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from thence.model.ids import Digest
from thence.model.records import Record
from thence.store.base import Store
from thence.vault.checkpoints import Checkpoints
from thence.vault.content import Content
from thence.vault.directory import Directory
from thence.vault.hints import write_hint
from thence.vault.journal import Announced, Journal
from thence.vault.logs import Appended, Logs
from thence.vault.outbox import CloneLogs, Outbox
from thence.vault.pack import sweep
from thence.vault.parallel import ahead
from thence.vault.statcache import StatCache
from thence.vault.writer import Writer

__all__ = ["Vault"]


def _now() -> datetime:
    return datetime.now(UTC)


_AT_ONCE = 16
# A hint is found again for 48 hours; who slept for long between hint and entry repeats it.
_LONG = timedelta(minutes=15)


class Vault:
    """Content, logs and journal of one store.

    Args:
        store: Where it is.
        cache: A local folder for what may be lost: directories, stat cache, packs being filled.
        remote: Each call of the store takes a while, as that of a bucket does: fewer are made, and
            several at once.
        clone: The store mirrors another one, the home, which alone gives numbers: what is appended
            here waits in the outbox.
        clock: Tells the time.
        entropy: Gives random bytes.

    Attributes:
        numbered: The logs as they lie in the store, with the numbers that the home gave.
        logs: The logs as whoever works here sees them: in a clone, `numbered` and the outbox.
        outbox: What waits for the home; None where the store is the home.
        checkpoints: Many entries in few objects, where each object is a request; else None.
        cache: The local folder for what may be lost.
        guard: Is called before content is written and before an entry is appended, and may raise.
    """

    def __init__(
        self,
        store: Store,
        cache: Path,
        *,
        remote: bool = False,
        clone: bool = False,
        clock: Callable[[], datetime] = _now,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.store = store
        self.remote = remote
        self.cache = cache
        self._clock = clock
        self._entropy = entropy
        self.directory = Directory(store, cache, new_name=self.new_id, remote=remote)
        self.content = Content(store, self.directory, remote=remote)
        self.numbered = Logs(
            store, clock=clock, new_id=self.new_id, at_once=_AT_ONCE if remote else 1
        )
        self.outbox = Outbox(store) if clone else None
        self.logs: Logs = (
            self.numbered
            if self.outbox is None
            else CloneLogs(store, self.outbox, clock=clock, new_id=self.new_id)
        )
        self.journal = Journal(
            store, clock=clock, new_id=self.new_id, at_once=_AT_ONCE if remote else 1
        )
        self.checkpoints = Checkpoints(store) if remote else None
        self.stats = StatCache(cache / "stat.msgpack")
        self.guard: Callable[[], None] = lambda: None

    def new_id(self) -> str:
        """128 random bits, as text."""
        return self._entropy(16).hex()

    def writer(self, *, lanes: int | None = None) -> Writer:
        """A session of writing content; see `Writer`."""
        at_once = 2 if self.remote else 1
        for _ in ahead(lambda ask: ask(), (self.guard, self.directory.refresh), at_once=at_once):
            pass
        staging = self.cache / "staging"
        sweep(staging, clock=self._clock)
        return Writer(
            self.store,
            self.directory,
            staging,
            entropy=self._entropy,
            lanes=lanes or min(4, os.cpu_count() or 1),
            remote=self.remote,
        )

    def hint(self, root: Digest, packs: Iterable[bytes]) -> None:
        """Tell clients that know nothing in which packs a root lies, where looking takes long.

        Raises:
            StorageError: The store failed.
            Denied: The store may not be written to.
        """
        if self.remote:
            write_hint(self.store, root, packs)

    def append(
        self,
        log: str,
        decide: Callable[[int], Record | None] | Record,
        *,
        by: str,
        tail: int | None = None,
    ) -> Appended:
        """Announce a change in the journal, then append it to its log; in a clone, to the outbox.

        The content that the record names must have been flushed before: bytes first, name last.

        Args:
            log: Which log.
            decide: A record, or what gives one when it is told the number of the last entry; see
                `Logs.append_if`.
            by: The author.
            tail: The number of the last entry, where it was looked at a moment ago.

        Raises:
            Conflict: Others were faster, or `decide` gave None.
            StorageError: The store failed.
        """
        self.guard()
        choose = (lambda tail: decide) if isinstance(decide, Record) else decide
        entry_id = self.new_id()
        if self.outbox is not None:
            return self.logs.append_if(log, choose, by=by, entry_id=entry_id)
        announced = [Announced(entry_id, log)]
        self.journal.note(announced)
        begun = self._clock()
        appended = self.logs.append_if(log, choose, by=by, entry_id=entry_id, tail=tail)
        if self._clock() - begun > _LONG:
            self.journal.note(announced)
        return appended
