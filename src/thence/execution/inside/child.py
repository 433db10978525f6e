"""What runs inside a Python program that is observed by its audit events (PEP 578).

What both sides need is defined here and imported by the other side.

The protocol: to each event (four-byte length, then action, path, target, pid and detail joined by
zero bytes) the other side answers one byte, and the program waits for it. If nobody answers any
more, events are appended to a file and the program goes on. So are, from the start, those of
modules of installed packages: nothing is kept of them before the program proceeds, a training
imports a thousand, and to wake who listens costs 20 µs of CPU on each side.
"""

from __future__ import annotations

import os
import sys
from _thread import _local, allocate_lock

from .wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Emit = Callable[[str, str, str, int, str], None]

__all__ = [
    "ANSWER",
    "FOLDER_VARIABLE",
    "LATE",
    "SOCKET",
    "TOLD",
    "Channel",
    "Watcher",
    "introduce",
    "open_words",
    "start_next",
]

FOLDER_VARIABLE = "THENCE_SENSOR"
SOCKET = "socket"
LATE = "late"
ANSWER = b"."
TOLD = "told"
_ACCESS = os.O_RDONLY | os.O_WRONLY | os.O_RDWR
_REMEMBERED = 200_000
_PACKAGES = ("/site-packages/", "/dist-packages/")
_STDLIB = os.path.dirname(os.__file__) + "/"
_MODULES = (".pyc", ".py", ".so")


def open_words(flags: int) -> tuple[str, str]:
    """The action and detail of an `open` with these flags."""
    access = flags & _ACCESS
    words = []
    if flags & os.O_CREAT:
        words.append("create")
    if flags & os.O_EXCL:
        words.append("exclusive")
    if flags & os.O_APPEND:
        words.append("append")
    if flags & os.O_TRUNC:
        action = "truncate"
    elif access == os.O_RDONLY:
        action = "read"
    else:
        action = "write" if access == os.O_WRONLY else "update"
    return action, " ".join(words)


