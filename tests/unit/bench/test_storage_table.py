"""Ratios and tables, from samples that are written here."""

from typing import Any

import pytest
from bench.storage_table import Sample, goals, markdown, median, ratio


def _document(*samples: Sample, rounds: int = 1, **sizes: list[int]) -> dict[str, Any]:
    return {
        "rounds": rounds,
        "versions": {sample.tool: "1" for sample in samples},
        "samples": [sample.packed() for sample in samples],
        "sizes": sizes,
    }


def _saved(tool: str, number: int, cpu_s: float, *, failed: str = "") -> Sample:
    return Sample("big", "save", tool, number, cpu_s=cpu_s, stored_bytes=1, failed=failed)


def test_a_ratio_is_taken_within_a_round_and_its_median_counts() -> None:
    samples = [
        *(_saved("thence", number, cpu) for number, cpu in enumerate((1.0, 4.0, 3.0), start=1)),
        *(_saved("borg", number, cpu) for number, cpu in enumerate((2.0, 5.0, 10.0), start=1)),
    ]

    (goal,) = goals(_document(*samples, rounds=3))

    assert goal.what == "incompressible file, CPU / borg"
    assert (goal.least, goal.measured, goal.most) == (0.3, 0.5, 0.8)
    assert goal.held


def test_a_round_in_which_the_other_tool_failed_gives_no_ratio() -> None:
    samples = [_saved("thence", 1, 1.0), _saved("borg", 1, 0.1, failed="status 2")]

    assert goals(_document(*samples)) == []


def test_new_bytes_of_an_edit_are_held_against_what_was_changed() -> None:
    edited = Sample("big", "save v2", "thence", 1, new_bytes=30_000)

    (goal,) = goals(_document(edited, big=[2_000_000, 2_010_000]))

    assert goal.measured == pytest.approx(1.5)
    assert not goal.held


@pytest.mark.parametrize(("ours", "theirs", "expected"), [(2, 4, 0.5), (0, 1, 0.001), (1, 0, 1000)])
def test_what_is_too_little_to_be_measured_never_divides_by_nothing(
    ours: float, theirs: float, expected: float
) -> None:
    assert ratio(ours, theirs) == pytest.approx(expected)


def test_each_number_has_a_median_of_its_own() -> None:
    found = median(
        [
            Sample("csv", "save", "dvc", 1, 9.0, 1.0, 50, 7, 7),
            Sample("csv", "save", "dvc", 2, 1.0, 2.0, 70, 8, 8),
            Sample("csv", "save", "dvc", 3, 5.0, 9.0, 60, 9, 9),
        ]
    )

    assert found[4:9] == (5.0, 2.0, 60, 8, 8)


def test_the_table_says_where_a_tool_fails_and_leaves_empty_what_it_cannot() -> None:
    samples = [
        _saved("thence", 1, 1.25),
        _saved("oxen", 1, 0, failed="status 1"),
        Sample("files", "status", "thence", 1, cpu_s=0.5),
    ]

    table = markdown(_document(*samples))

    assert "| save 1 GiB, incompressible | 1.25 | fails |" in table
    assert "| status, nothing changed | 0.50 |  |" in table
