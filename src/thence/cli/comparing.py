"""`diff` and `status`: what changed."""

from collections import Counter
from typing import TYPE_CHECKING

import click

from thence.cli import human
from thence.cli.verb import Invocation, verb

if TYPE_CHECKING:
    from thence.vault.difference import FileChange

__all__ = ["diff", "status"]

_MARKS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}
_SHOWN_CHANGES = 10


@verb(
    "diff",
    examples=["thence diff data@v1 data", "thence diff data@~1 data@latest"],
    statuses=(4, 6),
)
@click.argument("old", metavar="REF")
@click.argument("new", metavar="REF")
def diff(invocation: Invocation, *, old: str, new: str) -> None:
    """Show what changed from one version to another.

    Lists the files that were added, removed or changed, and the lines of small texts. The exit
    status is 0 whether or not anything changed.
    """
    found = invocation.project().diff(old, new)
    output = invocation.output
    kinds = Counter(change.what for change in found.changes)
    output.record(
        "diff", {"old": found.old, "new": found.new, "same": found.same, **_counts(kinds)}
    )
    for change in found.changes:
        output.record("file-change", change)
    summary = ", ".join(f"{kinds[what]:,} {what}" for what in _MARKS if kinds[what])
    output.styled(f"{found.old} -> {found.new}: {summary or 'no difference'}", "bold")
    for change in found.changes:
        mark, style = _MARKS[change.what]
        output.styled(f"{mark} {change.path}{_sizes(change)}", style)
        for text in change.lines[2:] if change.lines[:1] and len(change.lines) > 1 else ():
            output.styled(f"    {text}", _style_of(text))
        if len(change.lines) == 1:
            output.data(f"    {change.lines[0]}")
    if found.same:
        output.data(f"{human.count(found.same, 'file')} the same")


def _counts(kinds: Counter[str]) -> dict[str, int]:
    return {what: kinds[what] for what in _MARKS}


def _sizes(change: "FileChange") -> str:
    sizes = [human.size(size) for size in (change.old_size, change.new_size) if size is not None]
    return f" ({' -> '.join(dict.fromkeys(sizes))})"


def _style_of(text: str) -> str:
    return {"+": "green", "-": "red", "@": "cyan"}.get(text[:1], "dim")


@verb("status", examples=["thence status"], statuses=(6,))
def status(invocation: Invocation) -> None:
    """Say which saved paths were changed since.

    Looks at every path that was saved from here or written by get. The exit status is 0 whatever it
    finds; scripts look at the state of each path with --json.
    """
    project = invocation.project()
    found = project.status()
    output = invocation.output
    from thence.index.versions import versions_by_record

    project.refresh()
    known = versions_by_record(project.site.index, [one.version for one in found])
    refs = {record: version.ref for record, version in known.items()}
    for one in found:
        ref = refs.get(one.version)
        output.record(
            "path", {**one._asdict(), "changes": [list(change) for change in one.changes]}, ref=ref
        )
        name = human.clean(one.path)
        if one.state == "unchanged":
            output.data(f"  unchanged  {name}  ({ref or one.artifact})")
            continue
        output.styled(f"  {one.state:<9}  {name}  ({ref or one.artifact})", "yellow")
        for path, what in one.changes[:_SHOWN_CHANGES]:
            mark, style = _MARKS[what]
            output.styled(f"      {mark} {human.clean(path)}", style)
        if (more := len(one.changes) - _SHOWN_CHANGES) > 0:
            output.data(f"      and {more:,} more")
    states = Counter(one.state for one in found)
    counts = {state: states[state] for state in ("unchanged", "modified", "missing", "gone")}
    output.record("status", counts)
    if not found:
        output.note("no path of this folder was saved yet: thence save PATH")
        return
    output.data(", ".join(f"{number:,} {state}" for state, number in counts.items() if number))
