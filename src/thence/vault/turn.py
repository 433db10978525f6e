"""Taking turns: of the processes of one clone, one at a time exchanges entries with the home.

Positions in the outbox begin again when none of a log waits. So who removes an entry must be sure
that it is still the one that was read, and that takes a single process that removes.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from thence.store.failures import failures_of
from thence.vault.vault import Vault

__all__ = ["turn"]


@contextmanager
def turn(clone: Vault) -> Iterator[None]:
    """Wait until no other process of this clone pushes, pulls or drops; until the end, none does.

    A process that dies ends its turn.

    Raises:
        StorageError: The lock file cannot be made.
        Denied: It may not be.
    """
    path = clone.cache / "sync.lock"
    with failures_of("take turns with other processes", about=str(path)):
        clone.cache.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        with failures_of("take turns with other processes", about=str(path)):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
