"""`get`: write a version to disk."""

import click

from thence.cli import human
from thence.cli.progress import progress
from thence.cli.verb import Invocation, verb

__all__ = ["get"]

_PARTLY_DONE = 3
_SHOWN = 5


@verb(
    "get",
    examples=["thence get data", "thence get data@v1 old/", "thence get data:day1.csv copy.csv"],
    statuses=(3, 4, 5, 6),
)
@click.argument("ref")
@click.argument("destination", required=False, metavar="[DEST]")
@click.option("--force", is_flag=True, help="Overwrite files that were never saved.")
def get(invocation: Invocation, *, ref: str, destination: str | None, force: bool) -> None:
    """Write a version to disk.

    A single file gets its own name, in DEST or here; the content of a folder goes into DEST, or
    into a folder named like the artifact. A file that differs from every version known is not
    overwritten: then nothing is written, unless --force.
    """
    project = invocation.project()
    output = invocation.output
    with progress(output, "writing") as tell:
        given = project.get(ref, destination, force=force, progress=tell)
    done, version = given.done, given.version
    output.record(
        "got",
        {
            "ref": version.ref,
            "version": version.number,
            "artifact": version.artifact,
            "target": str(given.target),
            "written": done.written,
            "unchanged": done.unchanged,
            "removed": done.removed,
            "erased": given.erased,
        },
    )
    parts = []
    if done.written:
        parts.append(f"{human.count(len(done.written), 'file')} written")
    if done.unchanged:
        parts.append(f"{human.count(done.unchanged, 'file')} unchanged")
    if done.removed:
        parts.append(f"{human.count(len(done.removed), 'file')} removed")
    if given.erased:
        shown = ", ".join(given.erased[:_SHOWN])
        more = len(given.erased) - _SHOWN
        output.note(f"not given back, because it was erased: {shown}{' …' if more > 0 else ''}")
    output.done(f"got {version.ref} as {given.target} ({', '.join(parts) or 'no files'})")
    if given.erased:
        click.get_current_context().exit(_PARTLY_DONE)
