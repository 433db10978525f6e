"""Questions about artifacts and their aliases."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from thence.errors import NotFound
from thence.index.database import Index
from thence.index.views import AliasChange, ArtifactSummary, CurrentAlias
from thence.model.ids import Digest
from thence.model.names import Alias, ArtifactName
from thence.model.records import Kind

__all__ = ["alias_history", "aliases", "artifact", "artifacts"]

# Comparing a wrong name with every name costs about 0.1 ms for each.
_COMPARED_NAMES = 2_000

_SELECT = """
SELECT artifact, name, kind, description, card, created, changed, latest, versions, deleted, (
    SELECT version.size_bytes FROM versions AS version
    WHERE version.artifact = artifacts.artifact AND version.number = artifacts.latest
)
FROM artifacts
"""


def artifacts(
    index: Index, *, kind: Kind | None = None, prefix: str | None = None
) -> list[ArtifactSummary]:
    """All artifacts, sorted by name.

    Args:
        index: Where to ask.
        kind: Only those whose latest version is of this kind.
        prefix: Only those whose name begins so, in whatever case.
    """
    found = index.select(
        f"{_SELECT} WHERE (? IS NULL OR kind = ?) ORDER BY artifact",
        (kind and kind.value, kind and kind.value),
    )
    if prefix is not None:
        folded = prefix.casefold()
        found = [row for row in found if row[1].casefold().startswith(folded)]
    return _summaries(index, found)


def artifact(index: Index, name: ArtifactName) -> ArtifactSummary:
    """One artifact; `Data` finds `data`, because a project cannot hold both.

    Raises:
        NotFound: There is none; the hint names those that are spelled alike.
    """
    found = index.select(f"{_SELECT} WHERE artifact = ?", (name.key,))
    if not found:
        raise NotFound(
            f"no artifact {name!s}",
            why="Nothing was saved under this name.",
            hint=_hint(index, name),
            about=name,
        )
    return _summaries(index, found)[0]


def aliases(index: Index, name: ArtifactName) -> tuple[CurrentAlias, ...]:
    """Where the aliases of an artifact point now, sorted by alias; none for a name unknown."""
    return _aliases(index, [name.key]).get(name.key, ())


def alias_history(
    index: Index, name: ArtifactName, alias: Alias | None = None
) -> list[AliasChange]:
    """The moves of an alias, or of all aliases of an artifact, the last one first."""
    found = index.select(
        """
        SELECT move.alias, move.number, move.version, move.at, move.author, move.note, (
            SELECT MAX(version.number) FROM versions AS version
            WHERE version.record = move.version AND version.artifact = move.artifact
        )
        FROM alias_moves AS move WHERE move.artifact = ? AND (? IS NULL OR move.alias = ?)
        ORDER BY move.at DESC, move.alias, move.number DESC
        """,
        (name.key, alias, alias),
    )
    return [
        AliasChange(
            alias=Alias(spelled),
            number=number,
            version=version,
            record=None if record is None else Digest.from_hex(record),
            at=datetime.fromisoformat(at),
            by=by,
            note=note,
        )
        for spelled, number, record, at, by, note, version in found
    ]


def _summaries(index: Index, found: list[Any]) -> list[ArtifactSummary]:
    keys = [row[0] for row in found]
    tags = _tags(index, keys)
    current = _aliases(index, keys)
    return [
        ArtifactSummary(
            name=ArtifactName(name),
            kind=Kind(kind),
            description=description,
            card=None if card is None else Digest.from_hex(card),
            created=datetime.fromisoformat(created),
            changed=datetime.fromisoformat(changed),
            latest=latest,
            size_bytes=size_bytes,
            versions=versions,
            deleted=deleted,
            tags=tags.get(key, {}),
            aliases=current.get(key, ()),
        )
        for (
            key,
            name,
            kind,
            description,
            card,
            created,
            changed,
            latest,
            versions,
            deleted,
            size_bytes,
        ) in found
    ]


def _tags(index: Index, keys: list[str]) -> dict[str, dict[str, str]]:
    where, parameters = _only(keys)
    tags: dict[str, dict[str, str]] = defaultdict(dict)
    for key, name, value in index.select(
        f"SELECT artifact, name, value FROM artifact_tags {where} ORDER BY name",  # noqa: S608
        parameters,
    ):
        tags[key][name] = value
    return tags


def _aliases(index: Index, keys: list[str]) -> dict[str, tuple[CurrentAlias, ...]]:
    where, parameters = _only(keys)
    found: dict[str, list[CurrentAlias]] = defaultdict(list)
    for key, alias, record, number in index.select(
        f"""
        SELECT artifact, alias, version, (
            SELECT MAX(versions.number) FROM versions
            WHERE versions.record = aliases.version AND versions.artifact = aliases.artifact
        )
        FROM aliases {where} ORDER BY alias
        """,  # noqa: S608
        parameters,
    ):
        found[key].append(CurrentAlias(Alias(alias), number, Digest.from_hex(record)))
    return {key: tuple(values) for key, values in found.items()}


def _only(keys: list[str]) -> tuple[str, list[str]]:
    # One artifact by its key; a list is joined here, because aliases and tags are few.
    return ("WHERE artifact = ?", keys) if len(keys) == 1 else ("", [])


def _hint(index: Index, name: ArtifactName) -> str:
    names: Iterable[str] = (
        row[0]
        for row in index.select(
            "SELECT name FROM artifacts ORDER BY changed DESC LIMIT ?", (_COMPARED_NAMES,)
        )
    )
    by_key = {spelled.casefold(): spelled for spelled in names}
    import difflib  # only for who mistyped a name

    close = difflib.get_close_matches(name.casefold(), by_key, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(by_key[key] for key in close)}?"
    return "See what there is: thence ls"
