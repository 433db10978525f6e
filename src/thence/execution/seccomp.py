"""Seccomp user notification, spoken through ctypes: see seccomp_unotify(2) and seccomp(2).

A program that runs under our filter stops at each of a few system calls until the holder of the
listener answers. Nothing else is slowed: calls that are not in the table never leave the kernel's
fast path. Needs no rights, no compiler and no ptrace; children inherit the filter.
"""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import platform
import socket
import struct
import sys
from collections.abc import Callable
from typing import NamedTuple

from thence.execution import forking
from thence.execution.forking import Forked, ForkFailed
from thence.execution.mounts import Entrance

__all__ = ["Call", "Listener", "Notification", "SensorUnavailable", "fork"]

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER = 1
_FLAG_NEW_LISTENER = 1 << 3
_FLAG_WAIT_KILLABLE = 1 << 5
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_IOCTL_RECV, _IOCTL_SEND = 0xC0502100, 0xC0182101
_IOCTL_ID_VALID, _IOCTL_SET_FLAGS = 0x40082102, 0x40082104
_FD_SYNC_WAKE_UP = 1
_CONTINUE = 1
_O_PATH = 0x200000

# Loaded here: a fork of a process with threads should not load libraries.
_libc = ctypes.CDLL(None, use_errno=True)

Call = str
"""The name of a system call, as in the tables below."""


class _Machine(NamedTuple):
    audit_arch: int
    seccomp: int
    calls: dict[Call, int]


# Numbers: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux.
# The most frequent comes first: the filter tests them in this order.
_MACHINES = {
    "x86_64": _Machine(
        0xC000003E,
        317,
        {
            "openat": 257,
            "open": 2,
            "openat2": 437,
            "creat": 85,
            "execve": 59,
            "execveat": 322,
            "mkdir": 83,
            "mkdirat": 258,
            "rename": 82,
            "renameat": 264,
            "renameat2": 316,
            "link": 86,
            "linkat": 265,
            "symlink": 88,
            "symlinkat": 266,
            "unlink": 87,
            "unlinkat": 263,
            "truncate": 76,
            "connect": 42,
            "io_uring_setup": 425,
            "chroot": 161,
            "pivot_root": 155,
            "mount": 165,
            "move_mount": 429,
            "setns": 308,
        },
    ),
    "aarch64": _Machine(
        0xC00000B7,
        277,
        {
            "openat": 56,
            "openat2": 437,
            "execve": 221,
            "execveat": 281,
            "mkdirat": 34,
            "renameat": 38,
            "renameat2": 276,
            "linkat": 37,
            "symlinkat": 36,
            "unlinkat": 35,
            "truncate": 45,
            "connect": 203,
            "io_uring_setup": 425,
            "chroot": 51,
            "pivot_root": 41,
            "mount": 40,
            "move_mount": 429,
            "setns": 268,
        },
    ),
}


