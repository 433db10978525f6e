"""Cutting: both engines agree, sizes are in their bounds, and cuts move with the content."""

import io
import os
import random
import tempfile
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from thence.vault import chunk, writer
from thence.vault.chunk import AVERAGE, MAXIMUM, MINIMUM

# Sizes beside every limit, where an engine may look at one byte too many.
LIMITS = [0, 1, 63, 64, MINIMUM, MINIMUM + 48, AVERAGE, MAXIMUM, MAXIMUM + MINIMUM, 2 * MAXIMUM]
SIZES = st.one_of(
    st.builds(lambda n, d: max(0, n + d), st.sampled_from(LIMITS), st.integers(-3, 3)),
    st.integers(0, 600_000),
)


def generate(kind: str, size: int, seed: int) -> bytes:
    dice = random.Random(seed)
    match kind:
        case "zeros":
            return bytes(size)
        case "random":
            return dice.randbytes(size)
        case "period":
            return (dice.randbytes(dice.randrange(1, 200)) * (size + 1))[:size]
        case "mixed":
            parts: list[bytes] = []
            while sum(len(part) for part in parts) < size:
                length = dice.randrange(1, 80_000)
                parts.append(dice.choice([bytes(length), dice.randbytes(length)]))
            return b"".join(parts)[:size]
    out = io.StringIO()
    while out.tell() < size:
        out.write(f"{out.tell()},{dice.random():.6f},{dice.choice(['red', 'green'])}\n")
    return out.getvalue().encode()[:size]


KINDS = st.sampled_from(["zeros", "random", "period", "mixed", "csv"])


@settings(max_examples=60, deadline=None)
@given(KINDS, SIZES, st.integers(0, 2**32))
@example("random", 262_145, 1)
@example("zeros", 262_145, 1)
def test_both_engines_cut_alike(kind: str, size: int, seed: int) -> None:
    pytest.importorskip("pyfastcdc")
    data = generate(kind, size, seed)
    assert chunk.cut(data) == chunk.numpy_cuts(data)


@settings(max_examples=40, deadline=None)
@given(KINDS, SIZES, st.integers(0, 2**32))
def test_chunks_have_their_sizes_and_cover_the_data(kind: str, size: int, seed: int) -> None:
    ends = chunk.cut(generate(kind, size, seed))
    assert (ends[-1] if ends else 0) == size
    lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    assert all(MINIMUM <= length <= MAXIMUM for length in lengths[:-1])
    assert all(0 < length <= MAXIMUM for length in lengths[-1:])


@settings(max_examples=25, deadline=None)
@given(KINDS, st.integers(0, 1_200_000), st.integers(0, 2**32), st.integers(0, 70_000))
@example("random", 512 * 1024 - 1, 0, 1)
@example("random", 512 * 1024, 0, 0)
@example("random", 1024 * 1024, 7, 32_769)
@example("zeros", 1024 * 1024 + 1, 0, 32_769)
def test_a_file_read_piecewise_is_cut_as_one(kind: str, size: int, seed: int, head: int) -> None:
    data = generate(kind, size, seed)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryFile() as file:
        patch.setattr(writer, "SEGMENT", 2 * MAXIMUM)
        file.write(data)
        file.flush()
        os.lseek(file.fileno(), min(head, size), os.SEEK_SET)
        ends: list[int] = []
        read: list[Any] = []
        for segment in writer._segments(data[:head], file.fileno()):
            base = ends[-1] if ends else 0
            ends += [base + end for end in segment.ends]
            read.append(bytes(segment.data))
    assert b"".join(read) == data
    assert ends == chunk.cut(data)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1_000_000, 2_000_000), st.integers(0, 2**32), st.floats(0, 1), st.binary(max_size=9)
)
def test_an_edit_moves_few_cuts(size: int, seed: int, place: float, inserted: bytes) -> None:
    data = generate("random", size, seed)
    at = int(place * size)
    edited = data[:at] + inserted + data[at:]
    before = set(_pieces(data))
    assert len([piece for piece in _pieces(edited) if piece not in before]) <= 8


def _pieces(data: bytes) -> list[bytes]:
    ends = chunk.cut(data)
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
