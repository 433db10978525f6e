"""`show`: everything about one thing."""

import click

from thence.cli.verb import Invocation, verb
from thence.index.views import RunDetail

__all__ = ["show"]


@verb(
    "show",
    examples=["thence show data", "thence show data@v1 --json", "thence show run:last"],
    statuses=(4, 6),
)
@click.argument("ref")
def show(invocation: Invocation, *, ref: str) -> None:
    """Show everything about a version or a run.

    With --json, the object of a version is followed by one for each of its files, that of a run by
    one for each file that it read or wrote.
    """
    project = invocation.project()
    found = project.show(ref)
    if isinstance(found, RunDetail):
        from thence.cli.run_page import show_run

        show_run(invocation.output, project, found)
    else:
        from thence.cli.version_page import show_version

        show_version(invocation.output, project, ref, found)
