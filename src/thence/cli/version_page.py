"""The page of a version."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from thence.cli import human
from thence.cli.output import Output
from thence.cli.page import fields, pairs, section, text_of, value_text
from thence.cli.plain import version_fields
from thence.cli.table import Column
from thence.index.views import VersionDetail

if TYPE_CHECKING:
    from thence.project import Project
    from thence.vault.tree import TreeEntry

__all__ = ["show_version"]

_SHOWN_FILES = 20
_SHOWN_COLUMNS = 20
# They have a section or a line of their own, or say only how the object is loaded.
_OWN_PLACE = {"hyperparameters", "columns", "format", "file", "media_type", "python_type"}


def show_version(output: Output, project: "Project", ref: str, version: VersionDetail) -> None:
    """Print everything about a version; with `--json` also one object for each of its files."""
    # What was removed may have lost its files already.
    files = [] if version.deletion is not None else project.files(ref)
    artifact = project.artifact(version.artifact)
    card_digest = version.card or artifact.card
    card = None if card_digest is None else text_of(project, card_digest)
    output.record(
        "version",
        version_fields(version),
        description=artifact.description,
        card_text=card,
    )
    for entry in files:
        output.record("file", entry)
    if output.json:
        return

    now = datetime.now(UTC)
    output.styled(f"{version.ref}  {version.kind}", "bold")
    if artifact.description:
        output.data(f"  {human.line(artifact.description)}")
    metadata = version.metadata
    by = f" by {version.author}"
    fields(
        output,
        [
            ("removed", human.removal(version.deletion, now)),
            ("undo", f"thence rm --undo {version.ref}" if project.can_undo(version) else None),
            ("note", version.note),
            ("saved", human.moment(version.created, now) + by),
            ("run", None if version.run is None else f"run:{version.run}"),
            ("made of", ", ".join(_sources(project, version))),
            ("aliases", ", ".join(version.aliases)),
            ("tags", "  ".join(f"{key}={value}" for key, value in version.tags.items())),
            ("metrics", pairs(version.metrics)),
            ("size", f"{human.count(version.files, 'file')}, {human.size(version.size_bytes)}"),
            ("type", metadata.get("media_type") or metadata.get("python_type")),
            ("content", str(version.tree)),
        ],
    )
    _metadata(output, metadata)
    if files:
        _files(output, project, ref, files)
    if card is not None:
        section(output, "card")
        output.data(card.rstrip())


def _files(output: Output, project: "Project", ref: str, files: "Sequence[TreeEntry]") -> None:
    from thence.index.erasures import erased_contents

    gone = erased_contents(project.site.index)
    section(output, "files")
    output.table(
        [Column("PATH"), Column("SIZE", right=True), Column("DIGEST", style="dim")],
        [
            (
                entry.path,
                "link" if entry.link else human.size(entry.size),
                "erased" if entry.digest in gone else entry.digest.short,
            )
            for entry in files[:_SHOWN_FILES]
        ],
    )
    if (more := len(files) - _SHOWN_FILES) > 0:
        output.data(f"and {human.count(more, 'more file')}: thence show {ref} --json")


def _sources(project: "Project", version: VersionDetail) -> list[str]:
    from thence.index.versions import versions_by_record

    known = versions_by_record(project.site.index, list(version.sources))
    return [known[record].ref if record in known else record.short for record in version.sources]


def _metadata(output: Output, metadata: dict[str, Any]) -> None:
    parameters = metadata.get("hyperparameters")
    if isinstance(parameters, dict) and parameters:
        section(output, "hyperparameters")
        fields(output, [(name, value_text(value)) for name, value in sorted(parameters.items())])
    columns = metadata.get("columns")
    if isinstance(columns, list) and columns:
        section(output, "columns")
        fields(output, [_column(column) for column in columns[:_SHOWN_COLUMNS]])
        if (more := len(columns) - _SHOWN_COLUMNS) > 0:
            output.data(f"  and {human.count(more, 'more column')}")
    others = {key: value for key, value in metadata.items() if key not in _OWN_PLACE}
    if others:
        section(output, "found out")
        fields(output, [(name, value_text(value)) for name, value in sorted(others.items())])


def _column(column: Any) -> tuple[str, str]:
    if isinstance(column, dict):
        return str(column.get("name", "?")), str(column.get("dtype") or column.get("type") or "?")
    return str(column), " "
