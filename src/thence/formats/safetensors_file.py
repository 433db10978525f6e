"""Weights in safetensors: a header in JSON and the tensors one after another."""

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from thence.formats.base import CompareContext, Outcome, Unreadable
from thence.formats.json_value import compare_trees
from thence.formats.media import sniff
from thence.formats.tally import Tally
from thence.formats.tensors import BLOCK_BYTES, ITEM_BITS, Tensor, compare_tensors
from thence.model.records import Kind

__all__ = ["Safetensors"]

_LARGEST_HEADER_BYTES = 100_000_000
"""As in the library itself."""

_DTYPES = {
    "BOOL": "bool",
    "I8": "int8",
    "U8": "uint8",
    "I16": "int16",
    "U16": "uint16",
    "I32": "int32",
    "U32": "uint32",
    "I64": "int64",
    "U64": "uint64",
    "C64": "complex64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}


class _Contents(NamedTuple):
    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


class Safetensors:
    """Compares weights by name: type, shape, every element, and the metadata of the file.

    The order of the tensors in the file is `equivalent`, and so are fields of the metadata that
    JSON may have otherwise, such as times. Tensors named in `Tolerance.volatile` are passed over.
    """

    name = "safetensors"
    media_type = "application/x-safetensors"
    kind = Kind.MODEL

    def matches(self, name: str, head: bytes) -> bool:
        """By media type."""
        return sniff(name, head).media_type == self.media_type

    def compare(self, original: Path, reproduced: Path, context: CompareContext) -> Outcome:
        """Tensor by tensor, in blocks."""
        tally = Tally(self.name, context.tolerance)
        with original.open("rb") as one, reproduced.open("rb") as other:
            first, second = _read(original, one), _read(reproduced, other)
            compare_named(tally, first.tensors, second.tensors)
            compare_trees(tally, first.metadata, second.metadata, where=".__metadata__")
        return tally.outcome("same tensors, written in another order")


def compare_named(tally: Tally, original: dict[str, Tensor], reproduced: dict[str, Tensor]) -> None:
    """Compare tensors that have the same names; a name that only one has is a difference."""
    for name, tensor in original.items():
        if name not in reproduced:
            tally.differs(f"{name}: {tensor.dtype} {tensor.shape} -> missing")
        elif tally.tolerance.ignores(name, name):
            tally.passes_over(f"ignored {name}")
        else:
            compare_tensors(tally, name, tensor, reproduced[name])
    for name, tensor in reproduced.items():
        if name not in original:
            tally.differs(f"{name}: missing -> {tensor.dtype} {tensor.shape}")


def _read(path: Path, file: BinaryIO) -> _Contents:
    """The tensors that the header names, all of them inside of the file and none twice."""
    size = path.stat().st_size
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(size - 8, _LARGEST_HEADER_BYTES):
        raise _unreadable(path, "its header is cut off")
    try:
        header = json.loads(file.read(length), object_pairs_hook=_once)
        metadata = header.pop("__metadata__", None) or {}
        tensors = {name: _tensor(file, 8 + length, entry) for name, entry in header.items()}
        places = sorted(entry["data_offsets"] for entry in header.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unreadable(path, f"its header is damaged: {error}") from error
    end = 0
    for begin, after in places:
        if begin != end:
            raise _unreadable(path, "tensors overlap, or there is a gap between them")
        end = after
    if 8 + length + end != size:
        raise _unreadable(path, f"{8 + length + end} bytes expected, {size} found")
    return _Contents(tensors, metadata)


def _unreadable(path: Path, reason: str) -> Unreadable:
    return Unreadable(path, f"not readable as safetensors: {reason}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _tensor(file: BinaryIO, start: int, entry: dict[str, Any]) -> Tensor:
    shape = tuple(entry["shape"])
    begin, end = entry["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
        raise ValueError("a shape or a place is not a number")
    dtype = _DTYPES.get(entry["dtype"], str(entry["dtype"]))
    if end < begin or (dtype in ITEM_BITS and prod(shape) * ITEM_BITS[dtype] != 8 * (end - begin)):
        raise ValueError("a shape does not fit its data")

    def blocks() -> Iterator[bytes]:
        for place in range(start + begin, start + end, BLOCK_BYTES):
            file.seek(place)
            yield file.read(min(BLOCK_BYTES, start + end - place))

    return Tensor(dtype, shape, blocks)
