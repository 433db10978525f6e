"""Does something to modules when they have been imported: puts wrappers around what is in them."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Patch = Callable[[Any], None]

__all__ = ["Imports"]


class Imports:
    """Calls functions with modules: those that are imported at once, the others when they are.

    What a function raises is swallowed: another version of a library may look otherwise.
    """

    def __init__(self) -> None:
        self.active = True
        self._patches: dict[str, list[Patch]] = {}
        sys.meta_path.insert(0, self)

    def when(self, name: str, patch: Patch) -> None:
        """Call `patch` with this module."""
        self._patches.setdefault(name, []).append(patch)
        module = sys.modules.get(name)
        if module is not None:
            _apply(patch, module)

    def remove(self) -> None:
        """Look at no more modules."""
        self.active = False
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """The module's spec, with a loader that tells us; None for all other modules."""
        if name not in self._patches or not self.active:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]
                return spec
        return None

    def imported(self, module: Any) -> None:
        """It has just been imported."""
        if self.active:
            for patch in self._patches.get(module.__name__, ()):
                _apply(patch, module)


def _apply(patch: Patch, module: Any) -> None:
    try:  # noqa: SIM105 - contextlib would have to be imported
        patch(module)
    except Exception:  # noqa: S110
        pass  # it must not break the program's import


class _Loader:
    def __init__(self, inner: Any, imports: Imports) -> None:
        self._inner = inner
        self._imports = imports

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def create_module(self, spec: Any) -> Any:
        return self._inner.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__loader__ = module.__spec__.loader = self._inner
        self._inner.exec_module(module)
        self._imports.imported(module)
