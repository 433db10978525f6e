"""Files with room made before and holes."""

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from thence.vault import newfile
from thence.vault.newfile import NewFile, is_hole, zeros


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield file
    os.close(file)


def test_pieces_and_holes_in_any_order(descriptor: int) -> None:
    file = NewFile(descriptor)
    big = b"x" * 10_000
    file.write([zeros(5000), b"a", b"b", zeros(300_000)])
    file.write([])
    file.write([big] * 1100)
    file.write([zeros(7000)])
    file.end()
    expected = bytes(5000) + b"ab" + bytes(300_000) + big * 1100 + bytes(7000)
    assert file.size_bytes == len(expected)
    assert os.pread(descriptor, len(expected) + 1, 0) == expected


def test_what_is_all_zeros_takes_no_room(descriptor: int) -> None:
    file = NewFile(descriptor)
    file.write([zeros(256 * 1024)] * 400)
    file.end()
    facts = os.fstat(descriptor)
    assert facts.st_size == 400 * 256 * 1024
    assert facts.st_blocks * 512 < 1024 * 1024


def test_only_what_was_made_a_hole_is_one() -> None:
    assert is_hole(zeros(10))
    assert not is_hole(bytes(10))
    assert not is_hole(memoryview(bytes(10)))
    assert zeros(10**6) == bytes(10**6)


def test_a_write_that_is_cut_short_goes_on(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwritev", lambda file, parts, at: os.pwrite(file, parts[0][:2], at))
    file = NewFile(descriptor)
    file.write([b"first", b"second"])
    file.end()
    assert os.pread(descriptor, 99, 0) == b"firstsecond"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EOPNOTSUPP])
def test_a_disk_without_room_is_noticed_and_one_without_the_call_is_written(
    descriptor: int, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*args: int) -> int:
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(newfile, "_fallocate", lambda: refuse)
    file = NewFile(descriptor)
    if number == errno.ENOSPC:
        with pytest.raises(OSError, match="No space"):
            file.write([b"x" * 2_000_000])
        assert os.fstat(descriptor).st_size == 0
    else:
        file.write([b"x" * 2_000_000])
        assert os.fstat(descriptor).st_size == 2_000_000
