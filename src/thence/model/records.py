"""The records of a project: frozen, immutable, named by the digest of their canonical bytes.

A log entry is an envelope around one record::

    {"at": time, "by": author, "entry": random id, "record": {"type": "version", ...}, "sum": …}

`sum` is the SHA-256 of the canonical bytes of all the others: an entry is its own witness.

All of them are here, in one file of more than 500 lines: what a project can say of itself is one
vocabulary, to be read in one go.

Envelopes and records are copied as bytes and never encoded again, so fields that this version of
thence does not know survive a copy.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from thence.errors import DataDamaged
from thence.model import codec
from thence.model.ids import Digest, RunId
from thence.model.names import Alias, ArtifactName

__all__ = [
    "AliasMove",
    "ArtifactEdit",
    "Code",
    "Comparison",
    "Entry",
    "Erasure",
    "ErasureLifted",
    "FileRole",
    "FileUse",
    "Finding",
    "Grade",
    "Host",
    "Kind",
    "MetricPoint",
    "Param",
    "Record",
    "Restored",
    "RunEdit",
    "RunOpened",
    "RunRestored",
    "RunSealed",
    "RunStatus",
    "RunTombstone",
    "SensorReport",
    "Tombstone",
    "Verdict",
    "Version",
    "VersionEdit",
    "Withheld",
    "decode_entry",
    "decode_lines",
    "encode_entry",
    "encode_entry_bytes",
    "encode_lines",
    "seal",
]


T = TypeVar("T", bound=msgspec.Struct)


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


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of everything that a log entry can hold."""

    @property
    def digest(self) -> Digest:
        """The identity of this record.

        Only for a record made by this process. One that was read must be named by the bytes it was
        read from (`Entry.digest`), which may hold fields that this version does not know.
        """
        return Digest.of(codec.encode(self))


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


class RunStatus(StrEnum):
    """How a run ended."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    DIED = "died"


class FileRole(StrEnum):
    """What a file was to a run."""

    INPUT = "input"
    CODE = "code"
    CONFIG = "config"
    DOCUMENT = "document"
    PACKAGE = "package"
    OVERWRITTEN = "overwritten"
    OUTPUT = "output"
    REMOTE = "remote"
    """What was fetched from elsewhere, and kept; its path is the address."""


class FileUse(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a run read or wrote. Lists of these are content, one JSON object a line.

    Attributes:
        path: Relative to the run's root with `/`, or absolute where it lies outside.
        percent: The path is percent-encoded, because it is not UTF-8.
        digest: Of the kept content; None where nothing is kept.
        why_not_kept: `secret`, `unreadable`, `special` …; None where the content is kept.
        executable: The permission bit of the owner.
        redacted: Secrets in the kept content were replaced.
        changed_during_run: Its bytes at the end were not those at its first use.
        version: Digest of the version record that holds this content.
        package: For `package` files: the distribution that they belong to.
    """

    path: str
    role: FileRole
    size: int = 0
    digest: Digest | None = None
    why_not_kept: str | None = None
    percent: bool = False
    executable: bool = False
    redacted: bool = False
    changed_during_run: bool = False
    version: Digest | None = None
    package: str | None = None


class MetricPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One logged value. The series of a run are content, one JSON object a line."""

    name: str
    value: float
    step: int | None = None
    at: datetime | None = None


class Param(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter of a run.

    Attributes:
        value: Text, number, boolean, None or a list of these.
        origin: `argparse`, `click`, `fire`, `hydra` or `omegaconf` where these parsed it,
            `argparse default` and so on where nobody gave it; `argv` as thence read the command
            line; `notebook`, from its cell of parameters or put in their place; `option` (given as
            --param), `log`, or the path of the file that it is in.
    """

    value: Any
    origin: str


