"""A small project in memory: logs that tests append to, and an index that is fed from them."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from thence.errors import NotFound
from thence.index.ingest import LogItem
from thence.model.ids import Digest, RunId
from thence.model.names import Alias, ArtifactName
from thence.model.records import (
    AliasMove,
    ArtifactEdit,
    Host,
    Kind,
    Record,
    RunEdit,
    RunOpened,
    RunSealed,
    RunStatus,
    SensorReport,
    Tombstone,
    Verdict,
    Version,
    VersionEdit,
    encode_entry,
)
from thence.store.memory import MemoryStore
from thence.store.wrap import Trace
from thence.vault.journal import Announced, Journal

START = datetime(2026, 1, 1, tzinfo=UTC)
HOST = Host(name="box", system="Linux", release="6", machine="x86_64")
SENSOR = SensorReport(name="audit-hook", completeness="python-complete")


def run_id(number: int) -> RunId:
    return RunId.from_bytes(Digest.of(str(number).encode()).raw)


class SampleLogs:
    """Satisfies the protocol `Logs` of `refresh`, with a journal, and counts what is read."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.entries: dict[str, dict[int, bytes]] = {}
        self.contents: dict[Digest, bytes] = {}
        self.now = START
        self.store = Trace(MemoryStore())
        self.journal = Journal(self.store, clock=self.clock, new_id=lambda: f"{self.now:%f}")
        self.reads = 0
        self.listings = 0

    def clock(self) -> datetime:
        return self.now

    def put(self, content: bytes) -> Digest:
        digest = Digest.of(content)
        self.contents[digest] = content
        return digest

    def announce(self, log: str) -> str:
        """A hint whose entry is still to come; gives its id."""
        entry_id = Digest.of(f"{self.name}{log}{self.now}".encode()).hex[:32]
        self.journal.note([Announced(entry_id, log)])
        return entry_id

    def append(
        self, log: str, record: Record, by: str = "ann", *, entry_id: str | None = None
    ) -> LogItem:
        self.now += timedelta(seconds=1)
        entries = self.entries.setdefault(log, {})
        number = len(entries) + 1
        data = encode_entry(entry_id or self.announce(log), self.now, by, record)
        entries[number] = data
        return LogItem(log, number, data)

    def items(self) -> list[LogItem]:
        return [LogItem(log, n, self.entries[log][n]) for log, n in self.all()]

    # ------------------------------------------------------------------------------------ Logs

    def read(self, log: str, number: int) -> bytes | None:
        self.reads += 1
        return self.entries.get(log, {}).get(number)

    def read_many(
        self, wanted: Iterable[tuple[str, int]]
    ) -> Iterator[tuple[str, int, bytes | None]]:
        for log, number in wanted:
            yield log, number, self.read(log, number)

    def all(self, prefix: str = "refs/") -> Iterator[tuple[str, int]]:
        self.listings += 1
        for log in sorted(self.entries):
            if log.startswith(prefix):
                for number in sorted(self.entries[log]):
                    yield log, number

    def read_content(self, digest: Digest) -> bytes:
        if digest not in self.contents:
            raise NotFound(f"no content {digest.short}")
        return self.contents[digest]

    # --------------------------------------------------------------------------------- records

    def version(self, name: str, tree: str | Digest = "", **fields: Any) -> Version:
        artifact = ArtifactName(name)
        self.now += timedelta(seconds=1)
        if isinstance(tree, str):
            tree = Digest.of((tree or f"{name}{self.now}").encode())
        record = Version(
            **{
                "artifact": artifact,
                "kind": Kind.DATASET,
                "tree": tree,
                "size": 10,
                "files": 1,
                "created": self.now,
                "author": "ann",
                **fields,
            }
        )
        self.append(f"refs/artifacts/{artifact.key}/@", record)
        return record

    def edit(self, version: Version, **fields: Any) -> LogItem:
        record = VersionEdit(version=version.digest, **fields)
        return self.append(f"refs/artifacts/{version.artifact.key}/@edits", record)

    def edit_artifact(self, name: str, **fields: Any) -> LogItem:
        artifact = ArtifactName(name)
        record = ArtifactEdit(artifact=artifact, **fields)
        return self.append(f"refs/artifacts/{artifact.key}/@edits", record)

    def delete(self, version: Version, reason: str = "wrong", by: str = "ann") -> LogItem:
        record = Tombstone(version=version.digest, reason=reason)
        return self.append(f"refs/artifacts/{version.artifact.key}/@edits", record, by)

    def move(self, name: str, alias: str, version: Version | Digest | None) -> LogItem:
        artifact = ArtifactName(name)
        digest = version.digest if isinstance(version, Version) else version
        record = AliasMove(artifact=artifact, alias=Alias(alias), version=digest)
        return self.append(f"refs/aliases/{artifact.key}/@{alias}", record)

    def opened(self, run: RunId, **fields: Any) -> RunOpened:
        record = RunOpened(**(_begin(run, self.now) | fields))
        self.append(f"refs/runs/{run}", record)
        return record

    def sealed(self, run: RunId, **fields: Any) -> RunSealed:
        end = {
            "ended": self.now + timedelta(seconds=5),
            "status": RunStatus.FINISHED,
            "sensor": SENSOR,
        }
        record = RunSealed(**(_begin(run, self.now) | end | fields))
        self.append(f"refs/runs/{run}", record)
        return record

    def edit_run(self, run: RunId, **fields: Any) -> LogItem:
        return self.append(f"refs/runs/{run}", RunEdit(run=run, **fields))

    def verdict(self, run: RunId, **fields: Any) -> Verdict:
        values: dict[str, Any] = {
            "run": run,
            "host": HOST,
            "results": (),
            "started": self.now,
            "ended": self.now,
            "author": "rita",
        }
        record = Verdict(**(values | fields))
        self.append(f"refs/runs/{run}", record)
        return record


def _begin(run: RunId, now: datetime) -> dict[str, Any]:
    return {
        "run": run,
        "command": ("python", "train.py"),
        "root": "/home/ann/project",
        "cwd": ".",
        "started": now,
        "author": "ann",
        "host": HOST,
    }
