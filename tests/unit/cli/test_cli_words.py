"""Sizes, times, values and JSON, as they are read and written."""

import json
import math
from datetime import UTC, datetime, timedelta

import click
import pytest

from thence.cli import human
from thence.cli.plain import dumps, plain
from thence.cli.table import Column, to_text
from thence.cli.values import as_mapping, value_of
from thence.execution.keeping import SavedVersion
from thence.index.views import CurrentAlias
from thence.model.ids import Digest
from thence.model.names import Alias
from thence.model.records import Comparison, Grade

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (3599, "59 minutes ago"),
        (3600, "1 hour ago"),
        (86399, "23 hours ago"),
        (86400, "1 day ago"),
        (29 * 86400, "29 days ago"),
        (30 * 86400, "2026-10-24"),
        (-3600, "2026-11-23"),
    ],
)
def test_ago(seconds: int, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert human.ago(NOW - timedelta(seconds=seconds), NOW) == text


def test_moment_is_absolute_and_relative() -> None:
    assert human.moment(NOW - timedelta(hours=2), NOW).endswith(", 2 hours ago")
    assert human.moment(NOW - timedelta(days=90), NOW).startswith("2026-08-2")
    assert "," not in human.moment(NOW - timedelta(days=90), NOW)


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0 B"), (1, "1 B"), (999, "999 B"), (12_345, "12.3 kB"), (5 * 10**9, "5.0 GB")],
)
def test_size(amount: int, text: str) -> None:
    assert human.size(amount) == text


def test_clean_keeps_what_people_write() -> None:
    assert human.clean("naïve 日本語\tand\nlines") == "naïve 日本語\tand\nlines"
    assert human.clean("\x1b]0;title\x07\x9b31m\r") == r"\x1b]0;title\x07\x9b31m\r"
    assert human.line("a\n b\t\tc ") == "a b c"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-0.5", -0.5),
        ("3e-4", 3e-4),
        ("true", True),
        ("null", None),
        ("adam", "adam"),
        ('"quoted"', '"quoted"'),
        ("007", "007"),
        ("", ""),
        ("[1, 2]", [1, 2]),
        ('{"a": 1}', '{"a": 1}'),
        ("inf", math.inf),
        ("-Inf", -math.inf),
        ("1_000", "1_000"),
    ],
)
def test_value_of(text: str, value: object) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


def test_value_of_not_a_number() -> None:
    assert math.isnan(value_of("NaN"))


def test_a_key_may_be_repeated_only_with_one_value() -> None:
    assert as_mapping([("a", "1"), ("a", "1")], "tag") == {"a": "1"}
    with pytest.raises(click.UsageError):
        as_mapping([("a", "1"), ("a", "2")], "tag")


def _table(width: int | None = None) -> list[str]:
    columns = [
        Column("NAME", style="cyan", flexible=True),
        Column("SIZE", right=True),
        Column("ALIASES", optional=True),
        Column("NOTE", flexible=True),
    ]
    rows = [
        ("a rather long name", "1 B", "", "short"),
        ("日本", "12.3 kB", "", "what is long, too"),
    ]
    return to_text(columns, rows, width=width).splitlines()


def test_a_table_for_a_pipe_is_never_cut() -> None:
    assert _table() == [
        "NAME                   SIZE  NOTE",
        "a rather long name      1 B  short",
        "日本                12.3 kB  what is long, too",
    ]


def test_a_table_for_a_narrow_terminal_is_cut_where_it_may_be() -> None:
    assert _table(34) == [
        "NAME            SIZE  NOTE",
        "a rather l…      1 B  short",
        "日本         12.3 kB  what is lon…",
    ]
    assert _table(10)[1] == "a rathe…      1 B  short"
    assert _table(200) == _table()


def test_cells_are_painted_and_not_their_padding() -> None:
    columns = [Column("A", style="cyan"), Column("B")]
    text = to_text(columns, [("x", "1"), ("long", "2")], paint=lambda text, style: f"<{text}>")
    assert text == "<A     B>\n<x>     1\n<long>  2\n"


def test_plain_leaves_nothing_out() -> None:
    comparison = Comparison(path="a", grade=Grade.IDENTICAL)
    assert plain(comparison) == {"path": "a", "grade": "identical", "rule": "bytes", "detail": ""}
    digest = Digest.of(b"")
    assert plain(CurrentAlias(Alias("a"), 1, digest)) == {
        "alias": "a", "number": 1, "record": str(digest),
    }  # fmt: skip
    assert "skipped" in SavedVersion._fields
    assert plain({"at": NOW, "of": ({1: b"x"},)}) == {
        "at": "2026-11-23T12:00:00.000000Z",
        "of": [{"1": "b'x'"}],
    }


def test_json_is_json_whatever_it_holds() -> None:
    line = dumps({"nan": math.nan, "inf": [-math.inf], "text": "caf\udce9\n", "big": 2**70})
    assert "\n" not in line
    assert json.loads(line) == {
        "nan": "NaN", "inf": ["-Infinity"], "text": "caf\\udce9\n", "big": 2**70,
    }  # fmt: skip
    line.encode()
