"""What questions are answered with: frozen records, made from rows."""

import shlex
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec

from thence.model.ids import Digest, RunId
from thence.model.names import Alias, ArtifactName
from thence.model.numbers import label
from thence.model.records import (
    Finding,
    Kind,
    Param,
    RunOpened,
    RunSealed,
    RunStatus,
    Verdict,
    Version,
)

__all__ = [
    "AliasChange",
    "ArtifactSummary",
    "CurrentAlias",
    "Deletion",
    "Edge",
    "IndexStatus",
    "LineageGraph",
    "Node",
    "Problem",
    "RunDetail",
    "RunSummary",
    "RunVerdict",
    "UsedVersion",
    "VersionDetail",
    "VersionSummary",
]


class CurrentAlias(NamedTuple):
    """Where an alias points now.

    Attributes:
        number: Of the version; None where that version is not in the index.
        record: Digest of the version record.
    """

    alias: Alias
    number: int | None
    record: Digest


class AliasChange(msgspec.Struct, frozen=True, kw_only=True):
    """One move of an alias.

    Attributes:
        number: Of the entry in the alias's log.
        version: Number of the version it pointed at from then on; None where it was taken away,
            or where the version is not in the index.
        record: Digest of the version record; None where it was taken away.
    """

    alias: Alias
    number: int
    version: int | None
    record: Digest | None
    at: datetime
    by: str
    note: str | None


