"""The life of a run: opened, watched, sealed; and what becomes of one whose recorder died."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from thence.errors import DataDamaged, NotFound, StorageError, ThenceError
from thence.execution import live
from thence.execution.capture.classify import is_short_text
from thence.execution.capture.files import FileLedger
from thence.execution.capture.host import capture_host
from thence.execution.capture.params import read_argv
from thence.execution.capture.secret_files import is_secret_file
from thence.execution.capture.secrets import Redactor, Stream
from thence.execution.events import Ended
from thence.execution.launch import find_program, launch, standard_input
from thence.execution.outputs import mark_changes, note_outputs
from thence.execution.relearning import learn_again, learn_from_file
from thence.execution.sealing import seal
from thence.execution.site import Site
from thence.execution.spool import Beginning, End, Opened, Spool, spools, sweep
from thence.model.ids import Digest, RunId
from thence.model.records import Param, RunOpened, RunSealed, RunStatus, SensorReport
from thence.vault.logs import run_log

__all__ = ["RunOptions", "Sensor", "execute", "open_run", "recover"]

_log = logging.getLogger(__name__)

Sensor = Literal["auto", "seccomp", "audit-hook"]


class RunOptions(NamedTuple):
    """What a person says of a run.

    Attributes:
        params: Parameters besides those that are found.
    """

    name: str | None = None
    experiment: str | None = None
    note: str | None = None
    tags: Mapping[str, str] = {}
    params: Mapping[str, Any] = {}


def open_run(
    site: Site,
    command: Sequence[str],
    options: RunOptions,
    *,
    cwd: Path | None = None,
    rerunnable: bool = True,
    ordinal: int = 1,
) -> Opened:
    """Begin a run: its spool and the first entry of its log.

    Secrets are replaced before anything is written.

    Args:
        site: Where.
        command: What runs.
        options: What a person says of it.
        cwd: Where it runs; default: here.
        rerunnable: Whether the command can be run again.
        ordinal: Which run of its process it is.

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
        params={**read_argv(argv, redactor), **given},
        withheld=redactor.withheld,
        rerunnable=rerunnable,
        ordinal=ordinal,
        stdin=_standard_input(site),
    )
    spool = Spool.create(site.local, beginning)
    ledger = FileLedger(
        site.root,
        cwd=folder,
        spool=spool.folder,
        known=_known(site),
        protect=_protect(redactor),
        redact=lambda path, data: redactor.scrub_config(str(path), data),
        ignore={f"ignored: {one}": str(site.root / one) for one in settings.capture.ignore},
    ).open()
    try:
        site.ingest(site.vault.append(run_log(opened.run), opened, by=site.author))
    except BaseException as error:
        # It may be in the store, the answer lost: recovery ends it, as a run that never began.
        if isinstance(error, ThenceError):
            spool.write_end(_not_started(site, error))
        spool.release()
        raise
    return Opened(spool, beginning, ledger, redactor)


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
    spool = opened.spool
    variables = {
        **os.environ,
        live.SPOOL_VARIABLE: str(spool.folder),
        live.RUN_VARIABLE: spool.run,
    }
    try:
        failure: ThenceError | None = None
        try:
            with _output_files(opened) as (stdout, stderr):
                ended = launch(
                    command,
                    cwd=cwd,
                    env=variables,
                    on_event=opened.ledger.on_event,
                    sensor=sensor,
                    stdout=stdout,
                    stderr=stderr,
                )
            end = _end_of(site, ended)
        except ThenceError as error:  # it could not be started
            failure, end = error, _not_started(site, error)
        with _unhurried():
            seen = opened.ledger.finish()
            note_outputs(spool.folder, seen.outputs)
            spool.write_end(end)
            seal(site, opened, end, seen)
    except BaseException:
        spool.release()
        raise
    spool.discard()
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


def _end_of(site: Site, ended: Ended) -> End:
    interrupted = ended.signal == signal.SIGINT or ended.exit_code == 128 + signal.SIGINT
    status = RunStatus.FINISHED if ended.exit_code == 0 else RunStatus.FAILED
    return End(
        ended=site.clock(),
        status=RunStatus.INTERRUPTED if interrupted else status,
        sensor=ended.report,
        exit_code=ended.exit_code,
        problems=ended.problems,
    )


