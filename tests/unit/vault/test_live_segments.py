"""Segments of live runs: whole or not there, and gone when the run is sealed."""

import pytest

from thence.errors import DataDamaged, StorageError
from thence.model.ids import RunId
from thence.store.memory import MemoryStore
from thence.testing.faulty import Fault, FaultyStore, Rule
from thence.vault.live_segments import Piece, Segments, by_writer

RUN = RunId("0123456789abcdef0123")
OTHER = RunId("1123456789abcdef0123")
FIRST = Piece("7-aa", 1, b'{"name":"loss","type":"metric","value":1.0}\n')


def test_lines_come_back_as_they_were() -> None:
    segments = Segments(MemoryStore("m"))
    pieces = [FIRST, Piece("7-aa", 2, b"\xff\n{}\n"), Piece("8-bb", 1, b"x\n")]
    for piece in pieces:
        segments.publish(RUN, piece)
    assert list(segments.news(RUN, {})) == pieces
    assert list(segments.news(RUN, {"7-aa": 1, "8-bb": 1})) == pieces[1:2]
    assert list(segments.news(OTHER, {})) == []
    assert segments.runs() == {RUN}


@pytest.mark.parametrize("fault", [Fault.LOSE_RESPONSE, Fault.REPEAT])
def test_a_segment_whose_answer_was_lost_is_published_once(fault: Fault) -> None:
    store = FaultyStore(MemoryStore("m"), Rule(fault=fault, on=frozenset({1})))
    segments = Segments(store)
    if fault is Fault.LOSE_RESPONSE:
        with pytest.raises(StorageError):
            segments.publish(RUN, FIRST)
    segments.publish(RUN, FIRST)
    assert list(segments.news(RUN, {})) == [FIRST]


def test_another_segment_in_its_place_is_told() -> None:
    segments = Segments(MemoryStore("m"))
    segments.publish(RUN, FIRST)
    with pytest.raises(DataDamaged, match="something else"):
        segments.publish(RUN, FIRST._replace(lines=b"other\n"))


def test_a_segment_that_was_cut_or_changed_is_not_read() -> None:
    store = MemoryStore("m")
    segments = Segments(store)
    segments.publish(RUN, FIRST)
    (info,) = store.list()
    data = store.get(info.key)
    for bad in (data[:-1], data[:30], b"", data.replace(b"1.0", b"2.0")):
        store.replace(info.key, [bad])
        with pytest.raises(DataDamaged, match="segment"):
            list(segments.news(RUN, {}))


def test_only_whole_lines_of_a_named_writer_are_taken() -> None:
    segments = Segments(MemoryStore("m"))
    for piece in (FIRST._replace(lines=b"half"), FIRST._replace(writer="a/b")):
        with pytest.raises(ValueError, match="no segment"):
            segments.publish(RUN, piece)


def test_clearing_removes_one_run_and_a_damaged_pulse_is_none() -> None:
    store = MemoryStore("m")
    segments = Segments(store)
    for run in (RUN, OTHER):
        segments.publish(run, FIRST)
        store.replace(f"runs/{run}/pulse", [b"{"])
    assert segments.pulse(RUN) is None
    assert segments.last_sign_s(RUN) is not None
    segments.clear(RUN)
    segments.clear(RUN)
    assert segments.last_sign_s(RUN) is None
    assert segments.runs() == {OTHER}


def test_what_writers_said_is_put_together_by_their_names() -> None:
    pieces = [Piece("b", 1, b"1\n"), Piece("a", 1, b"2\n"), Piece("b", 2, b"3\n")]
    assert list(by_writer(pieces).items()) == [("a", b"2\n"), ("b", b"1\n3\n")]
