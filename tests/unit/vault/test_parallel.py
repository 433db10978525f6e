"""Work done ahead: in order, bounded, and stopped when nobody wants it any more."""

import itertools
import threading
from collections.abc import Iterator

import pytest

from thence.vault.parallel import ahead


@pytest.mark.parametrize("at_once", [1, 2, 5, 50])
@pytest.mark.parametrize("count", [0, 1, 2, 20])
def test_results_come_in_order(at_once: int, count: int) -> None:
    assert list(ahead(lambda n: n * n, range(count), at_once=at_once)) == [
        n * n for n in range(count)
    ]


def test_no_more_is_begun_than_allowed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    results = ahead(lambda n: n, items(), at_once=4)
    assert next(results) == 0
    assert len(taken) == 4
    assert next(results) == 1
    assert len(taken) == 5
    results.close()  # type: ignore[attr-defined]
    assert len(taken) == 5


def test_they_are_done_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=60)
    assert len(list(ahead(lambda n: together.wait(), range(3), at_once=3))) == 3


def test_one_that_takes_long_does_not_keep_the_others() -> None:
    others = threading.Event()

    def work(number: int) -> bool:
        if number == 19:
            others.set()
        return number > 0 or others.wait(60)

    assert all(ahead(work, range(20), at_once=2, queued=20))


def test_a_failure_comes_in_its_place() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ZeroDivisionError
        return number

    results = ahead(work, range(100), at_once=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


def test_who_goes_away_does_not_wait() -> None:
    begun, end = threading.Event(), threading.Event()

    def work(number: int) -> int:
        if number == 1:
            begun.set()
            assert end.wait(60)
        return number

    results = ahead(work, range(10), at_once=2)
    assert next(results) == 0
    assert begun.wait(60)
    results.close()  # type: ignore[attr-defined]
    end.set()
