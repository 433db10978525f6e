"""The life of a run: opened, watched, sealed."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

from thence.errors import ThenceError
from thence.execution import live
from thence.execution.capture.classify import is_short_text
from thence.execution.capture.files import FileLedger
from thence.execution.capture.host import capture_host
from thence.execution.capture.params import read_argv
from thence.execution.capture.remote import prepare_bodies, remote_plan
from thence.execution.capture.resources import sampling
from thence.execution.capture.secret_files import is_secret_file
from thence.execution.capture.secrets import Redactor, Stream
from thence.execution.events import Ended
from thence.execution.holding import announce, finish, release
from thence.execution.launch import find_program, launch, standard_input
from thence.execution.noting import NoteBook
from thence.execution.outputs import note_outputs
from thence.execution.relearning import learn_from_file
from thence.execution.site import Site
from thence.execution.spool import Beginning, End, Opened, Spool
from thence.model.ids import Digest, RunId
from thence.model.records import Param, RunOpened, RunStatus, SensorReport

__all__ = [
    "Companion",
    "OpenedNotebook",
    "RunOptions",
    "Sensor",
    "carry_out",
    "execute",
    "known_files",
    "open_run",
    "protector",
]

_log = logging.getLogger(__name__)

Sensor = Literal["auto", "seccomp", "strace", "audit-hook"]


class RunOptions(NamedTuple):
    """What a person says of a run.

    Attributes:
        params: Parameters besides those that are found.
        keep_remote: Keep what is fetched over HTTP.
    """

    name: str | None = None
    experiment: str | None = None
    note: str | None = None
    tags: Mapping[str, str] = {}
    params: Mapping[str, Any] = {}
    keep_remote: bool = False


class OpenedNotebook(NamedTuple):
    """The notebook of a run that begins.

    Attributes:
        name: Its path, as records have it.
        executed: What it is called among the outputs when it is executed; None where it is live.
        params: What it was given, and its defaults.
    """

    name: str
    executed: str | None = None
    params: Mapping[str, Any] = {}


class Companion(Protocol):
    """Works with a command while it runs: the client of a kernel."""

    def begin(self, deliver: Callable[[int], None]) -> None:
        """It has been started, see `OnStarted`; called once, in the thread that watches it."""

    def end(self, ended: Ended) -> Ended:
        """It has ended: how that counts. Not called where it could not be started."""

    @property
    def traceback(self) -> str | None:
        """How it failed, if it did."""


def open_run(
    site: Site,
    command: Sequence[str],
    options: RunOptions,
    *,
    cwd: Path | None = None,
    rerunnable: bool = True,
    ordinal: int = 1,
    notebook: OpenedNotebook | None = None,
    quietly: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> Opened:
    """Begin a run: its spool and the first entry of its log.

    Secrets are replaced before anything is written. Where the home is far away, it is published
    from now on; where it cannot be reached for a moment, the run goes on without it.

    Args:
        site: Where.
        command: What runs.
        options: What a person says of it.
        cwd: Where it runs; default: here.
        rerunnable: Whether the command can be run again.
        ordinal: Which run of its process it is.
        notebook: The one that is executed, if it is no command.
        quietly: What work beside the run is done in, for sensors in this process.

    Raises:
        InvalidInput: `thence.toml` cannot be used.
        StorageError: The spool or the store cannot be written.
        Denied: The store may not be written to.
    """
    settings = site.settings()
    redactor = Redactor(site.secret_key(), allow=settings.capture.environment)
    environment = redactor.scrub_environment(os.environ)
    argv = redactor.scrub_argv(command).argv
    folder = (cwd or Path.cwd()).resolve()
    opened = RunOpened(
        run=RunId.from_bytes(site.entropy(10)),
        command=argv,
        root=str(site.root),
        cwd=os.path.relpath(folder, site.root),
        started=site.clock(),
        author=site.author,
        host=capture_host(),
        name=_scrubbed(redactor, "", options.name),
        experiment=_scrubbed(redactor, "", options.experiment),
        note=_scrubbed(redactor, "", options.note),
        tags={name: _scrubbed(redactor, name, value) for name, value in options.tags.items()},
    )
    given = {
        name: Param(value=_scrubbed(redactor, name, value), origin="option")
        for name, value in options.params.items()
    }
    beginning = Beginning(
        opened=opened,
        cwd=str(folder),
        environment_variables=environment.allowed,
        omitted_variables=environment.omitted,
        params={**_params_of(argv, notebook, redactor), **given},
        withheld=redactor.withheld,
        rerunnable=rerunnable,
        ordinal=ordinal,
        stdin=_standard_input(site) if notebook is None else None,
        notebook=None if notebook is None else notebook.name,
        executed=None if notebook is None else notebook.executed,
        opened_entry=site.vault.new_id(),
        sealed_entry=site.vault.new_id(),
    )
    spool = Spool.create(site.local, beginning)
    if options.keep_remote:
        prepare_bodies(spool.folder)
    ledger = FileLedger(
        site.root,
        cwd=folder,
        spool=spool.folder,
        known=known_files(site),
        protect=protector(redactor),
        redact=lambda path, data: redactor.scrub_config(str(path), data),
        ignore={f"ignored: {one}": str(site.root / one) for one in settings.capture.ignore},
        quietly=quietly,
    ).open()
    made = Opened(spool, beginning, ledger, redactor)
    try:
        return made._replace(publisher=announce(site, made, quietly=quietly))
    except BaseException as error:
        # It may be in the store, the answer lost: recovery ends it, as a run that never began.
        if isinstance(error, ThenceError):
            spool.write_end(_not_started(site, error))
        spool.release()
        raise


def execute(
    site: Site, command: Sequence[str], options: RunOptions, *, sensor: Sensor = "auto"
) -> RunId:
    """Run a command under capture, with this process's terminal, and seal the run.

    Raises:
        NotFound: There is no such command.
        Denied: It cannot be executed, or the store may not be written to.
        InvalidInput: There is no command, or `thence.toml` cannot be used.
        StorageError: The spool or the store cannot be written; what was recorded stays in the
            spool for `recover`.
    """
    cwd = Path.cwd()
    find_program(command, cwd=cwd, env=os.environ)
    opened = open_run(site, command, options, cwd=cwd)
    return carry_out(site, opened, command, sensor=sensor)


def carry_out(
    site: Site,
    opened: Opened,
    command: Sequence[str],
    *,
    sensor: Sensor = "auto",
    variables: Mapping[str, str] = MappingProxyType({}),
    companion: Callable[[NoteBook], Companion] | None = None,
) -> RunId:
    """Run the command of a run that is open, and seal the run.

    Args:
        site: Where.
        opened: The run.
        command: What really runs.
        sensor: Which.
        variables: For its environment, beside those of this process.
        companion: Makes what works with it; is given where notes go.

    Raises:
        NotFound: There is no such command.
        Denied: It cannot be executed, or the store may not be written to.
        StorageError: The spool or the store cannot be written.
    """
    cwd = Path(opened.beginning.cwd)
    spool = opened.spool
    beside: Companion | None = None
    environment = {
        **os.environ,
        **variables,
        live.SPOOL_VARIABLE: str(spool.folder),
        live.RUN_VARIABLE: spool.run,
    }
    try:
        failure: ThenceError | None = None
        try:
            with (
                contextlib.closing(NoteBook(spool.folder, opened.redactor)) as notes,
                _output_files(opened) as (stdout, stderr),
                sampling(spool.folder),
            ):
                beside = None if companion is None else companion(notes)
                ended = launch(
                    command,
                    cwd=cwd,
                    env=environment,
                    on_event=opened.ledger.on_event,
                    soon=opened.ledger,
                    on_note=notes.add,
                    plan=remote_plan(spool.folder),
                    scan=opened.ledger.scan,
                    sensor=sensor,
                    stdout=stdout,
                    stderr=stderr,
                    on_started=_nothing if beside is None else beside.begin,
                )
                if beside is not None:
                    ended = beside.end(ended)
            end = _end_of(site, ended, None if beside is None else beside.traceback)
        except ThenceError as error:  # it could not be started
            failure, end = error, _not_started(site, error)
        with _unhurried():
            seen = opened.ledger.finish()
            note_outputs(spool.folder, seen.outputs)
            spool.write_end(end)
            finish(site, opened, end, seen)
    except BaseException:
        release(opened)
        raise
    if failure is not None:
        raise failure
    return spool.run


def _not_started(site: Site, error: ThenceError) -> End:
    return End(
        ended=site.clock(),
        status=RunStatus.FAILED,
        sensor=SensorReport(name="none", completeness="partial", not_seen=("nothing ran",)),
        exit_code=error.exit_status,
        problems=(f"{error.what}. {error.why}",),
    )


def _nothing(_: object) -> None:
    """What nobody waits for."""


def _params_of(
    argv: Sequence[str], notebook: OpenedNotebook | None, redactor: Redactor
) -> dict[str, Param]:
    if notebook is None:
        return read_argv(argv, redactor)
    return {
        name: Param(value=_scrubbed(redactor, name, value), origin="notebook")
        for name, value in notebook.params.items()
    }


def _end_of(site: Site, ended: Ended, traceback: str | None = None) -> End:
    interrupted = ended.signal == signal.SIGINT or ended.exit_code == 128 + signal.SIGINT
    status = RunStatus.FINISHED if ended.exit_code == 0 else RunStatus.FAILED
    return End(
        ended=site.clock(),
        status=RunStatus.INTERRUPTED if interrupted else status,
        sensor=ended.report,
        exit_code=ended.exit_code,
        traceback=traceback,
        problems=ended.problems,
    )


def known_files(site: Site) -> Callable[[str, os.stat_result], Digest | None]:
    """Tells the digests of files whose content is in the vault, which need no copy."""
    stats, directory = site.vault.stats, site.vault.directory

    def known(path: str, facts: os.stat_result) -> Digest | None:
        # Small texts are always read, since only reading them finds the secrets in them.
        if is_short_text(path):
            return None
        digest = stats.find(path, facts)
        return digest if digest is not None and digest.raw in directory else None

    return known


def protector(redactor: Redactor) -> Callable[[str], bool]:
    """Tells files that are secret by their name; what they hold is learnt."""

    def protect(path: str) -> bool:
        secret = is_secret_file(path)
        if secret:
            redactor.note_file(path)
            learn_from_file(redactor, Path(path))  # what it holds may be printed
        return secret

    return protect


def _standard_input(site: Site) -> str | None:
    found = standard_input()
    return found if found in {None, "pipe"} else site.relative(str(found))


def _scrubbed(redactor: Redactor, name: str, value: Any) -> Any:
    return redactor.scrub_value(name, value, "option") if isinstance(value, str) else value


@contextlib.contextmanager
def _output_files(
    opened: Opened,
) -> Iterator[tuple[Callable[[bytes], None], Callable[[bytes], None]]]:
    """Sinks that write scrubbed output to the spool."""
    with contextlib.ExitStack() as stack:
        yield (
            stack.enter_context(_scrubbed_file(opened, "stdout")),
            stack.enter_context(_scrubbed_file(opened, "stderr")),
        )


@contextlib.contextmanager
def _scrubbed_file(opened: Opened, name: str) -> Iterator[Callable[[bytes], None]]:
    stream = Stream(opened.redactor)
    with (opened.spool.folder / name).open("wb", buffering=0) as file:

        def sink(data: bytes) -> None:
            file.write(stream.feed(data))

        yield sink
        try:
            file.write(stream.flush())
        except OSError as error:  # the program has ended; what is known of it is sealed
            _log.warning("the end of %s was not kept: %s", name, error)


@contextlib.contextmanager
def _unhurried() -> Iterator[None]:
    """Let a first Ctrl-C pass while a run is sealed; a second one stops it, and the spool stays."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    default = signal.getsignal(signal.SIGINT)

    def once(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, default)
        _log.warning("keeping what was recorded; interrupt again to leave that to recovery")

    signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, default)
