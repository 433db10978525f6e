"""Has the commands of people work over stores that break."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

from thence.execution import opening, places
from thence.index.database import Index
from thence.store.base import Store
from thence.store.wrap import Retry
from thence.testing.faulty import FaultyStore
from thence.vault import directory, lane, merged

__all__ = ["above_retry", "small_parts", "under_retry", "wired"]

Around = Callable[[FaultyStore], Store]


def above_retry(store: FaultyStore) -> Store:
    """Faults reach the vault."""
    return store


def under_retry(store: FaultyStore) -> Store:
    """Faults reach what tries again, without its pauses."""
    return Retry(store, sleep=lambda seconds: None)


@contextmanager
def small_parts() -> Iterator[None]:
    """Within this, even a small project has several packs, merged directories and checkpoints."""
    few: list[tuple[ModuleType, str, int]] = [
        (lane, "PACK", 150_000),
        (lane, "REMOTE_PACK", 150_000),
        (lane, "SOLID", 2_000),
        (merged, "PACKS", 4),
        (directory, "_FEW", 2),
        # Imported by its name into several modules.
        *((one, "MIN_ENTRIES", 5) for one in _ours() if "MIN_ENTRIES" in vars(one)),
    ]
    with ExitStack() as stack:
        for module, name, value in few:
            stack.enter_context(patch.object(module, name, value))
        yield


def _ours() -> list[ModuleType]:
    return [module for name, module in sys.modules.items() if name.startswith("thence.")]


@contextmanager
def wired(
    break_it: Callable[[Store], FaultyStore], around: Around, *, where: str, bucket_like: bool
) -> Iterator[list[FaultyStore]]:
    """Within this, stores that are opened break; gives those that were opened.

    Args:
        break_it: Makes a store break.
        around: `above_retry` or `under_retry`.
        where: Which stores: `home` or `clone`.
        bucket_like: Treat the home as a bucket is, whatever it is.
    """
    broken: list[FaultyStore] = []

    def breaking(open_it: Callable[..., Store]) -> Callable[..., Store]:
        def opened(url: Any, **options: Any) -> Store:
            store = open_it(url, **options)
            if ("/clone/" in store.url) != (where == "clone"):
                return store
            broken.append(break_it(store))
            return around(broken[-1])

        return opened

    indexes: list[Index] = []

    def new_index(*arguments: Any) -> Index:
        indexes.append(Index(*arguments))
        return indexes[-1]

    with ExitStack() as stack:
        for module, name in ((opening, "connect"), (opening, "open_store"), (places, "connect")):
            stack.enter_context(patch.object(module, name, breaking(getattr(module, name))))
        stack.enter_context(patch.object(opening, "Index", new_index))
        for name in ("fsync", "fdatasync"):  # nobody pulls the plug here
            stack.enter_context(patch.object(os, name, lambda descriptor: None))
        if bucket_like:
            is_far = lambda store: "/clone/" not in getattr(store, "url", str(store))  # noqa: E731
            stack.enter_context(patch.object(opening, "is_remote", is_far))
        try:
            yield broken
        finally:
            for index in indexes:
                index.close()
