"""Comparing the tensors of models: element by element, in blocks, whatever they are made of.

Models keep numbers in types that NumPy has not, such as `bfloat16`; these are widened exactly, so
that a message shows the number and a tolerance means the same for all. Of types that are not known
here the bytes must agree.
"""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import zip_longest
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from thence.formats.tally import Tally

if TYPE_CHECKING:
    import numpy as np

__all__ = ["BLOCK_BYTES", "ITEM_BITS", "Tensor", "compare_tensors", "decode", "sliced"]

BLOCK_BYTES = 1 << 22
"""How much of a tensor is looked at together; a multiple of the size of every element."""

ITEM_BITS = {
    "bool": 8,
    "int8": 8,
    "uint8": 8,
    "int16": 16,
    "uint16": 16,
    "int32": 32,
    "uint32": 32,
    "int64": 64,
    "uint64": 64,
    "float16": 16,
    "float32": 32,
    "float64": 64,
    "complex64": 64,
    "complex128": 128,
    "bfloat16": 16,
    "float8_e4m3fn": 8,
    "float8_e4m3fnuz": 8,
    "float8_e5m2": 8,
    "float8_e5m2fnuz": 8,
}
"""Bits of an element of each type that can be decoded."""


class Tensor(NamedTuple):
    """A tensor in a file.

    Attributes:
        dtype: As NumPy names it, or PyTorch; the file's own name for types beyond `ITEM_BITS`.
        blocks: Gives its bytes from the start, little-endian and row by row, in blocks of
            `BLOCK_BYTES` of which only the last may be shorter.
    """

    dtype: str
    shape: tuple[int, ...]
    blocks: Callable[[], Iterator[Any]]


def compare_tensors(tally: Tally, where: str, original: Tensor, reproduced: Tensor) -> None:
    """Compare type, shape and every element; NaN equals NaN, and zeros have signs."""
    if original.dtype != reproduced.dtype:
        tally.differs(f"{where}: dtype {original.dtype} -> {reproduced.dtype}")
        return
    if original.shape != reproduced.shape:
        tally.differs(f"{where}: shape {original.shape} -> {reproduced.shape}")
        return
    begin = 0
    for first, second in zip_longest(original.blocks(), reproduced.blocks(), fillvalue=b""):
        if first != second:
            _compare_block(tally, where, original, begin, (first, second))
        begin += len(first)


def sliced(data: Any) -> Iterator[Any]:
    """The blocks of bytes that are in memory."""
    for begin in range(0, len(data), BLOCK_BYTES):
        yield data[begin : begin + BLOCK_BYTES]


def decode(dtype: str, data: Any) -> "np.ndarray[Any, Any] | None":
    """The elements in little-endian bytes, in one dimension; None for a type that is not known."""
    import numpy as np

    if dtype not in ITEM_BITS:
        return None
    if dtype == "bfloat16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    if dtype == "float8_e5m2":  # the upper half of a float16
        return (np.frombuffer(data, "u1").astype("<u2") << 8).view("<f2")
    if dtype.startswith("float8"):
        return np.asarray(_float8(dtype)[np.frombuffer(data, "u1")])
    return np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))


@cache
def _float8(dtype: str) -> "np.ndarray[Any, Any]":
    """The numbers of all 256 bytes (OCP 8-bit Floating Point Specification; ONNX, Float8)."""
    import numpy as np

    mantissa_bits = 2 if "e5m2" in dtype else 3
    bias = 2 ** (6 - mantissa_bits) - (0 if dtype.endswith("fnuz") else 1)
    numbers = np.empty(256, np.float32)
    for byte in range(256):
        exponent = (byte & 0x7F) >> mantissa_bits
        fraction = (byte & (2**mantissa_bits - 1)) / 2**mantissa_bits
        size = (
            (1 + fraction) * 2.0 ** (exponent - bias) if exponent else fraction * 2.0 ** (1 - bias)
        )
        numbers[byte] = -size if byte & 0x80 else size
    not_numbers = [0x80] if dtype.endswith("fnuz") else [0x7F, 0xFF]
    numbers[not_numbers] = np.nan
    return numbers


def _compare_block(
    tally: Tally, where: str, tensor: Tensor, begin: int, blocks: tuple[Any, Any]
) -> None:
    first, second = (decode(tensor.dtype, block) for block in blocks)
    if first is not None and second is not None and len(first) == len(second):
        bits = ITEM_BITS[tensor.dtype]
        if prod(tensor.shape) * bits // 8 >= begin + len(blocks[0]):
            tally.piece(where, first, second, start=begin * 8 // bits, shape=tensor.shape)
            return
    one, other = (bytes(block) for block in blocks)
    place = next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
    tally.differs(f"{where}: differs at byte {begin + place} of its {tensor.dtype} data")
