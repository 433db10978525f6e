"""A connection to who observes, of which the program notices nothing."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Wire"]

_NAP_S = 0.01


class Wire:
    """Kept as a number: a socket object would warn of itself when the program ends (`-X dev`).

    Programs that become daemons close all descriptors, and may get the same number for a file of
    their own: each time we look whether it is still ours.

    Args:
        path: Of the socket.
        patience_s: How long to wait for who accepts us; None for ever.

    Raises:
        OSError: Nobody listens there, or nobody accepts us in time.
    """

    def __init__(self, path: str, patience_s: float | None = None) -> None:
        import _socket

        self._path = path
        self._late = (_socket.timeout, BlockingIOError)
        self._make = _socket.socket
        self._kind = (_socket.AF_UNIX, _socket.SOCK_STREAM, 0)
        # A program may have restored what SIGPIPE does by default: it would be killed.
        self._quietly = getattr(_socket, "MSG_NOSIGNAL", 0)
        made = self._make(*self._kind)
        try:
            # Not the timeout that the program has set for its own sockets.
            made.settimeout(patience_s)
            _connect(made, path, patience_s)
        except BaseException:
            made.close()
            raise
        self._number = made.detach()

    def send(self, data: bytes, patience_s: float | None = None) -> bytes:
        """Send it.

        Args:
            data: Any bytes.
            patience_s: How long to wait while nothing of it is taken; None for ever.

        Returns:
            What was not taken in time.

        Raises:
            OSError: Nobody is there any more.
        """
        made = self._take()
        try:
            made.settimeout(patience_s)
            while data:
                data = data[made.send(data, self._quietly) :]
        except self._late:
            pass
        finally:
            made.detach()
        return data

    def receive(self, patience_s: float | None = None) -> bytes:
        """One byte; none where nobody is there any more.

        Args:
            patience_s: How long to wait for it; None for ever.

        Raises:
            OSError: Nobody is there any more, or it does not come in time.
        """
        made = self._take()
        try:
            made.settimeout(patience_s)
            return bytes(made.recv(1))
        finally:
            made.detach()

    def close(self) -> None:
        """Let go of it."""
        try:  # noqa: SIM105 - contextlib would have to be imported
            self._take().close()
        except OSError:
            pass  # the program has closed it

    def _take(self) -> Any:
        made = self._make(*self._kind, self._number)
        try:
            if made.getpeername() == self._path:
                return made
        except OSError:
            made.detach()
            raise
        made.detach()
        raise OSError("the descriptor is another's by now")


def _connect(made: Any, path: str, patience_s: float | None) -> None:
    """Where many wait to be accepted, the system does not wait for us: we try again."""
    naps = int((patience_s or 0) / _NAP_S)
    while True:
        try:
            return made.connect(path)  # type: ignore[no-any-return]
        except BlockingIOError:
            if naps <= 0:
                raise
        import time

        naps -= 1
        time.sleep(_NAP_S)
