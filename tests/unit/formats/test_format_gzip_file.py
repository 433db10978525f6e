"""Compressed files are unpacked with a limit, and compared without reading them whole."""

import gzip
import resource
from pathlib import Path

import pytest

from thence.errors import ThenceError
from thence.formats import gzip_file
from thence.formats.base import CompareContext
from thence.formats.registry import compare, load_file
from thence.model.records import Grade


def pack(path: Path, data: bytes, level: int = 9) -> Path:
    with gzip.GzipFile(path, "wb", level, mtime=level) as file:
        file.write(data)
    return path


def test_a_file_that_unpacks_to_far_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gzip_file, "_LARGEST_BYTES", 100_000)
    bomb = pack(tmp_path / "a.txt.gz", bytes(8_000_000))
    with pytest.raises(ThenceError) as caught:
        load_file(bomb)
    assert "far too large when unpacked" in str(caught.value)
    # A file is not refused for its size alone, nor for packing well while it is small.
    load_file(pack(tmp_path / "large.txt.gz", b"%d\n" * 100_000, level=0))
    load_file(pack(tmp_path / "small.txt.gz", bytes(90_000)))


def test_bombs_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzip_file, "_LARGEST_BYTES", 100_000)
    one = pack(tmp_path / "one", bytes(8_000_000))
    other = pack(tmp_path / "other", bytes(8_000_000), level=6)
    assert compare(one, other, "a.bin.gz", CompareContext()).grade is Grade.UNCHECKED


def test_equal_content_is_compared_in_blocks(tmp_path: Path) -> None:
    size = 64 << 20
    one = pack(tmp_path / "one", bytes(size))
    other = pack(tmp_path / "other", bytes(size), level=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert compare(one, other, "a.bin.gz", CompareContext()).grade is Grade.EQUIVALENT
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < size // 1024
