"""`init`: make a project."""

from pathlib import Path

import click

from thence.cli.verb import Invocation, verb

__all__ = ["init"]


@verb("init", examples=["thence init", "thence init papers/fraud"], statuses=(5,))
@click.argument("folder", required=False)
def init(invocation: Invocation, *, folder: str | None) -> None:
    """Make a project in a folder.

    All that is saved goes into FOLDER/.thence (here, if no FOLDER is given). Where Git looks after
    the folder, .thence/ is added to .gitignore.
    """
    from thence.project import Project

    invocation.log_to_stderr()
    where = Path(folder) if folder is not None else invocation.folder or Path()
    ignored = where / ".gitignore"
    before = _read(ignored)
    project = Project.init(where)
    output = invocation.output
    output.record("project", {"root": str(project.root)})
    output.done(f"made a project in {project.root}")
    if _read(ignored) != before:
        output.done("added .thence/ to .gitignore")
    output.done("next: thence save PATH, or thence run COMMAND")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
