"""Cutting: both engines agree, sizes are in their bounds, and cuts move with the content."""

import io
import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from thence.vault import chunk, stretches
from thence.vault.chunk import AVERAGE, MAXIMUM, MINIMUM
from thence.vault.stretches import of_file

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


def read_again(path: Path) -> tuple[bytes, list[int]]:
    """A file as it is read to be kept, and where its chunks end."""
    data, ends = bytearray(), []
    buffers: list[bytearray] = []
    with path.open("rb", buffering=0) as file:
        for stretch in of_file(file.fileno(), os.fstat(file.fileno()), buffers):
            ends += [len(data) + end for end in stretch.ends]
            data += stretch.data
            if stretch.buffer is not None:
                stretch.buffer[:] = b"#" * len(stretch.buffer)  # whoever reads it now reads this
                buffers.append(stretch.buffer)
    return bytes(data), ends


@settings(max_examples=25, deadline=None)
@given(KINDS, st.integers(0, 5 * MAXIMUM), st.integers(0, 2**32))
@example("random", 2 * MAXIMUM - 1, 0)
@example("random", 2 * MAXIMUM, 0)
@example("random", 4 * MAXIMUM, 7)
@example("zeros", 4 * MAXIMUM + 1, 0)
def test_a_file_read_piecewise_is_cut_as_one(kind: str, size: int, seed: int) -> None:
    data = generate(kind, size, seed)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(stretches, "STRETCH", 2 * MAXIMUM)
        path = Path(folder) / "file"
        path.write_bytes(data)
        assert read_again(path) == (data, chunk.cut(data))


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 6_000_000)).filter(lambda part: sum(part) > 0),
        min_size=1,
        max_size=5,
    ),
    st.integers(0, 2**32),
)
@example([(False, 9_000_000)], 0)
@example([(False, 4_194_304), (True, 1), (False, 4_194_304)], 0)
@example([(True, 100_000), (False, 9_437_184), (True, 300_000)], 3)
@example([(False, 5_000_000), (True, 10), (False, 12_345_678), (True, 70_000)], 5)
def test_a_file_with_holes_is_cut_as_if_it_had_none(
    parts: list[tuple[bool, int]], seed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        with path.open("wb") as file:
            for written, length in parts:
                if written:
                    file.write(generate("random", length, seed))
                else:
                    file.seek(length, os.SEEK_CUR)
            file.truncate()
        data = path.read_bytes()
        assert read_again(path) == (data, chunk.cut(data))


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
