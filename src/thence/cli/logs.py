"""What the library says of itself, on stderr."""

import logging
import sys

from thence.cli.human import clean

__all__ = ["show_logs"]


class _Lines(logging.Handler):
    """A line for each message; looks up stderr each time, because programs replace it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print it; a log must never end the work."""
        try:
            sys.stderr.write(f"thence: {clean(record.getMessage())}\n")
        except (OSError, ValueError):
            return


def show_logs(level: int) -> None:
    """Show messages of at least this level."""
    logger = logging.getLogger("thence")
    if not any(isinstance(handler, _Lines) for handler in logger.handlers):
        logger.addHandler(_Lines())
    logger.setLevel(level)
