"""Paths become text and text paths, whatever bytes a file system holds."""

import os

import pytest

from thence.model.paths import PathText, path_from_text, path_to_text


@pytest.mark.parametrize(
    ("raw", "text", "percent"),
    [
        (b"a/b.csv", "a/b.csv", False),
        (b"100%", "100%", False),
        (b"a%20b", "a%20b", False),
        ("ä/数".encode(), "ä/数", False),
        (b"a\nb", "a\nb", False),
        (b"caf\xe9", "caf%E9", True),
        (b"100%\xff/a b", "100%25%FF/a b", True),
        (b"\xff\\\n", "%FF%5C%0A", True),
    ],
)
def test_paths(raw: bytes, text: str, percent: bool) -> None:
    path = os.fsdecode(raw)
    assert path_to_text(path) == PathText(text, percent)
    assert path_from_text(text, percent=percent) == path
