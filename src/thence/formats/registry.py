"""All formats, and the verbs that find the right one: sniff, dump, load, compare.

Importing this module imports no heavy library; each format does so when it is used.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from thence.errors import DataDamaged, FormatTooNew, InvalidInput, MissingExtra, ThenceError
from thence.formats import media
from thence.formats.arrays import Array, ArrayDictionary
from thence.formats.base import (
    CompareContext,
    Comparer,
    Dumped,
    Format,
    Loader,
    Saver,
    Sniffed,
    Trust,
    Unreadable,
)
from thence.formats.csv_table import CSV
from thence.formats.gzip_file import Gzip
from thence.formats.image import Image
from thence.formats.json_value import JSON
from thence.formats.notebook import Notebook
from thence.formats.parquet import Arrow, Parquet
from thence.formats.pickled import Pickle
from thence.formats.safetensors_file import Safetensors
from thence.formats.skops_model import Skops
from thence.formats.svg import SVG
from thence.formats.tensorboard import TensorBoard
from thence.formats.text import Raw, Text
from thence.model.records import Comparison, Grade

__all__ = ["FORMATS", "compare", "dump", "format_of", "load", "load_file", "sniff"]

_log = logging.getLogger(__name__)

FORMATS: tuple[Format, ...] = (
    Parquet(),
    Arrow(),
    Array(),
    ArrayDictionary(),
    CSV(),
    JSON(),
    Skops(),
    Pickle(),
    Safetensors(),
    TensorBoard(),
    Gzip(),
    SVG(),
    Image(),
    Notebook(),
    Text(),
    Raw(),
)
"""Asked in this order; the last one takes everything."""

_BLOCK = 1 << 20
_SUPPORTED = "DataFrames, arrays, dictionaries and lists, text, bytes, figures, scikit-learn models"


def sniff(name: str, head: bytes) -> Sniffed:
    """What a file is, by its first bytes and then by its name; see `thence.formats.media.sniff`."""
    return media.sniff(name, head)


def format_of(name: str, head: bytes) -> Format:
    """The format that a file is of."""
    return next(known for known in FORMATS if known.matches(name, head))


def dump(obj: Any, *, name: str, allow_pickle: bool = False) -> Dumped:
    """An object as files, in the format that gives it back the same.

    Args:
        obj: A DataFrame or Series of pandas or polars, an Arrow table, an array or a dictionary of
            arrays, a dictionary, list or number, text, bytes, a figure of matplotlib, an image of
            Pillow, or an estimator of scikit-learn.
        name: Of the artifact; the file is named by its last segment.
        allow_pickle: Pickle what no format takes. Loading it runs code and must be allowed again.

    Raises:
        InvalidInput: No format takes it, or something in it would not come back as it is.
        MissingExtra: A package is needed for this.
    """
    stem = media.base_name(name) or "value"
    for known in FORMATS:
        if isinstance(known, Pickle) or not isinstance(known, Saver) or not known.saves(obj):
            continue
        try:
            return known.save(obj, stem)
        except InvalidInput:
            if not allow_pickle:
                raise
            _log.info("%s does not take %s, pickling it", known.name, type(obj).__qualname__)
            break
    if allow_pickle:
        return Pickle().save(obj, stem)
    described = "nothing (None)" if obj is None else f"{type(obj).__module__}.{type(obj).__name__}"
    raise InvalidInput(
        f"cannot be saved: {described}",
        why=f"What can be saved: {_SUPPORTED}.",
        hint="Pass allow_pickle=True to pickle it, or write it to a file and save the path.",
    )


def load(
    folder: Path,
    metadata: Mapping[str, Any],
    *,
    allow_pickle: bool = False,
    trusted: Iterable[str] = (),
) -> Any:
    """The object that `dump` made the files in a folder from.

    A folder that was saved as files holds one file or is no object: then `load_file` decides.

    Args:
        folder: With the version's files in it.
        metadata: Of the version.
        allow_pickle: Unpickle. Only for files from people you trust: it runs their code.
        trusted: Full names of further types that a model file may hold.

    Raises:
        Denied: It would need to be unpickled, or holds types that are not trusted.
        MissingExtra: A package is needed for this.
        InvalidInput: The version is a folder of files.
        DataDamaged: The file is not what the metadata says.
        FormatTooNew: Saved in a format that this version of thence does not know.
    """
    trust = Trust(allow_pickle=allow_pickle, types=tuple(trusted))
    name = metadata.get("format")
    if name is None:
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        if len(files) != 1:
            raise InvalidInput(
                f"cannot be loaded as one object: {len(files)} files",
                hint="Ask for one of them, name:path/in/it.csv, or for the folder's path.",
            )
        return _load_path(files[0], trust)
    known = next((one for one in FORMATS if one.name == name), None)
    if known is None:
        raise FormatTooNew(f"saved in the format {name!r}, which this thence does not know")
    # only the base name: the metadata may come from anybody
    path = folder / media.base_name(str(metadata.get("file", "")))
    if not isinstance(known, Loader) or not path.is_file():
        raise DataDamaged(
            f"the metadata names a file that is not there: {metadata.get('file')!r}",
            hint="Get the files of the version instead of loading it.",
        )
    try:
        return known.load(path, metadata, trust)
    except Unreadable as error:
        raise DataDamaged(f"cannot be loaded: {error}") from error


def load_file(path: Path, *, allow_pickle: bool = False, trusted: Iterable[str] = ()) -> Any:
    """What is in a file of the user's: a DataFrame of CSV or Parquet, values of JSON, arrays.

    Text gives a string and what no format reads gives bytes.

    Args:
        path: The file.
        allow_pickle: Unpickle. Only for files from people you trust: it runs their code.
        trusted: Full names of further types that a model file may hold.

    Raises:
        Denied: It would need to be unpickled, or holds types that are not trusted.
        MissingExtra: A package is needed for this.
        InvalidInput: It is a folder, or not what its name says.
    """
    return _load_path(path, Trust(allow_pickle=allow_pickle, types=tuple(trusted)))


def compare(original: Path, reproduced: Path, name: str, context: CompareContext) -> Comparison:
    """Grade a reproduced file against the original. Never raises for what the files are.

    Args:
        original: The file that the run made.
        reproduced: The file that its reproduction made.
        name: The file's path as the run knew it; it takes part in finding the format.
        context: Tolerance, recorded inputs, the reproduced environment.
    """
    try:
        place = _first_difference(original, reproduced)
    except OSError as error:
        return Comparison(path=name, grade=Grade.UNCHECKED, detail=f"not readable: {error}")
    if place is None:
        return Comparison(path=name, grade=Grade.IDENTICAL)
    known = format_of(name, _head(original))
    if not isinstance(known, Comparer):
        return Comparison(path=name, grade=Grade.DIFFERENT, detail=place)
    grade, rule, detail = _graded(
        known, original, reproduced, msgspec.structs.replace(context, name=media.base_name(name))
    )
    return Comparison(path=name, grade=grade, rule=rule, detail=detail)


def _graded(
    known: Comparer, original: Path, reproduced: Path, context: CompareContext
) -> tuple[Grade, str, str]:
    try:
        return known.compare(original, reproduced, context)
    except Unreadable as error:
        if error.path == reproduced and _readable(known, original, context):
            return Grade.DIFFERENT, known.name, f"the reproduced file is {error.reason}"
        return Grade.UNCHECKED, known.name, f"the original is {error.reason}"
    except MissingExtra as error:
        return Grade.UNCHECKED, known.name, f"{error.what}: {error.hint}"
    except ThenceError as error:
        return Grade.UNCHECKED, known.name, error.what
    except Exception as error:
        # Readers fail in ways of their own on damaged files; a verdict must come out all the same.
        _log.warning("comparing %s failed", context.name, exc_info=True)
        reason = f"comparing failed: {type(error).__name__}: {error}"
        return Grade.UNCHECKED, known.name, reason


def _readable(known: Comparer, original: Path, context: CompareContext) -> bool:
    """Whether the original is sound, so that the fault lies with the reproduced file alone."""
    try:
        known.compare(original, original, context)
    except Exception:
        return False
    return True


def _load_path(path: Path, trust: Trust) -> Any:
    if not path.is_file():
        what = "a folder" if path.is_dir() else "not a file"
        raise InvalidInput(f"cannot be loaded: {path} is {what}")
    known = format_of(path.name, _head(path))
    loader = known if isinstance(known, Loader) else Raw()
    try:
        return loader.load(path, {}, trust)
    except Unreadable as error:
        if isinstance(loader, Text):  # text in an encoding that nobody noted
            return path.read_bytes()
        raise InvalidInput(f"cannot be loaded: {error}") from error


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(media.HEAD_BYTES)


def _first_difference(original: Path, reproduced: Path) -> str | None:
    """Where two files differ first; None where they are the same bytes."""
    sizes = original.stat().st_size, reproduced.stat().st_size
    with original.open("rb") as first, reproduced.open("rb") as second:
        start = 0
        while True:
            one, other = first.read(_BLOCK), second.read(_BLOCK)
            if one != other:
                same = next(
                    (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
                    min(len(one), len(other)),
                )
                size = f" ({sizes[0]} -> {sizes[1]} bytes)" if sizes[0] != sizes[1] else ""
                return f"first difference at byte {start + same}{size}"
            if not one:
                return None
            start += len(one)
