"""A connection to who observes, of which the program notices nothing."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Wire"]


class Wire:
    """Kept as a number: a socket object would warn of itself when the program ends (`-X dev`).

    Programs that become daemons close all descriptors, and may get the same number for a file of
    their own: each time we look whether it is still ours.

    Args:
        path: Of the socket.

    Raises:
        OSError: Nobody listens there.
    """

    def __init__(self, path: str) -> None:
        import _socket

        self._path = path
        self._make = _socket.socket
        self._kind = (_socket.AF_UNIX, _socket.SOCK_STREAM, 0)
        # A program may have restored what SIGPIPE does by default: it would be killed.
        self._quietly = getattr(_socket, "MSG_NOSIGNAL", 0)
        made = self._make(*self._kind)
        try:
            made.connect(path)
        except BaseException:
            made.close()
            raise
        self._number = made.detach()

    def send(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            OSError: Nobody is there any more.
        """
        made = self._take()
        try:
            made.sendall(data, self._quietly)
        finally:
            made.detach()

    def receive(self) -> bytes:
        """One byte; none where nobody is there any more.

        Raises:
            OSError: Nobody is there any more.
        """
        made = self._take()
        try:
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
