"""Paths as text: bytes that are not UTF-8 are percent-encoded, and a mark says so.

In memory such bytes are surrogates, as `os.fsdecode` makes them; JSON cannot hold those.
"""

import os
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

__all__ = ["PathText", "path_from_text", "path_to_text"]

_SAFE = " !\"#$&'()*+,-./:;<=>?@[]^_`{|}~"


class PathText(NamedTuple):
    """A path as it is written in trees and records.

    Attributes:
        percent: True where `text` is percent-encoded.
    """

    text: str
    percent: bool


def path_to_text(path: str) -> PathText:
    r"""What to write for a path.

    >>> path_to_text("a/b%20.csv")
    PathText(text='a/b%20.csv', percent=False)
    >>> path_to_text("caf\udce9.csv")
    PathText(text='caf%E9.csv', percent=True)
    """
    raw = os.fsencode(path)
    try:
        return PathText(raw.decode("utf-8"), percent=False)
    except UnicodeDecodeError:
        return PathText(quote_from_bytes(raw, safe=_SAFE), percent=True)


def path_from_text(text: str, *, percent: bool) -> str:
    """The inverse of `path_to_text`."""
    return os.fsdecode(unquote_to_bytes(text)) if percent else text
