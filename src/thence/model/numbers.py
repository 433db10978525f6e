"""Numbers of log entries: those that the home gave, and those of the outbox.

The home numbers from 1, in ten digits. What waits in the outbox of a clone has a place after all of
them, beyond any number that ten digits can hold, so that "the latest" is simply the highest.
"""

__all__ = ["LOCAL", "is_local", "label", "local"]

LOCAL = 10_000_000_000
"""Entry n of an outbox log has the number `LOCAL + n`."""


def local(position: int) -> int:
    """The number of the entry at a position (from 1) of an outbox log."""
    return LOCAL + position


def is_local(number: int) -> bool:
    """Whether it is a number of the outbox."""
    return number > LOCAL


def label(number: int) -> str:
    """How people write a version's number.

    >>> label(3), label(local(1))
    ('v3', 'local.1')
    """
    return f"local.{number - LOCAL}" if is_local(number) else f"v{number}"
