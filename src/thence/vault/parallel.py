"""Work that several threads do, the results of which come in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

__all__ = ["ahead", "submit"]

A = TypeVar("A")
T = TypeVar("T")


def submit(pool: ThreadPoolExecutor, work: Callable[[A], T], argument: A) -> Future[T]:
    """Have a pool do the work; do it at once where the interpreter is shutting down.

    The end of a process seals its run, and no pool takes work any more by then.
    """
    try:
        return pool.submit(work, argument)
    except RuntimeError:
        done: Future[T] = Future()
        done.set_result(work(argument))
        return done


def ahead(
    work: Callable[[A], T], items: Iterable[A], *, at_once: int, queued: int | None = None
) -> Iterator[T]:
    """The results of some work, in order, of which the next ones are being done already.

    What the work raises is raised in its place; nothing more is begun then, nor after the iterator
    was closed, and nobody waits for what is being done.

    Args:
        work: Is called by several threads.
        items: Are asked for by the caller's thread, no more than `queued` before the result.
        at_once: How many are being done. With 1, or a single item, no threads are used.
        queued: How many wait, are being done, or are done and not yet taken; `at_once` if not
            given. With more of them no thread waits for one whose work takes longer.
    """
    most = at_once if queued is None else queued
    left = iter(items)
    first = list(islice(left, 2))
    if len(first) < 2 or at_once < 2:
        yield from map(work, chain(first, left))
        return
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="thence-ahead")
    try:
        for item in chain(first, left):
            waiting.append(submit(pool, work, item))
            if len(waiting) >= most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
