"""What people add to what is kept: aliases, tags, descriptions."""

import os
from collections.abc import Mapping
from pathlib import Path

from thence.errors import InvalidInput
from thence.execution.giving import resolve, resolve_run
from thence.execution.site import Site
from thence.index import artifacts, versions
from thence.index.views import ArtifactSummary, VersionDetail
from thence.model.names import Alias, ArtifactName, RunRef, parse_ref
from thence.model.records import ArtifactEdit, RunEdit, VersionEdit
from thence.vault.conflicts import Shelf
from thence.vault.logs import alias_log, run_log

__all__ = ["describe", "set_alias", "set_tags"]


def set_alias(site: Site, ref: str, alias: str, *, note: str | None = None) -> VersionDetail:
    """Point an alias at a version.

    Raises:
        NotFound: There is no such version.
        InvalidInput: The alias is none, or a reserved word.
        Conflict: Others were faster every time.
    """
    name = Alias(alias)
    version = resolve(site, ref).version
    moved = site.artifacts.move_alias(version.artifact, name, version.record, note=note)
    if moved is None and site.vault.outbox is not None:
        # It is there already: who moves it there agrees with the home, which settles a conflict.
        shelf = Shelf(site.vault.store)
        for log, number in shelf.all(alias_log(version.artifact, name)):
            shelf.remove(log, number)
    site.ingest(moved)
    return versions.version_by_record(site.index, version.record)


def set_tags(site: Site, ref: str, tags: Mapping[str, str | None]) -> None:
    """Set tags of a version or a run; a tag of None is removed.

    Raises:
        NotFound: There is no such version or run.
        Conflict: Others were faster every time.
    """
    if isinstance(parse_ref(ref), RunRef):
        run = resolve_run(site, ref).run
        edit = RunEdit(run=run, tags=dict(tags))
        site.ingest(site.vault.append(run_log(run), edit, by=site.author))
        return
    version = resolve(site, ref).version
    change = VersionEdit(version=version.record, tags=dict(tags))
    site.ingest(site.artifacts.edit(version.artifact, change))


def describe(
    site: Site,
    name: str,
    description: str | None = None,
    *,
    card: str | os.PathLike[str] | None = None,
) -> ArtifactSummary:
    """Say what an artifact is: a sentence, a card (a Markdown file), or both.

    Raises:
        NotFound: There is no such artifact or file.
        InvalidInput: There is nothing to say.
        Conflict: Others were faster every time.
    """
    if description is None and card is None:
        raise InvalidInput(
            "nothing to say", hint="Give a sentence, or a Markdown file with --doc FILE."
        )
    site.refresh()
    artifact = artifacts.artifact(site.index, ArtifactName(name)).name
    digest = session = None
    if card is not None:
        with site.vault.writer() as writer:
            digest = writer.put_file(Path(card)).digest
        session = writer.session
    edit = ArtifactEdit(artifact=artifact, description=description, card=digest)
    try:
        appended = site.artifacts.edit(artifact, edit, session=session)
    finally:
        if session is not None:
            session.release()
    site.ingest(appended)
    return artifacts.artifact(site.index, artifact)
