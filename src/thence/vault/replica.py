"""Copies of a project as a whole: a mirror to read from, and a home that moves to another store."""

from collections.abc import Callable
from contextlib import suppress

import msgspec

from thence.errors import AlreadyExists, Conflict, DataDamaged, InvalidInput, NotFound, StorageError
from thence.model import codec
from thence.store.base import Store
from thence.store.open import PROBES
from thence.vault.copying import mirror_entries
from thence.vault.erase import carry_out
from thence.vault.layout import (
    FEATURES,
    MIRROR,
    PROJECT,
    MirrorFile,
    mirror_of,
    read_project,
)
from thence.vault.mirroring import Mirrored, Progress, behind
from thence.vault.vault import Vault

__all__ = ["CLAIM", "found_home", "mirror"]

CLAIM = "claim.json"
_ELSEWHERE = "Choose an empty place."


class _ClaimFile(msgspec.Struct, frozen=True, kw_only=True):
    """`claim.json`: the store is about to become the home of a project."""

    project: str


def mirror(
    source: Vault,
    target: Vault,
    *,
    of: str | None = None,
    progress: Progress = lambda contents, size: None,
) -> Mirrored:
    """Make a store, or keep it, a copy of a project: its logs byte for byte, and their content.

    The target says first that it is a mirror, and last that it holds the project. What was copied
    before is not copied again.

    Args:
        source: The project.
        target: An empty store, or one that is a mirror of this project.
        of: What the mirror says that it is of; the URL of the source if not given.
        progress: Is told contents and bytes so far.

    Raises:
        InvalidInput: The target holds something else.
        AlreadyExists: The target is a home.
        NotFound: The source holds no project, or lacks a content.
        DataDamaged: The target has other entries, or an entry or content is damaged.
        StorageError: A store failed; repeat it to go on.
        Denied: A store may not be read, or not be written to.
    """
    project = read_project(source.store).id
    _mark(target.store, project, of or source.store.url)
    done = mirror_entries(source, target, behind(source, target), progress=progress)
    _finish(source.store, target.store)
    carry_out(target)
    return done


def found_home(
    source: Vault,
    target: Vault,
    *,
    switch: Callable[[], None],
    progress: Progress = lambda contents, size: None,
) -> Mirrored:
    """Make an empty store the home of a project that had its home here.

    Cut anywhere, it goes on where it was when it is called again.

    Args:
        source: The project, in the store that was its home. Its outbox, if it has one, stays.
        target: An empty store, or one in which this was begun.
        switch: Makes this store a clone of the target: what is appended here afterwards goes to
            the outbox. Is called when most was copied, and again where all this is repeated.
        progress: Is told contents and bytes so far.

    Raises:
        Conflict: The target is being made the home of another project.
        AlreadyExists: The target is a home.
        InvalidInput: The target holds something else.
        NotFound: The source holds no project, or lacks a content.
        DataDamaged: The target has other entries, or an entry or content is damaged.
        StorageError: A store failed; repeat it to go on.
        Denied: A store may not be read, or not be written to.
    """
    project = read_project(source.store).id
    _claim(target.store, project)
    done = Mirrored()
    # Where the project is there, everything was copied; others may have gone on from there.
    if _get(target.store, PROJECT) is None:
        done = mirror_entries(source, target, behind(source, target), progress=progress)
        switch()
        # What was appended here between; from now on, nothing is.
        rest = mirror_entries(source, target, behind(source, target), progress=progress)
        done = done.plus(rest)
        if done.damaged:
            raise DataDamaged(
                f"{source.store.url} cannot be copied as a whole",
                why=f"{done.damaged[0]} cannot be read, and a home has no gaps.",
                about=done.damaged[0],
            )
        _finish(source.store, target.store)
    else:
        switch()
    # The home is complete; a claim that stays keeps nobody out but other projects.
    with suppress(StorageError):
        target.store.delete(CLAIM)
    return done


def _finish(source: Store, target: Store) -> None:
    for info in source.list(FEATURES):
        _create_same(target, info.key, source.get(info.key))
    _create_same(target, PROJECT, source.get(PROJECT))


def _mark(store: Store, project: str, of: str) -> None:
    found = mirror_of(store)
    if found is None:
        _refuse_used(store, project)
        with suppress(AlreadyExists):
            store.create(MIRROR, [codec.encode(MirrorFile(of=of, project=project))])
        found = mirror_of(store)
    if found is not None and found.project != project:
        raise InvalidInput(
            f"{store.url} is a mirror of another project",
            why=f"It mirrors {found.project}, and this is {project}.",
            hint=_ELSEWHERE,
            about=store.url,
        )


def _claim(store: Store, project: str) -> None:
    claim = _get(store, CLAIM)
    if claim is None:
        _refuse_used(store, project)
        with suppress(AlreadyExists):
            store.create(CLAIM, [codec.encode(_ClaimFile(project=project))])
        claim = _get(store, CLAIM)
    claimed = None if claim is None else codec.decode(claim, _ClaimFile).project
    if claimed != project:
        raise Conflict(
            f"{store.url} is being made a home by somebody else",
            why=f"It was claimed for {claimed or 'another project'}, and this is {project}.",
            hint=_ELSEWHERE,
            about=store.url,
        )


def _refuse_used(store: Store, project: str) -> None:
    if _get(store, PROJECT) is not None:
        found = read_project(store).id
        raise AlreadyExists(
            f"{store.url} is a home already",
            why=f"It is that of {found}, and this is {project}."
            if found != project
            else f"It is that of this very project, {project}.",
            hint=_ELSEWHERE,
            about=store.url,
        )
    for info in store.list():
        if info.key.startswith(PROBES):
            continue  # of a try of ours that was killed
        raise InvalidInput(
            f"{store.url} is not empty",
            why=f"It holds {info.key}, which belongs to no project.",
            hint=_ELSEWHERE,
            about=store.url,
        )


def _create_same(store: Store, key: str, data: bytes) -> None:
    try:
        store.create(key, [data])
    except AlreadyExists:
        if store.get(key) != data:
            raise DataDamaged(
                f"{store.url} has another {key}", why="It should be a copy.", about=key
            ) from None


def _get(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key)
    except NotFound:
        return None
