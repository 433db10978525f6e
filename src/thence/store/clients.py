"""How obstore is set up: how long to wait, whom to trust, and what it must not do by itself."""

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from thence.store.failures import failures_of

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = [
    "HTTP_OPTIONS",
    "NO_RETRIES",
    "Clients",
    "certificates",
    "is_forked",
    "make_clients",
    "note_use",
]

HTTP_OPTIONS: Any = {
    "connect_timeout": "10s",
    # The library would end every request after 30 s, and with it each large upload over a slow
    # line; what ends a request here is silence.
    "timeout": "1day",
}
"""Options of obstore's HTTP client that every store wants."""

NO_RETRIES: Any = {"max_retries": 0}
"""obstore would repeat requests by itself, uncounted and with a budget of its own; `Retry` does."""


_used = threading.Event()
_forked = threading.Event()


def note_use() -> None:
    """Say that obstore begins to work in this process; its threads do not survive a fork."""
    _used.set()


def is_forked() -> bool:
    """Whether this process came by fork from one in which obstore worked: it would hang here."""
    return _forked.is_set()


def _after_fork() -> None:
    if _used.is_set():
        _forked.set()


os.register_at_fork(after_in_child=_after_fork)


def certificates(environment: Mapping[str, str], *names: str) -> dict[str, bytes]:
    """Options of obstore's HTTP client: authorities to trust beside those that everybody does.

    obstore reads none of the variables with which other tools are told.

    Args:
        environment: Of this process.
        names: Variables that may name the file; the first that does counts.

    Raises:
        NotFound: There is no such file.
        Denied: It may not be read.
        StorageError: It cannot be read.
    """
    path = next(filter(None, map(environment.get, names)), None)
    if path is None:
        return {}
    with failures_of(f"cannot read the certificates in {path!r}", about=path):
        return {"root_certificate": Path(path).read_bytes()}


class Clients(NamedTuple):
    """Two clients of one bucket that differ in how long they bear silence.

    The time for which a server may be silent includes that in which the request goes up, so a
    client that notices soon that a read stalls would end a slow upload.

    Attributes:
        quick: For reads and for what is small; `read_timeout` about a minute.
        patient: For large uploads and for copies; `read_timeout` about a quarter of an hour.
    """

    quick: "ObjectStore"
    patient: "ObjectStore"


def make_clients(
    make: Callable[[Any], "ObjectStore"], *, endpoint: str | None, roots: Mapping[str, bytes]
) -> Clients:
    """Both clients of a bucket.

    Args:
        make: Makes one with these options of the HTTP client.
        endpoint: The address of the service; None for the usual one, which has TLS.
        roots: What `certificates` found.
    """

    def client(read_timeout: str) -> "ObjectStore":
        return make(
            {
                **HTTP_OPTIONS,
                **roots,
                "read_timeout": read_timeout,
                "allow_http": bool(endpoint and endpoint.startswith("http://")),
            }
        )

    return Clients(quick=client("60s"), patient=client("15min"))
