import numpy as np
import pytest

from thence.formats.base import Tolerance
from thence.formats.tally import Tally
from thence.model.records import Grade

LOOSE = Tolerance(absolute=0.01)


def test_the_default_lets_nothing_through() -> None:
    tolerance = Tolerance()
    assert tolerance.is_exact
    assert not tolerance.allows(0.0, -0.0)
    assert not tolerance.allows(1.0, 1.0000000000000002)


@pytest.mark.parametrize(
    ("original", "reproduced"),
    [
        (float("nan"), 1.0),
        (1.0, float("nan")),
        (float("inf"), 1e308),
        (float("inf"), float("-inf")),
        (10**400, 10**400 + 1),
    ],
)
def test_no_tolerance_reaches_what_is_not_a_finite_float(
    original: float, reproduced: float
) -> None:
    assert not Tolerance(relative=0.5).allows(original, reproduced)


def test_relative_means_relative_to_the_original() -> None:
    tolerance = Tolerance(relative=0.1)
    assert tolerance.allows(100, 110)
    assert not tolerance.allows(100, 110.1)
    assert not tolerance.allows(100, 89.9)
    assert not tolerance.allows(0, 1e-300)


def test_volatile_patterns_match_names_and_paths() -> None:
    tolerance = Tolerance(volatile=("seconds", "*.duration_s", "runs.*.host"))
    assert tolerance.ignores("seconds", "a.b.seconds")
    assert tolerance.ignores("duration_s", "duration_s")
    assert tolerance.ignores("duration_s", "a.duration_s")
    assert tolerance.ignores("host", "runs.3.host")
    assert not tolerance.ignores("host", "host")
    assert not tolerance.ignores("Seconds", "Seconds")


def test_the_largest_deviation_is_told_with_its_place() -> None:
    tally = Tally("x", LOOSE)
    tally.number("a", 1.0, 1.001)
    tally.number("b", 2.0, 2.005)
    outcome = tally.outcome()
    assert outcome.grade is Grade.WITHIN_TOLERANCE
    assert outcome.detail == "2 numbers off, largest 0.005 at b: 2.0 -> 2.005"


def test_the_first_difference_is_told_and_the_others_counted() -> None:
    tally = Tally("x", LOOSE)
    tally.number("a", 1.0, 1.001)
    tally.number("b", 1.0, 2.0)
    tally.number("c", 1.0, 3.0)
    assert tally.outcome() == (Grade.DIFFERENT, "x", "b: 1.0 -> 2.0 (and 1 more)")


def test_arrays_agree_with_single_numbers() -> None:
    """The vectorised comparison and the plain one give the same grades."""
    values = [0.0, -0.0, 1.0, 1.005, 1.02, float("nan"), float("inf"), float("-inf"), 1e308]
    for tolerance in (Tolerance(), LOOSE, Tolerance(relative=0.01)):
        for one in values:
            for other in values:
                plain, vector = Tally("x", tolerance), Tally("x", tolerance)
                plain.number("", one, other)
                vector.arrays("", np.array([one]), np.array([other]))
                assert plain.outcome().grade is vector.outcome().grade, (one, other, tolerance)


def test_differences_of_unsigned_and_small_types_do_not_wrap() -> None:
    tally = Tally("x", LOOSE)
    tally.arrays("", np.array([0, 5], dtype="u1"), np.array([255, 5], dtype="u1"))
    assert tally.outcome().detail == "[0]: 0 -> 255"
    tally = Tally("x", Tolerance(absolute=1))
    tally.arrays("", np.array([2**64 - 1], dtype="u8"), np.array([0], dtype="u8"))
    assert tally.failed
    tally = Tally("x", Tolerance(absolute=70_000))
    tally.arrays("", np.array([60_000], dtype="f2"), np.array([-60_000], dtype="f2"))
    assert tally.failed


def test_an_element_is_named_by_all_its_indices() -> None:
    tally = Tally("x", Tolerance())
    original = np.zeros((3, 4))
    reproduced = original.copy()
    reproduced[1, 2] = 7
    reproduced[2, 3] = 8
    tally.arrays("weights", original, reproduced)
    assert tally.outcome().detail == "weights[1, 2]: 0.0 -> 7.0 (and 1 more)"
