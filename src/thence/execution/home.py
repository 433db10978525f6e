"""Where the home of a project is, for folders that are not the home themselves.

`.thence/home.json` names it. A folder that has this file and no store of its own works in the home
directly; one that has both is a clone, whose saves wait in its outbox. The store of a clone says so
itself too, in `clone.json`: it must not give numbers where home.json was lost or the store copied.
"""

import os
from pathlib import Path

import msgspec

from thence.errors import DataDamaged, NotFound
from thence.model import codec
from thence.store.base import Store
from thence.store.failures import failures_of

__all__ = ["HOME_FILE", "Home", "clone_mark", "mark_clone", "read_home", "write_home"]

HOME_FILE = "home.json"
_CLONE = "clone.json"


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """The home of a project.

    Attributes:
        url: Of the store; it never holds credentials.
        project: Id of the project that is there.
        only: What a clone keeps to: artifacts and refs that were asked for; empty for everything.
    """

    url: str
    project: str
    only: tuple[str, ...] = ()


def read_home(local: Path) -> Home | None:
    """The home that a project's `.thence` names; None where it is the home itself.

    Raises:
        DataDamaged: The file cannot be understood.
        StorageError: It cannot be read.
    """
    path = local / HOME_FILE
    try:
        with failures_of(f"cannot read {path}", about=str(path)):
            data = path.read_bytes()
    except NotFound:
        return None
    try:
        return codec.decode(data, Home)
    except DataDamaged as error:
        raise DataDamaged(
            f"{path} cannot be read",
            why=error.why,
            hint="Remove the folder's .thence and join the project again: thence init --store URL",
            about=str(path),
        ) from error


def write_home(local: Path, home: Home) -> None:
    """Name the home; whole or not at all.

    Raises:
        Denied: The folder may not be written to.
        StorageError: The disk is full, or fails.
    """
    path = local / HOME_FILE
    temporary = path.with_name(f"{HOME_FILE}.{os.getpid()}.new")
    with failures_of(f"cannot write {path}", about=str(path)):
        local.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(codec.encode(home))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def mark_clone(store: Store, home: Home) -> None:
    """Note in a clone's own store that it is one: it must never be taken for a home.

    Raises:
        Denied: The store may not be written to.
        StorageError: It failed.
    """
    store.replace(_CLONE, [codec.encode(home)])


def clone_mark(store: Store) -> Home | None:
    """The home that a store is a clone of; None where it is no clone.

    Raises:
        DataDamaged: What it says cannot be understood.
        StorageError: It cannot be read.
    """
    try:
        return codec.decode(store.get(_CLONE), Home)
    except NotFound:
        return None
