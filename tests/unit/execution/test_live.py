"""What a program says of its run while it goes on."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from thence.execution import live
from thence.execution.live import (
    LoggedMetric,
    LoggedParam,
    MadeVersion,
    Tail,
    UsedVersion,
    read_lines,
)
from thence.model import codec
from thence.model.ids import Digest

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DIGEST = Digest.of(b"x")


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """With the key of a project above, as in `.thence/spool/<run>`."""
    (tmp_path / "secret.key").write_bytes(bytes(32))
    folder = tmp_path / "spool" / "run"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(autouse=True)
def nothing_attached(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(live.SPOOL_VARIABLE, raising=False)
    live.attach(None)
    yield
    live.attach(None)


def logged(spool: Path, **values: Any) -> dict[str, Any]:
    Tail(spool, clock=lambda: NOW).log(values)
    return {
        line.name: line.value
        for line in read_lines(spool)
        if isinstance(line, (LoggedMetric, LoggedParam))
    }


def test_lines_come_back_as_they_were(spool: Path) -> None:
    tail = Tail(spool, clock=lambda: NOW)
    tail.log({"loss": 0.5, "n": 2}, step=7)
    tail.log({"name": "baseline", "deep": True, "none": None})
    tail.append(MadeVersion(version=DIGEST))
    tail.append(UsedVersion(version=DIGEST))
    assert list(read_lines(spool)) == [
        LoggedMetric(name="loss", value=0.5, step=7, at=NOW),
        LoggedMetric(name="n", value=2.0, step=7, at=NOW),
        LoggedParam(name="name", value="baseline"),
        LoggedParam(name="deep", value=True),
        LoggedParam(name="none", value=None),
        MadeVersion(version=DIGEST),
        UsedVersion(version=DIGEST),
    ]


def test_numbers_of_any_library_are_metrics(spool: Path) -> None:
    import numpy as np

    found = logged(
        spool,
        a=np.float32(0.5),
        b=np.int64(2),
        c=np.array(1.5),
        d=np.array([1.5]),
        e=np.bool_(True),
        f=float("inf"),
    )
    assert {name: found[name] for name in "abcf"} == {
        "a": 0.5,
        "b": 2.0,
        "c": 1.5,
        "f": float("inf"),
    }
    assert isinstance(found["d"], str)
    assert isinstance(found["e"], (str, bool))


def test_what_cannot_be_written_is_said_and_not_raised(
    spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Nasty:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    found = logged(spool, nasty=Nasty(), bad="\ud800", fine=1.0, huge=10**400)
    assert found["fine"] == 1.0
    assert "nasty" not in found
    assert caplog.text.count("a logged value was lost") >= 1
    spool.joinpath("x").touch()
    lost = Tail(spool / "no" / "such" / "folder")
    lost.log({"a": 1})
    assert "a logged value was lost" in caplog.text


def test_long_texts_and_lists_are_cut(spool: Path) -> None:
    found = logged(spool, long=["a"] * 1000, short=(1, "b", 2.5, None), deep=[[1], {"a": 1}])
    assert len(found["long"]) == 1000
    assert isinstance(found["long"], str)
    assert found["short"] == [1, "b", 2.5, None]
    assert found["deep"] == [[1], "{'a': 1}"]


def test_secrets_are_replaced_before_they_are_written(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVICE_PASSWORD", "correct-horse-9")
    found = logged(
        spool,
        password="battery-staple-4",
        harmless=["correct-horse-9", 3],
        url="https://ada:swordfish-77@example.org",
        optimizer="adam",
    )
    written = b"".join(path.read_bytes() for path in spool.iterdir())
    for secret in (b"correct-horse", b"battery-staple", b"swordfish"):
        assert secret not in written
    assert found["optimizer"] == "adam"
    assert found["harmless"][1] == 3


def test_torn_and_strange_lines_are_passed_over(spool: Path) -> None:
    good = {"name": "a", "type": "metric", "value": 1}
    lines = [b"", b"\xff", b"[]", b"3", b'{"type":"other"}', b'{"type":"metric"}', b'{"na']
    (spool / "events-1-aa.jsonl").write_bytes(
        b"\n".join([lines[0], json.dumps(good).encode(), *lines[1:]])
    )
    (spool / "other.jsonl").write_bytes(json.dumps({**good, "name": "b"}).encode())
    assert [line.name for line in read_lines(spool) if isinstance(line, LoggedMetric)] == ["a"]


def test_each_process_has_a_file_of_its_own(spool: Path) -> None:
    tail = Tail(spool)
    tail.log({"parent": 1})
    child = os.fork()
    if child == 0:
        tail.log({"child": 2})
        os._exit(0)
    os.waitpid(child, 0)
    tail.log({"parent": 3})
    files = sorted(spool.glob("events-*.jsonl"))
    assert len(files) == 2
    values = {line.value for line in read_lines(spool) if isinstance(line, LoggedMetric)}
    assert values == {1.0, 2.0, 3.0}


def test_the_current_tail_is_found_by_the_variable(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert live.current() is None
    live.tell(MadeVersion(version=DIGEST))  # nobody listens
    monkeypatch.setenv(live.SPOOL_VARIABLE, str(spool / "gone"))
    assert live.current() is None
    monkeypatch.setenv(live.SPOOL_VARIABLE, str(spool))
    live.tell(MadeVersion(version=DIGEST))
    assert list(read_lines(spool)) == [MadeVersion(version=DIGEST)]


def test_points_of_several_processes_are_in_the_order_of_their_times(spool: Path) -> None:
    lines: dict[str, list[tuple[int, int]]] = {  # (seconds, step)
        "events-1-a.jsonl": [(0, 0), (2, 2), (4, 5), (1, 6)],
        "events-2-a.jsonl": [(1, 1), (3, 3), (4, 4)],
    }
    for name, points in lines.items():
        with (spool / name).open("wb") as file:
            for seconds, step in points:
                at = NOW + timedelta(seconds=seconds)
                file.write(codec.encode(LoggedMetric(name="x", value=1.0, step=step, at=at)))
                file.write(b"\n")
    os.utime(spool / "events-1-a.jsonl", (0, 0))
    steps = [line.step for line in read_lines(spool) if isinstance(line, LoggedMetric)]
    assert steps == [0, 1, 2, 3, 4, 5, 6]


def test_params_stay_params_whatever_they_are(spool: Path) -> None:
    params = {"lr": 0.5, "layers": 3, "deep": True, "name": "x", "sizes": [1, 2]}
    Tail(spool).log_params(params)
    assert [
        (line.name, line.value) for line in read_lines(spool) if isinstance(line, LoggedParam)
    ] == [*params.items()]
