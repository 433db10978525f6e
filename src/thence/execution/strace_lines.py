"""From the lines of strace(1) to events.

The lines are written with `-f -y -xx`: the task first, strings in hexadecimal, and behind each
descriptor, and AT_FDCWD, the path that it means. A call that another task interrupted comes in two
pieces (`<unfinished ...>`, `<... resumed>`). What reads is told at once; what may fail, and what
changes names or folders, when its result is known.
"""

import os
import re
from collections.abc import Callable
from typing import NamedTuple

from thence.execution.events import Action, FileEvent, absolute, open_action
from thence.execution.tracee import OWN_MOUNTS

__all__ = ["CALLS", "Lines"]

CALLS = (
    *("openat", "?open", "?openat2", "?creat", "execve", "execveat", "?mkdir", "mkdirat"),
    *("?rename", "?renameat", "renameat2", "?link", "linkat", "?symlink", "symlinkat"),
    *("?unlink", "unlinkat", "truncate", "connect", "socket", "chdir", "fchdir"),
    *("clone", "?clone3", "?fork", "?vfork", "?io_uring_setup", "chroot", "pivot_root"),
    *("mount", "?move_mount", "setns"),
)
"""What to trace; a question mark spares those that a machine does not have."""

_LINE = re.compile(rb"(\d+) +(.*)", re.DOTALL)
_CALL = re.compile(rb"(\w+)\((.*)", re.DOTALL)
_RESUMED = re.compile(rb"<\.\.\. (\w+) resumed>(.*)", re.DOTALL)
_UNFINISHED = b"<unfinished ...>"
_RESULT = re.compile(rb"\) += (-?\d+)(?:<([^>]*)>)?")
_TOKEN = re.compile(
    rb'(AT_FDCWD|\d+)<((?:\\x[0-9a-f]{2})*)[^>]*>|"((?:\\x[0-9a-f]{2})*)"(?:\.\.\.)?'
)
_FLAGS = re.compile(rb"\b(O_[A-Z_|0-9a-fx]+)")
_IPV4 = re.compile(rb'AF_INET, sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]*)"\)')
_IPV6 = re.compile(rb'AF_INET6, sin6_port=htons\((\d+)\).*inet_pton\(AF_INET6, "([^"]*)"')
_NO_NEW_MOUNT = re.compile(
    rb"\bMS_(REMOUNT|UNBINDABLE|PRIVATE|SLAVE|SHARED)\b|, CLONE_NEW(?!NS)\w+\Z"
)
_FORKS = {b"clone", b"clone3", b"fork", b"vfork"}


class _Token(NamedTuple):
    """A descriptor with its path, or a string."""

    is_descriptor: bool
    text: bytes


class _Folder:
    """A working folder; threads have one together."""

    def __init__(self, path: bytes) -> None:
        self.path = path


