"""What the operating system says went wrong, as errors of ours."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from thence.errors import Denied, NotFound, StorageError, ThenceError

__all__ = ["failure_of", "failures_of"]

_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM})

# What may be gone a moment later: a network disk that came back, files that others closed.
_TRANSIENT = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.EMFILE,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENFILE,
        errno.ENOLCK,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)


def failure_of(error: OSError, what: str, *, about: str | None = None) -> ThenceError:
    """The error of ours for an error of the operating system.

    Args:
        error: What was raised.
        what: What could not be done, for example `cannot read 'a/b'`.
        about: The key or path that it is about.
    """
    reason = os.strerror(error.errno) if error.errno else str(error)
    match error.errno:
        case errno.ENOENT:
            return NotFound(what, why=f"{reason}.", about=about)
        case number if number in _NOT_ALLOWED:
            return Denied(
                what,
                why=f"The operating system says: {reason}.",
                hint="Ask the owner of the folder for the right to it, or check its permissions.",
                about=about,
            )
        case errno.EROFS:
            return Denied(
                what,
                why="The disk is mounted read-only.",
                hint="Mount it for writing, or use a store elsewhere.",
                about=about,
            )
        case errno.ENOSPC:
            return StorageError(
                "the disk is full",
                why=f"That is why: {what}. Nothing half-written was kept.",
                hint="Free some space on the disk of the store and repeat the command.",
                about=about,
            )
        case errno.EDQUOT:
            return StorageError(
                "the disk quota is used up",
                why=f"That is why: {what}. Nothing half-written was kept.",
                hint="Free some space, or ask for a larger quota, and repeat the command.",
                about=about,
            )
        case errno.EFBIG:
            return StorageError(
                what,
                why="It is larger than the file system or the limit of this process allows.",
                hint="Check `ulimit -f`, or use a store on another file system.",
                about=about,
            )
        case errno.EMFILE | errno.ENFILE:
            return StorageError(
                what,
                why=f"The operating system says: {reason}.",
                hint="Close programs, or raise the limit with `ulimit -n`.",
                about=about,
                transient=True,
            )
        case number:
            transient = number in _TRANSIENT
            return StorageError(
                what,
                why=f"The operating system says: {reason}.",
                hint="Repeat the command." if transient else "Check the disk and its connection.",
                about=about,
                transient=transient,
            )


@contextmanager
def failures_of(what: str, *, about: str | None = None) -> Iterator[None]:
    """Turn every error of the operating system in the block into one of ours.

    Raises:
        NotFound: A file or folder is not there.
        Denied: No rights, or a read-only disk.
        StorageError: Anything else.
    """
    try:
        yield
    except ThenceError:
        raise  # StorageError and Denied are kinds of OSError
    except OSError as error:
        raise failure_of(error, what, about=about) from error
