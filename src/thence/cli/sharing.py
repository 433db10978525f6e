"""`clone`, `push`, `pull` and their like: a project that several people share."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from thence.cli import human
from thence.cli.progress import progress
from thence.cli.table import Column
from thence.cli.verb import Invocation, VerbGroup, verb
from thence.errors import Conflict
from thence.model.numbers import label

if TYPE_CHECKING:
    from thence.execution.waiting import WaitingItem

__all__ = ["clone", "import_", "mirror", "outbox", "pull", "push"]

_PARTLY_DONE = 3


@verb(
    "clone",
    examples=[
        "thence clone s3://bucket/team",
        "thence clone ../team fraud --only churn@champion",
    ],
    statuses=(3, 4, 5, 6),
)
@click.argument("url", metavar="URL")
@click.argument("folder", required=False)
@click.option(
    "--only",
    metavar="REF",
    multiple=True,
    help="Fetch the content of this version and of the run that made it alone; repeatable.",
)
def clone(invocation: Invocation, *, url: str, folder: str | None, only: tuple[str, ...]) -> None:
    """Copy a project from a store.

    One works with the copy here, also without a network. What is saved in a clone waits in its
    outbox until `thence push` brings it home, where it gets its number. FOLDER is named like the
    end of the URL, if none is given. A clone that was cut goes on when the command is repeated.
    """
    from thence.project import Project

    invocation.log_to_stderr()
    where = Path(folder if folder is not None else _name_of(url))
    with progress(invocation.output, "cloning") as tell:
        project, pulled = Project.clone(url, where, only=only, progress=tell)
    known = len(project.ls())
    output = invocation.output
    output.record("clone", {"root": str(project.root), "home": url, **pulled._asdict()})
    amount = human.size(pulled.size_bytes)
    output.done(f"cloned into {project.root}: {human.count(known, 'artifact')}, {amount} fetched")
    output.done(f"next: cd {where}, thence ls")
    _partly_done(invocation, pulled.damaged)


def _name_of(url: str) -> str:
    return url.partition("?")[0].rstrip("/").rpartition("/")[2] or "project"


@verb(
    "push",
    examples=["thence push", "thence push --dry-run", "thence push s3://bucket/team"],
    statuses=(3, 4, 5, 6),
)
@click.argument("url", metavar="[URL]", required=False)
@click.option("--dry-run", is_flag=True, help="Only say what waits.")
def push(invocation: Invocation, *, url: str | None, dry_run: bool) -> None:
    """Send home what was saved in this clone.

    The home gives the version numbers. With a URL of an empty store the project moves there: that
    store becomes its home, and this folder a clone of it. What does not fit what others did
    meanwhile is reported and goes on waiting, everything else is sent. With a URL of a store that
    the same project has moved to, this clone follows it there.
    """
    project = invocation.project()
    output = invocation.output
    if dry_run:
        _show_waiting(invocation, project.outbox())
        return
    if url is not None and not project.follow_home(url):
        with progress(output, "pushing") as tell:
            moved = project.move_home(url, progress=tell)
        output.record("home", {"url": url, **moved._asdict()})
        output.done(f"{url} is the home of this project now: {human.size(moved.sent_bytes)} sent")
        output.done("this folder is a clone of it; what is saved here waits for: thence push")
        return
    with progress(output, "pushing") as tell:
        pushed = project.push(progress=tell)
    for one in pushed.versions:
        output.record("pushed", {"ref": one.ref, "was": one.was})
        output.done(f"{one.was} is {one.ref}")
    output.record("push", {"entries": pushed.entries, "sent_bytes": pushed.sent_bytes})
    if pushed.entries:
        versions = human.count(len(pushed.versions), "version")
        text = f"pushed {versions}, {_entries(pushed.entries)} in all"
        output.done(f"{text}: {human.size(pushed.sent_bytes)} sent")
    else:
        output.done("nothing to push" if not pushed.conflicts else "nothing was pushed")
    _refuse_conflicts(pushed.conflicts)
    _partly_done(invocation, pushed.damaged)


@verb("mirror", examples=["thence mirror s3://backup/team"], statuses=(3, 4, 5, 6))
@click.argument("url", metavar="URL")
def mirror(invocation: Invocation, *, url: str) -> None:
    """Copy the project into another store, to be read.

    A copy that is there is brought up to date. A mirror is what it is a copy of, byte for byte:
    numbers, history, content. Nothing can be saved in it. What waits in the outbox of a clone is
    not copied.
    """
    project = invocation.project()
    with progress(invocation.output, "mirroring") as tell:
        done = project.mirror(url, progress=tell)
    output = invocation.output
    output.record("mirror", {"url": url, **done._asdict()})
    text = f"{url} mirrors this project: {_entries(done.entries, 'new ')}"
    output.done(f"{text}, {human.size(done.sent_bytes)} sent")


@click.group(
    "import", cls=VerbGroup, examples=["thence import versions s3://other/project churn@champion"]
)
def import_() -> None:
    """Bring in what was made elsewhere."""


@verb(
    "versions",
    examples=["thence import versions s3://other/project churn@champion"],
    statuses=(3, 4, 5, 6),
)
@click.argument("url", metavar="URL")
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
def versions(invocation: Invocation, *, url: str, refs: tuple[str, ...]) -> None:
    """Bring versions of another project into this one, with the runs that made them.

    They get new numbers here and keep their records, so that who made them and from what stays
    provable. Importing a version again changes nothing.
    """
    project = invocation.project()
    with progress(invocation.output, "importing") as tell:
        done = project.import_versions(url, refs, progress=tell)
    output = invocation.output
    for one in done.versions:
        ref = f"{one.artifact}@{label(one.number)}"
        output.record("imported", {"ref": ref, "new": one.new, "digest": str(one.digest)})
        said = "is" if one.new else "was here already as"
        output.done(f"{one.artifact}@{label(one.source_number)} there {said} {ref}")
    for run in done.runs:
        output.done(f"with {run.short}")


import_.add_command(versions)


@verb("pull", examples=["thence pull", "thence pull --only churn@v3"], statuses=(3, 4, 5, 6))
@click.option(
    "--only", metavar="REF", multiple=True, help="Fetch this version in addition; repeatable."
)
def pull(invocation: Invocation, *, only: tuple[str, ...]) -> None:
    """Fetch what others saved at home.

    A clone that was made with --only keeps to what it was made with, and to what is named here.
    """
    project = invocation.project()
    with progress(invocation.output, "pulling") as tell:
        pulled = project.pull(only=only, progress=tell)
    output = invocation.output
    output.record("pull", pulled._asdict())
    if pulled.entries or pulled.contents:
        text = f"pulled {_entries(pulled.entries, 'new ')}"
        output.done(f"{text}: {human.size(pulled.size_bytes)} of content fetched")
    else:
        output.done("nothing new")
    for item in project.outbox():
        if item.conflict:
            output.warn(f"{item.ref} was {item.text} here. {item.conflict} See: thence outbox list")
    _partly_done(invocation, pulled.damaged)


def _entries(amount: int, which: str = "") -> str:
    return f"{amount:,} {which}log entr{'y' if amount == 1 else 'ies'}"


def _partly_done(invocation: Invocation, damaged: Sequence[str]) -> None:
    """Warn of what cannot be read at home, and say so with the exit status too."""
    for key in damaged:
        invocation.output.warn(
            f"{key} cannot be read at home, or its content is missing there; it and what "
            "follows in its log is not here, and nothing can be added to that log"
        )
    if damaged:
        click.get_current_context().exit(_PARTLY_DONE)


def _refuse_conflicts(conflicts: "Sequence[WaitingItem]") -> None:
    if not conflicts:
        return
    first = conflicts[0]
    others = f" and {len(conflicts) - 1} more" if len(conflicts) > 1 else ""
    name, _, word = first.ref.partition("@")
    keep = (
        f"Yours: thence alias {name}@{first.target} {word}, then push."
        if first.kind == "alias"
        else "Yours: save it under another name."
    )
    raise Conflict(
        f"{first.ref}{others} does not fit what others did",
        why=f"Here: {first.text}. {first.conflict}",
        hint=f"{keep} Theirs: thence outbox drop {first.ref}",
        about=first.ref,
    )


@click.group(
    "outbox",
    cls=VerbGroup,
    examples=["thence outbox list", "thence outbox drop churn@local.1"],
)
def outbox() -> None:
    """What waits in this clone to be pushed."""


@verb("list", examples=["thence outbox list"])
def list_(invocation: Invocation) -> None:
    """List what waits, and why some of it cannot be pushed."""
    _show_waiting(invocation, invocation.project().outbox())


@verb("drop", examples=["thence outbox drop churn@local.1"], statuses=(4,))
@click.argument("ref")
def drop(invocation: Invocation, *, ref: str) -> None:
    """Give up what waits under REF: a version, a run, or the moves of an alias."""
    for item in invocation.project().drop(ref):
        invocation.output.record("dropped", item._asdict())
        invocation.output.done(f"dropped {item.ref}: {item.text}")


outbox.add_command(list_)
outbox.add_command(drop)


def _show_waiting(invocation: Invocation, items: "list[WaitingItem]") -> None:
    output = invocation.output
    for item in items:
        output.record("waiting", item._asdict())
    if not items:
        output.note("nothing waits")
        return
    columns = [
        Column("REF"),
        Column("KIND"),
        Column("WHAT", flexible=True),
        Column("CONFLICT", style="yellow", optional=True),
    ]
    last = {(item.ref, item.kind): item for item in items}  # a run waits with its beginning and end
    rows = [
        [item.ref, item.kind, item.text, item.conflict or ""]
        for item in items
        if item.kind != "run" or last[item.ref, item.kind] is item
    ]
    output.table(columns, rows)
