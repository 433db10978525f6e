"""Watching a reproduction."""

import os
from collections.abc import Iterable
from pathlib import Path

from thence.execution.events import Action, FileEvent
from thence.execution.view import Scene

__all__ = ["Watch"]

_LOOKS = {Action.READ, Action.EXECUTE}


class Watch:
    """Notes what a reproduction must not do, and what it connects to.

    Args:
        original: The folder in which the run took place.
        ours: Folders that may lie in it and are ours.

    Attributes:
        outside: Files of the original folder that it used.
        hidden: Files of this machine that it looked for and that it could not see.
        connections: Addresses.
    """

    def __init__(self, original: str, ours: tuple[Path, ...]) -> None:
        self._original = os.path.realpath(original).rstrip("/") + "/"
        self._folders: dict[str, str] = {}
        # A project that is reproduced where it ran has its own caches below the original root.
        self._allowed = tuple(f"{folder}/" for folder in ours)
        self._scene: Scene | None = None
        self._known: tuple[str, ...] = ()
        self.outside: dict[str, None] = {}
        self.hidden: dict[str, None] = {}
        self.connections: dict[str, None] = {}

    def enter(self, scene: Scene, known: Iterable[str]) -> None:
        """The command sees a scene: no path leads into the original folder.

        Args:
            scene: What it sees.
            known: Folders whose files need not be the same: environments, which were compared.
        """
        self._scene = scene
        self._known = tuple(f"{folder}/" for folder in known)

    def on_event(self, event: FileEvent) -> None:
        """Note one event."""
        if event.action is Action.CONNECT:
            self.connections[event.path] = None
        elif self._scene is not None:
            path = event.path
            if event.action in _LOOKS and not path.startswith(self._known) and self._hides(path):
                self.hidden[path] = None
        else:
            for path in filter(None, (event.path, event.target)):
                real = self._resolve(path)
                if real.startswith(self._original) and not real.startswith(self._allowed):
                    self.outside[path] = None

    def _hides(self, path: str) -> bool:
        scene = self._scene
        return scene is not None and "/__pycache__/" not in path and scene.hides(path)

    def _resolve(self, path: str) -> str:
        """The path without links, by which it could lead into the original folder."""
        folder, _, name = path.rpartition("/")
        real = self._folders.get(folder)
        if real is None:
            real = self._folders[folder] = os.path.realpath(folder or "/").rstrip("/")
        found = f"{real}/{name}"
        return os.path.realpath(found) if os.path.islink(found) else found
