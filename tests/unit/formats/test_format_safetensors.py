"""Files are written by the library of safetensors, near misses too; what is damaged is refused."""

import json
import resource
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from thence.formats.base import CompareContext, Tolerance
from thence.formats.registry import compare
from thence.formats.tensors import ITEM_BITS, decode
from thence.model.records import Comparison, Grade


def _compare(one: Path, other: Path, **tolerance: Any) -> Comparison:
    return compare(
        one, other, "model.safetensors", CompareContext(tolerance=Tolerance(**tolerance))
    )


def _raw(path: Path, header: Any, data: bytes) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_the_same_weights_in_another_order_are_equivalent(tmp_path: Path) -> None:
    weights = {"a": np.arange(6, dtype="f4").reshape(2, 3), "b": np.array([np.nan, -0.0])}
    save_file(weights, tmp_path / "one")
    header = {
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "F64", "shape": [2], "data_offsets": [24, 40]},
    }
    _raw(tmp_path / "other", header, weights["a"].tobytes() + weights["b"].tobytes())
    assert (tmp_path / "one").read_bytes() != (tmp_path / "other").read_bytes()
    outcome = _compare(tmp_path / "one", tmp_path / "other")
    assert outcome.grade is Grade.EQUIVALENT
    assert outcome.detail == "same tensors, written in another order"


def test_times_in_the_metadata_do_not_count_and_all_else_does(tmp_path: Path) -> None:
    weights = {"a": np.zeros(2)}
    for name, metadata in (
        ("one", {"format": "np", "created_at": "2026-01-01"}),
        ("later", {"format": "np", "created_at": "2026-01-02"}),
        ("other", {"format": "pt", "created_at": "2026-01-01"}),
    ):
        save_file(weights, tmp_path / name, metadata)
    later = _compare(tmp_path / "one", tmp_path / "later")
    assert later.grade is Grade.EQUIVALENT
    assert "created_at" in later.detail
    other = _compare(tmp_path / "one", tmp_path / "other")
    assert other.grade is Grade.DIFFERENT
    assert other.detail == ".__metadata__.format: 'np' -> 'pt'"


def test_a_tolerance_names_the_largest_deviation_and_its_place(tmp_path: Path) -> None:
    weights = {"fc.weight": np.ones((3, 4), "f4")}
    save_file(weights, tmp_path / "one")
    weights["fc.weight"][0, 0] += 1e-3
    weights["fc.weight"][2, 1] += 2e-3
    save_file(weights, tmp_path / "other")
    assert _compare(tmp_path / "one", tmp_path / "other", absolute=1e-4).grade is Grade.DIFFERENT
    outcome = _compare(tmp_path / "one", tmp_path / "other", absolute=1e-2)
    assert outcome.grade is Grade.WITHIN_TOLERANCE
    assert outcome.detail is not None
    assert outcome.detail.startswith("2 numbers off, largest 0.002 at fc.weight[2, 1]: 1.0 -> ")


@pytest.mark.parametrize(
    ("dtype", "pair", "absolute", "grade"),
    [
        ("BF16", ("803f", "813f"), 0.0, Grade.DIFFERENT),  # 1 -> 1.0078125
        ("BF16", ("803f", "813f"), 0.01, Grade.WITHIN_TOLERANCE),
        ("BF16", ("803f", "813f"), 0.005, Grade.DIFFERENT),
        ("BF16", ("c07f", "c17f"), 0.0, Grade.EQUIVALENT),  # two that are no number
        ("BF16", ("c07f", "807f"), 1e9, Grade.DIFFERENT),  # NaN -> infinity
        ("BF16", ("0000", "0080"), 0.0, Grade.DIFFERENT),  # 0 -> -0
        ("F8_E4M3", ("38", "39"), 0.0, Grade.DIFFERENT),  # 1 -> 1.125
        ("F8_E4M3", ("38", "39"), 0.125, Grade.WITHIN_TOLERANCE),
        ("F8_E4M3", ("7e", "7f"), 1e9, Grade.DIFFERENT),  # 448 -> NaN
        ("F8_E5M2", ("3c", "3d"), 0.25, Grade.WITHIN_TOLERANCE),  # 1 -> 1.25
        ("F8_E8M0", ("3c", "3d"), 1e9, Grade.DIFFERENT),  # not decoded: its bytes count
    ],
)
def test_types_that_numpy_has_not(
    tmp_path: Path, dtype: str, pair: tuple[str, str], absolute: float, grade: Grade
) -> None:
    for name, digits in zip(("one", "other"), pair, strict=True):
        data = bytes.fromhex(digits)
        header = {"w": {"dtype": dtype, "shape": [1], "data_offsets": [0, len(data)]}}
        _raw(tmp_path / name, header, data)
    assert _compare(tmp_path / "one", tmp_path / "other", absolute=absolute).grade is grade


