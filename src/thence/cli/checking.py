"""`check` and `repair`: whether everything is as it was written, and getting it back."""

from typing import TYPE_CHECKING

import click

from thence.cli import human
from thence.cli.progress import progress
from thence.cli.verb import Invocation, verb
from thence.errors import DataDamaged, NotFound

if TYPE_CHECKING:
    from thence.execution.checking import Diagnosis
    from thence.vault.findings import Finding

__all__ = ["check", "repair"]

_UNCHECKED = 3
_DAMAGED = DataDamaged.exit_status
_SHOWN = 20
_REFS = 6
_STYLES = {"damage": "red", "cache": "yellow", "unchecked": "yellow", "note": "dim"}

_from = click.option(
    "--from",
    "others",
    metavar="URL",
    multiple=True,
    help="A store or folder that holds the same project; repeatable.",
)


@verb("check", examples=["thence check", "thence check --deep"], statuses=(3, 6))
@click.option("--deep", is_flag=True, help="Read every byte and compare it with its digest.")
@_from
def check(invocation: Invocation, *, deep: bool, others: tuple[str, ...]) -> None:
    """Check that everything is there and whole.

    Without --deep the structure: logs without gaps, entries that are whole, content that is there.
    With it every byte that is kept is read. What is damaged is named by the versions and runs that
    it touches. Nothing is written. With --from it says what another store would heal; a clone asks
    its home.
    """
    project = invocation.project()
    with progress(invocation.output, "checking", unit="pack") as tell:
        found = project.check(deep=deep, others=others, progress=tell)
    output = invocation.output
    for finding in found.checked.findings:
        output.record("finding", finding)
    damage = [one for one in found.checked.findings if one.severity == "damage"]
    unchecked = [one for one in found.checked.findings if one.severity == "unchecked"]
    _show(invocation, found.checked.findings)
    output.record(
        "check",
        {
            "deep": deep,
            "sound": not damage,
            "damage": len(damage),
            "unchecked": len(unchecked),
            "entries": found.checked.scan.entries,
            "contents": found.checked.contents,
            "stored_bytes": found.checked.stored_bytes,
            "raw_bytes": found.checked.raw_bytes,
            "sources": list(found.sources),
        },
    )
    amount = found.checked.scan.entries
    entries = "1 log entry" if amount == 1 else f"{amount:,} log entries"
    scope = f"{entries}, {human.count(found.checked.contents, 'content')}"
    if deep:
        scope += f", {human.size(found.checked.stored_bytes)} read"
    if not damage:
        output.done(f"sound: {scope}" if not unchecked else f"no damage found: {scope}")
        if unchecked:
            click.get_current_context().exit(_UNCHECKED)
        return
    output.done(f"{human.count(len(damage), 'damage')} found: {scope}")
    _advise(invocation, found, damage)
    click.get_current_context().exit(_DAMAGED)


def _show(invocation: Invocation, findings: "tuple[Finding, ...]") -> None:
    output = invocation.output
    for finding in findings[:_SHOWN]:
        head = output.paint(f"{finding.severity}:", _STYLES[finding.severity])
        output.painted(f"{head} {human.clean(finding.what)}")
        if finding.why:
            output.data(f"  {finding.why}")
        if finding.refs:
            named = ", ".join(finding.refs[:_REFS])
            more = len(finding.refs) - _REFS + finding.more_refs
            output.data(f"  It touches {named}{f' and {more:,} more' if more > 0 else ''}.")
    if len(findings) > _SHOWN:
        output.data(f"and {len(findings) - _SHOWN:,} more; all of them with --json")


def _advise(invocation: Invocation, found: "Diagnosis", damage: "list[Finding]") -> None:
    import shlex

    output = invocation.output
    for text in found.unreachable:
        output.note(f"not looked at: {text}")
    if not found.sources:
        output.done("to heal it from a clone, mirror or home: thence repair --from URL")
        return
    healed = sum(bool(one.heals) for one in damage)
    flags = " ".join(f"--from {shlex.quote(url)}" for url in found.sources)
    if not healed:
        output.done(f"nothing of it can be healed from {', '.join(found.sources)}")
        return
    amount = f"all {healed}" if healed == len(damage) else f"{healed} of {len(damage)}"
    output.done(f"thence repair {flags} would heal {amount}")


@verb(
    "repair",
    examples=["thence repair --from s3://bucket/team", "thence repair --dry-run"],
    statuses=(3, 4, 6),
)
@_from
@click.option("--dry-run", is_flag=True, help="Only say what would be healed.")
def repair(invocation: Invocation, *, others: tuple[str, ...], dry_run: bool) -> None:
    """Heal what is damaged or lost from other stores.

    Every byte is read first, as check --deep does. What is damaged is fetched, verified, and
    written anew; whatever is sound in a damaged pack is kept. Log entries are restored byte for
    byte. Stopped anywhere, it goes on when it is repeated. Without --from a clone asks its home.
    """
    output = invocation.output
    try:
        project = invocation.project()
    except (DataDamaged, NotFound):
        if dry_run or not others or not _restore_project(invocation, others):
            raise
        output.done("project.json was restored")
        project = invocation.project()
    with progress(output, "repairing", unit="pack") as tell:
        done = project.repair(others=others, dry_run=dry_run, progress=tell)
    for finding in done.left:
        output.record("finding", finding)
    output.record(
        "repair",
        {
            "dry_run": dry_run,
            "healed": done.healed,
            "left": len(done.left),
            "entries": done.entries,
            "contents": done.contents,
            "sent_bytes": done.sent_bytes,
            "packs_replaced": done.packs_replaced,
            "caches": done.caches,
        },
    )
    _show(invocation, done.left)
    would = "would be " if dry_run else ""
    if not (done.healed or done.caches or done.left):
        output.done("nothing is damaged")
    else:
        fetched = "" if dry_run else f"; {human.count(done.contents, 'content')} fetched"
        text = f"{human.count(done.healed, 'damage')} {would}healed, {len(done.left):,} left"
        output.done(f"{text}{fetched}")
    if done.left:
        click.get_current_context().exit(_DAMAGED)


def _restore_project(invocation: Invocation, others: tuple[str, ...]) -> bool:
    from pathlib import Path

    from thence.execution.checking import restore_project

    return restore_project(Path(invocation.location or ".").expanduser().resolve(), others)