class ArtifactSummary(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact as a list shows it.

    Attributes:
        name: As it was spelled first.
        kind: Of the latest version.
        changed: When the latest version was created.
        latest: Number of the latest version that is not deleted; None where all are.
        size_bytes: Of the latest version.
        versions: How many are not deleted.
        card: Content digest of its documentation.
    """

    name: ArtifactName
    kind: Kind
    description: str | None
    card: Digest | None
    created: datetime
    changed: datetime
    latest: int | None
    size_bytes: int | None
    versions: int
    deleted: int
    tags: dict[str, str]
    aliases: tuple[CurrentAlias, ...]


class Deletion(NamedTuple):
    """Who removed a version or a run, when and why."""

    at: datetime
    by: str
    reason: str

    def __str__(self) -> str:
        return f"{self.by} removed it on {self.at:%Y-%m-%d}: {self.reason}"


class VersionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A version as a list shows it, with its edits applied.

    Attributes:
        artifact: The name as it was spelled first.
        number: Beyond `thence.model.numbers.LOCAL` as long as it waits in an outbox.
        record: Digest of the version record.
        tree: Digest of its tree: the identity of its content.
        metrics: The last value of each.
        aliases: Those that point at it now.
        deletion: None where it is not removed.
    """

    artifact: ArtifactName
    number: int
    record: Digest
    kind: Kind
    tree: Digest
    size_bytes: int
    files: int
    created: datetime
    author: str
    run: RunId | None
    note: str | None
    card: Digest | None
    tags: dict[str, str]
    metrics: dict[str, float]
    aliases: tuple[Alias, ...]
    deletion: Deletion | None

    @property
    def label(self) -> str:
        """Its number as people write it: `v3`, `local.1` as long as it waits in an outbox."""
        return label(self.number)

    @property
    def ref(self) -> str:
        """What people write for it: `churn@v3`, `churn@local.1`."""
        return f"{self.artifact}@{self.label}"

    def __repr__(self) -> str:
        count = "1 file" if self.files == 1 else f"{self.files:,} files"
        return f"<Version {self.ref}: {self.kind.value}, {count}, {self.size_bytes:,} bytes>"


class VersionDetail(VersionSummary, frozen=True, kw_only=True):
    """A version with everything that is known of it.

    Attributes:
        metadata: With its edits applied, key by key.
        sources: Digests of the version records that it was made from.
        original: The version record as it was written, without edits.
    """

    metadata: dict[str, Any]
    sources: tuple[Digest, ...]
    original: Version


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A run as a list shows it, with its edits applied.

    Attributes:
        status: `running` until its end was written down.
        host: Name of the machine.
        metrics: The last value of each.
        finding: Of the last verdict; None where it was never reproduced.
        deletion: None where it is not removed.
    """

    run: RunId
    name: str | None
    experiment: str | None
    note: str | None
    tags: dict[str, str]
    command: tuple[str, ...]
    root: str
    cwd: str
    started: datetime
    ended: datetime | None
    status: RunStatus
    exit_code: int | None
    author: str
    host: str
    python: str | None
    commit: str | None
    dirty: bool
    sensor: str | None
    completeness: str | None
    inputs_count: int
    outputs_count: int
    metrics: dict[str, float]
    finding: Finding | None
    deletion: Deletion | None = None

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end; None where it has not ended."""
        return None if self.ended is None else (self.ended - self.started).total_seconds()

    def __repr__(self) -> str:
        return f"<Run {self.run.short}: {self.status.value}, {shlex.join(self.command)}>"


class UsedVersion(NamedTuple):
    """A version that a run used or made.

    Attributes:
        record: Digest of the version record.
        artifact: None where the version is not in the index.
        number: None where the version is not in the index.
    """

    record: Digest
    artifact: ArtifactName | None
    number: int | None

    @property
    def ref(self) -> str | None:
        """What people write for it: `churn@v3`; None where the version is not in the index."""
        if self.artifact is None or self.number is None:
            return None
        return f"{self.artifact}@{label(self.number)}"


class RunVerdict(NamedTuple):
    """A verdict, and its place in the run's log."""

    number: int
    verdict: Verdict


class RunDetail(RunSummary, frozen=True, kw_only=True):
    """A run with everything that is known of it, but for its files and series.

    Attributes:
        opened: The record of its beginning.
        sealed: The record of its end; None while it is running.
        verdicts: The oldest first.
    """

    params: dict[str, Param]
    uses: tuple[UsedVersion, ...]
    makes: tuple[UsedVersion, ...]
    verdicts: tuple[RunVerdict, ...]
    opened: RunOpened | None
    sealed: RunSealed | None


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A version or a run in a lineage.

    Attributes:
        id: Digest of the version record in hexadecimal, or the run id.
        depth: Steps from the start, at least.
        label: `churn@v3`, the name of the run, or the short id.
        is_known: False where something refers to it and the index has it not.
    """

    type: Literal["version", "run"]
    id: str
    depth: int
    label: str
    kind: Kind | None = None
    status: RunStatus | None = None
    created: datetime | None = None
    is_deleted: bool = False
    is_known: bool = True


class Edge(NamedTuple):
    """One step of a lineage, in the direction in which data flowed.

    Attributes:
        relation: `used` (version to run), `made` (run to version), `source` (version to version).
    """

    origin: str
    result: str
    relation: Literal["used", "made", "source"]


class LineageGraph(msgspec.Struct, frozen=True, kw_only=True):
    """Where something came from, or what came of it.

    Attributes:
        nodes: The start first, then by depth.
        edges: Both ends are in `nodes`.
        is_complete: False where it goes on beyond the depth or the size that was asked for.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    is_complete: bool


class Problem(NamedTuple):
    """Something in the logs that the index could not take in.

    Attributes:
        kind: `damaged` (entry or content), `unknown` (a type of record that this version of thence
            does not know), `misplaced` (in a log where it does not belong), `gap` (an entry is
            lost), `missing` (a content).
    """

    kind: str
    log: str
    number: int
    reason: str


class IndexStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the index.

    Attributes:
        path: None where it is in memory.
        versions: Without the deleted ones.
        problems: By kind.
        refreshed_at: When the last complete refresh began.
    """

    path: str | None
    schema_version: int
    size_bytes: int
    entries: int
    logs: int
    artifacts: int
    versions: int
    deleted: int
    runs: int
    verdicts: int
    problems: dict[str, int]
    refreshed_at: datetime | None