@pytest.mark.parametrize("dtype", [name for name in ITEM_BITS if hasattr(ml_dtypes, name)])
def test_all_numbers_of_small_types_are_as_others_read_them(dtype: str) -> None:
    bits = ITEM_BITS[dtype]
    every = np.arange(1 << bits, dtype=f"u{bits // 8}")
    expected = every.view(getattr(ml_dtypes, dtype)).astype(np.float32)
    decoded = decode(dtype, every.tobytes())
    assert decoded is not None
    np.testing.assert_array_equal(decoded.astype(np.float32), expected)
    numbers = ~np.isnan(expected)
    assert (np.signbit(decoded) == np.signbit(expected))[numbers].all()


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\x00" * 8,
        (1 << 62).to_bytes(8, "little") + b'{"',
        (10**8).to_bytes(8, "little") + b'{"a":1}',
        (7).to_bytes(8, "little") + b'{"a":1}',
        (2).to_bytes(8, "little") + b"[]",
        (4000).to_bytes(8, "little") + b'{"":' * 1000,
        (2).to_bytes(8, "little") + b"{}" + b"more",
    ],
)
def test_what_is_damaged_is_refused(tmp_path: Path, damaged: bytes) -> None:
    save_file({"a": np.zeros(2)}, tmp_path / "one")
    (tmp_path / "other").write_bytes(damaged)
    outcome = _compare(tmp_path / "one", tmp_path / "other")
    assert outcome.grade is Grade.DIFFERENT
    assert outcome.detail is not None
    assert "the reproduced file is not readable as safetensors" in outcome.detail


@pytest.mark.parametrize(
    "entries",
    [
        {"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 8]}},
        {"a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 16]}},
        {"a": {"dtype": "U8", "shape": [-8], "data_offsets": [0, 8]}},
        {"a": {"dtype": "U8", "shape": [True] * 3, "data_offsets": [0, 8]}},
        {"a": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]}},
        {"a": {"dtype": "X", "shape": [4], "data_offsets": [8, 0]}},
        {
            name: {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}
            for name in ("a", "b", "overlapping")
        },
        b'{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},'
        b'"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}',
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, entries: Any) -> None:
    sound = {"a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}
    one = _raw(tmp_path / "one", sound, bytes(8))
    assert _compare(one, _raw(tmp_path / "same", {**sound}, bytes(8))).grade is Grade.IDENTICAL
    outcome = _compare(one, _raw(tmp_path / "other", entries, bytes(8)))
    assert outcome.grade is Grade.DIFFERENT
    assert "not readable" in str(outcome.detail)


def test_large_tensors_are_not_read_whole(tmp_path: Path) -> None:
    count = 32 << 20
    header = {"w": {"dtype": "F32", "shape": [count // 1024, 1024], "data_offsets": [0, 4 * count]}}
    for name, place in (("one", 0), ("other", 4 * count - 4)):
        path = _raw(tmp_path / name, header, b"")
        with path.open("r+b") as file:  # sparse: only what is written takes room
            start = path.stat().st_size
            file.truncate(start + 4 * count)
            file.seek(start + place)
            file.write(np.float32(1).tobytes())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = _compare(tmp_path / "one", tmp_path / "other")
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert outcome.detail == "w[0, 0]: 1.0 -> 0.0 (and 1 more)"
    assert grown_kib < 4 * count // 1024
