"""Sizes, times and texts as people read them."""

import re
import shlex
from collections.abc import Iterable
from datetime import datetime

__all__ = [
    "ago",
    "clean",
    "command",
    "count",
    "duration",
    "line",
    "moment",
    "number",
    "removal",
    "shorten",
    "size",
]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_RELATIVE_DAYS = 30
# Escape sequences in a name or a note could repaint the terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def size(size_bytes: int) -> str:
    """A number of bytes, in powers of 1,000.

    >>> size(12345)
    '12.3 kB'
    """
    from rich.filesize import decimal

    return decimal(size_bytes).replace("bytes", "B").replace("1 byte", "1 B")


def ago(then: datetime, now: datetime) -> str:
    """How long ago something was; the date where that is more than a month."""
    seconds = (now - then).total_seconds()
    if seconds < 0 or seconds >= _RELATIVE_DAYS * _DAY:
        return then.astimezone().strftime("%Y-%m-%d")
    if seconds < _MINUTE:
        return "just now"
    if seconds < _HOUR:
        return f"{count(int(seconds // _MINUTE), 'minute')} ago"
    if seconds < _DAY:
        return f"{count(int(seconds // _HOUR), 'hour')} ago"
    return f"{count(int(seconds // _DAY), 'day')} ago"


def moment(then: datetime, now: datetime) -> str:
    """A time in the zone of this machine, and how long ago it was."""
    local = then.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    relative = ago(then, now)
    return local if relative[:1].isdigit() and "ago" not in relative else f"{local}, {relative}"


def removal(deletion: tuple[datetime, str, str] | None, now: datetime) -> str | None:
    """When, by whom and why something was removed; None where it was not."""
    if deletion is None:
        return None
    at, by, reason = deletion
    return f"{moment(at, now)} by {by}: {line(reason)}"


def duration(seconds: float) -> str:
    """How long something took.

    >>> duration(0.25), duration(3), duration(75), duration(7384)
    ('0.25 s', '3.0 s', '1 min 15 s', '2 h 3 min')
    """
    if seconds < 1:
        return f"{seconds:.2g} s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{int(seconds // _MINUTE)} min {int(seconds % _MINUTE)} s"
    return f"{int(seconds // _HOUR)} h {int(seconds % _HOUR // _MINUTE)} min"


def number(value: float) -> str:
    """A metric, in six digits.

    >>> number(0.9100000000000001), number(120000.0)
    ('0.91', '120000')
    """
    return f"{value:.6g}"


def count(amount: int, thing: str) -> str:
    """An amount of things.

    >>> count(1, "file"), count(1200, "file")
    ('1 file', '1,200 files')
    """
    return f"{amount:,} {thing}{'' if amount == 1 else 's'}"


def clean(text: str) -> str:
    r"""Text that cannot drive the terminal: control characters are spelled out.

    >>> clean("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def line(text: str) -> str:
    """The text in one line."""
    return clean(" ".join(text.split()))


def command(words: Iterable[str]) -> str:
    """A command as it could be typed."""
    return line(shlex.join(words))


def shorten(text: str, width: int) -> str:
    """The text in one line of at most so many characters.

    >>> shorten("a long note", 8)
    'a long …'
    """
    flat = line(text)
    return flat if len(flat) <= width else f"{flat[: width - 1]}…"
