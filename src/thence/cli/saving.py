"""`save` and `rollback`: new versions."""

import os
from typing import TYPE_CHECKING, Any

import click

from thence.cli import human
from thence.cli.failure import report
from thence.cli.plain import version_fields
from thence.cli.progress import progress
from thence.cli.values import KIND, NUMBER, PAIR, as_mapping
from thence.cli.verb import Invocation, verb
from thence.errors import Interrupted, NotFound, StorageError, ThenceError
from thence.model.records import Kind
from thence.vault.ignoring import IGNORE_FILE

if TYPE_CHECKING:
    from thence.execution.keeping import SavedVersion

__all__ = ["rollback", "save"]

_SHOWN_SKIPPED = 5
_PARTLY_DONE = 3


@verb(
    "save",
    examples=[
        "thence save data/",
        'thence save data/ --note "as delivered" --tag source=lab',
        "thence save model.json metrics.json --as churn --kind model --metric auc=0.91",
    ],
    statuses=(3, 4, 5),
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--as", "name", metavar="NAME", help="Save all paths together, under this name.")
@click.option("--kind", type=KIND, help="What it is, instead of what it looks like.")
@click.option("--note", metavar="TEXT", help="Why this version is.")
@click.option("--tag", "tags", type=PAIR, multiple=True, help="Tag the version; repeatable.")
@click.option("--metric", "metrics", type=NUMBER, multiple=True, help="A result; repeatable.")
@click.option("--doc", metavar="FILE", help="Markdown that documents the version.")
@click.option("--no-ignore", is_flag=True, help="Save what a .thenceignore leaves out, too.")
def save(
    invocation: Invocation,
    *,
    paths: tuple[str, ...],
    name: str | None,
    kind: Kind | None,
    note: str | None,
    tags: tuple[tuple[str, str], ...],
    metrics: tuple[tuple[str, float], ...],
    doc: str | None,
    no_ignore: bool,
) -> None:
    """Save files and folders as versions.

    Each PATH becomes an artifact, named by its place in the project; with --as, all paths together
    are one. Content that is the same as that of the latest version makes no new version: a note,
    tags, metrics or documentation are added to the version that is there.

    What a .thenceignore leaves out is not saved with a folder; -v lists it. A PATH that is named
    is saved whatever the rules in the folders above it say.

    When some paths are saved and others cannot be, the exit status is 3.
    """
    given: dict[str, Any] = {
        "kind": kind,
        "note": note,
        "tags": as_mapping(tags, "tag"),
        "metrics": as_mapping(metrics, "metric"),
        "doc": doc,
    }
    project = invocation.project()
    for path in (*paths, *([doc] if doc is not None else [])):
        if not os.path.lexists(path):
            raise NotFound(
                f"there is no file or folder {path}",
                why=f"Looked for it in {os.getcwd()}.",
                hint="Check how it is spelled; nothing was saved.",
                about=path,
            )
    groups = [list(paths)] if name is not None else [[path] for path in paths]
    failed: list[ThenceError] = []
    for group in groups:
        try:
            with progress(invocation.output, "saving") as tell:
                (saved,) = project.save_paths(
                    group, name=name, everything=no_ignore, progress=tell, **given
                )
        except (Interrupted, StorageError):
            raise
        except ThenceError as error:
            if len(groups) == 1:
                raise
            report(error, invocation.output)
            failed.append(error)
        else:
            _say(invocation, saved, group, [key for key, value in given.items() if value])
    if failed:
        partly = len(failed) < len(groups)
        click.get_current_context().exit(_PARTLY_DONE if partly else failed[0].exit_status)


def _say(invocation: Invocation, saved: "SavedVersion", paths: list[str], given: list[str]) -> None:
    version, output = saved.version, invocation.output
    output.record(
        "saved",
        version_fields(version),
        new=saved.new,
        edited=saved.edited,
        ignored=list(saved.ignored),
        empty_folders=saved.empty_folders,
    )
    files = human.count(version.files, "file")
    if saved.new:
        output.done(
            f"saved {version.ref} ({version.kind}, {files}, {human.size(version.size_bytes)})"
        )
    elif saved.edited:
        words = {"doc": "documentation"}
        added = [words.get(key, key) for key in given if key != "kind"]
        output.done(f"{version.ref}: added {', '.join(added)} (the content is unchanged)")
    else:
        output.done(f"unchanged {version.ref}")
    for path in saved.skipped[:_SHOWN_SKIPPED]:
        output.warn(f"{path} was skipped: it is a socket, pipe or device and has no content")
    if (left := len(saved.skipped) - _SHOWN_SKIPPED) > 0:
        output.warn(f"{human.count(left, 'more file')} without content skipped")
    if saved.ignored:
        more = "" if output.verbose else "; -v lists them"
        count = human.count(len(saved.ignored), "path")
        output.note(f"{count} ignored, as {IGNORE_FILE} says{more}")
    if output.verbose:
        above = paths[0] if len(paths) == 1 else ""
        for path in saved.ignored:
            output.note(f"  ignored {os.path.join(above, path)}")
    if saved.empty_folders and saved.new:
        folders = human.count(saved.empty_folders, "empty folder")
        output.note(f"{folders} not kept: a version has files only")


@verb("rollback", examples=["thence rollback data v1"], statuses=(4,))
@click.argument("name")
@click.argument("ref")
def rollback(invocation: Invocation, *, name: str, ref: str) -> None:
    """Make an old version the latest one again.

    The content of REF (v1, ~1, an alias, or a whole ref) becomes a new version of NAME; nothing in
    the history is lost. Files on disk are left alone: thence get NAME writes them.
    """
    saved = invocation.project().rollback(name, ref)
    version, output = saved.version, invocation.output
    output.record("saved", version_fields(version), new=saved.new, edited=saved.edited)
    if saved.new:
        output.done(f"saved {version.ref}: {version.note}")
        output.done(f"to have it on disk: thence get {version.artifact}")
    else:
        output.done(f"unchanged {version.ref}: its content is that already")
