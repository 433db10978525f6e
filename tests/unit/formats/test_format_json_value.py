import enum
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from thence.errors import DataDamaged, InvalidInput
from thence.formats.base import CompareContext, Outcome, Tolerance, Trust
from thence.formats.json_value import JSON
from thence.formats.registry import load
from thence.model.records import Grade, Kind


def _compare(
    tmp_path: Path, one: str, other: str, name: str = "a.json", **tolerance: Any
) -> Outcome:
    first, second = tmp_path / "original", tmp_path / "reproduced"
    first.write_text(one)
    second.write_text(other)
    context = CompareContext(tolerance=Tolerance(**tolerance), name=name)
    return JSON().compare(first, second, context)


def _round_trip(tmp_path: Path, value: Any) -> Any:
    dumped = JSON().save(value, "v")
    (tmp_path / dumped.files[0].name).write_bytes(dumped.files[0].data)
    return JSON().load(tmp_path / dumped.files[0].name, dumped.metadata, Trust())


def test_spacing_and_order_of_keys_do_not_matter(tmp_path: Path) -> None:
    outcome = _compare(tmp_path, '{"a": 1, "b": [1, 2]}', '{"b":[1,2],\n"a":1}')
    assert outcome.grade is Grade.EQUIVALENT


def test_the_place_of_the_first_difference_is_told(tmp_path: Path) -> None:
    outcome = _compare(tmp_path, '{"lucky": 0.12, "n": 3}', '{"lucky": 0.93, "n": 3}')
    assert outcome == (Grade.DIFFERENT, "json", ".lucky: 0.12 -> 0.93")
    outcome = _compare(tmp_path, '{"a b": [{"x.y": 1}]}', '{"a b": [{"x.y": 2}]}')
    assert outcome.detail == '["a b"][0]["x.y"]: 1 -> 2'


def test_a_tolerance_gives_within_tolerance_and_never_equivalent(tmp_path: Path) -> None:
    outcome = _compare(tmp_path, '{"a": 1.0}', '{"a": 1.0001}', relative=0.001)
    assert outcome.grade is Grade.WITHIN_TOLERANCE
    assert "0.0001 at .a: 1.0 -> 1.0001" in outcome.detail
    beyond = _compare(tmp_path, '{"a": 1.0}', '{"a": 1.01}', relative=0.001)
    assert beyond.grade is Grade.DIFFERENT
    kinds = _compare(tmp_path, '{"a": 1}', '{"a": 1.0001}', relative=0.001)
    assert kinds.grade is Grade.WITHIN_TOLERANCE
    truth = _compare(tmp_path, '{"a": 1}', '{"a": true}', absolute=5)
    assert truth.grade is Grade.DIFFERENT


def test_fields_that_change_in_every_run_are_passed_over_and_named(tmp_path: Path) -> None:
    outcome = _compare(
        tmp_path,
        '{"auc": 0.9, "seconds": 1.5, "env": {"hostname": "a", "timestamp": "x"}}',
        '{"auc": 0.9, "seconds": 2.5, "env": {"hostname": "b", "timestamp": "y"}}',
    )
    assert outcome.grade is Grade.EQUIVALENT
    for field in (".seconds", ".env.hostname", ".env.timestamp"):
        assert f"ignored {field}" in outcome.detail


def test_dates_in_lists_are_data(tmp_path: Path) -> None:
    outcome = _compare(tmp_path, '[{"date": "2026-01-01"}]', '[{"date": "2026-01-02"}]')
    assert outcome.grade is Grade.DIFFERENT
    assert _compare(tmp_path, '[{"seconds": 1.0}]', '[{"seconds": 2.0}]').grade is Grade.EQUIVALENT


def test_more_volatile_fields_can_be_named(tmp_path: Path) -> None:
    one, other = '{"runs": [{"cost": 1, "n": 1}]}', '{"runs": [{"cost": 2, "n": 1}]}'
    assert _compare(tmp_path, one, other).grade is Grade.DIFFERENT
    assert _compare(tmp_path, one, other, volatile=("runs.*.cost",)).grade is Grade.EQUIVALENT
    gone = _compare(tmp_path, one, '{"runs": [{"n": 1}]}', volatile=("cost",))
    assert gone.grade is Grade.DIFFERENT


