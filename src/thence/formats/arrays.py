"""NumPy arrays: `.npy` for one, `.npz` for several under names."""

import io
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thence.errors import InvalidInput
from thence.formats.base import (
    CompareContext,
    Dumped,
    DumpedFile,
    Outcome,
    Trust,
    Unreadable,
    with_suffix,
)
from thence.formats.media import sniff
from thence.formats.tally import Tally
from thence.model.records import Kind

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Array", "ArrayDictionary"]

_EPOCH = (1980, 1, 1, 0, 0, 0)
_READING = (ValueError, EOFError, OSError, zipfile.BadZipFile, KeyError, SyntaxError, MemoryError)


class Array:
    """Saves, loads and compares one array. Arrays of Python objects are refused.

    Compared: type (with byte order), shape, every element; NaN equals NaN and zeros have signs. The
    order in memory is `equivalent`. Floats and integers are exact unless a tolerance is given.
    """

    name = "npy"
    media_type = "application/x-npy"
    kind = Kind.DATASET

    def matches(self, name: str, head: bytes) -> bool:
        """By media type."""
        return sniff(name, head).media_type == self.media_type

    def saves(self, obj: Any) -> bool:
        """Arrays and NumPy's scalars."""
        numpy = sys.modules.get("numpy")
        return numpy is not None and isinstance(obj, (numpy.ndarray, numpy.generic))

    def save(self, obj: Any, stem: str) -> Dumped:
        """As `.npy`, without pickle.

        Raises:
            InvalidInput: It holds Python objects, or is a subclass that would lose something.
        """
        import numpy as np

        scalar = isinstance(obj, np.generic)
        array = np.asarray(obj) if scalar else obj
        file_name = with_suffix(stem, ".npy")
        file = DumpedFile(file_name, _encode(array, ""))
        metadata = {
            "format": self.name,
            "file": file_name,
            "python_type": "numpy.generic" if scalar else "numpy.ndarray",
            "dtype": str(array.dtype),
            "shape": list(array.shape),
        }
        return Dumped((file,), sniff(file_name, file.data[:64]).kind, metadata)

    def load(self, path: Path, metadata: Mapping[str, Any], trust: Trust) -> Any:
        """The array, or the scalar that was saved."""
        array = _load_array(path)
        return array[()] if metadata.get("python_type") == "numpy.generic" else array

    def compare(self, original: Path, reproduced: Path, context: CompareContext) -> Outcome:
        """Element by element."""
        tally = Tally(self.name, context.tolerance)
        tally.arrays("", _load_array(original), _load_array(reproduced))
        return tally.outcome("same values, written differently")


class ArrayDictionary:
    """Saves, loads and compares arrays under names.

    Compared: the names, then each array as `Array` does. The order of the names, times and
    compression are `equivalent`; arrays named in `Tolerance.volatile` are passed over.
    """

    name = "npz"
    media_type = "application/x-npz"
    kind = Kind.DATASET

    def matches(self, name: str, head: bytes) -> bool:
        """By media type."""
        return sniff(name, head).media_type == self.media_type

    def saves(self, obj: Any) -> bool:
        """Dictionaries that hold nothing but arrays."""
        numpy = sys.modules.get("numpy")
        return (
            numpy is not None
            and isinstance(obj, dict)
            and bool(obj)
            and all(isinstance(item, numpy.ndarray) for item in obj.values())
        )

    def save(self, obj: Any, stem: str) -> Dumped:
        """As `.npz`, without pickle and with no times in it.

        Raises:
            InvalidInput: A name is not text, or an array holds Python objects.
        """
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for key, array in obj.items():
                if not isinstance(key, str) or not key or "\x00" in key:
                    raise InvalidInput(
                        f"cannot be saved as arrays under names: {key!r} is not a name",
                        hint="Make the keys of the dictionary text.",
                    )
                # writestr, unlike numpy.savez, lets the time be fixed and any name be used
                archive.writestr(zipfile.ZipInfo(f"{key}.npy", _EPOCH), _encode(array, key))
        file_name = with_suffix(stem, ".npz")
        metadata = {
            "format": self.name,
            "file": file_name,
            "python_type": "dict",
            "arrays": {
                key: {"dtype": str(array.dtype), "shape": list(array.shape)}
                for key, array in obj.items()
            },
        }
        return Dumped((DumpedFile(file_name, buffer.getvalue()),), self.kind, metadata)

    def load(self, path: Path, metadata: Mapping[str, Any], trust: Trust) -> Any:
        """A dictionary of arrays."""
        return _load_arrays(path)

    def compare(self, original: Path, reproduced: Path, context: CompareContext) -> Outcome:
        """Array by array."""
        tally = Tally(self.name, context.tolerance)
        first, second = _load_arrays(original), _load_arrays(reproduced)
        for key, array in first.items():
            if key not in second:
                tally.differs(f"{key}: {array.dtype} {array.shape} -> missing")
            elif context.tolerance.ignores(key, key):
                tally.passes_over(f"ignored {key}")
            else:
                tally.arrays(key, array, second[key])
        for key, array in second.items():
            if key not in first:
                tally.differs(f"{key}: missing -> {array.dtype} {array.shape}")
        return tally.outcome("same arrays, written differently")


def _encode(array: "np.ndarray[Any, Any]", where: str) -> bytes:
    import numpy as np

    named = f" under {where!r}" if where else ""
    if type(array) not in {np.ndarray, np.memmap}:
        raise InvalidInput(
            f"cannot be saved as a plain array: {type(array).__module__}"
            f".{type(array).__qualname__}{named}",
            why="A file of an array keeps the values only; masks and the like would be lost.",
            hint="Save its parts, such as {'data': a.data, 'mask': a.mask}.",
        )
    buffer = io.BytesIO()
    try:
        np.lib.format.write_array(buffer, array, allow_pickle=False)
    except ValueError as error:
        raise InvalidInput(
            f"cannot be saved: an array of Python objects{named} (dtype {array.dtype})",
            why="NumPy writes such arrays as pickles, which run code when they are loaded.",
            hint="Give it a type: array.astype(float), array.astype('U'), or save it as a list.",
        ) from error
    return buffer.getvalue()


def _load_array(path: Path) -> Any:
    import numpy as np

    try:
        with path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except _READING as error:
        raise Unreadable(path, f"not readable as an array: {error}") from error


def _load_arrays(path: Path) -> dict[str, Any]:
    import numpy as np

    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {}
            for member in archive.namelist():
                with archive.open(member) as file:
                    array = np.lib.format.read_array(file, allow_pickle=False)
                    arrays[member.removesuffix(".npy")] = array
            return arrays
    except _READING as error:
        raise Unreadable(path, f"not readable as arrays: {error}") from error
