"""Sealing a run: the versions that it used and made, and the one record that says it all."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from thence.execution import live
from thence.execution.binding import Plan, bind, plan
from thence.execution.capture.states import Ledger
from thence.execution.entries import append_once
from thence.execution.gathered import Gathered
from thence.execution.gathering import Gathering, gather
from thence.execution.publishing import clear
from thence.execution.site import Site
from thence.execution.spool import Beginning, End, Opened
from thence.model.ids import Digest
from thence.model.records import (
    FileRole,
    Param,
    RunOpened,
    RunSealed,
    RunStatus,
    SensorReport,
    encode_lines,
)
from thence.vault.artifacts import Saved
from thence.vault.live_segments import Segments
from thence.vault.logs import run_log
from thence.vault.parallel import ahead
from thence.vault.worktree import Worktree
from thence.vault.writer import Writer

__all__ = ["conclude", "seal", "seal_lines"]

_FROM_SEGMENTS = (
    "The machine of this run did not come back; it was sealed from what it had published until "
    "then, so the last seconds of what it logged may be missing."
)

_AT_ONCE = 8


def seal(site: Site, opened: Opened, end: End, ledger: Ledger) -> RunSealed:
    """Keep everything that a run was made from and append its one sealed entry.

    May be repeated: what was kept by a try that died is reused.

    Raises:
        StorageError: The store failed; the spool stays, and `recover` tries again.
        Denied: The store may not be written to.
    """
    vault = site.vault
    with vault.writer() as writer:
        gathering = gather(
            opened,
            end,
            ledger,
            writer,
            stats=vault.stats,
            content=vault.content,
            cache=site.local / "cache",
        )
        record = conclude(site, opened.beginning, gathering, writer)
    vault.stats.save()
    return record


def seal_lines(
    site: Site, opened: RunOpened, lines: Sequence[live.Line], *, ended: datetime
) -> RunSealed:
    """Seal a run of which only its beginning is known, and what it said: it died.

    Args:
        site: Where.
        opened: Its beginning.
        lines: What it said.
        ended: When it was last heard of.

    Raises:
        StorageError: The store failed.
        Denied: The store may not be written to.
    """
    metrics = [line for line in lines if isinstance(line, live.LoggedMetric)]
    named = [line for line in lines if isinstance(line, live.LoggedParam)]
    series = encode_lines([line.to_point() for line in metrics])
    with site.vault.writer() as writer:
        draft = RunSealed(
            run=opened.run,
            command=opened.command,
            root=opened.root,
            cwd=opened.cwd,
            started=opened.started,
            ended=ended,
            status=RunStatus.DIED,
            author=opened.author,
            host=opened.host,
            sensor=SensorReport(
                name="unknown",
                completeness="partial",
                not_seen=("its files, its code, its environment and what it printed",),
            ),
            name=opened.name,
            experiment=opened.experiment,
            note=opened.note,
            tags=opened.tags,
            params={line.name: Param(value=line.value, origin="log") for line in named},
            metrics={line.name: line.value for line in metrics},
            series=writer.put_bytes(series).digest if metrics else None,
            problems=(_FROM_SEGMENTS,),
        )
        gathered = Gathered(
            draft=draft,
            used=tuple(line.version for line in lines if isinstance(line, live.UsedVersion)),
            made=tuple(line.version for line in lines if isinstance(line, live.MadeVersion)),
        )
        beginning = Beginning(opened=opened, cwd=opened.cwd)
        return conclude(site, beginning, Gathering(gathered, series), writer)


def conclude(
    site: Site,
    beginning: Beginning,
    gathering: Gathering,
    writer: Writer,
    *,
    worktree: Worktree | None = None,
) -> RunSealed:
    """Make versions of what was gathered, and append the sealed entry.

    Args:
        site: Where.
        beginning: Of the run, whose log has its opened entry.
        gathering: What it was made from.
        writer: Was given all of it. It is flushed here: first with everything that is known, then,
            with the list of files, which names the versions. Its session began before.
        worktree: What the paths were when the run ended; default: what they are now.

    Raises:
        StorageError: The store failed; what is there already is found by the next try.
        Denied: The store may not be written to.
    """
    gathered, series = gathering
    draft = gathered.draft
    inputs = plan(site, gathered.inputs, FileRole.INPUT, writer=writer, worktree=worktree)
    outputs = Plan(FileRole.OUTPUT, list(gathered.outputs), {}, (), ())
    if draft.status is RunStatus.FINISHED:
        # Of a run that failed the outputs are kept, but none becomes the latest version.
        outputs = plan(site, gathered.outputs, FileRole.OUTPUT, writer=writer)
    writer.flush()
    # Bytes first, name last.
    session = writer.session
    loaded = bind(site, inputs, run=draft.run, sources=(), now=draft.ended, session=session)
    used = tuple(dict.fromkeys((*gathered.used, *loaded.versions)))
    saved = bind(site, outputs, run=draft.run, sources=used, now=draft.ended, session=session)
    made = tuple(dict.fromkeys((*gathered.made, *saved.versions)))
    items = (*loaded.items, *gathered.overwritten, *saved.items)
    files = encode_lines([*(item.use for item in items), *gathered.others])
    files_digest = writer.put_bytes(files).digest
    writer.flush()
    record = msgspec.structs.replace(
        draft,
        files=files_digest,
        uses=used,
        makes=made,
        problems=tuple(dict.fromkeys((*draft.problems, *loaded.problems, *saved.problems))),
    )
    new = [*loaded.saved, *saved.saved]
    if site.vault.remote:
        _leave_hints(site, writer, files_digest, gathered.contents(), new)
    appended = append_once(
        site.vault,
        run_log(draft.run),
        record,
        entry_id=beginning.sealed_entry or site.vault.new_id(),
        at=site.clock(),
        by=draft.author,
        session=session,
    )
    session.release()
    attachments = {files_digest: files}
    if draft.series is not None:
        attachments[draft.series] = series
    site.ingest(*loaded.appended, *saved.appended, appended, attachments=attachments)
    if site.vault.remote:
        clear(Segments(site.vault.store), draft.run)
    return record


def _leave_hints(
    site: Site, writer: Writer, files: Digest, contents: set[Digest], saved: list[Saved]
) -> None:
    """Say in which packs a fresh client finds what is sealed, before anything names it."""
    before = site.vault.directory.packs_with(one.raw for one in contents)
    hints = [(files, before.union(writer.packs))]
    hints += [(one.version.tree, {*writer.packs}) for one in saved if one.new]
    for _ in ahead(lambda hint: site.vault.hint(*hint), hints, at_once=_AT_ONCE):
        pass
