"""Artifacts: appending versions, edits and alias moves to their logs, by the rules of a project."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from thence.errors import AlreadyExists, Conflict, DataDamaged, InvalidInput
from thence.model.ids import Digest, RunId
from thence.model.names import Alias, ArtifactName
from thence.model.records import (
    AliasMove,
    ArtifactEdit,
    Entry,
    Kind,
    Record,
    Restored,
    Tombstone,
    Version,
    VersionEdit,
    decode_entry,
)
from thence.vault.logs import Appended, alias_log, edits_log, entry_key, versions_log
from thence.vault.session import Session
from thence.vault.vault import Vault

__all__ = ["Artifacts", "Draft", "Saved"]


class Draft(NamedTuple):
    """What is to become a version.

    Attributes:
        kind: What it was sniffed to be; an artifact that exists keeps its kind.
        strict_kind: The kind was asked for, so another one is an error.
        metadata: How to load it; belongs to the content.
    """

    artifact: ArtifactName
    kind: Kind
    tree: Digest
    size: int
    files: int
    strict_kind: bool = False
    note: str | None = None
    tags: Mapping[str, str] = {}
    metrics: Mapping[str, float] = {}
    metadata: Mapping[str, Any] = {}
    card: Digest | None = None
    run: RunId | None = None
    sources: tuple[Digest, ...] = ()


class Saved(NamedTuple):
    """A version that is in the project, and what it took.

    Attributes:
        digest: Of the version record.
        new: A version was appended; otherwise one with this content was there already.
        appended: The entries that were appended, for the index.
    """

    number: int
    digest: Digest
    version: Version
    new: bool
    appended: tuple[Appended, ...]


class _Last(NamedTuple):
    number: int
    version: Version
    digest: Digest


class Artifacts:
    """The artifacts of a vault.

    Args:
        vault: Where they are kept.
        author: Who writes.
    """

    def __init__(self, vault: Vault, *, author: str) -> None:
        self._vault = vault
        self._author = author

    def commit(self, draft: Draft, *, now: datetime, session: Session | None = None) -> Saved:
        """Make a version of content that is in the vault already.

        The same content as the latest version makes no new one: that version is returned, and
        metadata that it does not have yet is added to it by an edit. A latest version that was
        removed stays removed: its content makes a new one.

        Args:
            draft: What is to become a version.
            now: When it is made.
            session: In which all of its content was put or found.

        Raises:
            AlreadyExists: The name is taken by another kind or another spelling.
            Conflict: Others were faster every time.
            StorageError: The store failed.
        """
        log = versions_log(draft.artifact)
        unchanged: _Last | None = None

        def decide(tail: int) -> Record | None:
            nonlocal unchanged
            unchanged = None
            kind = draft.kind
            if tail:
                last = self._version(log, tail)
                kind = _check_name(draft, last.version)
                if last.version.tree == draft.tree and not self._is_removed(last):
                    unchanged = last
                    return None
            return _to_version(draft, kind, author=self._author, now=now)

        # Looking first spares the journal a hint for the common case that nothing changed.
        if (tail := self._vault.logs.tail(log)) and decide(tail) is None and unchanged is not None:
            return self._add_metadata(unchanged, draft, session)
        try:
            appended = self._vault.append(log, decide, by=self._author, tail=tail, session=session)
        except Conflict:
            # Somebody else saved the same content in the meantime.
            if unchanged is None:
                raise
            return self._add_metadata(unchanged, draft, session)
        version = appended.entry.record
        assert isinstance(version, Version)
        return Saved(appended.number, appended.entry.digest, version, True, (appended,))

    def edit(
        self,
        artifact: ArtifactName,
        record: VersionEdit | ArtifactEdit,
        *,
        session: Session | None = None,
    ) -> Appended:
        """Append new metadata, whose card, if there is one, was put in a session.

        Raises:
            Conflict: Others were faster every time.
            StorageError: The store failed.
        """
        return self._vault.append(edits_log(artifact), record, by=self._author, session=session)

    def move_alias(
        self,
        artifact: ArtifactName,
        alias: Alias,
        version: Digest | None,
        *,
        note: str | None = None,
    ) -> Appended | None:
        """Point an alias at a version, or with None at nothing; None where it points there already.

        Raises:
            AlreadyExists: The artifact has the alias in another spelling.
            InvalidInput: It is to point at nothing, and the artifact never had it.
            Conflict: Others were faster every time.
            StorageError: The store failed.
        """
        log = alias_log(artifact, alias)
        unchanged = False

        def decide(tail: int) -> Record | None:
            nonlocal unchanged
            last = self._entry(log, tail).record if tail else None
            if not tail and version is None:
                raise InvalidInput(f"{artifact} has no alias {alias}")
            previous: Digest | None = None
            if isinstance(last, AliasMove):
                _check_spelling(alias, last)
                previous = last.version
            unchanged = isinstance(last, AliasMove) and previous == version
            if unchanged:
                return None
            return AliasMove(
                artifact=artifact, alias=alias, version=version, note=note, previous=previous
            )

        # Looking first spares the journal a hint where nothing changes.
        tail = self._vault.logs.tail(log)
        if decide(tail) is None:
            return None
        try:
            return self._vault.append(log, decide, by=self._author, tail=tail)
        except Conflict:
            # Somebody else made the same move in the meantime.
            if not unchanged:
                raise
            return None

    def _add_metadata(self, last: _Last, draft: Draft, session: Session | None) -> Saved:
        note, tags, metrics, metadata, card = self._effective(last)
        edit = VersionEdit(
            version=last.digest,
            note=draft.note if draft.note not in {None, note} else None,
            tags=_news(draft.tags, tags),
            metrics=_news(draft.metrics, metrics),
            metadata=_news(draft.metadata, metadata),
            card=draft.card if draft.card not in {None, card} else None,
        )
        appended: tuple[Appended, ...] = ()
        if edit != VersionEdit(version=last.digest):
            appended = (self.edit(draft.artifact, edit, session=session),)
        return Saved(last.number, last.digest, last.version, False, appended)

    def _effective(
        self, last: _Last
    ) -> tuple[str | None, dict[str, str], dict[str, float], dict[str, Any], Digest | None]:
        version = last.version
        note, card = version.note, version.card
        tags, metrics = dict(version.tags), dict(version.metrics)
        metadata = dict(version.metadata)
        for edit in self._edits(version.artifact):
            if edit.version != last.digest:
                continue
            note = note if edit.note is None else edit.note
            card = card if edit.card is None else edit.card
            metrics |= edit.metrics
            metadata |= edit.metadata
            for key, value in edit.tags.items():
                if value is None:
                    tags.pop(key, None)
                else:
                    tags[key] = value
        return note, tags, metrics, metadata, card

    def _edits(self, artifact: ArtifactName) -> Iterator[VersionEdit]:
        return (one for one in self._said(artifact) if isinstance(one, VersionEdit))

    def _said(self, artifact: ArtifactName) -> Iterator[Record]:
        for _, data in self._vault.logs.after(edits_log(artifact), 0):
            if (record := decode_entry(data).record) is not None:
                yield record

    def _is_removed(self, last: _Last) -> bool:
        is_removed = False
        for record in self._said(last.version.artifact):
            if isinstance(record, Tombstone | Restored) and record.version == last.digest:
                is_removed = isinstance(record, Tombstone)
        return is_removed

    def _entry(self, log: str, number: int) -> Entry:
        data = self._vault.logs.read(log, number)
        if data is None:
            raise DataDamaged(f"{log} has no entry {number}, but a later one", about=log)
        try:
            return decode_entry(data)
        except DataDamaged as error:
            raise DataDamaged(
                f"entry {number} of {log} cannot be read",
                why=error.why,
                hint="Restore it from a mirror or a clone of this project, byte for byte.",
                about=entry_key(log, number),
            ) from error

    def _version(self, log: str, number: int) -> _Last:
        entry = self._entry(log, number)
        if not isinstance(entry.record, Version):
            raise DataDamaged(f"entry {number} of {log} is no version", about=log)
        return _Last(number, entry.record, entry.digest)


def _check_name(draft: Draft, last: Version) -> Kind:
    if last.artifact != draft.artifact:
        raise AlreadyExists(
            f"the name {draft.artifact!r} collides with {last.artifact!r}",
            why="Names that differ only by case or Unicode form would be one file on many disks.",
            hint=f"Use {last.artifact!r}, or choose another name: --as NAME.",
            about=draft.artifact,
        )
    if draft.strict_kind and last.kind is not draft.kind:
        raise AlreadyExists(
            f"{draft.artifact} is a {last.kind}, not a {draft.kind}",
            why="All versions of an artifact have one kind.",
            hint="Leave out --kind, or choose another name: --as NAME.",
            about=draft.artifact,
        )
    return last.kind


def _check_spelling(alias: Alias, last: AliasMove) -> None:
    if last.alias != alias:
        raise AlreadyExists(
            f"the alias {alias} collides with {last.alias}",
            why="Aliases that differ only by case would be one file on many disks.",
            hint=f"Use {last.alias}, or choose another word.",
            about=alias,
        )


def _to_version(draft: Draft, kind: Kind, *, author: str, now: datetime) -> Version:
    return Version(
        artifact=draft.artifact,
        kind=kind,
        tree=draft.tree,
        size=draft.size,
        files=draft.files,
        created=now,
        author=author,
        note=draft.note,
        tags=dict(draft.tags),
        metrics=dict(draft.metrics),
        metadata=dict(draft.metadata),
        card=draft.card,
        run=draft.run,
        sources=draft.sources,
    )


def _news(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in wanted.items() if key not in there or there[key] != value}