class SensorUnavailable(Exception):
    """The kernel-level sensor cannot be used; the text is the reason, one sentence."""


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jump_true", ctypes.c_ubyte),
        ("jump_false", ctypes.c_ubyte),
        ("k", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def _program(machine: _Machine) -> _Program:
    """The filter in classic BPF.

    Calls of another architecture or ABI (i386, x32) are let through unseen. So are opens of folders
    and O_PATH opens: they give no bytes, and walking folders is frequent.
    """
    load, equal, any_bit, give = 0x20, 0x15, 0x45, 0x06
    offset_nr, offset_arch = 0, 4

    def offset_argument(index: int) -> int:
        return 16 + 8 * index  # the low half, on little-endian machines

    code: list[tuple[int, int, int, int]] = [
        (load, 0, 0, offset_arch),
        (equal, 1, 0, machine.audit_arch),
        (give, 0, 0, _ALLOW),
        (load, 0, 0, offset_nr),
    ]
    for name, number in machine.calls.items():
        flags = {"openat": 2, "open": 1}.get(name)
        if flags is None:
            code += [(equal, 0, 1, number), (give, 0, 0, _NOTIFY)]
        else:
            code += [
                (equal, 0, 4, number),
                (load, 0, 0, offset_argument(flags)),
                (any_bit, 0, 1, os.O_DIRECTORY | _O_PATH),
                (give, 0, 0, _ALLOW),
                (give, 0, 0, _NOTIFY),
            ]
    code.append((give, 0, 0, _ALLOW))
    instructions = (_Instruction * len(code))(*(_Instruction(*line) for line in code))
    return _Program(len(code), instructions)


def _install(number: int, program: _Program) -> int:
    """Put this process under the filter; the listener's descriptor."""

    def seccomp(flags: int) -> int:
        return int(_libc.syscall(number, _SET_MODE_FILTER, flags, ctypes.byref(program)))

    # While we look at a call only a fatal signal may interrupt it (Linux 5.19). Otherwise a signal
    # would make programs that do not expect it see EINTR from open.
    wanted = _FLAG_NEW_LISTENER | _FLAG_WAIT_KILLABLE
    fd = seccomp(wanted)
    if fd < 0 and ctypes.get_errno() == errno.EINVAL:
        wanted = _FLAG_NEW_LISTENER
        fd = seccomp(wanted)
    if fd < 0 and ctypes.get_errno() == errno.EACCES:
        # Only where it must be: it also takes the effect of set-user-id programs such as sudo.
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        fd = seccomp(wanted)
        if fd < 0 and ctypes.get_errno() == errno.EINVAL:
            fd = seccomp(_FLAG_NEW_LISTENER)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return fd


class Notification(NamedTuple):
    """A program is stopped at a system call.

    Attributes:
        task: The thread that waits.
        call: The name of the system call.
        arguments: As the registers hold them, unsigned.
    """

    id: int
    task: int
    call: Call
    arguments: tuple[int, ...]


class Listener:
    """Our end of the filter.

    The notification in work lies in `shared`, memory that the watchdog also has: if this process is
    killed before it has answered, nobody else could know the number to answer with. After a page
    there follow the numbers of those that are held: answered later, while others are received.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.shared_fd = os.memfd_create("thence-notification", os.MFD_CLOEXEC)
        size = mmap.PAGESIZE + _NUMBER.size * _HELD_LIMIT
        os.ftruncate(self.shared_fd, size)
        self._shared = mmap.mmap(self.shared_fd, size)
        self._free = list(range(_HELD_LIMIT))
        self._held: dict[int, int] = {}
        self._blank = bytes(_NOTIFICATION.size)
        machine = _MACHINES[platform.machine()]
        self._names = {number: name for name, number in machine.calls.items()}
        # Linux 6.6: hand the processor straight over; halves the time per event.
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, _IOCTL_SET_FLAGS, struct.pack("=Q", _FD_SYNC_WAKE_UP))

    def receive(self) -> Notification | None:
        """The next notification; None where its task is gone. Call when `fd` is readable."""
        # The kernel wants zeros. A buffer of more than 1,024 bytes goes to the kernel as it is, a
        # smaller one is copied: so a kill at any moment finds the number in shared memory.
        self._shared[: _NOTIFICATION.size] = self._blank
        try:
            fcntl.ioctl(self.fd, _IOCTL_RECV, self._shared, True)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.EINTR, errno.EAGAIN}:
                return None
            raise
        number, task, _, call, _, _, *arguments = _NOTIFICATION.unpack_from(self._shared)
        return Notification(number, task, self._names.get(call, ""), tuple(arguments))

    def is_valid(self, notification: Notification) -> bool:
        """Whether the task still waits, so that what was read of its memory was its own.

        The program may change its memory after we looked (seccomp_unotify(2), NOTES): it could
        lie to us. This is a recorder, not a sandbox.
        """
        try:
            fcntl.ioctl(self.fd, _IOCTL_ID_VALID, struct.pack("=Q", notification.id))
        except OSError:
            return False
        return True

    def proceed(self, notification: Notification) -> None:
        """Let the program make its call."""
        self._proceed(notification.id)

    def _proceed(self, number: int) -> None:
        try:
            fcntl.ioctl(self.fd, _IOCTL_SEND, _ANSWER.pack(number, 0, 0, _CONTINUE))
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.EINPROGRESS}:
                raise

    def hold(self, notification: Notification) -> bool:
        """Leave a program stopped until `release`; False where too many are held already."""
        if not self._free:
            return False
        slot = self._held[notification.id] = self._free.pop()
        self._write(slot, notification.id)
        return True

    def release(self, number: int) -> None:
        """Let the program that was held with this number make its call."""
        slot = self._held.pop(number)
        self._proceed(number)
        self._write(slot, 0)  # after the answer: the watchdog may give it twice, but not miss it
        self._free.append(slot)

    def _write(self, slot: int, number: int) -> None:
        _NUMBER.pack_into(self._shared, mmap.PAGESIZE + _NUMBER.size * slot, number)

    def close(self) -> None:
        """Let go of it; another holder may go on answering."""
        self._shared.close()
        os.close(self.shared_fd)
        os.close(self.fd)


_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")
_NUMBER = struct.Struct("=Q")
_HELD_LIMIT = 1024


def fork(body: Callable[[socket.socket], None], *, entrance: Entrance | None = None) -> Forked:
    """Fork a child that runs `body` under the filter, after the parent has sent a byte.

    What it hands over is the listener. `body` keeps to the rules of `thence.execution.forking`.
    The entrance is taken before the filter is there.

    Raises:
        SensorUnavailable: The kernel does not let us.
    """
    machine = _MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None:
        raise SensorUnavailable(
            f"There is no kernel-level sensor for {sys.platform} on {platform.machine()}."
        )
    program = _program(machine)

    def prepare() -> int:
        if entrance is not None:
            entrance.enter()
        return _install(machine.seccomp, program)

    try:
        return forking.fork(prepare, body)
    except ForkFailed as failure:
        raise SensorUnavailable(_reason(failure.code)) from failure


def _reason(code: int) -> str:
    if code == errno.EBUSY:
        return "This process already runs under a seccomp listener, and there can be only one."
    if code in {errno.EPERM, errno.EACCES}:
        return "The system does not permit seccomp filters here (a container or a sandbox)."
    if code in {errno.EINVAL, errno.ENOSYS}:
        return "The kernel has no seccomp user notification."
    return (
        f"The seccomp filter could not be installed: {os.strerror(code) if code else 'no answer'}."
    )
