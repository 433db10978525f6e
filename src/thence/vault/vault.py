"""The vault: everything that a store keeps, put together for one process."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from thence.model.records import Record
from thence.store.base import Store
from thence.vault.content import Content
from thence.vault.directory import Directory
from thence.vault.journal import Journal
from thence.vault.logs import Appended, Logs
from thence.vault.pack import sweep
from thence.vault.statcache import StatCache
from thence.vault.writer import Writer

__all__ = ["Vault"]


def _now() -> datetime:
    return datetime.now(UTC)


class Vault:
    """Content, logs and journal of one store.

    Args:
        store: Where it is.
        cache: A local folder for what may be lost: directories, stat cache, packs being filled.
        clock: Tells the time.
        entropy: Gives random bytes.
    """

    def __init__(
        self,
        store: Store,
        cache: Path,
        *,
        clock: Callable[[], datetime] = _now,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.store = store
        self._cache = cache
        self._clock = clock
        self._entropy = entropy
        self.directory = Directory(store, cache, new_name=self.new_id)
        self.content = Content(store, self.directory)
        self.logs = Logs(store, clock=clock, new_id=self.new_id)
        self.journal = Journal(store, clock=clock, new_id=self.new_id)
        self.stats = StatCache(cache / "stat.msgpack")

    def new_id(self) -> str:
        """128 random bits, as text."""
        return self._entropy(16).hex()

    def writer(self, *, lanes: int | None = None) -> Writer:
        """A session of writing content; see `Writer`."""
        self.directory.refresh()
        staging = self._cache / "staging"
        sweep(staging, clock=self._clock)
        return Writer(
            self.store,
            self.directory,
            staging,
            entropy=self._entropy,
            lanes=lanes or min(4, os.cpu_count() or 1),
        )

    def append(
        self, log: str, decide: Callable[[int], Record | None] | Record, *, by: str
    ) -> Appended:
        """Announce a change in the journal, then append it to its log.

        The content that the record names must have been flushed before: bytes first, name last.

        Raises:
            Conflict: Others were faster, or `decide` gave None.
            StorageError: The store failed.
        """
        self.journal.note(log)
        if isinstance(decide, Record):
            return self.logs.append(log, decide, by=by)
        return self.logs.append_if(log, decide, by=by)
