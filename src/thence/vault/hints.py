"""Hints: in which packs a content, and what it names, was last seen.

A hint is an object `hints/<64 hex digits of a root>/<name>` that holds the ids of packs, 32 bytes
each. The root is mostly the tree of a version. A client that knows nothing of a project finds a
version with it in a handful of requests. It may be wrong, old, or gone: then finding takes longer.
"""

import itertools
import logging
from collections.abc import Iterable

from blake3 import blake3

from thence.errors import AlreadyExists, NotFound
from thence.model.ids import Digest
from thence.store.base import Store

__all__ = ["read_hints", "write_hint"]

_LOG = logging.getLogger(__name__)
_MOST_PACKS = 1000
# A version is hinted at by each client that saved or pushed it; more is not ours.
_MOST_HINTS = 64
_READ_HINTS = 4


def write_hint(store: Store, root: Digest, packs: Iterable[bytes]) -> None:
    """Say in which packs a root and what it names lie; the same said twice is one object.

    What lies in more than 1,000 packs is not hinted at: so much is found faster by reading all
    directories than by reading those.

    Raises:
        StorageError: The store failed.
        Denied: The store may not be written to.
    """
    ids = sorted(set(packs))
    if not 0 < len(ids) <= _MOST_PACKS:
        return
    body = b"".join(ids)
    try:
        store.create(_prefix(root) + blake3(body).hexdigest(16), [body])
    except AlreadyExists:
        _LOG.debug("the hint for %s is there", root.short)


def read_hints(store: Store, root: Digest) -> list[bytes]:
    """The packs that the latest hints of a root name; whether they are there is not known.

    Raises:
        StorageError: The store failed.
        Denied: The store may not be read.
    """
    found = list(itertools.islice(store.list(_prefix(root)), _MOST_HINTS))
    found.sort(key=lambda info: -info.modified_s)
    packs: dict[bytes, None] = {}
    for info in found[:_READ_HINTS]:
        if info.size_bytes > 32 * _MOST_PACKS:
            continue
        try:
            body = store.get(info.key)
        except NotFound:
            continue
        if len(body) % 32 or len(body) > 32 * _MOST_PACKS:
            _LOG.warning("a hint that cannot be read is passed over: %s", info.key)
            continue
        packs.update(dict.fromkeys(body[at : at + 32] for at in range(0, len(body), 32)))
    return list(packs)


def _prefix(root: Digest) -> str:
    return f"hints/{root.raw.hex()}/"
