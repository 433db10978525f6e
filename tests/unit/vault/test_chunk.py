"""Where content is cut: fixed for ever."""

import hashlib
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thence.store.base import Bytes
from thence.vault import chunk

GOLDEN = Path(__file__).parents[2] / "golden" / "chunks.json"
VECTORS = json.loads(GOLDEN.read_text("utf-8"))["vectors"]


def make(data: dict[str, Any]) -> bytes:
    """The data that a vector describes; tests/golden/chunks.json says how in words."""
    size = data["size"]
    if data["kind"] == "zeros":
        return bytes(size)
    if data["kind"] == "counter":
        seed = data["seed"].encode()
        blocks = range(-(-size // 32))
        return b"".join(
            hashlib.sha256(seed + block.to_bytes(8, "little")).digest() for block in blocks
        )[:size]
    rows = bytearray()
    for i in itertools.count():
        if len(rows) >= size:
            break
        rows += f"{i},{i * i % 9973},{i * 7919 % 100003 / 1000:.3f},name-{i % 331}\n".encode()
    return bytes(rows[:size])


@pytest.mark.parametrize("engine", [chunk.cut, chunk.numpy_cuts])
@pytest.mark.parametrize(
    "vector", VECTORS, ids=lambda vector: f"{vector['data']['kind']}-{vector['data']['size']}"
)
def test_golden_cuts(vector: dict[str, Any], engine: Callable[[Bytes], list[int]]) -> None:
    data = make(vector["data"])
    assert hashlib.sha256(data).hexdigest() == vector["sha256"]
    assert engine(data) == vector["ends"]


def test_the_native_engine_is_the_one_that_is_tested() -> None:
    pytest.importorskip("pyfastcdc")
    assert chunk._engine() is not chunk.numpy_cuts


def test_numpy_steps_in_where_the_native_engine_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyfastcdc", None)
    chunk._engine.cache_clear()
    try:
        assert chunk._engine() is chunk.numpy_cuts
    finally:
        chunk._engine.cache_clear()


def test_any_buffer_is_cut_alike() -> None:
    data = make({"kind": "counter", "seed": "b", "size": 300_000})
    ends = chunk.cut(data)
    for other in (bytearray(data), memoryview(data), memoryview(bytearray(b"x" + data))[1:]):
        assert chunk.cut(other) == chunk.numpy_cuts(other) == ends
