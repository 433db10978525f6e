"""Pickles, of Python and of joblib: only on request, because loading one runs code."""

import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thence.errors import Denied, InvalidInput
from thence.formats.base import (
    CompareContext,
    Dumped,
    DumpedFile,
    Outcome,
    Trust,
    Unreadable,
    missing_extra,
    with_suffix,
)
from thence.formats.media import sniff, suffix_of
from thence.formats.model_comparison import compare_models
from thence.model.records import Grade, Kind

__all__ = ["Pickle"]

_PROTOCOL = 5
"""Fixed, so that the bytes do not change with the version of Python."""


class Pickle:
    """Saves any object as a pickle; loads pickles and joblib files; compares what is in them.

    The registry saves with it only where the caller allowed it. Loading needs the permission again.
    Comparing opens the files with the interpreter of the reproduced environment and never in this
    process; without one they are `unchecked`.
    """

    name = "pickle"
    media_type = "application/x-python-pickle"
    kind = Kind.MODEL

    def matches(self, name: str, head: bytes) -> bool:
        """By media type; joblib files by their suffix, however they are compressed."""
        return sniff(name, head).media_type == self.media_type or suffix_of(name) == "joblib"

    def saves(self, obj: Any) -> bool:
        """Everything but nothing."""
        return obj is not None

    def save(self, obj: Any, stem: str) -> Dumped:
        """As a pickle of protocol 5; the metadata has its class.

        Raises:
            InvalidInput: It cannot be pickled.
        """
        try:
            data = pickle.dumps(obj, protocol=_PROTOCOL)
        except Exception as error:  # the object's own methods run here
            raise InvalidInput(
                f"cannot be pickled: {type(obj).__qualname__}",
                why=f"{type(error).__name__}: {error}",
                hint="Write it to a file in a format of its own and save the path.",
            ) from error
        file_name = with_suffix(stem, ".pkl", ".pickle")
        kind = Kind.MODEL if hasattr(obj, "predict") else Kind.FILE
        metadata: dict[str, Any] = {
            "format": self.name,
            "file": file_name,
            "python_type": f"{type(obj).__module__}.{type(obj).__qualname__}",
            "pickle": True,
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        }
        return Dumped((DumpedFile(file_name, data),), kind, metadata)

    def load(self, path: Path, metadata: Mapping[str, Any], trust: Trust) -> Any:
        """The object.

        Raises:
            Denied: `trust` does not allow pickles.
            MissingExtra: joblib is needed for this file.
        """
        if not trust.allow_pickle:
            raise Denied(
                f"{path.name} is a pickle and was not loaded",
                why="Loading a pickle runs whatever code it names.",
                hint="If you trust who made it, pass allow_pickle=True.",
            )
        try:
            if suffix_of(path.name) == "joblib":
                return _joblib().load(path)
            return pickle.loads(path.read_bytes())  # noqa: S301 - asked for and allowed
        except ImportError as error:
            if "joblib" in str(error):
                raise
            raise Unreadable(path, f"not loadable here: {error}") from error
        except Exception as error:  # code of the file's
            raise Unreadable(path, f"not loadable: {type(error).__name__}: {error}") from error

    def compare(self, original: Path, reproduced: Path, context: CompareContext) -> Outcome:
        """By parameters and predictions, inside the reproduced environment."""
        if context.python is None:
            return Outcome(
                Grade.UNCHECKED,
                self.name,
                "the bytes differ, and a pickle is opened only in its reproduced environment",
            )
        return compare_models(self.name, original, reproduced, context)


def _joblib() -> Any:
    try:
        import joblib
    except ImportError as error:
        raise missing_extra("joblib", "sklearn", "to load joblib files") from error
    return joblib
