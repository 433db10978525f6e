"""`gc`: what nothing refers to any more goes."""

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from thence.cli import human
from thence.cli.output import Output
from thence.cli.progress import progress
from thence.cli.verb import Invocation, verb
from thence.errors import InvalidInput

if TYPE_CHECKING:
    from thence.execution.collecting import Collection

__all__ = ["gc"]

_SHOWN = 20
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def _duration(ctx: click.Context, param: click.Parameter, value: str | None) -> timedelta | None:
    """A span of time: `24h`, `30d`, `0`."""
    if value is None:
        return None
    text = value.strip().lower()
    found = _DURATION.fullmatch(text)
    if found is None and text != "0":
        raise click.BadParameter(f"{value!r} is no span of time; write for example 90m, 24h or 30d")
    try:
        return timedelta(seconds=0.0 if found is None else float(found[1]) * _UNITS[found[2]])
    except OverflowError:
        raise click.BadParameter(f"{value!r} is too long") from None


@verb(
    "gc",
    examples=[
        "thence gc --dry-run",
        "thence gc",
        "thence gc --keep-last 5 --older-than 30d --keep-alias production",
    ],
    statuses=(5, 6),
)
@click.option("--dry-run", is_flag=True, help="Only say what would go, and what it belonged to.")
@click.option(
    "--grace",
    callback=_duration,
    default="24h",
    show_default=True,
    metavar="TIME",
    help="How long a pack is condemned before it is deleted. 0, in a folder only: at once, while "
    "nobody may write.",
)
@click.option("--keep-last", type=int, metavar="N", help="Remove all but the latest N versions.")
@click.option("--older-than", callback=_duration, metavar="TIME", help="Remove older versions.")
@click.option(
    "--keep-alias",
    multiple=True,
    metavar="PATTERN",
    help="Versions that such an alias points at stay; default: all aliases.",
)
@click.option(
    "--artifact", "artifacts", multiple=True, metavar="PATTERN", help="Only these artifacts."
)
def gc(
    invocation: Invocation,
    *,
    dry_run: bool,
    grace: timedelta,
    keep_last: int | None,
    older_than: timedelta | None,
    keep_alias: tuple[str, ...],
    artifacts: tuple[str, ...],
) -> None:
    """Delete content that nothing refers to any more.

    It goes in two steps: packs with nothing that is needed are condemned, and a collection after
    the period of grace deletes them. Others may write meanwhile, on any machine: who names what is
    about to go notices, and keeps it. Packs that are mostly dead are packed anew. With --keep-last
    or --older-than old versions are removed before, as `thence rm` does it; the latest ones, those
    with an alias, and what a kept run has read stay.
    """
    if keep_last is None and older_than is None and (keep_alias or artifacts):
        raise InvalidInput(
            "no rule says which versions go",
            hint="Say how many stay, or how old they must be: --keep-last 5, --older-than 30d",
        )
    project = invocation.project()
    output = invocation.output
    with progress(output, "collecting", unit="entry") as tell:
        done = project.collect(
            grace=grace,
            keep_last=keep_last,
            older_than=older_than,
            keep_alias=keep_alias,
            artifacts=artifacts,
            dry_run=dry_run,
            progress=tell,
        )
    _tell(output, done, grace)


def _tell(output: Output, done: "Collection", grace: timedelta) -> None:
    would = done.collected.dry_run
    for one in done.expired:
        output.record("expired", {"ref": one.ref, "dry_run": would})
    if done.expired:
        names = ", ".join(one.ref for one in done.expired[:_SHOWN])
        more = len(done.expired) - _SHOWN
        said = "would remove" if would else "removed"
        output.data(f"{said} {names}{f' and {more:,} more' if more > 0 else ''}")
    found = done.collected
    for dead in found.dead:
        output.record("dead", dead)
    output.record(
        "gc",
        {name: value for name, value in found._asdict().items() if name not in {"dead", "swept"}}
        | {"swept": found.swept._asdict()},
    )
    largest = sorted(found.dead, key=lambda dead: -dead.size_bytes)
    for dead in largest[:_SHOWN]:
        name = dead.name or "nothing refers to it any more"
        output.data(f"{name}: {human.count(dead.contents, 'content')}, {_size(dead.size_bytes)}")
    if (more := len(largest) - _SHOWN) > 0:
        output.data(f"and {more:,} more: --json")
    if not found.dead and not found.waiting_packs and not found.deleted_packs:
        output.done("nothing to collect")
    verb = "would delete" if would else "deleted"
    if found.deleted_packs:
        output.done(
            f"{verb} {human.count(found.deleted_packs, 'pack')}, {_size(found.deleted_bytes)}"
        )
    if found.condemned_packs and would and not grace:
        condemned = human.count(found.condemned_packs, "pack")
        output.done(f"would delete {condemned}, {_size(found.condemned_bytes)}")
    elif found.condemned_packs:
        verb = "would condemn" if would else "condemned"
        output.done(
            f"{verb} {human.count(found.condemned_packs, 'pack')}, "
            f"{_size(found.condemned_bytes)}: a collection after {_span(grace)} deletes them"
        )
    if found.waiting_packs:
        output.done(
            f"{human.count(found.waiting_packs, 'pack')}, {_size(found.waiting_bytes)}, "
            "wait for the period of grace to be over"
        )
    if found.copied_bytes:
        output.note(f"{_size(found.copied_bytes)} that are needed were packed anew")
    if found.young_bytes:
        output.note(f"{_size(found.young_bytes)} lie in packs that are younger than {_span(grace)}")
    if found.kept_bytes:
        output.note(f"{_size(found.kept_bytes)} stay in packs that are mostly needed")
    if found.open_runs:
        output.note(
            f"{human.count(found.open_runs, 'run')} still going on: "
            "what was removed since they began is kept for them"
        )


def _size(size_bytes: int) -> str:
    return human.size(size_bytes)


def _span(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    return f"{hours:g} h" if hours >= 1 else human.duration(span.total_seconds())
