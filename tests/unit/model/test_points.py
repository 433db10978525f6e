"""Points are written as the codec writes them, only faster."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from thence.model.points import decode_points, encode_point, encode_points
from thence.model.records import MetricPoint, encode_lines

POINTS = st.builds(
    MetricPoint,
    name=st.text(st.characters(exclude_categories=["Cs"])),
    value=st.floats(),
    step=st.none() | st.integers(),
    at=st.none() | st.datetimes(timezones=st.just(UTC)),
)


@given(st.lists(POINTS))
def test_points_are_the_same_bytes(points: list[MetricPoint]) -> None:
    data = encode_points(points)
    assert data == encode_lines(points)
    assert encode_lines(decode_points(data)) == data


def test_what_only_the_codec_can_write_is_left_to_it() -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    assert encode_point("a", float("nan"), None, now) is None
    assert encode_point("a", 1, None, now) is None
    assert encode_point("a", 1.0, True, now) is None
    assert encode_point("\ud800", 1.0, None, now) is None
    assert encode_point("a", 1.0, None, now.replace(tzinfo=None)) is None
