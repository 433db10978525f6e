"""What is measured now, joined with what was measured before."""

from typing import Any

import pytest
from bench.storage import added
from bench.storage_table import Sample


def _document(source: str, tools: list[str], *, rounds: int, scale: float = 1) -> dict[str, Any]:
    return {
        "source": source,
        "scale": scale,
        "rounds": rounds,
        "versions": dict.fromkeys(tools, "1"),
        "notes": dict.fromkeys(tools, "as it is"),
        "samples": [Sample("big", "save", tool, 1, cpu_s=1.0).packed() for tool in tools],
        "sizes": {"big": [1]},
    }


def test_what_was_measured_of_the_same_state_stands() -> None:
    earlier = _document("abc", ["thence", "dvc"], rounds=2)
    now = {**_document("abc", ["borg"], rounds=0), "samples": []}

    joined = added(earlier, now)

    assert joined["samples"] == earlier["samples"]
    assert joined["rounds"] == 2
    assert list(joined["versions"]) == ["thence", "dvc", "borg"]


def test_what_was_measured_of_another_state_of_thence_is_left_out() -> None:
    joined = added(_document("abc", ["thence", "dvc"], rounds=1), _document("xyz", [], rounds=0))

    assert [Sample(*one).tool for one in joined["samples"]] == ["dvc"]


def test_what_had_another_size_is_not_joined() -> None:
    with pytest.raises(ValueError, match=r"scale of 0\.1"):
        added(_document("abc", [], rounds=1, scale=0.1), _document("abc", [], rounds=0))
