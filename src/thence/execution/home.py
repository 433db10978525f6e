"""Where the home of a project is, for folders that are not the home themselves.

`.thence/home.json` names it. A folder that has this file and no store of its own works in the home
directly; one that has both is a clone, whose saves wait in its outbox.
"""

import os
from pathlib import Path

import msgspec

from thence.errors import DataDamaged, NotFound
from thence.model import codec
from thence.store.failures import failures_of

__all__ = ["HOME_FILE", "Home", "read_home", "write_home"]

HOME_FILE = "home.json"


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
