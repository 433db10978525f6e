"""Waiting for a store that is far away, but not for long: no program waits for our network."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from thence.errors import Denied, StorageError, ThenceError

__all__ = ["PATIENCE_S", "is_passing", "patience_for", "within"]

PATIENCE_S = 6.0
"""How long a run waits for its home when it begins, and when it ends."""

T = TypeVar("T")

_JUST_NOW_S = 30.0
_LITTLE_S = 0.5
_silent: dict[str, float] = {}


def patience_for(url: str) -> float:
    """How long to wait for a store: hardly at all where that was just done in vain."""
    since = time.monotonic() - _silent.get(url, -_JUST_NOW_S)
    return PATIENCE_S if since >= _JUST_NOW_S else _LITTLE_S


def within(seconds: float, call: Callable[[], T], *, url: str) -> T:
    """What a call returns, if it does in time; else it goes on by itself and nobody listens.

    Args:
        seconds: How long to wait.
        call: Its effects may come at any time later, so it must be one that may be repeated.
        url: Of the store that it asks.

    Raises:
        StorageError: It takes longer (`transient`), or whatever the call raises.
    """
    returned: list[T] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            returned.append(call())
        except BaseException as error:  # raised again by who waits
            raised.append(error)

    thread = threading.Thread(target=work, name="thence-patience", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return call()  # the interpreter is at its end and starts no thread any more
    thread.join(seconds)
    if raised:
        raise raised[0]
    if not returned:
        _silent[url] = time.monotonic()
        raise StorageError(
            f"cannot reach {url}",
            why=f"There was no answer within {seconds:g} seconds.",
            hint="See that the network works, then repeat the command.",
            transient=True,
        )
    return returned[0]


def is_passing(error: ThenceError) -> bool:
    """Whether an error of a store is likely to go away: the network, or credentials that expired.

    A service says of expired credentials only that they are not good, in words of its own.
    """
    if isinstance(error, StorageError):
        return error.transient
    return isinstance(error, Denied) and "expired" in f"{error.what} {error.why}".lower()