class Withheld(msgspec.Struct, frozen=True, kw_only=True):
    """A value or a file that was seen and not kept, because it is secret.

    Attributes:
        name: Of the variable, option, key or file.
        where: `argv`, `environment`, `output`, or a path.
        placeholder: What stands in its place: `<secret:…>`, a keyed hash; None for files.
    """

    name: str
    where: str
    placeholder: str | None = None


class SensorReport(msgspec.Struct, frozen=True, kw_only=True):
    """Which sensor watched the run, and what it cannot have seen.

    Attributes:
        name: `seccomp`, `strace` or `audit-hook`.
        completeness: `kernel-complete`, `trace-complete`, `python-complete` or `partial`.
        not_seen: Sentences for people.
        events: Number of events it handled.
        inner_runs: Runs that the command made, and that were told what their commands did.
    """

    name: str
    completeness: str
    not_seen: tuple[str, ...] = ()
    events: int = 0
    inner_runs: tuple[str, ...] = ()


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """The machine."""

    name: str
    system: str
    release: str
    machine: str
    cpu: str = ""
    cpus: int = 0
    memory_bytes: int = 0
    distribution: str = ""


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the project's code.

    Attributes:
        commit: Of git, or None outside a repository.
        diff: Content digest of the uncommitted changes to tracked files (`git diff --binary`).
        untracked: Project files that the run opened and git does not know.
        submodules: `path commit`, with `+` before those whose commit was changed.
        snapshot: A commit in the repository, below `refs/thence/`, of the files as the run had
            them.
        bundle: Content digest of a git bundle with what the remote lacks.
    """

    commit: str | None = None
    branch: str | None = None
    remote: str | None = None
    dirty: bool = False
    diff: Digest | None = None
    untracked: tuple[str, ...] = ()
    submodules: tuple[str, ...] = ()
    snapshot: str | None = None
    bundle: Digest | None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a run took of its machine.

    Attributes:
        cpu_s: Processor time of all its processes.
        memory_peak_bytes: The most that they had at the same time, as far as that was seen.
        read_bytes: From disks.
        written_bytes: To disks.
        processes: The most that were there at the same time, as far as that was seen.
        gpu_memory_peak_bytes: On all accelerators; None where there is none.
        gpu_utilization: The mean of its accelerators while it ran, 0 to 1; None where there is
            none.
    """

    cpu_s: float
    memory_peak_bytes: int = 0
    read_bytes: int | None = None
    written_bytes: int | None = None
    processes: int = 1
    gpu_memory_peak_bytes: int | None = None
    gpu_utilization: float | None = None


class RunOpened(Record, frozen=True, kw_only=True, tag="opened"):
    """A run has begun."""

    run: RunId
    command: tuple[str, ...]
    root: str
    cwd: str
    started: datetime
    author: str
    host: Host
    name: str | None = None
    experiment: str | None = None
    note: str | None = None
    tags: dict[str, str] = {}


