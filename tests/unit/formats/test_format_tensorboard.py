"""Event files are written by tensorboardX, at other times and with other values."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionStartInfo
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboardX.proto.tensor_pb2 import TensorProto
from tensorboardX.record_writer import masked_crc32c

from thence.formats.base import CompareContext, Tolerance
from thence.formats.registry import compare
from thence.model.records import Comparison, Grade

NAME = "runs/events.out.tfevents.1700000000.host"


def _train(writer: Any, wall: float, loss: float = 0.5) -> None:
    for step in range(3):
        writer.add_scalar("loss", loss / (step + 1), step, walltime=wall + step)
    writer.add_histogram("weights", np.linspace(0, loss, 100), 2, walltime=wall)
    writer.add_image("sample", np.full((3, 4, 4), 0.5), 2, walltime=wall)
    writer.add_text("note", "some words", 2, walltime=wall)


def _write(folder: Path, script: Callable[[Any], None]) -> Path:
    with SummaryWriter(str(folder)) as writer:
        script(writer)
    (path,) = folder.rglob("*tfevents*")
    return path


def _compare(one: Path, other: Path, **tolerance: Any) -> Comparison:
    return compare(one, other, NAME, CompareContext(tolerance=Tolerance(**tolerance)))


def _events(path: Path, *events: Event) -> Path:
    data = b""
    for event in events:
        record = event.SerializeToString()
        length = struct.pack("<Q", len(record))
        data += length + struct.pack("<I", masked_crc32c(length))
        data += record + struct.pack("<I", masked_crc32c(record))
    path.write_bytes(data)
    return path


def _event(wall: float, step: int, value: Summary.Value) -> Event:
    return Event(wall_time=wall, step=step, summary=Summary(value=[value]))


def test_the_same_training_at_another_time_is_equivalent(tmp_path: Path) -> None:
    one = _write(tmp_path / "one", lambda writer: _train(writer, 1.7e9))
    other = _write(tmp_path / "other", lambda writer: _train(writer, 1.8e9))
    outcome = _compare(one, other)
    assert outcome.grade is Grade.EQUIVALENT
    assert outcome.detail == "same events, at other times; ignored wall_time"


def test_another_loss_is_different_and_the_first_event_is_named(tmp_path: Path) -> None:
    one = _write(tmp_path / "one", lambda writer: _train(writer, 1.7e9))
    other = _write(tmp_path / "other", lambda writer: _train(writer, 1.8e9, 0.5 + 1e-6))
    outcome = _compare(one, other)
    assert outcome.grade is Grade.DIFFERENT
    assert str(outcome.detail).startswith(
        "event 2 (step 0).summary.value[loss].value: 0.5 -> 0.50000101"
    )
    loose = _compare(one, other, absolute=1e-3, relative=1e-3)
    assert loose.grade is Grade.WITHIN_TOLERANCE


@pytest.mark.parametrize(
    "script",
    [
        lambda writer: writer.add_scalar("loss", 0.5, 2, walltime=1),
        lambda writer: writer.add_scalar("Loss", 0.5, 1, walltime=1),
        lambda writer: writer.add_scalar("loss", float("nan"), 1, walltime=1),
        lambda writer: writer.add_scalar("loss", np.nextafter(np.float32(0.5), 1), 1, walltime=1),
        lambda writer: writer.add_text("loss", "0.5", 1, walltime=1),
        lambda writer: None,
        lambda writer: [writer.add_scalar("loss", 0.5, 1, walltime=1) for _ in range(2)],
    ],
)
def test_near_misses_are_different(tmp_path: Path, script: Callable[[Any], None]) -> None:
    one = _write(tmp_path / "one", lambda writer: writer.add_scalar("loss", 0.5, 1, walltime=1))
    other = _write(tmp_path / "other", script)
    for pair in ((one, other), (other, one)):
        outcome = _compare(*pair, absolute=1e-9)
        assert outcome.grade is Grade.DIFFERENT
        assert outcome.detail


def test_the_order_of_events_counts(tmp_path: Path) -> None:
    a = _event(1, 1, Summary.Value(tag="a", simple_value=1))
    b = _event(1, 1, Summary.Value(tag="b", simple_value=2))
    one, other = _events(tmp_path / "one", a, b), _events(tmp_path / "other", b, a)
    assert _compare(one, other).grade is Grade.DIFFERENT


@pytest.mark.parametrize(
    "script",
    [
        lambda writer, more: writer.add_image("x", np.full((3, 4, 4), 0.5 + more), 1),
        lambda writer, more: writer.add_text("x", f"words {more}", 1),
        lambda writer, more: writer.add_histogram("x", np.arange(9) + more, 1),
    ],
)
def test_pictures_texts_and_histograms_are_compared(
    tmp_path: Path, script: Callable[[Any, float], None]
) -> None:
    one = _write(tmp_path / "one", lambda writer: script(writer, 0.0))
    other = _write(tmp_path / "other", lambda writer: script(writer, 0.25))
    assert _compare(one, other).grade is Grade.DIFFERENT


def test_times_of_hyperparameters_do_not_count_and_their_values_do(tmp_path: Path) -> None:
    one = _session(tmp_path / "one", 1.0, {"rate": 0.1, "depth": 3.0})
    later = _session(tmp_path / "later", 2.0, {"depth": 3.0, "rate": 0.1})
    other = _session(tmp_path / "other", 1.0, {"rate": 0.2, "depth": 3.0})
    same = _compare(one, later)
    assert same.grade is Grade.EQUIVALENT
    assert "ignored start_time" in str(same.detail)
    outcome = _compare(one, other)
    assert outcome.grade is Grade.DIFFERENT
    assert "hparams[rate]" in str(outcome.detail)
    more = _session(tmp_path / "more", 1.0, {"rate": 0.1, "depth": 3.0, "width": 1.0})
    assert _compare(one, more).grade is Grade.DIFFERENT


def _session(path: Path, start_s: float, hparams: dict[str, float]) -> Path:
    started = SessionStartInfo(start_time_secs=start_s)
    for name, number in hparams.items():
        started.hparams[name].number_value = number
    content = HParamsPluginData(session_start_info=started).SerializeToString()
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=content)
    value = Summary.Value(tag="_hparams_/start", metadata=SummaryMetadata(plugin_data=plugin))
    return _events(path, _event(1, 0, value))


@pytest.mark.parametrize(("dtype", "number"), [("<f4", 1), ("<f8", 2), ("<i4", 3)])
def test_tensors_deviate_only_where_they_hold_floats(
    tmp_path: Path, dtype: str, number: int
) -> None:
    pair = []
    for name, more in (("one", 0), ("other", 1)):
        content = (np.array([1, 2, 3], dtype) + np.array([0, more, 0], dtype)).tobytes()
        tensor = TensorProto(dtype=number, tensor_content=content)
        value = Summary.Value(tag="t", tensor=tensor)
        pair.append(_events(tmp_path / name, _event(1, 1, value)))
    assert _compare(*pair).grade is Grade.DIFFERENT
    loose = _compare(*pair, absolute=1.0)
    assert loose.grade is (Grade.DIFFERENT if number == 3 else Grade.WITHIN_TOLERANCE)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    one = _write(tmp_path / "one", lambda writer: _train(writer, 1.7e9))
    data = bytearray(one.read_bytes())
    data[60] ^= 1
    for damaged in (bytes(data), one.read_bytes()[:-5], one.read_bytes()[:30]):
        (tmp_path / "other").write_bytes(damaged)
        outcome = _compare(one, tmp_path / "other")
        assert outcome.grade is Grade.DIFFERENT
        assert "not readable as events" in str(outcome.detail)
        assert _compare(tmp_path / "other", one).grade in {Grade.UNCHECKED, Grade.DIFFERENT}