class Lines:
    """Makes events of lines.

    Args:
        cwd: Of the first process.

    Attributes:
        blind_spots: Sentences on what was done that lets accesses go unseen.
        running: Tasks that have not ended.
    """

    def __init__(self, cwd: str | os.PathLike[str]) -> None:
        self.blind_spots: dict[str, None] = {}
        self.running: set[int] = set()
        self._first = _Folder(os.fsencode(cwd))
        self._folders: dict[int, _Folder] = {}
        self._begun: dict[int, bytes] = {}
        self._sockets: dict[bytes, str] = {}
        self._handlers: dict[bytes, Callable[[int, bytes, list[_Token]], FileEvent | None]] = {
            b"openat": self._open,
            b"open": self._open,
            b"openat2": self._open,
            b"creat": lambda t, _a, p: self._one(Action.TRUNCATE, t, p, "create"),
            b"execve": lambda t, _a, p: self._one(Action.EXECUTE, t, p),
            b"execveat": lambda t, _a, p: self._one(Action.EXECUTE, t, p),
            b"mkdir": lambda t, _a, p: self._one(Action.MAKE_FOLDER, t, p),
            b"mkdirat": lambda t, _a, p: self._one(Action.MAKE_FOLDER, t, p),
            b"rename": self._rename,
            b"renameat": self._rename,
            b"renameat2": self._rename,
            b"link": lambda t, _a, p: self._pair(Action.LINK, t, p),
            b"linkat": lambda t, _a, p: self._pair(Action.LINK, t, p),
            b"symlink": self._symlink,
            b"symlinkat": self._symlink,
            b"unlink": lambda t, _a, p: self._one(Action.REMOVE, t, p),
            b"unlinkat": lambda t, a, p: (
                None if b"AT_REMOVEDIR" in a else self._one(Action.REMOVE, t, p)
            ),
            b"truncate": lambda t, a, p: self._one(
                Action.TRUNCATE, t, p, "" if a.rstrip(b" )").endswith(b", 0") else "length"
            ),
            b"connect": self._connect,
        }

    def feed(self, line: bytes) -> FileEvent | None:
        """The event of a line, without its end; None where there is none."""
        found = _LINE.match(line)
        if found is None:
            return None
        task, rest = int(found[1]), found[2]
        if rest.startswith((b"+++ exited", b"+++ killed")):
            self._folders.pop(task, None)
            self._begun.pop(task, None)
            self.running.discard(task)
            return None
        self.running.add(task)
        if rest.startswith(b"+++ superseded by execve in pid "):
            self.running.discard(int(rest.split()[6]))
            return None
        if rest.startswith((b"+++", b"---")):
            return None
        resumed = _RESUMED.match(rest)
        if resumed is not None:
            begun = self._begun.pop(task, b"")
            return self._whole(task, begun + resumed[2], was_told=True) if begun else None
        if rest.endswith(_UNFINISHED):
            begun = self._begun[task] = rest[: -len(_UNFINISHED)].rstrip()
            return self._early(task, begun)
        return self._whole(task, rest, was_told=False)

    def _early(self, task: int, text: bytes) -> FileEvent | None:
        call = _CALL.match(text)
        if call is None or call[1] in _FORKS:
            return None
        event = self._event(task, call[1], call[2])
        return event if event is not None and _is_certain(event.action) else None

    def _whole(self, task: int, text: bytes, *, was_told: bool) -> FileEvent | None:
        call = _CALL.match(text)
        if call is None:
            return None
        name, arguments = call[1], call[2]
        # The last one: an argument may look like a result.
        results = list(_RESULT.finditer(arguments))
        result = int(results[-1][1]) if results else -1
        arguments = arguments[: results[-1].start()] if results else arguments
        if name in {b"chdir", b"fchdir"}:
            if result == 0:
                self._change_folder(task, arguments)
        elif name in _FORKS:
            if result > 0:
                self._born(task, result, shares=b"CLONE_FS" in arguments)
        elif name == b"socket":
            self._note_socket(arguments, results[-1][2] if results else None)
        elif name == b"io_uring_setup":
            self._remark("A program used io_uring; files opened through it were not seen.")
        elif name in {b"chroot", b"pivot_root"}:
            self._remark(
                "A program changed its root folder; paths it used after that may be wrong."
            )
        elif name in {b"mount", b"move_mount", b"setns"}:
            if result == 0 and not _NO_NEW_MOUNT.search(arguments):
                self._remark(OWN_MOUNTS)
        else:
            event = self._event(task, name, arguments)
            if event is not None:
                certain = _is_certain(event.action)
                return event if not (was_told if certain else result < 0) else None
        return None

    def _event(self, task: int, name: bytes, arguments: bytes) -> FileEvent | None:
        handler = self._handlers.get(name)
        return None if handler is None else handler(task, arguments, _tokens(arguments))

    # Folders

    def _folder(self, task: int) -> _Folder:
        """The working folder of a task, which may speak before the call that made it is told."""
        known = self._folders.get(task)
        if known is None:
            makers = [one for one, text in self._begun.items() if text.split(b"(")[0] in _FORKS]
            if not self._folders:
                known = self._first
            elif len(makers) == 1:
                known = _Folder(self._folder(makers[0]).path)
            else:
                known = _Folder(_link(f"/proc/{task}/cwd"))
            self._folders[task] = known
        return known

    def _born(self, task: int, child: int, *, shares: bool) -> None:
        self.running.add(child)
        folder = self._folder(task)
        if shares:
            self._folders[child] = folder
        elif child not in self._folders:
            self._folders[child] = _Folder(folder.path)

    def _change_folder(self, task: int, arguments: bytes) -> None:
        tokens = _tokens(arguments)
        if tokens:
            folder = self._folder(task)
            folder.path = os.fsencode(absolute(tokens[0].text, folder.path))

    def _paths(self, task: int, tokens: list[_Token]) -> list[str]:
        """The paths of a call: strings, each after the folder that it is relative to, if any."""
        found = []
        base: bytes | None = None
        for token in tokens:
            if token.is_descriptor:
                base = token.text
                continue
            text = token.text
            if text.startswith(b"/"):
                found.append(absolute(text, b""))
            else:
                start = base if base is not None else self._folder(task).path
                whole = absolute(text, start) if text else os.fsdecode(start)
                found.append(whole if start.startswith(b"/") else "")
            base = None
        return found

    # Calls

    def _one(
        self, action: Action, task: int, tokens: list[_Token], detail: str = ""
    ) -> FileEvent | None:
        # Behind the path of execve come its words.
        paths = self._paths(task, tokens[: 2 if tokens and tokens[0].is_descriptor else 1])
        return FileEvent(action, paths[0], "", task, detail) if paths and paths[0] else None

    def _open(self, task: int, arguments: bytes, tokens: list[_Token]) -> FileEvent | None:
        # Behind the path: a path may look like flags.
        found = _FLAGS.search(arguments, arguments.rfind(b'"'))
        flags = _flags(found[1]) if found else 0
        if flags & (os.O_DIRECTORY | os.O_PATH):
            return None
        action, detail = open_action(flags)
        return self._one(action, task, tokens, detail)

    def _pair(
        self, action: Action, task: int, tokens: list[_Token], detail: str = ""
    ) -> FileEvent | None:
        paths = self._paths(task, tokens)
        if len(paths) < 2 or not paths[1]:
            return None
        return FileEvent(action, paths[0], paths[1], task, detail)

    def _rename(self, task: int, arguments: bytes, tokens: list[_Token]) -> FileEvent | None:
        detail = "exchange" if b"RENAME_EXCHANGE" in arguments else ""
        return self._pair(Action.RENAME, task, tokens, detail)

    def _symlink(self, task: int, _arguments: bytes, tokens: list[_Token]) -> FileEvent | None:
        if len(tokens) < 2:
            return None
        (target,) = self._paths(task, tokens[1:]) or [""]
        old = absolute(tokens[0].text, os.path.dirname(os.fsencode(target)))
        return FileEvent(Action.LINK, old, target, task, "symbolic") if target else None

    def _note_socket(self, arguments: bytes, name: bytes | None) -> None:
        if name is not None:
            kinds = {b"SOCK_STREAM": "tcp", b"SOCK_DGRAM": "udp"}
            self._sockets[_unescaped(name)] = next(
                (word for mark, word in kinds.items() if mark in arguments), ""
            )

    def _connect(self, task: int, arguments: bytes, tokens: list[_Token]) -> FileEvent | None:
        if found := _IPV4.search(arguments):
            host = _unescaped(found[2]).decode()
        elif found := _IPV6.search(arguments):
            host = f"[{_unescaped(found[2]).decode()}]"
        else:
            return None
        transport = self._sockets.get(tokens[0].text, "") if tokens else ""
        return FileEvent(Action.CONNECT, f"{host}:{int(found[1])}", "", task, transport)

    def _remark(self, sentence: str) -> None:
        self.blind_spots[sentence] = None


def _is_certain(action: Action) -> bool:
    """Whether an event is told whatever the call gives, as before a call."""
    return action in {Action.READ, Action.EXECUTE, Action.CONNECT}


def _tokens(arguments: bytes) -> list[_Token]:
    return [
        _Token(found[1] is not None, _unescaped(found[2] if found[1] else found[3]))
        for found in _TOKEN.finditer(arguments)
    ]


def _unescaped(text: bytes) -> bytes:
    return bytes.fromhex(text.replace(b"\\x", b"").decode()) if text.startswith(b"\\x") else text


def _flags(text: bytes) -> int:
    flags = 0
    for word in text.decode().split("|"):
        flags |= getattr(os, word, 0) if word.startswith("O_") else int(word, 0)
    return flags


def _link(path: str) -> bytes:
    try:
        return os.fsencode(os.readlink(path))
    except OSError:
        return b""
