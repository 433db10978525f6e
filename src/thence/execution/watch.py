"""Watching a reproduction."""

import os
from pathlib import Path

from thence.execution.events import Action, FileEvent

__all__ = ["Watch"]


class Watch:
    """Notes what a reproduction must not do, and what it connects to.

    Args:
        original: The folder in which the run took place.
        ours: Folders that may lie in it and are ours.
    """

    def __init__(self, original: str, ours: tuple[Path, ...]) -> None:
        self._original = os.path.realpath(original).rstrip("/") + "/"
        self._folders: dict[str, str] = {}
        # A project that is reproduced where it ran has its own caches below the original root.
        self._allowed = tuple(f"{folder}/" for folder in ours)
        self.outside: dict[str, None] = {}
        self.connections: dict[str, None] = {}

    def on_event(self, event: FileEvent) -> None:
        """Note one event."""
        if event.action is Action.CONNECT:
            self.connections[event.path] = None
            return
        for path in filter(None, (event.path, event.target)):
            real = self._resolve(path)
            if real.startswith(self._original) and not real.startswith(self._allowed):
                self.outside[path] = None

    def _resolve(self, path: str) -> str:
        """The path without links, by which it could lead into the original folder."""
        folder, _, name = path.rpartition("/")
        real = self._folders.get(folder)
        if real is None:
            real = self._folders[folder] = os.path.realpath(folder or "/").rstrip("/")
        found = f"{real}/{name}"
        return os.path.realpath(found) if os.path.islink(found) else found
