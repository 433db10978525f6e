"""`init`: make a project."""

from datetime import UTC, datetime
from pathlib import Path

import click

from thence.cli import human
from thence.cli.verb import Invocation, verb

__all__ = ["init"]


@verb(
    "init",
    examples=["thence init", "thence init papers/fraud", "thence init --store s3://bucket/team"],
    statuses=(5,),
)
@click.argument("folder", required=False)
@click.option("--store", metavar="URL", help="Let the project live in a store elsewhere.")
def init(invocation: Invocation, *, folder: str | None, store: str | None) -> None:
    """Make a project in a folder.

    All that is saved goes into FOLDER/.thence (here, if no FOLDER is given), or into the store at
    the URL: s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, or a path. A project
    that is there already is joined. Where Git looks after the folder, .thence/ is added to
    .gitignore.
    """
    from thence.project import Project
    from thence.vault.layout import read_project

    invocation.log_to_stderr()
    where = Path(folder if folder is not None else invocation.location or "")
    ignored = where / ".gitignore"
    before = _read(ignored)
    begun = datetime.now(UTC)
    project = Project.init(where, store=store)
    output = invocation.output
    is_new = read_project(project.site.vault.store).created >= begun
    known = 0 if is_new else len(project.ls())
    output.record("project", {"root": str(project.root), "store": project.site.vault.store.url})
    if store is None:
        output.done(f"made a project in {project.root}")
    elif is_new:
        output.done(f"made a project in {store}; {project.root} works in it")
    else:
        output.done(f"joined the project in {store}: {human.count(known, 'artifact')}")
    if _read(ignored) != before:
        output.done("added .thence/ to .gitignore")
    output.done("next: thence ls" if known else "next: thence save PATH, or thence run COMMAND")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
