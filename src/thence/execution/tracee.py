"""From a stopped system call to an event: what is read of the task that waits."""

import ctypes
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterable

from thence.execution.events import Action, FileEvent, absolute, open_action
from thence.execution.seccomp import Call, Notification

__all__ = [
    "OWN_MOUNTS",
    "Decoder",
    "TaskMemory",
    "Unreadable",
    "foreign_proc",
    "is_hindered",
    "of_hindered",
]

_PAGE = 4096
_AT_EMPTY_PATH = 0x1000
_AT_REMOVEDIR = 0x200
_RENAME_EXCHANGE = 2
_SYS_PIDFD_GETFD = 438
_ELF_32 = b"\x7fELF\x01"


class Unreadable(Exception):
    """The memory of the task could not be read."""


class _Span(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


OWN_MOUNTS = (
    "A program had mounts of its own (a container, unshare); "
    "files below these may be others than the ones recorded."
)


def foreign_proc() -> str | None:
    """Why what /proc says of other processes cannot be believed, one sentence; None where it can.

    In a namespace of processes of its own (`unshare --pid`) /proc may still show those of the one
    around it: the numbers there mean others, or nobody.
    """
    try:
        if os.readlink("/proc/self") == str(os.getpid()):
            return None
    except OSError:
        return "/proc is not mounted."
    return "/proc shows another namespace of processes; unshare has --mount-proc."


class TaskMemory:
    """Reads the memory of other tasks by process_vm_readv(2). Not for several threads at once."""

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(_PAGE)
        self._view = memoryview(self._buffer).cast("B")
        self._local = _Span(ctypes.addressof(self._buffer), _PAGE)
        self._remote = _Span(0, 0)
        self._read_vm = ctypes.CDLL(None, use_errno=True).process_vm_readv
        self._local_ref = ctypes.byref(self._local)
        self._remote_ref = ctypes.byref(self._remote)

    def _read(self, task: int, address: int, size: int) -> int:
        self._local.length = size
        self._remote.base = address
        self._remote.length = size
        return int(self._read_vm(task, self._local_ref, 1, self._remote_ref, 1, 0))

    def data(self, task: int, address: int, size: int) -> bytes:
        """Up to a page of bytes.

        Raises:
            Unreadable: They cannot be read.
        """
        got = self._read(task, address, min(size, _PAGE))
        if got < 0:
            raise Unreadable
        return bytes(self._view[:got])

    def text(self, task: int, address: int) -> bytes:
        """A string that ends with a zero byte, without it.

        Raises:
            Unreadable: It cannot be read.
        """
        text = b""
        while len(text) <= _PAGE:
            # Never across a page: the next one may not be mapped.
            got = self._read(task, address, _PAGE - address % _PAGE)
            if got <= 0:
                raise Unreadable
            # All up to a zero byte, which there may be none of, or one of an earlier read.
            chunk = self._buffer.value[:got]
            text += chunk
            if len(chunk) < got:
                return text
            address += got
        raise Unreadable


class Decoder:
    """Makes events of notifications.

    Attributes:
        blind_spots: Sentences on what was done that lets accesses go unseen.
        hindered: Names of programs that did not get the rights that they have without us.
        remark: The one that the last notification made; empty where it made none.
    """

    def __init__(self) -> None:
        self.blind_spots: dict[str, None] = {}
        self.hindered: dict[str, None] = {}
        self.remark = ""
        self._memory = TaskMemory()
        self._handlers: dict[Call, Callable[[int, tuple[int, ...]], FileEvent | None]] = {
            "openat": self._openat,
            "open": lambda t, a: self._open(t, None, a[0], a[1]),
            "openat2": self._openat2,
            "creat": lambda t, a: self._open(t, None, a[0], _CREAT_FLAGS),
            "execve": lambda t, a: self._execute(t, None, a[0], 0),
            "execveat": lambda t, a: self._execute(t, a[0], a[1], a[4]),
            "mkdir": lambda t, a: self._one(Action.MAKE_FOLDER, t, None, a[0]),
            "mkdirat": lambda t, a: self._one(Action.MAKE_FOLDER, t, a[0], a[1]),
            "rename": lambda t, a: self._pair(Action.RENAME, t, (None, a[0]), (None, a[1])),
            "renameat": lambda t, a: self._pair(Action.RENAME, t, (a[0], a[1]), (a[2], a[3])),
            "renameat2": self._renameat2,
            "link": lambda t, a: self._pair(Action.LINK, t, (None, a[0]), (None, a[1])),
            "linkat": lambda t, a: self._pair(Action.LINK, t, (a[0], a[1]), (a[2], a[3])),
            "symlink": lambda t, a: self._symlink(t, a[0], None, a[1]),
            "symlinkat": lambda t, a: self._symlink(t, a[0], a[1], a[2]),
            "unlink": lambda t, a: self._one(Action.REMOVE, t, None, a[0]),
            "unlinkat": self._unlinkat,
            "truncate": lambda t, a: self._one(
                Action.TRUNCATE, t, None, a[0], "length" if a[1] else ""
            ),
            "connect": self._connect,
            "io_uring_setup": self._io_uring,
            "chroot": self._new_root,
            "pivot_root": self._new_root,
            "mount": lambda t, a: None if a[3] & _MS_NO_NEW_MOUNT else self._mount(t),
            "move_mount": lambda t, a: self._mount(t),
            "setns": self._join,
        }

    def decode(self, notification: Notification) -> FileEvent | None:
        """The event, or None where there is nothing to record.

        Raises:
            Unreadable: The task's memory cannot be read.
        """
        self.remark = ""
        handler = self._handlers.get(notification.call)
        return None if handler is None else handler(notification.task, notification.arguments)

    def _path(self, task: int, folder: int | None, address: int, *, empty: bool = False) -> str:
        """The absolute path that a call means; empty where it means no file."""
        path = self._memory.text(task, address)
        if path.startswith(b"/"):
            if path.startswith((b"/proc/", b"/dev/")):
                return _through_links(task, path)
            return absolute(path, b"")
        if not path:
            return _descriptor(task, _signed(folder)) if empty and folder is not None else ""
        if folder is None or _signed(folder) < 0:
            base = _link(b"/proc/%d/cwd" % task)
        else:
            base = _link(b"/proc/%d/fd/%d" % (task, _signed(folder)))
        return absolute(path, base) if base.startswith(b"/") else ""

    def _one(
        self, action: Action, task: int, folder: int | None, address: int, detail: str = ""
    ) -> FileEvent | None:
        path = self._path(task, folder, address)
        return FileEvent(action, path, "", task, detail) if path else None

    def _open(self, task: int, folder: int | None, address: int, flags: int) -> FileEvent | None:
        path = self._path(task, folder, address)
        if not path:
            return None
        action, detail = open_action(flags & 0xFFFFFFFF)
        return FileEvent(action, path, "", task, detail)

    def _openat(self, task: int, a: tuple[int, ...]) -> FileEvent | None:
        return self._open(task, a[0], a[1], a[2])

    def _openat2(self, task: int, a: tuple[int, ...]) -> FileEvent | None:
        # struct open_how begins with the flags, 64 bits.
        flags = int.from_bytes(self._memory.data(task, a[2], 8), "little")
        return self._open(task, a[0], a[1], flags)

    def _execute(self, task: int, folder: int | None, address: int, flags: int) -> FileEvent | None:
        path = self._path(task, folder, address, empty=bool(flags & _AT_EMPTY_PATH))
        if not path:
            return None
        if is_hindered(path, task):
            self.hindered[os.path.basename(path)] = None
        if _begins_with(path, _ELF_32):
            self._remark("32-bit programs were run; what they opened was not seen.")
        return FileEvent(Action.EXECUTE, path, "", task, "")

    def _pair(
        self,
        action: Action,
        task: int,
        old: tuple[int | None, int],
        new: tuple[int | None, int],
        detail: str = "",
    ) -> FileEvent | None:
        path = self._path(task, *old, empty=True)
        target = self._path(task, *new)
        return FileEvent(action, path, target, task, detail) if target else None

    def _renameat2(self, task: int, a: tuple[int, ...]) -> FileEvent | None:
        detail = "exchange" if a[4] & _RENAME_EXCHANGE else ""
        return self._pair(Action.RENAME, task, (a[0], a[1]), (a[2], a[3]), detail)

    def _symlink(self, task: int, text: int, folder: int | None, address: int) -> FileEvent | None:
        target = self._path(task, folder, address)
        if not target:
            return None
        old = absolute(self._memory.text(task, text), os.path.dirname(os.fsencode(target)))
        return FileEvent(Action.LINK, old, target, task, "symbolic")

    def _unlinkat(self, task: int, a: tuple[int, ...]) -> FileEvent | None:
        return None if a[2] & _AT_REMOVEDIR else self._one(Action.REMOVE, task, a[0], a[1])

    def _connect(self, task: int, a: tuple[int, ...]) -> FileEvent | None:
        address = self._memory.data(task, a[1], min(a[2], 128))
        if len(address) < 2:
            return None
        family = int.from_bytes(address[:2], "little")
        if family == socket.AF_INET and len(address) >= 8:
            host = socket.inet_ntop(socket.AF_INET, address[4:8])
        elif family == socket.AF_INET6 and len(address) >= 24:
            host = f"[{socket.inet_ntop(socket.AF_INET6, address[8:24])}]"
        else:
            return None
        (port,) = struct.unpack_from(">H", address, 2)
        return FileEvent(Action.CONNECT, f"{host}:{port}", "", task, _transport(task, a[0]))

    def _io_uring(self, task: int, a: tuple[int, ...]) -> None:
        self._remark("A program used io_uring; files opened through it were not seen.")

    def _new_root(self, task: int, a: tuple[int, ...]) -> None:
        self._remark("A program changed its root folder; paths it used after that may be wrong.")

    def _mount(self, task: int) -> None:
        # In our own namespace we see what the program sees.
        if _link(b"/proc/%d/ns/mnt" % task) != _link(b"/proc/self/ns/mnt"):
            self._remark(OWN_MOUNTS)

    def _join(self, task: int, a: tuple[int, ...]) -> None:
        if a[1] == 0 or a[1] & _CLONE_NEWNS:
            self._remark(OWN_MOUNTS)

    def _remark(self, sentence: str) -> None:
        self.remark = sentence
        self.blind_spots[sentence] = None


_MS_NO_NEW_MOUNT = 32 | 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20
"""`MS_REMOUNT`, and what only says how mounts spread."""
_CLONE_NEWNS = 0x20000
_CREAT_FLAGS = os.O_CREAT | os.O_WRONLY | os.O_TRUNC


def _signed(descriptor: int) -> int:
    low = descriptor & 0xFFFFFFFF
    return low - (1 << 32) if low >= 1 << 31 else low


def _link(path: bytes) -> bytes:
    try:
        return os.readlink(path)
    except OSError:
        return b""


def _descriptor(task: int, number: int) -> str:
    """What a descriptor is open on; empty for pipes, sockets and what has no name."""
    link = _link(b"/proc/%d/fd/%d" % (task, number))
    return os.fsdecode(link) if link.startswith(b"/") and not link.endswith(b" (deleted)") else ""


def _through_links(task: int, path: bytes) -> str:
    """The file behind the links that mean another one to each process."""
    standard = {b"/dev/stdin": 0, b"/dev/stdout": 1, b"/dev/stderr": 2}
    if path in standard:
        return _descriptor(task, standard[path])
    for prefix in (b"/dev/fd/", b"/proc/self/fd/", b"/proc/thread-self/fd/"):
        if path.startswith(prefix) and path[len(prefix) :].isdigit():
            return _descriptor(task, int(path[len(prefix) :]))
    if path.startswith((b"/proc/self/cwd/", b"/proc/self/root/")):
        _, _, _, link, rest = path.split(b"/", 4)
        return absolute(rest, _link(b"/proc/%d/%b" % (task, link)))
    return absolute(path, b"")


def is_hindered(path: str, task: int) -> bool:
    """Whether a program has the rights of its owner, which a task that we watch may not gain.

    Who has no rights himself may set a filter, or trace, only with NO_NEW_PRIVS (prctl(2)).
    """
    try:
        status = os.stat(path)
    except OSError:
        return False
    gains = (status.st_mode & stat.S_ISUID and status.st_uid != os.geteuid()) or (
        status.st_mode & stat.S_ISGID
        and status.st_mode & stat.S_IXGRP
        and status.st_gid != os.getegid()
    )
    return bool(gains) and _may_gain_nothing(task) and not _may_gain_nothing(os.getpid())


def _may_gain_nothing(task: int) -> bool:
    try:
        with open(f"/proc/{task}/status", "rb") as lines:
            return b"\nNoNewPrivs:\t1\n" in lines.read()
    except OSError:
        return False


def of_hindered(names: Iterable[str]) -> str:
    """A sentence on programs that did not get their rights; empty where there are none."""
    listed = ", ".join(names)
    return listed and (
        f"{listed} did not get the rights of its owner: a program that is watched from outside "
        "may not gain rights, unless root watches it. It does with --sensor audit-hook."
    )


def _begins_with(path: str, magic: bytes) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return os.read(fd, len(magic)) == magic
    except OSError:
        return False
    finally:
        os.close(fd)


def _transport(task: int, descriptor: int) -> str:
    """`tcp` or `udp`: resolvers connect datagram sockets to addresses that are never used."""
    try:
        with open(f"/proc/{task}/status", "rb") as status:
            (group,) = (int(line.split()[1]) for line in status if line.startswith(b"Tgid:"))
        process = os.pidfd_open(group)
    except (OSError, ValueError):
        return ""
    try:
        copy = ctypes.CDLL(None).syscall(_SYS_PIDFD_GETFD, process, _signed(descriptor), 0)
        if copy < 0:
            return ""
        with socket.socket(fileno=copy) as found:
            return {socket.SOCK_STREAM: "tcp", socket.SOCK_DGRAM: "udp"}.get(found.type, "")
    except OSError:
        return ""
    finally:
        os.close(process)
