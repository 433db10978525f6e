"""Entering a root folder of one's own: a mount namespace, made without privileges.

See user_namespaces(7), mount_namespaces(7) and pivot_root(2).
"""

import contextlib
import ctypes
import errno
import os
import platform
import sys
from typing import NamedTuple

__all__ = ["Bind", "Entrance", "reason_against"]

_CLONE_NEWNS = 0x20000
_CLONE_NEWUSER = 0x10000000
_MS_BIND = 4096
_MS_REC = 16384
_MS_SLAVE = 1 << 19
_MNT_DETACH = 2
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}.get(platform.machine())

_libc = ctypes.CDLL(None, use_errno=True)


class Bind(NamedTuple):
    """A folder or file of this machine, and where it is to be seen: a mount point that exists."""

    source: bytes
    target: bytes


class Entrance(NamedTuple):
    """A new root, ready to be entered by a process that is about to become another program.

    Attributes:
        root: The folder that becomes `/`.
        binds: What is mounted into it, in this order, with all that is mounted below.
        folder: The working directory in it.
    """

    root: bytes
    binds: tuple[Bind, ...]
    folder: bytes

    def enter(self) -> None:
        """Take this process, which must have one thread, into the new root, for good.

        Keeps to the rules of `thence.execution.forking`.

        Raises:
            OSError: The system does not let us, or something to be mounted is gone.
        """
        _leave_the_others()
        # What others mount or unmount later may come in; nothing of ours goes out.
        _mount(b"none", b"/", _MS_REC | _MS_SLAVE)
        # The new root must be a mount of its own.
        _mount(self.root, self.root, _MS_BIND)
        for source, target in self.binds:
            # What vanished meanwhile is not there, as for everybody.
            with contextlib.suppress(FileNotFoundError):
                _mount(source, target, _MS_BIND | _MS_REC)
        os.chdir(self.root)
        # The old root is stacked on the new one, and then let go: "Notes" of pivot_root(2).
        _called(_libc.syscall(_SYS_PIVOT_ROOT, b".", b"."))
        _called(_libc.umount2(b".", _MNT_DETACH))
        os.chdir(self.folder)


def reason_against(entrance: Entrance) -> str | None:
    """Why it cannot be entered here, one sentence; None where it can.

    Tries it for real in a child; takes a few milliseconds.
    """
    if sys.platform != "linux" or _SYS_PIVOT_ROOT is None:
        return f"There are no namespaces for {sys.platform} on {platform.machine()}."
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            entrance.enter()
            code = 0
        except OSError as error:
            code = min(error.errno or 255, 255)
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return None
    if code in {errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EUSERS}:
        return "The system does not permit namespaces here (a container, or its settings)."
    if code in {errno.EINVAL, errno.ENOSYS}:
        return "The kernel has no namespaces of users and mounts."
    return f"A namespace could not be made: {os.strerror(code) if 0 < code < 255 else 'no answer'}."


def _leave_the_others() -> None:
    """Into a mount namespace of our own; with one of users where that is not allowed otherwise.

    Root goes without: in a namespace of users it would lose its rights over the files of others.
    """
    try:
        _called(_libc.unshare(_CLONE_NEWNS))
    except PermissionError:
        user, group = os.geteuid(), os.getegid()
        _called(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS))
        _write(b"/proc/self/setgroups", b"deny")
        _write(b"/proc/self/uid_map", b"%d %d 1" % (user, user))
        _write(b"/proc/self/gid_map", b"%d %d 1" % (group, group))


def _write(path: bytes, text: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


def _mount(source: bytes, target: bytes, flags: int) -> None:
    _called(_libc.mount(source, target, None, ctypes.c_ulong(flags), None))


def _called(result: int) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
