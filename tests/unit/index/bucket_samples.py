"""A project in a bucket, and clients of it that count their requests."""

import itertools
from pathlib import Path

from index_samples import SampleLogs

from thence.index import Index, LogItem, refresh
from thence.index.refresh import Refreshed
from thence.store.memory import MemoryStore
from thence.store.wrap import Trace
from thence.vault.checkpoints import Checkpoints
from thence.vault.journal import Announced, Journal
from thence.vault.logs import Logs

__all__ = ["Bucket", "Client", "calls"]


def calls(store: Trace) -> dict[str, int]:
    """How often each method was called."""
    return {name: counter.calls for name, counter in store.counters.items()}


class Bucket:
    """A project in a bucket that several people use: what each request costs is counted."""

    def __init__(self, path: Path, *, with_checkpoints: bool = True) -> None:
        self.path = path
        self.with_checkpoints = with_checkpoints
        self.sample = SampleLogs()
        self.inner = MemoryStore()
        self.ids = itertools.count()

    def client(self) -> "Client":
        return Client(self, Trace(self.inner))


class Client:
    def __init__(self, bucket: Bucket, store: Trace) -> None:
        self.bucket = bucket
        self.store = store
        path = bucket.path / f"index-{next(bucket.ids)}.sqlite"
        self.index = Index(path)
        clock = bucket.sample.clock
        self.logs = Logs(store, clock=clock, new_id=self.new_id, at_once=16)
        self.journal = Journal(store, clock=clock, new_id=self.new_id, at_once=16)
        self.checkpoints: Checkpoints | None = None
        if bucket.with_checkpoints:
            self.checkpoints = Checkpoints(store)

    def new_id(self) -> str:
        return f"{next(self.bucket.ids):032x}"

    def save(self, name: str, *, tell: bool = True) -> None:
        log, entry_id = f"refs/artifacts/{name}/@", self.new_id()
        self.journal.note([Announced(entry_id, log)])
        record = self.bucket.sample.version(name)
        appended = self.logs.append_if(log, lambda tail: record, by="ann", entry_id=entry_id)
        if tell:
            self.index.ingest([LogItem(log, appended.number, appended.data)])

    def refresh(self, *, full: bool = False) -> Refreshed:
        self.store.clear()
        return refresh(
            self.index,
            self.logs,
            self.journal,
            self.bucket.sample.read_content,
            clock=self.bucket.sample.clock,
            checkpoints=self.checkpoints,
            full=full,
        )

    @property
    def calls(self) -> dict[str, int]:
        return calls(self.store)
