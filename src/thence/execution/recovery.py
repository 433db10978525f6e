"""What becomes of a run whose recorder died, or whose home could not be reached at its end."""

import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from thence.errors import (
    Conflict,
    DataDamaged,
    InvalidInput,
    NotFound,
    StorageError,
    ThenceError,
)
from thence.execution import live
from thence.execution.capture.files import FileLedger
from thence.execution.capture.secrets import Redactor
from thence.execution.holding import append_opened, deliver
from thence.execution.outputs import mark_changes
from thence.execution.patience import is_passing
from thence.execution.publishing import clear
from thence.execution.record import known_files, protector
from thence.execution.relearning import learn_again
from thence.execution.sealing import seal, seal_lines
from thence.execution.site import Site
from thence.execution.spool import Beginning, End, Opened, Spool, spools, sweep
from thence.model.ids import RunId
from thence.model.records import RunOpened, RunSealed, RunStatus, SensorReport
from thence.vault.live_segments import Segments, by_writer
from thence.vault.logs import run_log

__all__ = ["Waiting", "recover", "recover_from_segments", "waiting"]

_SILENCE = timedelta(minutes=15)

_log = logging.getLogger(__name__)


class Waiting(NamedTuple):
    """A run that waits in its spool to be recovered.

    Attributes:
        end: None where its recorder died.
    """

    run: RunId
    beginning: Beginning
    end: End | None


def waiting(site: Site) -> Iterator[Waiting]:
    """The runs of this folder that no living process records and that are not sealed."""
    for spool in spools(site.local):
        if spool.is_held():
            continue
        try:
            yield Waiting(spool.run, spool.beginning(), spool.end())
        except (NotFound, DataDamaged):
            continue  # recovering it says more


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
    if site.vault.remote:
        _sweep_segments(site)
    found = []
    failures: list[ThenceError] = []
    for spool in spools(site.local):
        if failures and is_passing(failures[-1]):
            break  # the home cannot be reached; each try takes its time
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
        if site.vault.remote:
            clear(Segments(site.vault.store), spool.run)
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
    if site.vault.logs.tail(run_log(spool.run)) == 0:
        site.ingest(append_opened(site, beginning))
    if deliver(site, spool, beginning):
        return
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
    seen, changes = mark_changes(spool.folder, ledger.finish())
    problems += changes
    learn_again(redactor, beginning.withheld, seen)
    end = msgspec.structs.replace(end, problems=(*end.problems, *problems))
    seal(site, Opened(spool, beginning, ledger, redactor), end, seen)


def _ledger_of(
    site: Site, spool: Spool, beginning: Beginning, redactor: Redactor
) -> tuple[FileLedger, list[str]]:
    """The files of the run as they were noted, and sentences on what that leaves out."""
    known, protect = known_files(site), protector(redactor)
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


def recover_from_segments(site: Site, run: RunId, *, force: bool = False) -> RunSealed:
    """Seal a run whose machine is gone for good, with what it had published.

    Its record says so: files, code and environment are not known.

    Args:
        site: The project.
        run: Which run.
        force: Also where it gave a sign of life in the last 15 minutes.

    Raises:
        NotFound: There is no such run, or nothing of it was published.
        InvalidInput: It is sealed, or its spool is on this machine.
        Conflict: It seems to go on.
        DataDamaged: A segment is not what was written.
        StorageError: The home failed.
        Denied: It may not be written to.
    """
    records = [entry.record for entry in site.vault.logs.records(run_log(run))]
    opened = next((one for one in records if isinstance(one, RunOpened)), None)
    if opened is None:
        raise NotFound(f"no run {run.short}", why="Its log is empty.", about=run)
    if any(isinstance(one, RunSealed) for one in records):
        raise InvalidInput(
            f"{run.short} is sealed",
            why="It has ended, and all of it is known.",
            hint=f"See it: thence show {run.short}",
            about=run,
        )
    if (site.local / "spool" / run).is_dir():
        raise InvalidInput(
            f"{run.short} took place in this folder",
            why="Its spool knows more than its segments.",
            hint="Recover it from there: thence runs recover",
            about=run,
        )
    segments = Segments(site.vault.store)
    last_s = segments.last_sign_s(run)
    if last_s is None:
        raise NotFound(
            f"nothing of {run.short} was published",
            why="Runs are published while they go on where the home of the project is a bucket.",
            hint="Recover it on the machine where it ran: thence runs recover",
            about=run,
        )
    last = datetime.fromtimestamp(last_s, UTC)
    if not force and site.clock() - last < _SILENCE:
        raise Conflict(
            f"{run.short} may still go on",
            why=f"Its last sign of life is of {last:%H:%M:%S} UTC, less than 15 minutes ago.",
            hint="Wait; or, if its machine is certainly gone, add --force.",
            about=run,
        )
    lines = list(live.merge_lines(by_writer(segments.news(run, {})).values()))
    return seal_lines(site, opened, lines, ended=last)


def _sweep_segments(site: Site) -> None:
    """Remove segments of runs that are sealed, whose sealers died before they did it."""
    segments = Segments(site.vault.store)
    for run in sorted(segments.runs()):
        if _is_sealed(site, run):
            clear(segments, run)
