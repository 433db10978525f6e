"""`rm` and `erase`: what is to be gone."""

import sys
from typing import TYPE_CHECKING

import click

from thence.cli import human
from thence.cli.output import Output
from thence.cli.verb import Invocation, verb
from thence.errors import InvalidInput

if TYPE_CHECKING:
    from thence.execution.removing import Removal

__all__ = ["rm"]

_SHOWN = 20
_SHOWN_USES = 5


@verb(
    "rm",
    examples=[
        'thence rm data@v1 --reason "superseded"',
        "thence rm data --all --dry-run",
        "thence rm --undo data@v1",
    ],
    statuses=(4, 5),
)
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@click.option("--reason", metavar="TEXT", help="Why. It is shown to whoever asks for what is gone.")
@click.option("--all", "all_versions", is_flag=True, help="All versions of the artifacts named.")
@click.option("--force", is_flag=True, help="Also what an alias or a model depends on.")
@click.option("--undo", is_flag=True, help="Make what was removed be there again.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed, and what uses it.")
def rm(
    invocation: Invocation,
    *,
    refs: tuple[str, ...],
    reason: str | None,
    all_versions: bool,
    force: bool,
    undo: bool,
    dry_run: bool,
) -> None:
    """Remove versions or runs.

    Who removed them, when and why is kept, and told to whoever asks for them. The bytes stay until
    `thence gc`, and those that a run read as long as that run is kept; until then --undo brings
    everything back. In a clone it counts at home after `thence push`.
    """
    if undo and (all_versions or force):
        raise InvalidInput("--undo goes with refs alone", hint="Leave out --all and --force.")
    project = invocation.project()
    output = invocation.output
    if undo:
        for back in project.undo_removal(refs, reason=reason or ""):
            output.record("restored", {"ref": back.ref})
            output.done(f"{back.ref} is there again")
        return
    names = refs if all_versions else ()
    removals = project.plan_removal(() if all_versions else refs, artifacts=names)
    if dry_run:
        _show(output, removals)
        return
    if reason is None and not output.json and sys.stdin.isatty():
        _show(output, removals)
        reason = click.prompt("Why are they removed?", err=True)
    project.remove(removals, reason=reason or "", force=force)
    for one in removals:
        output.record("removed", _fields(one))
    for one in removals[:_SHOWN]:
        output.done(f"removed {one.ref}")
        for line in _uses(one):
            output.done(f"  {line}")
    if (more := len(removals) - _SHOWN) > 0:
        output.done(f"and {more:,} more")
    output.note(_what_is_left(removals))


def _show(output: Output, removals: "list[Removal]") -> None:
    for one in removals:
        output.record("removal", _fields(one))
    for one in removals[:_SHOWN]:
        output.data(f"{one.ref}{_size(one)}")
        for line in _uses(one):
            output.data(f"  {line}")
    if (more := len(removals) - _SHOWN) > 0:
        output.data(f"and {more:,} more: --json")


def _fields(removal: "Removal") -> dict[str, object]:
    fields = removal._asdict()
    version, run = fields.pop("version"), fields.pop("run")
    size = 0 if version is None else version.size_bytes
    return {
        "of": "run" if run is not None else "version",
        **fields,
        "depends": removal.depends,
        "size_bytes": size,
    }


def _size(removal: "Removal") -> str:
    version = removal.version
    if version is None:
        return ""
    return f"  {human.count(version.files, 'file')}, {human.size(version.size_bytes)}"


def _uses(removal: "Removal") -> list[str]:
    told = [
        ("aliases that point at it", removal.aliases),
        ("models that depend on it", removal.models),
        ("versions made from it", removal.made_from_it),
        ("runs that read it, and keep its files", removal.used_by),
        ("versions that it made", removal.makes if removal.run is not None else ()),
        ("made by", () if removal.made_by is None else (removal.made_by,)),
    ]
    return [f"{what}: {_listed(names)}" for what, names in told if names]


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_SHOWN_USES])
    more = len(names) - _SHOWN_USES
    return shown if more <= 0 else f"{shown} and {more:,} more"


def _what_is_left(removals: "list[Removal]") -> str:
    text = "the bytes stay until: thence gc"
    if any(one.used_by for one in removals):
        text = "the bytes stay until `thence gc`; those that a run read, as long as the run is kept"
    several = f"{removals[0].ref} …" if len(removals) > 1 else removals[0].ref
    return f"{text}. To undo it before: thence rm --undo {several}"
