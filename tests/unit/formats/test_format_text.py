from pathlib import Path
from typing import Any

import pytest

from thence.errors import InvalidInput
from thence.formats.base import CompareContext, Outcome, Tolerance
from thence.formats.text import Raw, Text
from thence.model.records import Grade, Kind


def _compare(tmp_path: Path, one: str, other: str, **tolerance: Any) -> Outcome:
    first, second = tmp_path / "original", tmp_path / "reproduced"
    first.write_bytes(one.encode())
    second.write_bytes(other.encode())
    return Text().compare(first, second, CompareContext(tolerance=Tolerance(**tolerance)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a\r\nb\r\n", "a\nb"),
        ("2026-11-23T10:00:00Z start", "2026-11-24T11:01:02.123+01:00 start"),
        ("2026-11-23 10:00:00,123 INFO", "2026-11-24 11:00:00,456 INFO"),
        ("[10:00:00] x", "[11:11:11.5] x"),
        ("<object at 0x7f1234567890>", "<object at 0x55d0aabbccdd>"),
        ("id 123e4567-e89b-12d3-a456-426614174000", "id 00000000-e89b-12d3-a456-426614174000"),
        ("took 1.5 s", "took 12 ms"),
        ("elapsed time: 3.2s", "elapsed time: 4s"),
        ("Finished in 3 minutes", "Finished in 2.5 minutes"),
        ("generated on 2026-11-23", "generated on 2026-11-24"),
    ],
)
def test_what_changes_in_every_run_is_equivalent(tmp_path: Path, one: str, other: str) -> None:
    assert _compare(tmp_path, one, other).grade is Grade.EQUIVALENT


@pytest.mark.parametrize(
    ("one", "other", "detail"),
    [
        ("a\nb\nc", "a\nB\nc", "line 2: 'b' -> 'B'"),
        ("a\nb", "a", "line 2: 'b' -> end of file"),
        ("a", "a\nb\nc", "line 2: end of file -> 'b' (and 1 more)"),
        ("day 2026-11-23", "day 2026-11-24", None),
        ("mass 12 s", "mass 13 s", None),
        ("took 1 s: 5 rows", "took 1 s: 6 rows", None),
        ("10:00:00 ok", "10:00:00 no", None),
        ("0x10", "0x20", None),
    ],
)
def test_differences_are_told_by_line(
    tmp_path: Path, one: str, other: str, detail: str | None
) -> None:
    outcome = _compare(tmp_path, one, other)
    assert outcome.grade is Grade.DIFFERENT
    assert detail in {None, outcome.detail}


def test_numbers_in_lines_may_deviate_within_a_tolerance(tmp_path: Path) -> None:
    one, other = "auc 0.912 after 10 steps", "auc 0.913 after 10 steps"
    assert _compare(tmp_path, one, other).grade is Grade.DIFFERENT
    within = _compare(tmp_path, one, other, absolute=0.01)
    assert within.grade is Grade.WITHIN_TOLERANCE
    assert "line 1" in within.detail
    worse = _compare(tmp_path, one, "auc 0.913 after 11 steps", absolute=0.01)
    assert worse.grade is Grade.DIFFERENT
    words = _compare(tmp_path, one, "AUC 0.913 after 10 steps", absolute=0.01)
    assert words.grade is Grade.DIFFERENT
    names = _compare(tmp_path, "layer2 1.5", "layer3 1.5", absolute=5)
    assert names.grade is Grade.DIFFERENT


def test_bytes_that_are_not_unicode_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x\xff\n")
    (tmp_path / "b").write_bytes(b"x\xfe\n")
    outcome = Text().compare(tmp_path / "a", tmp_path / "b", CompareContext())
    assert outcome.grade is Grade.DIFFERENT


def test_a_name_with_a_suffix_of_text_is_kept() -> None:
    assert Text().save("# hi", "notes.md").files[0].name == "notes.md"
    assert Text().save("select 1", "q.sql").kind is Kind.CODE
    assert Text().save("hi", "notes").files[0].name == "notes.txt"
    assert Text().save("hi", "churn.v2").files[0].name == "churn.v2.txt"
    assert Text().save("a\r\nb", "n").files[0].data == b"a\r\nb"


def test_text_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(InvalidInput, match="character 1"):
        Text().save("a\udcff", "x")


def test_bytes_are_kept_and_recognised() -> None:
    png = b"\x89PNG\r\n\x1a\n" + bytes(8)
    assert Raw().save(png, "plot.png").kind is Kind.FIGURE
    assert Raw().save(memoryview(b"abc"), "x").files == (("x.bin", b"abc"),)
