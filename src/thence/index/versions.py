"""Questions about versions: lists, refs, digests."""

from collections import defaultdict
from datetime import datetime
from typing import Any, TypeVar

from thence.errors import InvalidInput, NotFound
from thence.index.artifacts import aliases, artifact
from thence.index.database import Index
from thence.index.ingest import SqlValue
from thence.index.views import ArtifactSummary, Deletion, VersionDetail, VersionSummary
from thence.model import codec
from thence.model.ids import Digest, RunId
from thence.model.names import Alias, ArtifactName, SelectorKind, VersionRef
from thence.model.numbers import is_local, label, local
from thence.model.records import Kind, Version, VersionEdit

__all__ = [
    "find_version",
    "version_by_record",
    "versions",
    "versions_by_record",
    "versions_with_tree",
]

T = TypeVar("T")

_CANDIDATES = 10
_MAX_INTEGER = (1 << 63) - 1
# SQLite allows 32,766 parameters in a statement; PostgreSQL 65,535.
_CHUNK = 500

_SELECT = """
SELECT
    current_versions.artifact, COALESCE(artifacts.name, current_versions.name),
    current_versions.number, current_versions.record, current_versions.kind,
    current_versions.tree, current_versions.size_bytes, current_versions.files,
    current_versions.created, current_versions.author, current_versions.run,
    current_versions.note, current_versions.card, tombstones.at, tombstones.author,
    tombstones.reason
FROM current_versions
LEFT JOIN artifacts ON artifacts.artifact = current_versions.artifact
LEFT JOIN tombstones ON tombstones.artifact = current_versions.artifact
    AND tombstones.number = current_versions.tombstone
"""


def versions(
    index: Index,
    name: ArtifactName,
    *,
    deleted: bool = True,
    before: int | None = None,
    limit: int | None = None,
) -> list[VersionSummary]:
    """The versions of an artifact, the newest first.

    Args:
        index: Where to ask.
        name: Of the artifact.
        deleted: With those that are deleted.
        before: Only versions with a smaller number, for the next page.
        limit: At most so many.

    Raises:
        NotFound: There is no such artifact.
    """
    artifact(index, name)
    where = "WHERE current_versions.artifact = ? AND (? IS NULL OR current_versions.number < ?)"
    if not deleted:
        where += " AND current_versions.tombstone IS NULL"
    return _select(
        index,
        f"{where} ORDER BY current_versions.number DESC LIMIT ?",
        (name.key, before, before, -1 if limit is None else limit),
    )


def versions_by_record(index: Index, records: list[Digest]) -> dict[Digest, VersionSummary]:
    """Those of these version records that the index has, deleted or not."""
    found: dict[Digest, VersionSummary] = {}
    for start in range(0, len(records), _CHUNK):
        chunk = [digest.hex for digest in records[start : start + _CHUNK]]
        marks = ", ".join("?" * len(chunk))
        where = f"WHERE current_versions.record IN ({marks})"
        for version in _select(index, f"{where} ORDER BY current_versions.number", chunk):
            found[version.record] = version
    return found


def versions_with_tree(index: Index, tree: Digest) -> list[VersionSummary]:
    """The versions of all artifacts with this content, removed or not."""
    return _select(
        index,
        "WHERE current_versions.tree = ?"
        " ORDER BY current_versions.artifact, current_versions.number",
        (tree.hex,),
    )


def version_by_record(index: Index, record: Digest) -> VersionDetail:
    """The version whose record has this digest, deleted or not.

    Raises:
        NotFound: The index has it not.
    """
    found = versions_by_record(index, [record])
    if record not in found:
        raise NotFound(
            f"no version with the record {record.short}",
            why="No log that the index has seen holds it.",
            hint="Rebuild the index: thence index rebuild",
            about=str(record),
        )
    return _detail(index, found[record])


