"""Whether bytes that are about to be overwritten are in a version, so that they can be had again.

To be somewhere in the store is not enough: what no version names goes with the next collection.
"""

from collections.abc import Iterable, Iterator

from thence.errors import NotFound
from thence.execution.site import Site
from thence.index import artifacts, versions
from thence.index.views import VersionSummary
from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.vault import tree

__all__ = ["in_no_version"]


def in_no_version(site: Site, wanted: Iterable[Digest], *, likely: ArtifactName) -> set[Digest]:
    """Which of these contents are in no version that is kept.

    Args:
        site: Where.
        wanted: The contents of files.
        likely: The artifact whose versions are looked at first.

    Raises:
        DataDamaged: A tree is damaged.
        StorageError: The store failed.
    """
    left = set(wanted)
    gone = site.vault.content.missing(left)
    left -= gone
    for version in _kept(site, likely):
        if not left:
            break
        try:
            data = site.vault.content.read(version.tree)
        except NotFound:
            continue  # a clone that fetches only some versions
        left -= {entry.digest for entry in tree.decode(data)}
    return gone | left


def _kept(site: Site, likely: ArtifactName) -> Iterator[VersionSummary]:
    names = [found.name for found in artifacts.artifacts(site.index)]
    for name in (likely, *(name for name in names if name.key != likely.key)):
        yield from versions.versions(site.index, name, deleted=False)
