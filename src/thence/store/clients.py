"""How obstore is set up: how long to wait, whom to trust, and what it must not do by itself."""

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from thence.store.failures import failures_of

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["HTTP_OPTIONS", "NO_RETRIES", "Clients", "certificates", "is_forked", "note_use"]

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


def certificates(environment: Mapping[str, str]) -> dict[str, bytes]:
    """Options of obstore's HTTP client: authorities to trust beside those that everybody does.

    obstore reads none of the variables with which other tools are told.

    Args:
        environment: Where `AWS_CA_BUNDLE` and `SSL_CERT_FILE` may be.

    Raises:
        NotFound: There is no such file.
        Denied: It may not be read.
        StorageError: It cannot be read.
    """
    path = environment.get("AWS_CA_BUNDLE") or environment.get("SSL_CERT_FILE")
    if not path:
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