class Watcher:
    """Turns audit events into events for `emit`; nothing that fails here reaches the program.

    Args:
        emit: Called with action, path, target, pid and detail.
        folder: Of the observer; children that are told it are observed too.

    Attributes:
        active: Whether it emits.
        hook: The audit hook.
    """

    def __init__(self, emit: Emit, folder: str = "") -> None:
        self.active = True
        self._emit = emit
        self._folder = folder
        self._seen: set[str] = set()
        self._local = _local()
        self._handlers: dict[str, Callable[[tuple[Any, ...]], None]] = {
            "open": self._open,
            "os.rename": lambda a: self._pair("rename", a[0], a[1], a[2], a[3]),
            "os.link": lambda a: self._pair("link", a[0], a[1], a[2], a[3]),
            "os.symlink": self._symlink,
            "os.mkdir": lambda a: self._one("make-folder", a[0], a[2]),
            "os.remove": lambda a: self._one("remove", a[0], a[1]),
            "os.truncate": self._truncate,
            "sqlite3.connect": self._sqlite,
            "import": lambda a: self._one("read", a[1]),
            "ctypes.dlopen": self._dlopen,
            "subprocess.Popen": lambda a: self._run(a[0], a[1], a[3]),
            "os.exec": lambda a: self._run(a[0], a[1], a[2]),
            "os.posix_spawn": lambda a: self._run(a[0], a[1], a[2]),
            "os.system": lambda a: self._run("/bin/sh", (), None),
            "socket.connect": self._connect,
        }
        self.hook = self._make_hook()

    def _make_hook(self) -> Callable[[str, tuple[Any, ...]], None]:
        handlers = self._handlers

        # A function, as Python asks hooks for an attribute each time, which methods take 0.4 µs to
        # deny; and a training has 75,000 events, of which 3,000 are for us.
        def hook(event: str, args: tuple[Any, ...]) -> None:
            if event in handlers and self.active:
                self.guarded(handlers[event], args)

        return hook

    def watch_children_of(self, folder: str) -> None:
        """Children that are told this folder are observed too."""
        self._folder = folder

    def forget(self) -> None:
        """Report each read again."""
        self._seen.clear()

    def guarded(self, function: Callable[[Any], None], argument: Any) -> None:
        """Call it unless this thread is inside already: what we open ourselves is not an event."""
        local = self._local
        if getattr(local, "busy", False):
            return
        # Ctrl-C may come at each line of this: after it this thread must not be deaf for good.
        try:
            try:
                local.busy = True
                function(argument)
            except Exception:  # noqa: S110
                pass  # what is raised in an audit hook would stop the user's program
            finally:
                local.busy = False
        finally:
            local.busy = False

    def quiet(self, *, on: bool) -> bool:
        """Switch off for this thread; what it was before."""
        before = getattr(self._local, "busy", False)
        self._local.busy = on
        return bool(before)

    def tell(self, action: str, path: str, target: str = "", detail: str = "") -> None:
        """Report an event; a read of the same path only once."""
        if action == "read":
            if path in self._seen:
                return
            if len(self._seen) < _REMEMBERED:
                self._seen.add(path)
        self._emit(action, path, target, os.getpid(), detail)

    def _one(self, action: str, path: Any, folder: int = -1, detail: str = "") -> None:
        full = _absolute(path, folder)
        if full:
            self.tell(action, full, "", detail)

    def _open(self, args: tuple[Any, ...]) -> None:
        path, mode, flags = args
        if path.__class__ is int:
            return
        if isinstance(flags, int) and (flags or not mode):
            action, detail = open_words(flags)
        else:
            action, detail = _by_mode(str(mode)), ""
        self._one(action, path, -1, detail)

    def _pair(self, action: str, old: Any, new: Any, old_in: int, new_in: int) -> None:
        target = _absolute(new, new_in)
        if target:
            self.tell(action, _absolute(old, old_in), target)

    def _symlink(self, args: tuple[Any, ...]) -> None:
        target = _absolute(args[1], args[2])
        if target:
            old = os.path.join(os.path.dirname(target), os.fsdecode(args[0]))
            self.tell("link", os.path.normpath(old), target, "symbolic")

    def _truncate(self, args: tuple[Any, ...]) -> None:
        if not isinstance(args[0], int):
            self._one("truncate", args[0], -1, "length" if args[1] else "")

    def _sqlite(self, args: tuple[Any, ...]) -> None:
        name = os.fsdecode(args[0])
        action = "update"
        if name.startswith("file:"):
            name, _, query = name[5:].partition("?")
            action = "read" if "mode=ro" in query or "immutable=1" in query else action
            if "mode=memory" in query:
                return
        if name and name != ":memory:":
            self._one(action, name, -1, "create")

    def _dlopen(self, args: tuple[Any, ...]) -> None:
        if isinstance(args[0], str) and args[0].startswith("/"):
            self._one("read", args[0])

    def _run(self, program: Any, words: Any, env: Any) -> None:
        name = os.fsdecode(program)
        path = name
        if "/" not in name:
            folders = os.get_exec_path(env if isinstance(env, dict) else None)
            found = (os.path.join(folder, name) for folder in folders)
            path = next((p for p in found if os.path.exists(p)), name)
        path = _absolute(path)
        # In another observer's environment it will report to that one, and not to ours.
        folder = os.environ.get(FOLDER_VARIABLE) if env is None else _value(env, FOLDER_VARIABLE)
        observed = folder == self._folder != "" and not _is_isolated(words) and _is_python(path)
        self.tell("execute", path, "", "" if observed else "unobserved")

    def _connect(self, args: tuple[Any, ...]) -> None:
        sock, address = args
        if isinstance(address, tuple) and len(address) >= 2:
            host = f"[{address[0]}]" if ":" in str(address[0]) else str(address[0])
            kind = {1: "tcp", 2: "udp"}.get(int(getattr(sock, "type", 0)), "")
            self.tell("connect", f"{host}:{address[1]}", "", kind)


