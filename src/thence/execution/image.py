"""What a forked child is to become."""

import errno
import os
import signal
import socket
from typing import NamedTuple

__all__ = ["Image"]


class Image(NamedTuple):
    """A program, and all that it is started with."""

    executable: str
    words: list[str]
    environment: dict[str, str]
    folder: str
    standard_fds: tuple[int, int, int]

    def become(self, channel: socket.socket) -> None:
        """In the child: replace it by the command, or tell why not."""
        try:
            # Copies first: one of the standard descriptors may be the source of another.
            for target, fd in enumerate([os.dup(fd) for fd in self.standard_fds]):
                os.dup2(fd, target)
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)  # Python ignores them; programs expect not
            os.chdir(self.folder)
            self._execute()
        except OSError as error:
            channel.send(str(error.errno).encode())

    def _execute(self) -> None:
        try:
            os.execve(self.executable, self.words, self.environment)  # noqa: S606
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script without a first line: shells run it by sh.
            words = ["sh", self.executable, *self.words[1:]]
            os.execve("/bin/sh", words, self.environment)  # noqa: S606
