"""The facts that the record of a run is made of: files, parameters, sensor, host, code, usage."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from thence.model.ids import Digest

__all__ = [
    "Code",
    "FileRole",
    "FileUse",
    "Host",
    "MetricPoint",
    "Param",
    "RunStatus",
    "SensorReport",
    "Usage",
    "Withheld",
]


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


class MetricPoint(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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
