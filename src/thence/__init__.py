"""thence keeps everything a data-science result was made from, proves it, and gives it back.

The names here are loaded when they are first used, so that `import thence` costs next to nothing.
"""

# As type checkers know it; importing typing would be most of the cost of `import thence`.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from thence import errors
    from thence.index.views import ArtifactSummary as Artifact
    from thence.index.views import RunDetail as Run
    from thence.index.views import VersionDetail as Version
    from thence.model.ids import Digest
    from thence.model.names import Ref
    from thence.model.records import Verdict
    from thence.project import Project
    from thence.vault.difference import Diff
    from thence.verbs import diff, finish, init, load, log, reproduce, run, save

__all__ = [
    "Artifact",
    "Diff",
    "Digest",
    "Project",
    "Ref",
    "Run",
    "Verdict",
    "Version",
    "diff",
    "errors",
    "finish",
    "init",
    "load",
    "log",
    "reproduce",
    "run",
    "save",
]

# Module and name there; None for the module itself.
_SOURCES: dict[str, tuple[str, str | None]] = {
    "Artifact": ("thence.index.views", "ArtifactSummary"),
    "Diff": ("thence.vault.difference", "Diff"),
    "Digest": ("thence.model.ids", "Digest"),
    "Project": ("thence.project", "Project"),
    "Ref": ("thence.model.names", "Ref"),
    "Run": ("thence.index.views", "RunDetail"),
    "Verdict": ("thence.model.records", "Verdict"),
    "Version": ("thence.index.views", "VersionDetail"),
    "diff": ("thence.verbs", "diff"),
    "errors": ("thence.errors", None),
    "finish": ("thence.verbs", "finish"),
    "init": ("thence.verbs", "init"),
    "load": ("thence.verbs", "load"),
    "log": ("thence.verbs", "log"),
    "reproduce": ("thence.verbs", "reproduce"),
    "run": ("thence.verbs", "run"),
    "save": ("thence.verbs", "save"),
}


def __getattr__(name: str) -> "Any":
    """Load a public name when it is first used."""
    if name == "__version__":
        from importlib.metadata import version

        return version("thence")
    if name not in _SOURCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module_name, attribute = _SOURCES[name]
    module = import_module(module_name)
    value = module if attribute is None else getattr(module, attribute)
    globals()[name] = value
    return value


def load_ipython_extension(ipython: "Any") -> None:
    """What `%load_ext thence` calls."""
    from thence.verbs import record_cells

    record_cells(ipython)


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted(__all__)
