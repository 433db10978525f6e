"""What must not be in a diff that is kept."""

import re
from collections.abc import Collection

from thence.execution.capture.secret_files import is_secret_file
from thence.execution.capture.secrets import Redactor

__all__ = ["scrub_diff", "without_secret_files"]

_SECTION = re.compile(rb"^(?=diff --git )", re.MULTILINE)
# A line that begins with `diff --git ` is always a header: content lines begin with a sign or a
# blank, and lines of binary patches hold no blank.


def without_secret_files(diff: bytes) -> tuple[bytes, list[str]]:
    """A diff without the sections of secret files, and the names of these."""
    kept, left_out = [], []
    for section in _SECTION.split(diff):
        name = _name_of(section)
        if name and is_secret_file(name):
            left_out.append(name)
        else:
            kept.append(section)
    return b"".join(kept), left_out


def scrub_diff(redactor: Redactor, diff: bytes, hidden: Collection[str] = ()) -> bytes:
    """A diff without secrets.

    Args:
        redactor: Learns those that are told by the names that they stand beside.
        diff: As git wrote it.
        hidden: Files that hold secrets; of these no binary patch is kept, in which nothing can be
            replaced.
    """
    kept = []
    for section in _SECTION.split(diff):
        name = _name_of(section)
        if name in hidden and b"\nGIT binary patch\n" in section:
            continue
        # As it stands in the file, without the signs of the diff before each line.
        for signs in (b"+ ", b"- "):
            lines = [one[1:] for one in section.splitlines(keepends=True) if one[:1] in signs]
            redactor.scrub_config(name, b"".join(lines))
        kept.append(section)
    return redactor.scrub_bytes(b"".join(kept), "uncommitted changes")


def _name_of(section: bytes) -> str:
    header = section.split(b"\n", 1)[0].decode("utf-8", "replace")
    return header.rpartition(" b/")[2].strip('"')