def test_json_lines_are_compared_line_by_line(tmp_path: Path) -> None:
    one = '{"a": 1}\n{"a": 2}\n'
    assert _compare(tmp_path, one, '{"a":1}\n{"a":2}', "a.jsonl").grade is Grade.EQUIVALENT
    outcome = _compare(tmp_path, one, '{"a": 1}\n{"a": 3}\n', "a.jsonl")
    assert outcome.detail == "[1].a: 2 -> 3"
    assert _compare(tmp_path, one, '{"a": 1}\n', "a.jsonl").detail == "fewer than 1 lines"
    swapped = _compare(tmp_path, one, '{"a": 2}\n{"a": 1}\n', "a.jsonl")
    assert swapped.grade is Grade.DIFFERENT


def test_yaml_and_toml_are_compared_by_value(tmp_path: Path) -> None:
    assert _compare(tmp_path, "a: 1\nb: [x]", "b:\n- x\na: 1", "c.yaml").grade is Grade.EQUIVALENT
    assert _compare(tmp_path, "a: 1", "a: 2", "c.yml").detail == ".a: 1 -> 2"
    assert _compare(tmp_path, "a = 1", "a=1 # one", "c.toml").grade is Grade.EQUIVALENT
    assert _compare(tmp_path, "a = 1", "a = 1.0", "c.toml").grade is Grade.DIFFERENT


class _Color(enum.Enum):
    RED = "red"


def test_what_comes_back_of_each_type(tmp_path: Path) -> None:
    assert _round_trip(tmp_path, (1, 2)) == [1, 2]
    assert _round_trip(
        tmp_path, {"t": datetime(2026, 1, 2, tzinfo=UTC), "d": date(2026, 1, 2)}
    ) == {
        "t": "2026-01-02T00:00:00.000000Z",
        "d": "2026-01-02",
    }
    assert _round_trip(tmp_path, {"c": _Color.RED}) == {"c": "red"}
    numbers = _round_trip(tmp_path, {"i": np.int64(3), "f": np.float32(0.5), "b": np.bool_(True)})
    assert numbers == {"i": 3, "f": 0.5, "b": True}
    assert [type(value) for value in numbers.values()] == [bool, float, int]  # sorted by key
    back = _round_trip(tmp_path, [float("nan"), float("-inf"), -0.0])
    assert [repr(value) for value in back] == ["nan", "-inf", "-0.0"]


def test_odd_keys_survive(tmp_path: Path) -> None:
    value = {"$f": "NaN", "$$": 1, "": 2, "a.b": 3, "ü\n": 4, "$i": {"$i": "5"}}
    assert _round_trip(tmp_path, value) == value


def test_the_file_is_plain_sorted_json() -> None:
    dumped = JSON().save({"b": 1, "a": {"c": [1, 2]}}, "params")
    assert dumped.files[0].name == "params.json"
    assert dumped.files[0].data.startswith(b'{\n  "a": {\n    "c": [')
    assert dumped.kind is Kind.CONFIG
    assert JSON().save({"auc": 1}, "metrics").kind is Kind.METRICS
    assert JSON().save({"b": 1, "a": 2}, "x") == JSON().save({"a": 2, "b": 1}, "x")


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({"model": {"w": np.zeros(2)}}, "numpy.ndarray at .model.w"),
        ({"rows": [1, pd.DataFrame()]}, "pandas.DataFrame at .rows[1]"),
        ({"s": {1, 2}}, "builtins.set at .s"),
        ({"b": b"x"}, "builtins.bytes at .b"),
        ({1: "a"}, "the key 1 at the top is not text"),
        ({"t": datetime(2026, 1, 1)}, "without a zone"),  # noqa: DTZ001 - that is the point
    ],
)
def test_what_json_has_not_is_refused_with_its_place(value: Any, what: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        JSON().save(value, "x")
    assert what in caught.value.what


def test_what_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(InvalidInput, match="contains itself"):
        JSON().save(value, "x")


def test_a_damaged_file_of_ours_is_damaged_data(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text('{"$x": 1}')
    with pytest.raises(DataDamaged):
        load(tmp_path, {"format": "json", "file": "v.json"})
