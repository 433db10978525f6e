"""What says that a store holds a project, which format it has, and whether it is a mirror."""

import shlex
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from thence.errors import AlreadyExists, DataDamaged, FormatTooNew, NotFound
from thence.model import codec
from thence.store.base import Store
from thence.store.open import is_remote
from thence.store.wrap import Around
from thence.vault.parallel import ahead

__all__ = [
    "CHUNKING",
    "FEATURES",
    "FORMAT",
    "MIRROR",
    "PROJECT",
    "MirrorFile",
    "ProjectFile",
    "copy_project",
    "make_project",
    "mirror_of",
    "read_project",
]

FORMAT = "1-draft"
PROJECT = "project.json"
MIRROR = "mirror.json"
FEATURES = "features/"
# It is written once, so a connection to a bucket need not ask for it again.
_known: WeakKeyDictionary[Store, "ProjectFile"] = WeakKeyDictionary()


class ProjectFile(msgspec.Struct, frozen=True, kw_only=True):
    """`project.json`, written once.

    Attributes:
        format: The version of the on-disk format.
        id: Random; clones of one project have the same.
        chunking: How content is cut in this project.
    """

    format: str
    id: str
    created: datetime
    chunking: dict[str, Any] = {}


class MirrorFile(msgspec.Struct, frozen=True, kw_only=True):
    """`mirror.json`: the store is a mirror, and nobody but who mirrors writes to it.

    Attributes:
        of: The URL of the home, for people.
        project: The id of the project.
    """

    of: str
    project: str


CHUNKING: dict[str, Any] = {
    "algorithm": "fastcdc-2020",
    "average": 65536,
    "maximum": 262144,
    "minimum": 16384,
    "normalization": 1,
}
"""How content is cut in every project that this version makes."""


class _FormatOnly(msgspec.Struct, frozen=True, kw_only=True):
    """What every format has; the rest may have another shape in a newer one."""

    format: str


def make_project(store: Store, *, project_id: str, now: datetime) -> ProjectFile:
    """Make an empty project in a store.

    Raises:
        AlreadyExists: There is one.
        StorageError: The store failed.
        Denied: The store may not be written to.
    """
    project = ProjectFile(format=FORMAT, id=project_id, created=now, chunking=CHUNKING)
    try:
        store.create(PROJECT, [codec.encode(project)])
    except AlreadyExists:
        if read_project(store) == project:
            return project  # the answer to our own first try was lost
        raise AlreadyExists(
            f"there is a project in {store.url}",
            why="project.json exists.",
            hint="Use it as it is, or choose an empty place.",
        ) from None
    return project


def copy_project(source: Store, target: Store) -> None:
    """Make the project of one store also that of another, byte for byte.

    Raises:
        NotFound: The source holds no project.
        AlreadyExists: The target holds another one.
        StorageError: A store failed.
        Denied: The target may not be written to.
    """
    data = source.get(PROJECT)
    try:
        target.create(PROJECT, [data])
    except AlreadyExists:
        if target.get(PROJECT) != data:
            raise AlreadyExists(
                f"there is another project in {target.url}",
                why="Its project.json is not the one that was to be copied there.",
                hint="Choose an empty place.",
            ) from None


def read_project(store: Store) -> ProjectFile:
    """Read `project.json` and refuse what this version does not understand.

    Raises:
        NotFound: The store holds no project.
        FormatTooNew: It was made by a newer thence, or needs a feature that this one has not.
        DataDamaged: project.json cannot be read.
    """
    remote = is_remote(store)
    layer: Store | None = store if remote else None
    while layer is not None:
        if (known := _known.get(layer)) is not None:
            return known
        layer = layer.inner if isinstance(layer, Around) else None
    data, features = _read_both(store)
    if data is None:
        raise NotFound(
            f"there is no project in {store.url}",
            why="It has no project.json.",
            hint=f"Make one there: thence init --store {shlex.quote(store.url)}",
        )
    try:
        _refuse_other_format(store, codec.decode(data, _FormatOnly).format)
        project = codec.decode(data, ProjectFile)
    except DataDamaged as error:
        raise DataDamaged(
            f"project.json of {store.url} cannot be read", why=error.why, about=PROJECT
        ) from error
    for key in features:
        raise FormatTooNew(
            f"the project in {store.url} needs a feature that this version does not have",
            why=f"{key} says so.",
        )
    if remote:
        _known[store] = project
    return project


def mirror_of(store: Store) -> MirrorFile | None:
    """What a store is a mirror of; None where it is none.

    Raises:
        DataDamaged: Its mirror.json cannot be read.
        StorageError: The store failed.
    """
    try:
        return codec.decode(store.get(MIRROR), MirrorFile)
    except NotFound:
        return None


def _read_both(store: Store) -> tuple[bytes | None, list[str]]:
    """`project.json` and the keys of features, at the same time where each takes a while."""

    def read(key: str) -> bytes | list[str] | None:
        if key == FEATURES:
            return [info.key for info in store.list(FEATURES)]
        try:
            return store.get(key)
        except NotFound:
            return None

    data, features = ahead(read, (PROJECT, FEATURES), at_once=2 if is_remote(store) else 1)
    assert not isinstance(data, list)
    assert isinstance(features, list)
    return data, features


def _refuse_other_format(store: Store, found: str) -> None:
    if found != FORMAT:
        raise FormatTooNew(
            f"the project in {store.url} has format {found!r}",
            why=f"This version of thence reads format {FORMAT!r}.",
        )
