"""The spool: the local, not yet published tail of a run. It survives `kill -9` of everything.

::

    .thence/spool/<run id>/
        beginning.json   what was known when the run began
        lock             held while the run goes on; whoever gets it knows that the run died
        files.jsonl      what the sensor saw            (FileLedger)
        kept/<n>         bytes at the time of use       (FileLedger)
        events-*.jsonl   what the program logged        (Tail)
        samples.jsonl    what its processes took of the machine, now and then,
        usage.json       and in all                     (Sampler)
        stdout, stderr   scrubbed
        end.json         how it ended, once it has
        outputs.json     what its outputs looked like then
        notebook.ipynb   the notebook as far as it was executed, without secrets
        gathered.json    everything that will be sealed, where the home could not be reached;
        store/           its content is in here,
        worktree.jsonl   and this says which versions the paths were

While it is made it is called `.new-<run id>`.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

import msgspec

from thence.errors import DataDamaged, NotFound, StorageError
from thence.execution.capture.files import FileLedger
from thence.execution.capture.secrets import Redactor
from thence.execution.gathered import Gathered
from thence.execution.publishing import Publisher
from thence.model import codec
from thence.model.ids import RunId
from thence.model.records import Param, RunOpened, RunStatus, SensorReport, Withheld

__all__ = ["Beginning", "End", "Opened", "Spool", "spools", "sweep"]

_NEW = ".new-"


T = TypeVar("T")

_log = logging.getLogger(__name__)


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """What is known when a run begins.

    Attributes:
        opened: The record in the run's log.
        cwd: Absolute.
        environment_variables: The allowed ones.
        omitted_variables: Names of the others.
        params: From the options and the command line.
        withheld: Secrets in the command line and the environment.
        rerunnable: See `RunSealed`.
        ordinal: See `RunSealed`.
        stdin: See `RunSealed`.
        notebook: See `RunSealed`.
        executed: What the executed notebook is called among its outputs.
        opened_entry: Id of the entry with `opened`. Both are chosen before the first try, so that
            who repeats it finds what an earlier try did whose answer was lost.
        sealed_entry: Id of the entry that will end the run.
    """

    opened: RunOpened
    cwd: str
    environment_variables: dict[str, str] = {}
    omitted_variables: tuple[str, ...] = ()
    params: dict[str, Param] = {}
    withheld: tuple[Withheld, ...] = ()
    rerunnable: bool = True
    ordinal: int = 1
    stdin: str | None = None
    notebook: str | None = None
    executed: str | None = None
    opened_entry: str | None = None
    sealed_entry: str | None = None


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended."""

    ended: datetime
    status: RunStatus
    sensor: SensorReport
    exit_code: int | None = None
    traceback: str | None = None
    problems: tuple[str, ...] = ()


class Spool:
    """The spool of one run, owned by the process that records it.

    Attributes:
        folder: Where it is.
        run: Of which run.
    """

    def __init__(self, folder: Path, run: RunId) -> None:
        self.folder = folder
        self.run = run
        self._lock: int | None = None

    @classmethod
    def create(cls, local: Path, beginning: Beginning) -> Self:
        """Make the spool of a run that begins, and hold it.

        Raises:
            StorageError: The folder cannot be made or written.
        """
        run = beginning.opened.run
        # It gets its name when it is held and whole: a recovery must not take it for a dead one.
        spool = cls(local / "spool" / f"{_NEW}{run}", run)
        try:
            (spool.folder / "kept").mkdir(parents=True)
            if not spool.hold():
                raise StorageError(f"the spool of {run.short} is held by another process")
            _write(spool.folder / "beginning.json", codec.encode(beginning))
            spool.folder = spool.folder.rename(local / "spool" / run)
        except OSError as error:
            spool.discard()
            raise StorageError(
                f"cannot make the spool of a run in {local}",
                why=f"{error.strerror or error}.",
                hint="Make room on the disk, or see that the folder can be written to.",
            ) from error
        return spool

    def hold(self) -> bool:
        """Take the spool for this process; False where a living process has it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            descriptor = os.open(self.folder / "lock", flags, 0o600)
        except FileNotFoundError:
            return False  # who had it has sealed the run meanwhile
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def release(self) -> None:
        """Let go of it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def discard(self) -> None:
        """Remove it: the run is sealed."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.release()

    def beginning(self) -> Beginning:
        """What was known when the run began.

        Raises:
            NotFound: The process died before it wrote that.
            DataDamaged: It cannot be read.
        """
        return _read(self.folder / "beginning.json", Beginning)

    def has_file_notes(self) -> bool:
        """Whether the sensor has noted anything, readable or not."""
        try:
            return (self.folder / "files.jsonl").stat().st_size > 0
        except FileNotFoundError:
            return False

    def has_notes(self) -> bool:
        """Whether anything of the run itself is in here."""
        events = self.folder.glob("events-*.jsonl")
        return self.has_file_notes() or any(path.stat().st_size > 0 for path in events)

    def write_end(self, end: End) -> None:
        """Note how the run ended, before it is sealed.

        Where the disk is full nothing is noted: sealing does not need it, only recovery does.
        """
        try:
            _write(self.folder / "end.json", codec.encode(end))
        except OSError as error:
            _log.warning("the end of %s was not noted: %s", self.run.short, error)

    def write_gathered(self, gathered: Gathered) -> None:
        """Note everything that will be sealed; its content is in the spool.

        Raises:
            OSError: The disk is full, or fails.
        """
        _write(self.folder / "gathered.json", codec.encode(gathered))

    def gathered(self) -> Gathered | None:
        """What will be sealed, or None where that was not gathered.

        Raises:
            DataDamaged: It cannot be read.
        """
        try:
            return _read(self.folder / "gathered.json", Gathered)
        except NotFound:
            return None

    def is_held(self) -> bool:
        """Whether a living process has it."""
        try:
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def end(self) -> End | None:
        """How the run ended, or None where its recorder died before."""
        try:
            return _read(self.folder / "end.json", End)
        except (NotFound, DataDamaged):
            return None


class Opened(NamedTuple):
    """A run that has begun, and what is needed to end it.

    Attributes:
        publisher: What shows it to others, where the home is far away.
    """

    spool: Spool
    beginning: Beginning
    ledger: FileLedger
    redactor: Redactor
    publisher: Publisher | None = None


def spools(local: Path) -> Iterator[Spool]:
    """The spools of all runs that are not sealed yet, living or dead."""
    folder = local / "spool"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if len(path.name) == RunId.LENGTH and path.is_dir():
            yield Spool(path, RunId(path.name))


def sweep(local: Path, *, before: datetime) -> None:
    """Remove spools whose makers died before they were whole."""
    for path in (local / "spool").glob(f"{_NEW}*"):
        try:
            is_old = path.stat().st_mtime < before.timestamp()
        except FileNotFoundError:
            continue
        if is_old:
            shutil.rmtree(path, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _read(path: Path, shape: type[T]) -> T:
    try:
        return codec.decode(path.read_bytes(), shape)
    except FileNotFoundError as error:
        raise NotFound(f"no {path.name} in the spool {path.parent.name}") from error
