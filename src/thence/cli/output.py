"""Where answers go: text for people, JSON Lines for programs."""

import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO

from thence.cli import table
from thence.cli.human import clean
from thence.cli.table import Column

__all__ = ["Output"]

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Output:
    """Prints. A reader that goes away (`| head`) changes neither the work nor the exit status.

    Attributes:
        json: Print JSON Lines instead of text.
        quiet: Say only what was asked for, and errors.
        verbose: How many `-v` were given.
    """

    def __init__(self) -> None:
        self.json = False
        self.quiet = False
        self.verbose = 0

    # What was asked for

    def data(self, text: str) -> None:
        """Print text that was asked for; nothing with `--json`."""
        if not self.json:
            _write(sys.stdout, f"{clean(text)}\n" if text else "\n")

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        """Print a table; nothing with `--json`."""
        if self.json:
            return
        width = self.width()
        paint = self.paint
        _write(sys.stdout, table.to_text(columns, rows, width=width, paint=paint))

    @staticmethod
    def width() -> int | None:
        """Columns of the terminal; None where nothing is cut: in a pipe or a file."""
        return shutil.get_terminal_size().columns if _is_terminal(sys.stdout) else None

    def record(self, kind: str, value: Any = None, /, **more: Any) -> None:
        """Print an object with this type; nothing without `--json`."""
        if self.json:
            self._json(sys.stdout, kind, value, more)

    # What happened on the way

    def done(self, text: str) -> None:
        """Say what was done; nothing with `--quiet` or `--json`."""
        if not (self.json or self.quiet):
            _write(sys.stdout, f"{clean(text)}\n")

    def note(self, text: str) -> None:
        """Say something beside the answer; nothing with `--quiet`."""
        if not self.quiet:
            _write(sys.stderr, f"{clean(text)}\n")

    def warn(self, text: str) -> None:
        """Warn, also with `--quiet`; with `--json` as an object."""
        if self.json:
            self._json(sys.stdout, "warning", {"what": text}, {})
        else:
            _write(sys.stderr, f"{self.paint('warning:', 'yellow', sys.stderr)} {clean(text)}\n")

    def aside(self, kind: str, value: Any = None, /, **more: Any) -> None:
        """As `record`, on stderr: where stdout belongs to the user's program."""
        if self.json:
            self._json(sys.stderr, kind, value, more)

    def trouble(self, text: str) -> None:
        """Print the lines of an error."""
        _write(sys.stderr, f"{text}\n")

    # How it looks

    def is_colored(self, stream: TextIO) -> bool:
        """Whether this stream takes styles: a terminal, and nobody said no (no-color.org)."""
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            return False
        return _is_terminal(stream)

    def shows_progress(self) -> bool:
        """Whether somebody looks on."""
        return not (self.json or self.quiet) and _is_terminal(sys.stderr)

    def paint(self, text: str, style: str, stream: TextIO | None = None) -> str:
        """The text in a style, where the stream takes styles."""
        if not self.is_colored(stream or sys.stdout):
            return text
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m"

    def styled(self, text: str, style: str) -> None:
        """Print a line that was asked for in a style; nothing with `--json`."""
        if not self.json:
            _write(sys.stdout, f"{self.paint(clean(text), style)}\n")

    def painted(self, text: str) -> None:
        """Print a line that was made with `paint` of clean parts; nothing with `--json`."""
        if not self.json:
            _write(sys.stdout, f"{text}\n")

    @staticmethod
    def _json(stream: TextIO, kind: str, value: Any, more: dict[str, Any]) -> None:
        from thence.cli.plain import dumps, named, plain

        fields = {} if value is None else plain(value)
        _write(stream, dumps({"type": kind, **fields, **named(more)}) + "\n")


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # it is closed
        return False


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    try:
        # Names of files may hold what the stream cannot encode.
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except BrokenPipeError:
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