def recover(site: Site) -> list[RunId]:
    """Seal the runs whose recorder died, with everything that reached their spools.

    Runs that are still going on are left alone. One that cannot be recovered stays in its spool
    and does not keep the others from it: it is said in the log, and raised where it is all there
    is to say.

    Raises:
        NotFound: A spool cannot be read, and nothing else could be recovered.
        DataDamaged: What a spool or the log of its run says cannot be read, and so on.
        Denied: The store may not be written to, and so on.
        StorageError: The store failed, and so on.
    """
    sweep(site.local, before=site.clock() - timedelta(days=1))
    found = []
    failures: list[ThenceError] = []
    for spool in spools(site.local):
        try:
            if spool.hold() and _recover_held(site, spool):
                found.append(spool.run)
        except ThenceError as error:
            failures.append(error)
            _log.warning("%s was not recovered: %s. %s", spool.run.short, error.what, error.why)
        except OSError as error:
            what = f"the spool of {spool.run.short} cannot be read"
            failures.append(StorageError(what, why=f"{error.strerror or error}."))
            _log.warning("%s: %s", what, error)
        finally:
            spool.release()
    if failures and not found:
        raise failures[0]
    return found


def _recover_held(site: Site, spool: Spool) -> bool:
    """Seal the run of a spool and remove that; whether there was a run to seal."""
    if _is_sealed(site, spool.run):
        spool.discard()
        return False
    beginning = _beginning_of(site, spool)
    if beginning is not None:
        _recover_one(site, spool, beginning)
    spool.discard()
    return beginning is not None


def _beginning_of(site: Site, spool: Spool) -> Beginning | None:
    """How a run began, by its spool or its log; None where nothing of it is known: nothing ran.

    Raises:
        NotFound: Its spool does not tell, and the log neither, but there is something in the spool.
        DataDamaged: The same.
    """
    try:
        return spool.beginning()
    except (NotFound, DataDamaged):
        for entry in site.vault.logs.records(run_log(spool.run)):
            if isinstance(opened := entry.record, RunOpened):
                return Beginning(
                    opened=opened, cwd=os.path.normpath(os.path.join(opened.root, opened.cwd))
                )
        if spool.has_notes():
            raise
        return None


def _recover_one(site: Site, spool: Spool, beginning: Beginning) -> None:
    redactor = Redactor(site.secret_key())
    redactor.learn_environment(os.environ)
    ledger, problems = _ledger_of(site, spool, beginning, redactor)
    end = spool.end() or End(
        ended=site.clock(),
        status=RunStatus.DIED,
        sensor=SensorReport(
            name="unknown",
            completeness="partial",
            not_seen=("what happened after the recorder died",),
        ),
        problems=("The recorder of this run died; it was sealed later from its spool.",),
    )
    if site.vault.logs.tail(run_log(spool.run)) == 0:
        site.ingest(site.vault.append(run_log(spool.run), beginning.opened, by=site.author))
    seen, changes = mark_changes(spool.folder, ledger.finish())
    problems += changes
    learn_again(redactor, beginning.withheld, seen)
    end = msgspec.structs.replace(end, problems=(*end.problems, *problems))
    seal(site, Opened(spool, beginning, ledger, redactor), end, seen)


def _ledger_of(
    site: Site, spool: Spool, beginning: Beginning, redactor: Redactor
) -> tuple[FileLedger, list[str]]:
    """The files of the run as they were noted, and sentences on what that leaves out."""
    known, protect = _known(site), _protect(redactor)
    try:
        return FileLedger.replay(spool.folder, known=known, protect=protect), []
    except NotFound:
        if spool.has_file_notes():
            raise
        # It died before its first note.
        root, cwd = beginning.opened.root, beginning.cwd
        ledger = FileLedger(root, cwd=cwd, spool=spool.folder, known=known, protect=protect)
        return ledger, ["No notes of its files were in its spool, so none are known."]


def _is_sealed(site: Site, run: RunId) -> bool:
    entries = site.vault.logs.records(run_log(run))
    return any(isinstance(entry.record, RunSealed) for entry in entries)


def _known(site: Site) -> Callable[[Path, os.stat_result], Digest | None]:
    stats, directory = site.vault.stats, site.vault.directory

    def known(path: Path, facts: os.stat_result) -> Digest | None:
        # Small texts are always read, since only reading them finds the secrets in them.
        if is_short_text(str(path)):
            return None
        digest = stats.find(path, facts)
        return digest if digest is not None and digest.raw in directory else None

    return known


def _protect(redactor: Redactor) -> Callable[[Path], bool]:
    def protect(path: Path) -> bool:
        secret = is_secret_file(str(path))
        if secret:
            redactor.note_file(str(path))
            learn_from_file(redactor, path)  # what it holds may be printed
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
