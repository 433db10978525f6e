"""From a URL to a store, and the proof that a store keeps its promises."""

import os
import re
import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import unquote_to_bytes

from thence.errors import AlreadyExists, InvalidInput, StorageError, ThenceError
from thence.store.base import Store
from thence.store.local import LocalStore
from thence.store.memory import MemoryStore
from thence.store.url import SCHEMES, StoreUrl, parse_store_url
from thence.store.wrap import Around, Counter, Retry, Trace

__all__ = ["PROBES", "connect", "connected", "is_remote", "open_store", "probe", "requests_of"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_MEMORY_NAME = re.compile(r"[A-Za-z0-9._-]+")
_LATER = frozenset({"http", "https"})
_WRITERS = 16
PROBES = "tmp-probe/"
"""What the keys begin with that `probe` makes; one that was killed leaves some of them."""
_connected: list[Trace] = []


def open_store(url: str | os.PathLike[str], *, create: bool = False) -> Store:
    """The store at a URL.

    Args:
        url: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, each perhaps with
            options (`?endpoint=https://storage.example.org`), `file:///srv/data`,
            `memory://name` (within this process, the same name is the same store), or a path; a
            path may begin with `~`.
        create: Make the folder of a local store if there is none. A memory store is always there,
            and a bucket is never made.

    Raises:
        InvalidInput: Not a URL of a store, or of a kind that this version does not open.
        NotFound: There is no such folder.
        Denied: The folder may not be read, or made; or there are no credentials for the bucket.
        StorageError: The folder cannot be read, or made.
        MissingExtra: A library for this kind of store is not installed.
    """
    text = os.fspath(url)
    found = _SCHEME.match(text)
    scheme = found.group(1).lower() if found else ""
    rest = text[found.end() :] if found else text
    if found is None:
        if not text:
            raise InvalidInput("not a store: ''", why="The path is empty.")
        if (scheme := text.partition(":")[0].lower()) in {*SCHEMES, "file", "memory"} and (
            ":" in text
        ):
            raise InvalidInput(
                f"not a store: {scheme}:…",
                why="After the colon of a URL come two slashes.",
                hint=f"Write {scheme}://…, or ./{scheme}:… for a folder of that name.",
            )
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
    if scheme in SCHEMES:
        return _open_bucket(parse_store_url(text))
    raise InvalidInput(
        f"not a store that this version opens: {scheme}://…",  # the rest may hold a password
        why=f"Stores of the kind {scheme}:// come in a later version."
        if scheme in _LATER
        else f"There is no kind of store called {scheme}://.",
        hint="Use a path, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or "
        "file:///path.",
    )


def connect(url: str | os.PathLike[str], *, create: bool = False) -> Store:
    """The store at a URL, for work with it: what fails for a moment is tried again.

    A bucket comes as `Retry(Trace(store))`, so that `requests_of` counts what really went over the
    network; any other store comes as it is.

    Args:
        url: As for `open_store`.
        create: As for `open_store`.

    Raises:
        InvalidInput: Not a URL of a store, or of a kind that this version does not open.
        NotFound: There is no such folder.
        Denied: The folder may not be read, or made; or there are no credentials for the bucket.
        StorageError: The folder cannot be read, or made.
        MissingExtra: A library for this kind of store is not installed.
    """
    store = open_store(url, create=create)
    if not is_remote(store):
        return store
    trace = Trace(store)
    _connected.append(trace)
    return Retry(trace)


def connected() -> tuple[Trace, ...]:
    """Every store that this process has connected to over a network, with what it asked there."""
    return tuple(_connected)


def requests_of(store: Store) -> dict[str, Counter]:
    """Calls, bytes, seconds and failures so far by method; empty where nothing counts them.

    A listing is one call, however many pages it has.
    """
    inner: object = store
    while isinstance(inner, Around):
        if isinstance(inner, Trace):
            return inner.counters
        inner = inner.inner
    return {}


def is_remote(store: Store | str | os.PathLike[str]) -> bool:
    """Whether each call goes over a network: neither a folder nor in memory."""
    url = store.url if isinstance(store, Store) else os.fspath(store)
    found = _SCHEME.match(url)
    return found is not None and found.group(1).lower() not in {"file", "memory"}


def _open_bucket(url: StoreUrl) -> Store:
    # Each library takes time to import, and may not be there.
    where = (url.bucket, url.prefix, url.options, str(url))
    if url.scheme == "s3":
        from thence.store.s3 import open_s3

        return open_s3(*where)
    if url.scheme == "gs":
        from thence.store.gcs import open_gcs

        return open_gcs(*where)
    from thence.store.azure import open_azure

    return open_azure(*where)


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

    Sixteen threads create one object below `tmp-probe/`, then one more tries; it is listed among
    others, and all are deleted at the end. A disk or server that fails this would lose versions
    without a word, so a project is not put there.

    Args:
        store: What is to be proven.
        token: Makes the last part of the key, which nobody may have used before.

    Raises:
        Denied: No right to write, read or delete.
        StorageError: The store breaks a promise, which is told; or the environment failed.
    """
    prefix = f"{PROBES}{token()}"
    keys = [f"{prefix}-a", f"{prefix}-b", f"{prefix}-race"]
    try:
        _prove_race(store, keys[-1])
        _prove_order(store, prefix, keys)
    except BaseException:
        for key in keys:
            with suppress(ThenceError):  # why it is refused matters more than what is left
                store.delete(key)
        raise
    for key in keys:
        store.delete(key)
    if any(store.list(prefix)):
        raise _broken(store, "an object is still there after it was deleted")


def _prove_race(store: Store, key: str) -> None:
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
            store,
            f"it ignores preconditions: {len(won)} of {_WRITERS} racing writers were told that "
            "they created the same object",
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


def _prove_order(store: Store, prefix: str, keys: Sequence[str]) -> None:
    """See that listings are sorted and begin where they are told to; the last key is there."""
    for key in keys[:-1]:
        with suppress(AlreadyExists):  # the answer to our own first try was lost
            store.create(key, [b"listed"])
    for after, expected in (("", keys), (keys[0], keys[1:])):
        if [info.key for info in store.list(prefix, after=after)] != expected:
            raise _broken(store, "objects are not listed in the order of their keys")


def _broken(store: Store, promise: str) -> StorageError:
    return StorageError(
        f"{store.url} cannot hold a project",
        why=f"It breaks a promise that thence relies on: {promise}.",
        hint="Use another service, or a newer version of this one: docs/how-to/stores.md says "
        "which ones were tested."
        if is_remote(store)
        else "Use another file system or server, or a newer version of this one.",
        about=store.url,
    )
