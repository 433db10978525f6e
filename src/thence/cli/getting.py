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
    examples=[
        "thence get data",
        "thence get data@v1 old/",
        "thence get data:day1.csv copy.csv",
        "thence get data linked/ --link",
    ],
    statuses=(3, 4, 5, 6),
)
@click.argument("ref")
@click.argument("destination", required=False, metavar="[DEST]")
@click.option("--force", is_flag=True, help="Overwrite files that were never saved.")
@click.option(
    "--link",
    is_flag=False,
    flag_value="best",
    type=click.Choice(["best", "reflink", "hard"]),
    metavar="[=KIND]",
    help="Make links to files of a cache, which take no room again: reflink or hard.",
)
def get(
    invocation: Invocation, *, ref: str, destination: str | None, force: bool, link: str | None
) -> None:
    """Write a version to disk.

    A single file gets its own name, in DEST or here; the content of a folder goes into DEST, or
    into a folder named like the artifact. A file that differs from every version known is not
    overwritten: then nothing is written, unless --force.

    With --link, files are tied to those of a cache in the project: by reflinks where the file
    system has them, else by hard links, which are read-only.
    """
    project = invocation.project()
    output = invocation.output
    with progress(output, "writing") as tell:
        given = project.get(ref, destination, force=force, link=link, progress=tell)
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
            "linked": done.linked,
            "erased": given.erased,
        },
    )
    parts = []
    if done.written:
        how = f"as {done.linked.words}" if done.linked else "written"
        parts.append(f"{human.count(len(done.written), 'file')} {how}")
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
