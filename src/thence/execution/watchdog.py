"""Keeps the user's program going when its supervisor is gone.

A program under the filter would stop for ever (or fail at each open) without somebody who answers,
and one whose output nobody reads would block. So a small process of its own session holds copies of
the listener and of the output pipes. It does nothing until the connection to the supervisor closes,
because that was killed or because the command has ended and left processes behind. Then it answers
`continue` and passes output on, until all of those processes have ended.

This file is both ends: `Watchdog` for the supervisor, and the script that runs as the process,
which therefore imports nothing of ours.
"""

import array
import contextlib
import fcntl
import mmap
import os
import select
import signal
import socket
import struct
import sys
from typing import ClassVar

__all__ = ["Watchdog"]

_LISTENER, _OUTPUT, _FORGET = b"L", b"O", b"F"
_IOCTL_RECV, _IOCTL_SEND = 0xC0502100, 0xC0182101
_NOTIFICATION_SIZE = 80
_CONTINUE = 1


class Watchdog:
    """The supervisor's end. If the process cannot be started, all methods do nothing.

    Attributes:
        problem: Why there is no process; None where there is one.
    """

    _started: ClassVar[set[int]] = set()

    def __init__(self) -> None:
        self.problem: str | None = None
        self._reap()
        self._socket, theirs = socket.socketpair()
        try:
            # A fresh interpreter, not a fork: it must not hold our memory and descriptors. Not
            # subprocess either: nobody waits for it, as it may have to outlive us.
            theirs.set_inheritable(True)
            nothing = os.open(os.devnull, os.O_RDWR)
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", __file__, str(theirs.fileno())],
                {},
                file_actions=[(os.POSIX_SPAWN_DUP2, nothing, fd) for fd in range(3)],
            )
            self._started.add(pid)
            os.close(nothing)
        except OSError as error:
            self.problem = f"No watchdog could be started ({error.strerror or error})."
        finally:
            theirs.close()

    @classmethod
    def _reap(cls) -> None:
        for pid in list(cls._started):
            try:
                ended, _ = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                ended = pid
            if ended:
                cls._started.discard(pid)

    def guard_listener(self, listener_fd: int, shared_fd: int) -> None:
        """Hold copies of the listener and of the memory with the notification in work."""
        self._send(_LISTENER, 0, listener_fd, shared_fd)

    def guard_output(self, index: int, source_fd: int, target_fd: int) -> None:
        """Hold copies of the reading end of an output and of where it goes."""
        self._send(_OUTPUT, index, source_fd, target_fd)

    def forget_output(self, index: int) -> None:
        """Close the copies, so that the program is told that nobody reads any more."""
        self._send(_FORGET, index)

    def _send(self, kind: bytes, index: int, *fds: int) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._socket.sendmsg([kind + bytes([index])], rights)
        except OSError as error:
            self.problem = self.problem or f"The watchdog was lost ({error.strerror})."

    def close(self) -> None:
        """Let it take over what is left; with nothing left it ends."""
        self._socket.close()
        self._reap()


def _main(control_fd: int) -> None:
    control = socket.socket(fileno=control_fd)
    os.setsid()  # neither Ctrl-C nor the end of the terminal is for us
    os.chdir("/")
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    listener, shared, outputs = _wait_for_end(control)
    if listener is not None and shared is not None:
        _answer_what_was_in_work(listener, shared)
    _serve(listener, outputs)


def _wait_for_end(
    control: socket.socket,
) -> tuple[int | None, int | None, dict[int, tuple[int, int]]]:
    listener = shared = None
    outputs: dict[int, tuple[int, int]] = {}
    while True:
        message, ancillary, _, _ = control.recvmsg(2, socket.CMSG_SPACE(8))
        if not message:
            return listener, shared, outputs
        fds = array.array("i")
        for _, _, data in ancillary:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        if message[:1] == _LISTENER:
            listener, shared = fds
        elif message[:1] == _OUTPUT:
            outputs[message[1]] = (fds[0], fds[1])
        else:
            for fd in outputs.pop(message[1], ()):
                os.close(fd)


def _answer_what_was_in_work(listener: int, shared: int) -> None:
    # Killed between question and answer: the kernel does not ask a second time. The supervisor
    # received into this memory, so the number of the question is there. After a page there follow
    # the numbers of questions whose answers it had put off.
    with mmap.mmap(shared, 0) as memory:
        (number,) = struct.unpack_from("=Q", memory)
        held = struct.iter_unpack("=Q", memory[mmap.PAGESIZE :])
        for one in {number, *(number for (number,) in held)} - {0}:
            _proceed(listener, one)


def _proceed(listener: int, number: int) -> None:
    with contextlib.suppress(OSError):  # answered already, or the task was killed
        fcntl.ioctl(listener, _IOCTL_SEND, struct.pack("=QqiI", number, 0, 0, _CONTINUE))


def _serve(listener: int | None, outputs: dict[int, tuple[int, int]]) -> None:
    targets = dict(outputs.values())
    poller = select.poll()
    for source in targets:
        poller.register(source, select.POLLIN)
    if listener is not None:
        poller.register(listener, select.POLLIN)
    while targets or listener is not None:
        for fd, what in poller.poll():
            if fd == listener:
                if what & select.POLLIN:
                    _answer(fd)
                elif what & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
                    poller.unregister(fd)
                    listener = None
            elif fd in targets and not _pass_on(fd, targets[fd]):
                poller.unregister(fd)
                os.close(fd)
                os.close(targets.pop(fd))


def _answer(listener: int) -> None:
    question = bytearray(_NOTIFICATION_SIZE)
    try:
        fcntl.ioctl(listener, _IOCTL_RECV, question, True)
    except OSError:
        return
    _proceed(listener, struct.unpack_from("=Q", question)[0])


def _pass_on(source: int, target: int) -> bool:
    try:
        data = os.read(source, 1 << 16)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(target, rest) :]
    except BlockingIOError:
        return True
    except OSError:
        return False
    return bool(data)


if __name__ == "__main__":
    _main(int(sys.argv[1]))
