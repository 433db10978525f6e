"""`rm` and `erase`: what is to be gone."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from thence.cli import human
from thence.cli.asking import asks
from thence.cli.output import Output
from thence.cli.verb import Invocation, verb
from thence.errors import InvalidInput

if TYPE_CHECKING:
    from thence.execution.erasing import ErasurePlan
    from thence.execution.removing import Removal

__all__ = ["erase", "rm"]

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
@click.option(
    "--reason",
    metavar="TEXT",
    help="Why; needed, asked for on a terminal. Shown to whoever asks for what is gone.",
)
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
    if reason is None and not output.json and asks():
        _show(output, removals)
        reason = click.prompt("Why are they removed?", err=True)
    project.remove(removals, reason=reason or "", force=force)
    _tell(output, "removed", removals, output.done, lambda one: f"removed {one.ref}")
    output.note(_what_is_left(removals))


@verb(
    "erase",
    examples=[
        'thence erase data@v1:day1.csv --reason "names of patients" --everywhere --yes',
        "thence erase data@v1 --dry-run",
    ],
    statuses=(4, 5, 6),
)
@click.argument("refs", nargs=-1, metavar="[REF...]")
@click.option("--content", multiple=True, metavar="DIGEST", help="This content; repeatable.")
@click.option(
    "--reason",
    metavar="TEXT",
    help="Why; needed, asked for on a terminal. Shown to whoever asks for what is gone.",
)
@click.option("--everywhere", is_flag=True, help="Also where other versions and runs have it.")
@click.option("--lift", multiple=True, metavar="DIGEST", help="Let this content be kept again.")
@click.option("--dry-run", is_flag=True, help="Only show what would go, and who else has it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase(
    invocation: Invocation,
    *,
    refs: tuple[str, ...],
    content: tuple[str, ...],
    reason: str | None,
    everywhere: bool,
    lift: tuple[str, ...],
    dry_run: bool,
    yes: bool,
) -> None:
    """Take bytes out of the project for good, everywhere.

    For what must not be kept: REF is a version, a path in one (data@v3:names.csv) or a run. No
    collection is waited for, nothing brings it back, and nobody can save it again. Who, when and
    why is told to whoever asks for it. Of a run goes what nothing else has. Clones and mirrors
    follow when they pull or are mirrored. What records say themselves stays: notes, tags,
    parameters, metrics and digests; and so do backups and copies that are not brought up to date.
    """
    if bool(refs or content) == bool(lift):
        raise InvalidInput(
            "nothing to erase" if not lift else "--lift goes alone",
            hint="Name a version, a path in one, a run, or a content: --content sha256:…",
        )
    project = invocation.project()
    output = invocation.output
    if lift:
        project.lift_erasure(lift, reason=reason or "")
        output.record("lifted", {"contents": list(lift)})
        output.done(f"{human.count(len(lift), 'content')} may be kept again, if somebody saves it")
        return
    wanted = project.plan_erasure(refs, contents=content, everywhere=everywhere)
    if dry_run:
        _show_erasure(output, wanted)
        return
    if not yes and not wanted.done:
        if output.json or not asks():
            raise InvalidInput(
                "erasing cannot be undone",
                why="Nobody is there to be asked.",
                hint="Look at what would go: --dry-run. To do it: --yes",
            )
        _show_erasure(output, wanted)
        reason = reason or click.prompt("Why is it erased?", err=True)
        click.confirm("Erase it? It cannot be undone.", abort=True, err=True)
    done = project.erase(wanted, reason=reason or "", everywhere=everywhere)
    output.record(
        "erased",
        {
            "refs": wanted.refs,
            "contents": [str(digest) for digest in wanted.contents],
            "waits": done.waits,
            **done.carried_out._asdict(),
        },
    )
    carried = done.carried_out
    names = ", ".join(wanted.refs)
    if wanted.done and not carried.packs:
        output.done(f"{names}: was erased before")
        return
    what = human.count(done.contents or carried.contents, "content")
    output.done(f"erased {names}: {what}, {human.size(carried.size_bytes)}")
    if carried.shared_bytes:
        shared = human.size(carried.shared_bytes)
        output.note(f"{shared} of it are also part of other contents, and stay there")
    if wanted.spared:
        output.note(f"{human.count(wanted.spared, 'content')} of the run stay: others have them")
    if done.waits:
        output.note("it is gone here; at home it goes with: thence push")
    else:
        output.note("clones and mirrors follow with: thence pull, thence mirror URL")


def _show_erasure(output: Output, wanted: "ErasurePlan") -> None:
    output.record(
        "erasure",
        {
            "refs": wanted.refs,
            "contents": [str(digest) for digest in wanted.contents],
            "size_bytes": wanted.size_bytes,
            "shared": wanted.shared,
            "spared": wanted.spared,
            "done": wanted.done,
        },
    )
    count = human.count(len(wanted.contents), "content")
    output.data(f"{', '.join(wanted.refs)}: {count}, {human.size(wanted.size_bytes)}")
    if wanted.done:
        output.data("  it was erased before")
    if wanted.shared:
        output.data(f"  also in, and gone there too with --everywhere: {_listed(wanted.shared)}")
    if wanted.spared:
        output.data(f"  {human.count(wanted.spared, 'content')} of the run stay: others have them")


def _show(output: Output, removals: "list[Removal]") -> None:
    _tell(output, "removal", removals, output.data, lambda one: f"{one.ref}{_size(one)}")


def _tell(
    output: Output,
    kind: str,
    removals: "list[Removal]",
    say: Callable[[str], None],
    head: "Callable[[Removal], str]",
) -> None:
    """Each of them with what uses it; all of them as objects, and the first ones as text."""
    for one in removals:
        output.record(kind, _fields(one))
    for one in removals[:_SHOWN]:
        say(head(one))
        for line in _uses(one):
            say(f"  {line}")
    if (more := len(removals) - _SHOWN) > 0:
        say(f"and {more:,} more: --json")


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
