"""Forking a child that hands a descriptor over, and waits for our word before it goes on."""

import array
import os
import socket
import warnings
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["ForkFailed", "Forked", "fork"]


class ForkFailed(Exception):
    """The child could not prepare itself.

    Attributes:
        code: The number of the error; 0 where the child ended without a word.
    """

    def __init__(self, code: int) -> None:
        super().__init__(os.strerror(code) if code else "no answer")
        self.code = code


class Forked(NamedTuple):
    """A child process that waits for a byte on `channel` before it goes on.

    Attributes:
        fd: What it handed over.
    """

    pid: int
    fd: int
    channel: socket.socket


def fork(prepare: Callable[[], int], body: Callable[[socket.socket], None]) -> Forked:
    """Fork a child that prepares itself, and runs `body` after the parent has sent a byte.

    `body` should end in exec; the child exits with 127 if it returns. Both run in a fork of what
    may be a process with threads, so they must do little: no imports, no locks.

    Args:
        prepare: Returns a descriptor for the parent, or raises an OSError.
        body: Is given the channel.

    Raises:
        ForkFailed: `prepare` raised an error; the child is gone.
    """
    ours, theirs = socket.socketpair()
    with warnings.catch_warnings():
        # Python 3.12 and later warn of threads; the child keeps to the rules above.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        ours.close()  # else it would not hear of the parent's death, and wait for its byte forever
        _child(prepare, theirs, body)
    theirs.close()
    word, descriptors, _, _ = ours.recvmsg(8, socket.CMSG_SPACE(4))
    if descriptors:
        return Forked(pid, array.array("i", descriptors[0][2][:4])[0], ours)
    ours.close()
    os.waitpid(pid, 0)
    raise ForkFailed(int(word or 0))


def _child(
    prepare: Callable[[], int], channel: socket.socket, body: Callable[[socket.socket], None]
) -> None:
    try:
        try:
            fd = prepare()
        except OSError as error:
            channel.send(str(error.errno or 0).encode())
            os._exit(1)
        rights = array.array("i", [fd])
        channel.sendmsg([b"ready"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        os.close(fd)
        if channel.recv(1):
            body(channel)
    finally:
        os._exit(127)
