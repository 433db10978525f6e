"""What the log of a run says: it has begun, has ended, was edited, removed, is there again."""

from datetime import datetime

from thence.model.ids import Digest, RunId
from thence.model.record import Record
from thence.model.run_facts import Code, Host, Param, RunStatus, SensorReport, Usage, Withheld

__all__ = ["RunEdit", "RunOpened", "RunRestored", "RunSealed", "RunTombstone"]


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