def find_version(index: Index, ref: VersionRef, *, removed: bool = False) -> VersionDetail:
    """The version that a ref names; its path is not looked at.

    Removed versions are passed over by `latest`, by `~N` and by digests that another version has
    too; who asks for one by its number or alias is told that and why it was removed.

    Args:
        index: Where to ask.
        ref: Which version.
        removed: Give it also where it is removed.

    Raises:
        NotFound: There is no such artifact or version, or it is removed.
        InvalidInput: The digest is that of several contents; the hint lists them.
    """
    known = artifact(index, ref.artifact)
    match ref.selector.kind:
        case SelectorKind.LATEST:
            found = _back(index, known, ref, 0)
        case SelectorKind.BACK:
            found = _back(index, known, ref, ref.selector.number)
        case SelectorKind.NUMBER:
            found = _by_number(index, known, ref, ref.selector.number)
        case SelectorKind.DIGEST:
            found = _by_content(index, known, ref)
        case SelectorKind.ALIAS:
            found = _by_alias(index, known, ref)
        case SelectorKind.LOCAL:
            found = _by_number(index, known, ref, local(ref.selector.number))
    return _detail(index, found if removed else _not_removed(found, ref))


def _back(index: Index, known: ArtifactSummary, ref: VersionRef, steps: int) -> VersionSummary:
    if known.versions == 0:
        raise NotFound(
            f"no version {ref}",
            why=f"All {known.deleted} versions of {known.name} are removed."
            if known.deleted > 1
            else f"The only version of {known.name} is removed.",
            hint=f"See when and why: thence history {known.name}",
            about=str(ref),
        )
    where = "WHERE current_versions.artifact = ? AND current_versions.tombstone IS NULL"
    found = _select(
        index,
        f"{where} ORDER BY current_versions.number DESC LIMIT 1 OFFSET ?",
        # More steps than a database can count lead nowhere as well.
        (known.name.key, min(steps, known.versions)),
    )
    if not found:
        raise NotFound(
            f"no version {ref}",
            why=f"{known.name} has {_count(known.versions, 'version')} that can be counted back.",
            hint=f"See them: thence history {known.name}",
            about=str(ref),
        )
    return found[0]


def _by_number(
    index: Index, known: ArtifactSummary, ref: VersionRef, number: int
) -> VersionSummary:
    found = (
        _select(
            index,
            "WHERE current_versions.artifact = ? AND current_versions.number = ?",
            (known.name.key, number),
        )
        if number <= _MAX_INTEGER
        else []
    )
    if not found:
        last = f"The latest one is {label(known.latest)}." if known.latest else "All are removed."
        why = last
        if is_local(number) and not (known.latest and is_local(known.latest)):
            why = f"No version of it waits in an outbox here. {last}"
        raise NotFound(
            f"no version {ref}",
            why=why,
            hint=f"See them: thence history {known.name}",
            about=str(ref),
        )
    return found[0]


def _by_content(index: Index, known: ArtifactSummary, ref: VersionRef) -> VersionSummary:
    digits = ref.selector.text
    found = _select(
        index,
        "WHERE current_versions.artifact = ? AND current_versions.tree >= ?"
        " AND current_versions.tree < ? ORDER BY current_versions.number DESC",
        # "g" is the character after the last hexadecimal digit.
        (known.name.key, digits, f"{digits}g"),
    )
    if not found:
        raise NotFound(
            f"no version {ref}",
            why=f"No version of {known.name} has a content whose digest begins so.",
            hint=f"See the digests: thence history {known.name}",
            about=str(ref),
        )
    kept = [version for version in found if version.deletion is None] or found
    trees = {version.tree: version for version in reversed(kept)}
    if len(trees) > 1:
        listed = [f"{v.ref} {v.tree.short}" for v in list(trees.values())[:_CANDIDATES]]
        raise InvalidInput(
            f"{ref} is not one version",
            why=f"{len(trees)} contents of {known.name} have a digest that begins so.",
            hint=f"Give more digits, or one of: {', '.join(listed)}",
            about=str(ref),
        )
    return kept[0]