class RunSealed(Record, frozen=True, kw_only=True, tag="sealed"):
    """A run has ended: everything it was made from.

    Attributes:
        root: The project's folder, absolute, on the machine where it ran.
        cwd: Relative to `root`.
        exit_code: As a shell reports it; None where it cannot be known.
        stdin: What it read as standard input: the path of a file, or `pipe`; None for a terminal.
        rerunnable: False for a prompt or notebook, whose command does not repeat what was typed.
        ordinal: Which of the runs of its process it was, from 1.
        environment_variables: The allowed ones, with values.
        omitted_variables: Names of all others that were set.
        params: By name.
        metrics: The last value of each.
        series: Content digest of all metric points.
        files: Content digest of all file uses (inputs, code, config, documents, outputs …).
        inputs_count: Files that it read as data, and versions that it loaded itself.
        outputs_count: Files that it wrote, and versions that it saved itself.
        folders: Folders below the root that outputs lie in and that were there before the run.
        uses: Digests of the version records among the inputs.
        makes: Digests of the version records that are its outputs.
        environment: Content digest of the environment (JSON).
        python: Version of the interpreter that ran, if one did.
        traceback: The end of the traceback of a failed Python program.
        connections: Addresses that it connected to; what came from there was not observed.
        observed: Content digest of what it was heard to do besides touching files, one JSON object
            a line (see `thence.model.observed`).
        usage: What it took of its machine.
        notebook: The path of the notebook that was executed; None for other commands.
        problems: Probes that failed, and what that leaves out.
    """

    run: RunId
    command: tuple[str, ...]
    root: str
    cwd: str
    started: datetime
    ended: datetime
    status: RunStatus
    author: str
    host: Host
    sensor: SensorReport
    exit_code: int | None = None
    stdin: str | None = None
    rerunnable: bool = True
    ordinal: int = 1
    name: str | None = None
    experiment: str | None = None
    note: str | None = None
    tags: dict[str, str] = {}
    params: dict[str, Param] = {}
    metrics: dict[str, float] = {}
    series: Digest | None = None
    files: Digest | None = None
    inputs_count: int = 0
    outputs_count: int = 0
    folders: tuple[str, ...] = ()
    uses: tuple[Digest, ...] = ()
    makes: tuple[Digest, ...] = ()
    code: Code = Code()
    environment: Digest | None = None
    python: str | None = None
    environment_variables: dict[str, str] = {}
    omitted_variables: tuple[str, ...] = ()
    stdout: Digest | None = None
    stderr: Digest | None = None
    traceback: str | None = None
    withheld: tuple[Withheld, ...] = ()
    connections: tuple[str, ...] = ()
    observed: Digest | None = None
    usage: Usage | None = None
    notebook: str | None = None
    problems: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        """Seconds from start to end."""
        return (self.ended - self.started).total_seconds()


class RunEdit(Record, frozen=True, kw_only=True, tag="run-edit"):
    """New metadata on a run."""

    run: RunId
    note: str | None = None
    tags: dict[str, str | None] = {}


class RunTombstone(Record, frozen=True, kw_only=True, tag="run-tombstone"):
    """A run is removed; what only it refers to goes with the next collection.

    Of the tombstones and restorations of a run the last one in its log counts.
    """

    run: RunId
    reason: str


class RunRestored(Record, frozen=True, kw_only=True, tag="run-restored"):
    """A run that was removed is there again, with what it refers to."""

    run: RunId
    reason: str = ""


class Grade(StrEnum):
    """How well one result, or a whole run, was reproduced. Ordered from best to worst."""

    IDENTICAL = "identical"
    EQUIVALENT = "equivalent"
    WITHIN_TOLERANCE = "within tolerance"
    DIFFERENT = "different"
    MISSING = "missing"
    UNCHECKED = "unchecked"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What comparing one result gave.

    Attributes:
        rule: By which rule it was compared: `bytes`, `json`, `csv`, `image` …
        detail: The first difference and where; the largest deviation and where.
    """

    path: str
    grade: Grade
    rule: str = "bytes"
    detail: str = ""


class Finding(StrEnum):
    """The verdict on a run, in one phrase."""

    REPRODUCED = "reproduced"
    WITHIN_TOLERANCE = "within tolerance"
    DIFFERS = "differs"
    CANNOT_BE_CHECKED = "cannot be checked"

    @property
    def exit_status(self) -> int:
        """What `thence reproduce` exits with."""
        return {"differs": 7, "cannot be checked": 3}.get(self.value, 0)


class Verdict(Record, frozen=True, kw_only=True, tag="verdict"):
    """The result of reproducing a run; an entry in the run's log.

    Attributes:
        reasons: Why it is what it is, sentences for people.
        deviations: In what the environment was not the recorded one.
        missing: Inputs, packages and secrets that could not be given back.
        opened_outside: Files below the original root that were opened.
    """

    run: RunId
    finding: Finding
    results: tuple[Comparison, ...]
    started: datetime
    ended: datetime
    author: str
    host: Host
    reasons: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    opened_outside: tuple[str, ...] = ()
    exit_code: int | None = None
    original_exit_code: int | None = None
    sensor: SensorReport | None = None


_RECORDS: Mapping[str, type[Record]] = {
    str(kind.__struct_config__.tag): kind
    for kind in (
        Version,
        VersionEdit,
        ArtifactEdit,
        Tombstone,
        Restored,
        AliasMove,
        RunOpened,
        RunSealed,
        RunEdit,
        RunTombstone,
        RunRestored,
        Verdict,
        Erasure,
        ErasureLifted,
    )
}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a log, as it was read.

    Attributes:
        id: Random; equal ids are one append, however often it was tried.
        record: The record, or None where its type is not known to this version of thence.
        record_bytes: The canonical bytes of the record.
    """

    id: str
    at: datetime
    by: str
    record: Record | None
    record_bytes: bytes

    @property
    def digest(self) -> Digest:
        """The identity of the record in it."""
        return Digest.of(self.record_bytes)


