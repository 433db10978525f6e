"""What a project says of itself in `thence.toml`.

::

    [results]                      # what a reproduction must give again
    paths = ["metrics.json", "figures/*.png"]   # left out: every output but logs and temporaries
    ignore = ["*.tmp"]
    relative = 1e-9                # tolerance of all
    [results.tolerance."metrics.json"]
    absolute = 1e-6
    volatile = ["fit_seconds"]     # fields that may be anything

    [capture]
    environment = ["MY_APP_*"]     # variables to keep besides the usual ones
    ignore = ["scratch/"]          # folders whose files are not part of a run
"""

from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from thence.errors import InvalidInput
from thence.formats.base import Tolerance

__all__ = ["CaptureSettings", "ResultSettings", "Settings", "read_settings"]

FILE_NAME = "thence.toml"

_NOT_RESULTS = ("*.log", "*.tmp", "*.temp", "*.pid", "*.lock", "*.swp", "logs/*", "*/logs/*")


class ToleranceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a result may be off; None means as for all."""

    relative: float | None = None
    absolute: float | None = None
    volatile: tuple[str, ...] = ()


class ResultSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What counts as a result, and how exactly it must come again."""

    paths: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    relative: float = 0.0
    absolute: float = 0.0
    volatile: tuple[str, ...] = ()
    tolerance: dict[str, ToleranceSettings] = {}

    def is_result(self, path: str) -> bool:
        """Whether an output is compared."""
        if _matches(path, self.ignore):
            return False
        if self.paths:
            return _matches(path, self.paths)
        return not _matches(path, _NOT_RESULTS)

    def tolerance_of(self, path: str) -> Tolerance:
        """The tolerance for a result: that of the first pattern that fits, over that for all."""
        own = next(
            (value for pattern, value in self.tolerance.items() if _matches(path, (pattern,))),
            ToleranceSettings(),
        )
        return Tolerance(
            relative=self.relative if own.relative is None else own.relative,
            absolute=self.absolute if own.absolute is None else own.absolute,
            volatile=(*self.volatile, *own.volatile),
        )


class CaptureSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run keeps beyond the usual, and what it leaves out."""

    environment: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of `thence.toml`."""

    results: ResultSettings = ResultSettings()
    capture: CaptureSettings = CaptureSettings()


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    name = path.rpartition("/")[2]
    return any(
        fnmatchcase(path, pattern)
        or ("/" not in pattern and fnmatchcase(name, pattern))
        or (pattern.endswith("/") and path.startswith(pattern))
        for pattern in patterns
    )


def read_settings(folder: Path) -> Settings:
    """Read `thence.toml` in a folder; without one, everything is as usual.

    Raises:
        InvalidInput: It is not TOML, or has a key or value that means nothing.
    """
    path = folder / FILE_NAME
    try:
        return parse_settings(path.read_bytes())
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise InvalidInput(f"cannot read {path}", why=f"{error.strerror}.") from error


def parse_settings(data: bytes) -> Settings:
    """Read the text of a `thence.toml`.

    Raises:
        InvalidInput: It is not TOML, or has a key or value that means nothing.
    """
    import tomllib  # 3 ms, which most commands need not pay

    try:
        return msgspec.convert(tomllib.loads(data.decode("utf-8")), Settings, strict=False)
    except (ValueError, TypeError) as error:
        raise InvalidInput(
            f"{FILE_NAME} cannot be used",
            why=f"{error}.",
            hint="See docs/reference/thence-toml.md for what can stand in it.",
            about=FILE_NAME,
        ) from error
