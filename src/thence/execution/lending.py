"""Lending a project to a reproduction: a program that loads and saves versions needs one.

The restored folder gets a small project of its own. It has the versions that the run loaded, under
their names, numbers and aliases as they were when the run began; what the program saves goes there,
and not into the project that is being checked.
"""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from thence.execution import live
from thence.execution.keeping import version_of
from thence.execution.opening import make_site
from thence.execution.site import Site
from thence.index.views import VersionDetail
from thence.model.names import ArtifactName
from thence.model.records import FileUse, RunSealed, decode_entry
from thence.vault import tree
from thence.vault.checkout import check_out
from thence.vault.logs import edits_log, entry_key, versions_log
from thence.vault.tree import TreeEntry

__all__ = ["Lent", "lend", "remade"]


class Lent(NamedTuple):
    """A project in the restored folder.

    Attributes:
        site: It.
        made: What the run saved from inside, beside its files.
    """

    site: Site
    made: tuple[VersionDetail, ...]


def lend(site: Site, sealed: RunSealed, uses: Iterable[FileUse], root: Path) -> Lent:
    """Make the project.

    Args:
        site: The project that the run is recorded in.
        sealed: The run.
        uses: Its files; versions that these are bound to are restored as files.
        root: The restored folder.

    Raises:
        NotFound: The content of a version that the run loaded is not in the store.
        DataDamaged: It is damaged.
        StorageError: The disk is full.
    """
    bound = {use.version for use in uses}
    lent = make_site(root)
    loaded = [version_of(site, one) for one in sealed.uses if one not in bound]
    _copy_content(site, lent, loaded)
    for name in sorted({version.artifact for version in loaded}):
        _copy_logs(site, lent, name, sealed)
    lent.refresh(full=True)
    made = tuple(version_of(site, one) for one in sealed.makes if one not in bound)
    return Lent(lent, made)


def remade(lent: Lent, spool: Path) -> dict[ArtifactName, list[Sequence[TreeEntry]]]:
    """What the program saved this time: by artifact the files of each save, in order."""
    found: dict[ArtifactName, list[Sequence[TreeEntry]]] = {}
    for line in live.read_lines(spool):
        if isinstance(line, live.MadeVersion):
            version = version_of(lent.site, line.version)
            entries = tree.decode(lent.site.vault.content.read(version.tree))
            found.setdefault(version.artifact, []).append(entries)
    return found


def _copy_content(site: Site, lent: Site, versions: list[VersionDetail]) -> None:
    with lent.vault.writer() as writer:
        for version in versions:
            data = site.vault.content.read(version.tree)
            writer.put_bytes(data)
            with tempfile.TemporaryDirectory(prefix="thence-") as name:
                entries = tree.decode(data)
                check_out(entries, site.vault.content, Path(name))
                for entry in entries:
                    if entry.link:
                        writer.put_bytes(site.vault.content.read(entry.digest))
                    else:
                        writer.put_file(Path(name) / entry.path)


def _copy_logs(site: Site, lent: Site, name: ArtifactName, sealed: RunSealed) -> None:
    """The logs of an artifact as they were when the run began; entries are copied as bytes."""
    logs = {versions_log(name), edits_log(name)}
    logs |= {log for log, _ in site.vault.logs.all(f"refs/aliases/{name.key}/@")}
    for log in sorted(logs):
        # What waits in an outbox gets the number that pushing it now would give.
        for number, (_, data) in enumerate(site.vault.logs.after(log, 0), 1):
            if decode_entry(data).at > sealed.started:
                break
            lent.vault.store.create(entry_key(log, number), [data])