def _by_alias(index: Index, known: ArtifactSummary, ref: VersionRef) -> VersionSummary:
    current = {found.alias.key: found for found in aliases(index, known.name)}
    alias = Alias(ref.selector.text)
    if alias.key not in current:
        raise NotFound(
            f"no alias {alias} of {known.name}",
            why=f"Its aliases are: {', '.join(one.alias for one in current.values())}."
            if current
            else "It has no aliases.",
            hint=f"Set it: thence alias {known.name}@{label(known.latest or 1)} {alias}",
            about=str(ref),
        )
    number = current[alias.key].number
    if number is None:
        raise NotFound(
            f"no version {ref}",
            why=f"The alias points at the record {current[alias.key].record.short},"
            " which the index has not seen.",
            hint="Rebuild the index: thence index rebuild",
            about=str(ref),
        )
    return _by_number(index, known, ref, number)


def _not_removed(version: VersionSummary, ref: VersionRef) -> VersionSummary:
    if version.deletion is None:
        return version
    raise NotFound(
        f"{version.ref} was removed",
        why=str(version.deletion),
        hint=f"See what is left: thence history {version.artifact}",
        about=str(ref),
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _select(index: Index, tail: str, parameters: Any) -> list[VersionSummary]:
    found = index.select(f"{_SELECT} {tail}", parameters)
    ids = sorted({(row[0], row[3]) for row in found})
    tags = _by_version(index, "version_tags", "name, value", ids)
    metrics = _by_version(index, "version_metrics", "name, value", ids)
    names = _by_version(index, "aliases", "alias, number", ids)
    return [
        VersionSummary(
            artifact=ArtifactName(name),
            number=number,
            record=Digest.from_hex(record),
            kind=Kind(kind),
            tree=Digest.from_hex(tree),
            size_bytes=size_bytes,
            files=files,
            created=datetime.fromisoformat(created),
            author=author,
            run=None if run is None else RunId(run),
            note=note,
            card=None if card is None else Digest.from_hex(card),
            tags=dict(tags.get((key, record), ())),
            metrics={
                metric: float("nan") if value is None else value
                for metric, value in metrics.get((key, record), ())
            },
            aliases=tuple(Alias(alias) for alias, _ in names.get((key, record), ())),
            deletion=None if at is None else Deletion(datetime.fromisoformat(at), by, reason),
        )
        for (
            key,
            name,
            number,
            record,
            kind,
            tree,
            size_bytes,
            files,
            created,
            author,
            run,
            note,
            card,
            at,
            by,
            reason,
        ) in found
    ]


def _by_version(
    index: Index, table: str, columns: str, ids: list[tuple[str, str]]
) -> dict[tuple[str, str], list[tuple[str, Any]]]:
    found: dict[tuple[str, str], list[tuple[str, Any]]] = defaultdict(list)
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        parameters: list[SqlValue] = [text for pair in chunk for text in pair]
        marks = ", ".join(["(?, ?)"] * len(chunk))
        # A join, because SQLite scans the whole table for `(artifact, version) IN (VALUES …)`;
        # CROSS keeps it from turning the join around.
        for key, record, name, value in index.select(
            f"""
            WITH wanted (artifact, version) AS (VALUES {marks})
            SELECT wanted.artifact, wanted.version, {columns}
            FROM wanted CROSS JOIN {table} AS found
            WHERE found.artifact = wanted.artifact AND found.version = wanted.version ORDER BY 3
            """,  # noqa: S608
            parameters,
        ):
            found[key, record].append((name, value))
    return found


def _detail(index: Index, summary: VersionSummary) -> VersionDetail:
    key = summary.artifact.key
    ((text,),) = index.select(
        "SELECT record FROM entries WHERE log = ? AND number = ?",
        (f"refs/artifacts/{key}/@", summary.number),
    )
    original = codec.decode(text.encode(), Version)
    metadata = dict(original.metadata)
    for (edited,) in index.select(
        "SELECT entries.record FROM version_edits JOIN entries"
        " ON entries.log = ? AND entries.number = version_edits.number"
        " WHERE version_edits.version = ? AND version_edits.artifact = ?"
        " ORDER BY version_edits.number",
        (f"refs/artifacts/{key}/@edits", summary.record.hex, key),
    ):
        metadata.update(codec.decode(edited.encode(), VersionEdit).metadata)
    return VersionDetail(
        **{field: getattr(summary, field) for field in summary.__struct_fields__},
        metadata=metadata,
        sources=original.sources,
        original=original,
    )
