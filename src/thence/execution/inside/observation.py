"""What begins in an observed Python program, and what its parts need."""

from __future__ import annotations

import atexit
import os
import sys

from . import child, identity, imports, notes
from .wrapping import quietly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["PARTS", "PLAN", "Observation", "begin", "start_parts"]

PLAN = "plan"

# Modules of this package with a function `start(observation)`.
PARTS: tuple[str, ...] = ("remote", "chance", "arguments", "blas")


class Observation:
    """What a part needs.

    Args:
        watcher: Tells of files; its `guarded` and `quiet` keep what parts do from being observed.
        tell: Tells a note: its kind, and fields that are plain JSON.
        plan: What is wanted: by the names of parts, whatever they define.

    Attributes:
        imports: Puts wrappers into modules.
    """

    def __init__(self, watcher: child.Watcher, tell: notes.Tell, plan: dict[str, Any]) -> None:
        self.watcher = watcher
        self.plan = plan
        self.imports = imports.Imports()
        self._tell = tell
        self._at_begin: list[Callable[[], None]] = []
        self._at_end: list[Callable[[], None]] = []
        self.on_fork(identity.forget)
        self.imports.when("multiprocessing.util", self._has_workers)

    def tell(self, kind: str, **fields: Any) -> None:
        """Tell a note; never raises, and what it does itself is not observed."""
        if self.watcher.active or not self.plan.get("files", True):
            self.watcher.guarded(lambda _: self._tell(kind, fields), None)

    def on_begin(self, function: Callable[[], None]) -> None:
        """Call it when the run begins in this process: in one process there may be several."""
        self._at_begin.append(function)

    def on_end(self, function: Callable[[], None]) -> None:
        """Call it when the run or this process ends, unless that ends without a word."""
        self._at_end.append(function)

    def on_fork(self, function: Callable[[], None]) -> None:
        """Call it in each fork of this process, after what was asked to be called there before.

        What the parent knows is told by the parent. The function may wait for nothing: whoever
        would answer, or hand back a lock, may be a thread that the fork does not have.
        """
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=lambda: quietly(function))

    def began(self) -> None:
        """A run begins in this process."""
        for function in self._at_begin:
            quietly(function)

    def ended(self) -> None:
        """The run, or this process, ends."""
        for function in self._at_end:
            quietly(function)

    def _has_workers(self, module: Any) -> None:
        """Workers of `multiprocessing` end without a word: they are asked for one before."""
        module.register_after_fork(
            self, lambda one: module.Finalize(None, one.ended, exitpriority=-2000)
        )


def start_parts(observation: Observation) -> None:
    """Start all parts; one that fails is left out."""
    for name in PARTS:
        try:
            # Without importlib, which not every Python has loaded.
            __import__(f"{__package__}.{name}", fromlist=["start"]).start(observation)
        except Exception:  # noqa: S112
            continue


def begin() -> None:
    """Begin, if an observer asked for it; called by the planted `sitecustomize`."""
    folder = os.environ.get(child.FOLDER_VARIABLE, "")
    # Programs must not find the folder among their modules; their children have PYTHONPATH.
    planted = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[:] = [entry for entry in sys.path if entry not in {folder, planted}]
    try:
        if folder and os.path.isdir(folder) and not _is_housekeeping():
            _observe(folder)
    except Exception:  # noqa: S110
        pass  # the folder may be gone: nothing of this may be seen by the program
    child.start_next()


def _observe(folder: str) -> None:
    plan = _plan(folder)
    if plan.get("files", True):
        channel = child.Channel(folder, patience_s=plan.get("patience_s"))
        watcher = child.Watcher(channel.send, folder)
        watcher.guarded(lambda _: child.introduce(watcher), None)
        sys.addaudithook(watcher.hook)
    else:
        watcher = child.Watcher(lambda *_: None, folder)
        watcher.active = False
    told = notes.Notes(folder)
    observation = Observation(watcher, told.tell, plan)
    if watcher.active:
        from . import natives

        natives.start(observation)
    start_parts(observation)
    observation.on_end(told.finish)
    observation.began()
    atexit.register(observation.ended)
    observation.tell(
        "process",
        python=f"{sys.implementation.name} {sys.version.split()[0]}",
        executable=sys.executable,
    )


def _is_housekeeping() -> bool:
    """Whether this is Python's own process that waits for the end of all others of a program."""
    words = list(getattr(sys, "orig_argv", ()))
    return bool(words) and words[-1].startswith("from multiprocessing.resource_tracker import main")


def _plan(folder: str) -> dict[str, Any]:
    import marshal  # built in, as json is not

    with open(os.path.join(folder, PLAN), "rb") as file:
        plan: dict[str, Any] = marshal.loads(file.read())  # noqa: S302 - of who started us
    return plan
