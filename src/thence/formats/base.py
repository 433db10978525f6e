"""The contract of a format, and what passes between formats and their callers."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import msgspec

from thence.errors import MissingExtra
from thence.model.records import Grade, Kind

__all__ = [
    "CompareContext",
    "Comparer",
    "Dumped",
    "DumpedFile",
    "Format",
    "Loader",
    "Outcome",
    "Saver",
    "Sniffed",
    "Tolerance",
    "Trust",
    "Unreadable",
    "missing_extra",
    "with_suffix",
]


class Sniffed(NamedTuple):
    """What a file is."""

    kind: Kind
    media_type: str


class DumpedFile(NamedTuple):
    """One file of a saved object; `name` is a base name."""

    name: str
    data: bytes


class Dumped(NamedTuple):
    """An object as files.

    Attributes:
        metadata: What `load` needs to give the same object back (`format`, `file`,
            `python_type`) and what was found out on the way (columns, hyperparameters …). Only
            what canonical JSON holds.
    """

    files: tuple[DumpedFile, ...]
    kind: Kind
    metadata: dict[str, Any]


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """What a load may run.

    Attributes:
        allow_pickle: Unpickle, which runs whatever code the file names.
        types: Full names of classes and functions that a model file may hold besides the plain
            parts of scikit-learn, NumPy and SciPy.
    """

    allow_pickle: bool = False
    types: tuple[str, ...] = ()


class Tolerance(msgspec.Struct, frozen=True, kw_only=True):
    """How far numbers may be apart. The default is exact: no deviation at all is let through.

    Numbers agree within the tolerance when `|reproduced - original| <= absolute + relative *
    |original|`. Whatever differs and passes is graded `within tolerance`, never `equivalent`.

    Attributes:
        volatile: Fields that are expected to change from run to run and are not compared: a name
            (`seconds`), or a pattern for a name or a dotted path (`*.duration_s`, `runs.*.host`).
    """

    relative: float = 0.0
    absolute: float = 0.0
    volatile: tuple[str, ...] = ()

    @property
    def is_exact(self) -> bool:
        """True where nothing may deviate."""
        return self.relative <= 0 and self.absolute <= 0

    def allows(self, original: float, reproduced: float) -> bool:
        """Whether two numbers that are not the same agree within the tolerance.

        >>> Tolerance(relative=0.01).allows(100.0, 101.0)
        True
        >>> Tolerance().allows(0.0, -0.0)
        False
        """
        if self.is_exact:
            return False
        # Never true for NaN; an infinity agrees with nothing but itself.
        if abs(original) == float("inf") or abs(reproduced) == float("inf"):
            return False
        try:
            return abs(reproduced - original) <= self.absolute + self.relative * abs(original)
        except OverflowError:  # integers beyond the range of a float
            return False

    def ignores(self, name: str, dotted: str = "") -> bool:
        """Whether a field is volatile; `dotted` is its whole path, such as `runs.3.seconds`."""
        return any(
            fnmatchcase(name, pattern)
            or (dotted and (fnmatchcase(dotted, pattern) or fnmatchcase(f".{dotted}", pattern)))
            for pattern in self.volatile
        )


class CompareContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison may know and use.

    Attributes:
        name: The file's name as the run knew it; the paths that are compared may be temporary.
        inputs: The run's recorded inputs by name, so that models are compared by what they
            predict on them.
        python: Interpreter of the reproduced environment. Pickled models are opened by it, in a
            process of their own, and never anywhere else; None means that they are not opened.
        root: Where the reproduced command ran; the interpreter finds the project's modules there.
        environment: Variables of that interpreter; None for those of this process.
        timeout_s: How long comparing one model may take.
    """

    tolerance: Tolerance = Tolerance()
    name: str = ""
    inputs: Mapping[str, Path] = {}
    python: Path | None = None
    root: Path | None = None
    environment: Mapping[str, str] | None = None
    timeout_s: float = 300.0


class Outcome(NamedTuple):
    """How two files compare.

    Attributes:
        rule: By which rule: `bytes`, `json`, `csv` …
        detail: The first difference and where, or the largest deviation and where.
    """

    grade: Grade
    rule: str
    detail: str = ""


class Unreadable(Exception):
    """A file that is not what it should be. Never leaves this layer: the registry translates it.

    Attributes:
        path: The file.
        reason: Why, in one phrase.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path.name}: {reason}")
        self.path = path
        self.reason = reason


@runtime_checkable
class Format(Protocol):
    """A kind of file that thence understands.

    This is all that a format must have. What else it can do, it says by having the methods:
    `Saver` (an object becomes files), `Loader` (files become an object), `Comparer` (two files are
    graded). The registry asks with `isinstance`.

    A format holds no state and may be used from any thread. Importing its module imports no heavy
    library; a method that needs one raises `MissingExtra` with the pip line where it is not there.
    A file that is not what it should be raises `Unreadable`.
    """

    @property
    def name(self) -> str:
        """One word: `metadata["format"]` of what it saved, and the rule of its comparisons."""
        ...

    @property
    def media_type(self) -> str:
        """Of the files that it writes, or mostly reads."""
        ...

    @property
    def kind(self) -> Kind:
        """Of the artifacts that it saves, where their name does not say more."""
        ...

    def matches(self, name: str, head: bytes) -> bool:
        """Whether a file with this name and these first bytes is one of this format."""
        ...


@runtime_checkable
class Saver(Format, Protocol):
    """A format that objects can be saved in."""

    def saves(self, obj: Any) -> bool:
        """Whether the object is one for this format. Imports nothing to find out."""
        ...

    def save(self, obj: Any, stem: str) -> Dumped:
        """The object as files, named by `stem` and the format's suffix.

        The same object gives the same bytes each time.

        Raises:
            InvalidInput: Something in it would not come back as it is.
            MissingExtra: A package is needed for this.
        """
        ...


@runtime_checkable
class Loader(Format, Protocol):
    """A format that objects can be loaded from."""

    def load(self, path: Path, metadata: Mapping[str, Any], trust: Trust) -> Any:
        """The object in a file; without metadata, what a reader of such a file expects.

        Raises:
            Denied: The file asks for more than `trust` gives.
            MissingExtra: A package is needed for this.
        """
        ...


@runtime_checkable
class Comparer(Format, Protocol):
    """A format whose files can be compared by what they mean."""

    def compare(self, original: Path, reproduced: Path, context: CompareContext) -> Outcome:
        """Grade a reproduced file whose bytes are not those of the original.

        `equivalent` only where nothing but the writing differs (spacing, metadata, times in a
        container); never `identical`, which is a question of bytes.

        Raises:
            MissingExtra: A package is needed for this.
        """
        ...


def missing_extra(package: str, extra: str, purpose: str) -> MissingExtra:
    """The error for an optional package that is not installed.

    `purpose` says what it is needed for: `to read Parquet`.
    """
    return MissingExtra(
        f"{package} is needed {purpose}",
        why=f"{package} is not installed.",
        hint=f"Install it: pip install 'thence[{extra}]'",
    )


def with_suffix(stem: str, *suffixes: str) -> str:
    """The file name for a stem: as it is where it ends in one of the suffixes, else with the first.

    >>> with_suffix("roc.png", ".png"), with_suffix("churn.v2", ".skops")
    ('roc.png', 'churn.v2.skops')
    """
    return stem if stem.lower().endswith(suffixes) else f"{stem}{suffixes[0]}"
