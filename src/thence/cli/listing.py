"""`ls` and `history`: what there is."""

from datetime import UTC, datetime

import click

from thence.cli import human
from thence.cli.plain import version_fields
from thence.cli.table import Column
from thence.cli.values import KIND
from thence.cli.verb import Invocation, verb
from thence.index.views import AliasChange
from thence.model.numbers import label
from thence.model.records import Kind

__all__ = ["history", "ls"]


@verb("ls", examples=["thence ls", "thence ls --kind dataset --json"])
@click.option("--kind", type=KIND, help="Only those of this kind.")
@click.option("--prefix", metavar="TEXT", help="Only those whose name begins so.")
def ls(invocation: Invocation, *, kind: Kind | None, prefix: str | None) -> None:
    """List the artifacts.

    Each with its latest version: number, size, when it was saved, and the aliases of the artifact.
    """
    found = invocation.project().ls(kind=kind, prefix=prefix)
    output = invocation.output
    if not found:
        narrowed = kind is not None or prefix is not None
        output.note("nothing fits" if narrowed else "nothing is saved yet: thence save PATH")
        return
    for one in found:
        output.record("artifact", one)
    now = datetime.now(UTC)
    rows = [
        (
            one.name,
            one.kind.value,
            "removed" if one.latest is None else label(one.latest),
            "" if one.size_bytes is None else human.size(one.size_bytes),
            human.ago(one.changed, now),
            " ".join(
                alias if number in {None, one.latest} else f"{alias}={label(number)}"
                for alias, number, _ in one.aliases
            ),
        )
        for one in found
    ]
    output.table(
        [
            Column("NAME", style="cyan", flexible=True),
            Column("KIND"),
            Column("VERSION"),
            Column("SIZE", right=True),
            Column("WHEN"),
            Column("ALIASES", style="green", flexible=True),
        ],
        rows,
    )


@verb("history", examples=["thence history data", "thence history data --aliases"], statuses=(4,))
@click.argument("name")
@click.option("--aliases", is_flag=True, help="The moves of the aliases instead.")
def history(invocation: Invocation, *, name: str, aliases: bool) -> None:
    """List the versions of an artifact.

    The newest comes first. Those that were removed are listed with who did it, when and why.
    """
    project = invocation.project()
    output = invocation.output
    now = datetime.now(UTC)
    if aliases:
        project.artifact(name)
        moves = project.alias_history(name)
        for move in moves:
            output.record("alias-move", move)
        if not moves:
            output.note(f"{name} never had an alias: thence alias {name} ALIAS")
            return
        output.table(
            [
                Column("ALIAS", style="green"),
                Column("VERSION"),
                Column("WHEN"),
                Column("BY"),
                Column("NOTE", flexible=True, optional=True),
            ],
            [
                (
                    move.alias,
                    _moved_to(move),
                    human.ago(move.at, now),
                    move.by,
                    move.note or "",
                )
                for move in moves
            ],
        )
        return
    found = project.history(name)
    for version in found:
        output.record("version", version_fields(version))
    output.table(
        [
            Column("VERSION", style="cyan"),
            Column("WHEN"),
            Column("BY"),
            Column("FILES", right=True),
            Column("SIZE", right=True),
            Column("ALIASES", style="green", optional=True),
            Column("NOTE", flexible=True, optional=True),
        ],
        [
            (
                version.label,
                human.ago(version.created, now),
                version.author,
                str(version.files),
                human.size(version.size_bytes),
                " ".join(version.aliases),
                version.note or "" if version.deletion is None else str(version.deletion),
            )
            for version in found
        ],
    )


def _moved_to(move: AliasChange) -> str:
    if move.record is None:
        return "removed"
    return "v?" if move.version is None else label(move.version)