class Channel:
    """The connection to the observer; one for each process, also after a fork.

    Args:
        folder: In which the socket is.
        patience_s: How long to wait for an answer; then none is waited for any more.
    """

    def __init__(self, folder: str, *, patience_s: float | None = None) -> None:
        self._folder = folder
        self._patience_s = patience_s
        self._pid = -1
        self._reset()

    def _reset(self) -> None:
        # Another thread of the parent may have held the lock when it forked.
        self._lock = allocate_lock()
        self._wire: Wire | None = None
        self._lost = False
        self._told = (-1, -1, -1)
        self._pid = os.getpid()

    def send(self, action: str, path: str, target: str, pid: int, detail: str) -> None:
        """Tell, and wait until the observer is done with it, unless nothing depends on that."""
        if os.getpid() != self._pid:
            self._reset()
        body = os.fsencode("\0".join((action, path, target, str(pid), detail)))
        message = len(body).to_bytes(4, "big") + body
        if action == "read" and _is_installed(path):
            self._note(message)
            return
        with self._lock:
            if not self._ask(message):
                self._append(message)

    def _ask(self, message: bytes) -> bool:
        if self._lost:
            return False
        try:
            if self._wire is None:
                self._wire = Wire(os.path.join(self._folder, SOCKET), self._patience_s)
            rest = self._wire.send(message, self._patience_s)
            if not rest and self._wire.receive(self._patience_s) == ANSWER:
                return True
        except (OSError, AttributeError):
            pass  # nobody answers; or it is a system without such sockets
        except BaseException:
            # Ctrl-C while we wait: the answer would be taken for that to the next question.
            if self._wire is not None:
                self._wire.close()
            self._wire = None
            raise
        self._lost = True
        return False

    def _note(self, message: bytes) -> None:
        try:
            if self._told != _identity(self._told[0]):
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
                self._told = _identity(os.open(os.path.join(self._folder, TOLD), flags, 0o600))
            os.write(self._told[0], message)
        except OSError:
            pass  # the run has ended, or the disk is full

    def _append(self, message: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        try:
            fd = os.open(os.path.join(self._folder, LATE), flags, 0o600)
        except OSError:
            return
        try:
            os.write(fd, message)
        finally:
            os.close(fd)


def _absolute(path: Any, folder: int = -1) -> str:
    if path is None or isinstance(path, int):
        return ""
    text = os.fsdecode(path)
    if folder >= 0 and not text.startswith("/"):
        try:
            text = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
        except OSError:
            return ""
    return os.path.abspath(text) if text else ""


def _identity(number: int) -> tuple[int, int, int]:
    """Which file is behind a descriptor: programs that become daemons close them all."""
    try:
        facts = os.fstat(number)
    except OSError:
        return (-1, 0, 0)
    return (number, facts.st_dev, facts.st_ino)


def _is_installed(path: str) -> bool:
    """Whether it is a module of a package or of Python itself, of which nothing is copied."""
    if not path.endswith(_MODULES):
        return False
    return path.startswith(_STDLIB) or any(folder in path for folder in _PACKAGES)


def _value(env: Any, name: str) -> str:
    """What a variable is set to in an environment, whose names may be text or bytes."""
    return next((os.fsdecode(env[key]) for key in env if os.fsdecode(key) == name), "")


def _by_mode(mode: str) -> str:
    if "w" in mode or "x" in mode:
        return "truncate"
    if "+" in mode:
        return "update"
    return "write" if "a" in mode else "read"


def _is_isolated(words: Any) -> bool:
    """Whether an interpreter is told to disregard the environment or sitecustomize."""
    for word in words[1:] if isinstance(words, (list, tuple)) else ():
        option = os.fsdecode(word)
        if not option.startswith("-") or option in {"-c", "-m", "-"}:
            return False
        if not option.startswith(("--", "-W", "-X")) and any(letter in option for letter in "IES"):
            return True
    return False


def _is_python(path: str) -> bool:
    name = os.path.basename(path)
    if name.startswith(("python", "pypy")) or path == sys.executable:
        return True
    try:
        with open(path, "rb") as file:
            line = file.read(256).split(b"\n")[0]
    except OSError:
        return False
    return line.startswith(b"#!") and b"python" in line


def introduce(watcher: Watcher) -> None:
    """What this interpreter did before there was a hook."""
    watcher.tell("execute", os.path.abspath(sys.executable))
    config = os.path.join(sys.prefix, "pyvenv.cfg")
    if sys.prefix != sys.base_prefix and os.path.exists(config):
        watcher.tell("read", config)


def start_next() -> None:
    """Run the `sitecustomize` that Python would have found without us."""
    try:
        # What each Python has loaded; importlib.util takes 4 ms, with all that it imports.
        from _frozen_importlib import module_from_spec
        from _frozen_importlib_external import PathFinder
    except ImportError:
        from importlib.machinery import PathFinder
        from importlib.util import module_from_spec

    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)
