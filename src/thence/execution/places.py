"""Stores as people name them: a URL, a path, or the folder of a project."""

import re
import shlex
from pathlib import Path

from thence.errors import InvalidInput, NotFound
from thence.execution.home import clone_mark
from thence.execution.site import LOCAL
from thence.store.base import Store
from thence.store.open import connect
from thence.vault.layout import PROJECT

__all__ = ["store_at"]

# What a project keeps below its own place, where no other project may begin.
_OWN = {
    "conflicts", "directories", "features", "hints", "index", "journal", "outbox", "packs", "refs",
    "runs", "tmp",
}  # fmt: skip
_FOLDERS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^/?#]*/|/)?([^?#]*)")


def store_at(url: str, *, create: bool = False) -> Store:
    """Connect to the store at a URL; the folder of a project stands for the store in it.

    Args:
        url: Of the store, or a path.
        create: A project may be made there: make the folder if there is none.

    Raises:
        InvalidInput: Not a URL of a store, the store of a clone, or a place inside of a project.
        NotFound: There is no such folder.
        Denied: The store may not be read, or the folder not be made.
        StorageError: It cannot be reached.
        MissingExtra: A library for this kind of store is not installed.
    """
    own = Path(url).expanduser() / LOCAL
    if (own / "store" / PROJECT).is_file():
        url = str(own / "store")
    if create:
        _refuse_inside(url)
    store = connect(url, create=create)
    _refuse_clone(store)
    return store


def _refuse_clone(store: Store) -> None:
    """A clone gives no numbers, so nothing may be cloned from it or sent to it."""
    if (home := clone_mark(store)) is not None:
        raise InvalidInput(
            f"{store.url} is the store of a clone",
            why="It gives no numbers, and what waits in it is not known elsewhere.",
            hint=f"Name its home: {shlex.quote(home.url)}",
            about=store.url,
        )


def _refuse_inside(url: str) -> None:
    """A project among what another one keeps would be taken for a part of it."""
    parts = _FOLDERS.match(url)
    assert parts is not None, "the pattern matches any text"
    before, folders = parts.group(1) or "", parts.group(2).rstrip("/").split("/")
    for depth, name in enumerate(folders):
        if name not in _OWN:
            continue
        above = f"{before}{'/'.join(folders[:depth])}{url[parts.end() :]}"
        try:
            inside = connect(above or ".").head(PROJECT) is not None
        except (InvalidInput, NotFound):
            continue
        if inside:
            raise InvalidInput(
                f"{url} is inside of another project",
                why=f"There is a project in {above}, which keeps things of its own in {name}/.",
                hint="Choose another place.",
                about=url,
            )
