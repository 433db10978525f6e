"""From a URL to a store, and the proof that a store keeps its promises."""

import os
import re
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import unquote_to_bytes

from thence.errors import AlreadyExists, InvalidInput, StorageError, ThenceError
from thence.store.base import Store
from thence.store.local import LocalStore
from thence.store.memory import MemoryStore

__all__ = ["connect", "is_remote", "open_store", "probe"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_MEMORY_NAME = re.compile(r"[A-Za-z0-9._-]+")
_REMOTE = frozenset({"s3", "gs", "gcs", "az", "azure", "abfs", "abfss", "http", "https"})
_WRITERS = 16


def open_store(url: str | os.PathLike[str], *, create: bool = False) -> Store:
    """The store at a URL.

    Args:
        url: `file:///srv/data`, `memory://name` (within this process, the same name is the same
            store), or a path; a path may begin with `~`.
        create: Make the folder of a local store if there is none. A memory store is always there.

    Raises:
        InvalidInput: Not a URL of a store, or of a kind that this version does not open.
        NotFound: There is no such folder.
        Denied: The folder may not be read, or made.
        StorageError: The folder cannot be read, or made.
    """
    text = os.fspath(url)
    found = _SCHEME.match(text)
    scheme = found.group(1).lower() if found else ""
    rest = text[found.end() :] if found else text
    if found is None:
        if not text:
            raise InvalidInput("not a store: ''", why="The path is empty.")
        return LocalStore(os.path.expanduser(text), create=create)
    if scheme == "file":
        return LocalStore(_path_of(text, rest), create=create)
    if scheme == "memory":
        if not _MEMORY_NAME.fullmatch(rest):
            raise InvalidInput(
                f"not a store: {text!r}",
                why="The name of a memory store is letters, digits, '.', '_' and '-'.",
                hint="Write for example memory://scratch.",
                text=text,
                position=found.end(),
            )
        return MemoryStore.shared(rest)
    raise InvalidInput(
        f"not a store that this version opens: {text!r}",
        why=f"Stores of the kind {scheme}:// come in a later version."
        if scheme in _REMOTE
        else f"There is no kind of store called {scheme}://.",
        hint="Use a path, file:///path or memory://name.",
        text=text,
        position=0,
    )


def connect(url: str | os.PathLike[str], *, create: bool = False) -> Store:
    """As `open_store`; calls of a store that is not on this machine are counted and repeated."""
    return open_store(url, create=create)


def is_remote(url: str) -> bool:
    """Whether each call of the store at a URL is a request to a server."""
    return not url.startswith(("file:", "memory:"))


def _path_of(text: str, rest: str) -> str:
    host, slash, path = rest.partition("/")
    if host not in {"", "localhost"} or not slash:
        raise InvalidInput(
            f"not a store: {text!r}",
            why="A file URL has three slashes and an absolute path; no host but this one.",
            hint="Write for example file:///srv/data.",
            text=text,
            position=len(text) - len(rest),
        )
    if found := re.search(r"[?#]", rest):
        raise InvalidInput(
            f"not a store: {text!r}",
            why=f"{found.group()!r} has a meaning of its own in a URL.",
            hint=f"Write %{ord(found.group()):02X} for it, or give the path without file://.",
            text=text,
            position=len(text) - len(rest) + found.start(),
        )
    return os.fsdecode(unquote_to_bytes("/" + path))


def probe(store: Store, *, token: Callable[[], str] = lambda: secrets.token_hex(8)) -> None:
    """Prove that of racing writers one wins, and that nothing is overwritten.

    Sixteen threads create one object below `tmp-probe/`, then one more tries; it is deleted at the
    end. A disk or server that fails this would lose versions without a word, so a project is not
    put there.

    Args:
        store: What is to be proven.
        token: Makes the last part of the key, which nobody may have used before.

    Raises:
        Denied: No right to write, read or delete.
        StorageError: The store breaks a promise, which is told; or the environment failed.
    """
    key = f"tmp-probe/{token()}"
    try:
        _prove(store, key)
    except BaseException:
        with suppress(ThenceError):  # why the store is refused matters more than what is left
            store.delete(key)
        raise
    store.delete(key)
    if store.head(key) is not None:
        raise _broken(store, "an object is still there after it was deleted")


def _prove(store: Store, key: str) -> None:
    payloads = [f"probe {writer}".encode() for writer in range(_WRITERS)]
    together = threading.Barrier(_WRITERS)

    def race(payload: bytes) -> bool:
        together.wait()
        try:
            store.create(key, [payload])
        except AlreadyExists:
            return False
        except StorageError as error:
            if not error.transient:
                raise
            return False
        return True

    with ThreadPoolExecutor(_WRITERS) as threads:
        outcomes = list(threads.map(race, payloads))
    won = [payload for payload, outcome in zip(payloads, outcomes, strict=True) if outcome]
    if len(won) > 1:
        raise _broken(
            store, f"{len(won)} of {_WRITERS} writers created the same object at the same time"
        )
    if not won and store.head(key) is None:
        raise _broken(store, f"none of {_WRITERS} writers could create a new object")
    # Without a winner one of them won whose answer was lost on the way: any may be that one.
    if (kept := store.get(key)) not in (won or payloads):
        raise _broken(store, "an object does not hold what its creator wrote")
    try:
        store.create(key, [b"second"])
    except AlreadyExists:
        pass
    else:
        raise _broken(store, "an object that exists was created a second time")
    if store.get(key) != kept:
        raise _broken(store, "an object was overwritten by a create that failed")


def _broken(store: Store, promise: str) -> StorageError:
    return StorageError(
        f"{store.url} cannot hold a project",
        why=f"It breaks a promise that thence relies on: {promise}.",
        hint="Use another file system or server, or a newer version of this one.",
        about=store.url,
    )
