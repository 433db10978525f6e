"""`index`: the tables that answer questions, and can be made again at any time."""

import time
from datetime import UTC, datetime

import click

from thence.cli import human
from thence.cli.page import fields
from thence.cli.table import Column
from thence.cli.verb import Invocation, VerbGroup, verb
from thence.index.views import IndexStatus

__all__ = ["index"]

_SHOWN_PROBLEMS = 20


@click.group("index", cls=VerbGroup, examples=("thence index status", "thence index rebuild"))
def index() -> None:
    """The index: its state, and how to rebuild it.

    It only answers questions. All of it follows from the store, so it can be deleted at any time.
    """


@verb("status", examples=["thence index status"])
def status(invocation: Invocation) -> None:
    """Show how much is in the index, and what could not be taken in."""
    from thence.index.status import problems

    project = invocation.project()
    found = project.index_status()
    listed = problems(project.site.index, limit=None if invocation.output.json else _SHOWN_PROBLEMS)
    _show(invocation, found)
    for problem in listed:
        invocation.output.record("problem", problem)
    if listed:
        invocation.output.data("")
        invocation.output.table(
            [Column("PROBLEM", style="yellow"), Column("ENTRY"), Column("WHY", flexible=True)],
            [(one.kind, f"{one.log}/{one.number}", one.reason) for one in listed],
        )


@verb("rebuild", examples=["thence index rebuild"], statuses=(6,))
def rebuild(invocation: Invocation) -> None:
    """Read everything from the store again.

    Nobody loses anything by it; questions wait until it is done.
    """
    from thence.cli.progress import progress

    project = invocation.project()
    started = time.monotonic()
    with progress(invocation.output, "reading the store"):
        done = project.refresh(full=True)
    took = time.monotonic() - started
    found = project.index_status()
    output = invocation.output
    output.record("rebuilt", {"entries": done.entries, "logs": done.logs, "seconds": took})
    entries = human.count(done.entries, "entry").replace("entrys", "entries")
    output.done(f"read {entries} of {human.count(done.logs, 'log')} in {human.duration(took)}")
    if found.problems:
        _show(invocation, found)


def _show(invocation: Invocation, found: IndexStatus) -> None:
    invocation.output.record("index", found)
    if invocation.output.json:
        return
    refreshed = found.refreshed_at
    now = datetime.now(UTC)
    fields(
        invocation.output,
        [
            ("path", found.path or "in memory"),
            ("size", human.size(found.size_bytes)),
            ("artifacts", f"{found.artifacts:,}"),
            ("versions", f"{found.versions:,}"),
            ("removed", f"{found.deleted:,}" if found.deleted else None),
            ("runs", f"{found.runs:,}"),
            ("verdicts", f"{found.verdicts:,}"),
            ("entries", f"{found.entries:,} in {human.count(found.logs, 'log')}"),
            ("schema", str(found.schema_version)),
            ("up to date", None if refreshed is None else human.ago(refreshed, now)),
            (
                "problems",
                ", ".join(f"{number:,} {kind}" for kind, number in found.problems.items())
                or "none",
            ),
        ],
    )


index.add_command(status)
index.add_command(rebuild)
