"""What logs say of versions and artifacts: they are there, edited, named, removed, erased."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from thence.model.ids import Digest, RunId
from thence.model.names import Alias, ArtifactName
from thence.model.record import Record

__all__ = [
    "AliasMove",
    "ArtifactEdit",
    "Erasure",
    "ErasureLifted",
    "Kind",
    "Restored",
    "Tombstone",
    "Version",
    "VersionEdit",
]


class Kind(StrEnum):
    """What an artifact is."""

    DATASET = "dataset"
    MODEL = "model"
    CODE = "code"
    ENVIRONMENT = "environment"
    CONFIG = "config"
    METRICS = "metrics"
    FIGURE = "figure"
    DOCUMENT = "document"
    FILE = "file"


class Version(Record, frozen=True, kw_only=True, tag="version"):
    """One immutable state of an artifact.

    Attributes:
        tree: Digest of the tree content; the identity of the version's files.
        size: Bytes in all files.
        files: Number of files.
        run: The run that made it.
        sources: Digests of the version records it was made from.
        metadata: What the format layer needs to load it, and what it found out.
        metrics: Evaluation results bound to this version.
        card: Content digest of its documentation (Markdown).
    """

    artifact: ArtifactName
    kind: Kind
    tree: Digest
    size: int
    files: int
    created: datetime
    author: str
    note: str | None = None
    tags: dict[str, str] = {}
    run: RunId | None = None
    sources: tuple[Digest, ...] = ()
    metadata: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    card: Digest | None = None
    profile: Digest | None = None
    signatures: tuple[dict[str, Any], ...] = ()


class VersionEdit(Record, frozen=True, kw_only=True, tag="version-edit"):
    """New metadata on an existing version; None leaves a field as it is.

    Attributes:
        version: Digest of the version record.
        tags: Tags to set; a tag of None is removed.
        metrics: Metrics to add or replace.
        metadata: Metadata to add or replace, key by key.
    """

    version: Digest
    note: str | None = None
    tags: dict[str, str | None] = {}
    metrics: dict[str, float] = {}
    metadata: dict[str, Any] = {}
    card: Digest | None = None


class ArtifactEdit(Record, frozen=True, kw_only=True, tag="artifact-edit"):
    """New metadata on the artifact as a whole."""

    artifact: ArtifactName
    description: str | None = None
    tags: dict[str, str | None] = {}
    card: Digest | None = None


class Tombstone(Record, frozen=True, kw_only=True, tag="tombstone"):
    """A version is removed; its content goes with the next collection.

    Of the tombstones and restorations of a version the last one in the log counts.
    """

    version: Digest
    reason: str


class Restored(Record, frozen=True, kw_only=True, tag="restored"):
    """A version that was removed is there again, with its content."""

    version: Digest
    reason: str = ""


class Erasure(Record, frozen=True, kw_only=True, tag="erasure"):
    """Contents were taken out of every pack, and must not come back.

    Attributes:
        contents: Digests of what is erased: files, trees, cards, lists.
        versions: Digests of the version records that it was erased for.
        runs: The runs that it was erased for.
    """

    contents: tuple[Digest, ...]
    reason: str
    versions: tuple[Digest, ...] = ()
    runs: tuple[RunId, ...] = ()


class ErasureLifted(Record, frozen=True, kw_only=True, tag="erasure-lifted"):
    """Contents that were erased may be kept again; what is gone does not come back by itself."""

    contents: tuple[Digest, ...]
    reason: str


class AliasMove(Record, frozen=True, kw_only=True, tag="alias-move"):
    """An alias now points at a version, or at nothing.

    Attributes:
        previous: What it pointed at when it was moved, as far as who moved it knew. A move that
            waited in an outbox applies only where the home's alias still points there.
    """

    artifact: ArtifactName
    alias: Alias
    version: Digest | None
    note: str | None = None
    previous: Digest | None = None