class _Envelope(msgspec.Struct):
    at: datetime
    by: str
    entry: str
    record: dict[str, Any]


_SUM = "sum"


def encode_entry(entry_id: str, at: datetime, by: str, record: Record) -> bytes:
    """The bytes of a log entry."""
    return encode_entry_bytes(entry_id, at, by, codec.encode(record, depth=1))


def encode_entry_bytes(entry_id: str, at: datetime, by: str, record_bytes: bytes) -> bytes:
    """The bytes of a log entry around a record that is copied as it is.

    Args:
        entry_id: Random; equal ids are one append.
        at: When it is appended.
        by: Who appends it.
        record_bytes: Canonical bytes, `Entry.record_bytes` of another entry.
    """
    return seal(
        {
            "at": codec.encode(at),
            "by": codec.encode(by),
            "entry": codec.encode(entry_id),
            "record": record_bytes,
        }
    )


def seal(fields: Mapping[str, bytes]) -> bytes:
    """The bytes of an envelope: its fields, encoded already, and the sum of them all."""
    digest = Digest.of(codec.join(fields))
    return codec.join({**fields, _SUM: codec.encode(digest.hex)})


def decode_entry(data: bytes) -> Entry:
    """Read a log entry.

    Raises:
        DataDamaged: It is not one.
    """
    # One entry has one spelling: no key twice, nothing that another reader would take otherwise.
    try:
        members = codec.members(data)
        _check_sum(members)
        envelope = codec.convert({key: one.value for key, one in members.items()}, _Envelope)
        kind = _RECORDS.get(str(envelope.record.get("type")))
        record = None if kind is None else codec.convert(envelope.record, kind)
    except DataDamaged as error:
        raise DataDamaged(
            "a log entry that cannot be read",
            why=f"It is damaged: {': '.join(filter(None, (error.what, error.why)))}",
        ) from error
    return Entry(
        id=envelope.entry,
        at=envelope.at,
        by=envelope.by,
        record=record,
        record_bytes=members["record"].data,
    )


def _check_sum(members: Mapping[str, codec.Member]) -> None:
    """Check the sum of an envelope.

    Raises:
        DataDamaged: There is none, or that of other bytes.
    """
    fields = {key: member.data for key, member in members.items() if key != _SUM}
    if _SUM not in members:
        raise DataDamaged("it has no sum")
    if members[_SUM].value != Digest.of(codec.join(fields)).hex:
        raise DataDamaged("its sum is that of other bytes")


def encode_lines(items: Iterable[msgspec.Struct]) -> bytes:
    """Structs as canonical JSON, one a line."""
    return b"".join(codec.encode(item) + b"\n" for item in items)


def decode_lines(data: bytes, shape: type[T]) -> list[T]:
    """The inverse of `encode_lines`.

    Raises:
        DataDamaged: A line is not of that shape.
    """
    return [codec.decode(line, shape) for line in data.splitlines() if line]
