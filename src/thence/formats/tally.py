"""What a comparison found: the first difference, the largest deviation, what was passed over.

Every comparer reports into a `Tally`, so that the grades mean the same for all formats.
"""

import math
from typing import TYPE_CHECKING, Any

from thence.formats.base import Outcome, Tolerance
from thence.model.records import Grade

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Tally", "show"]

_SHOWN = 80


def show(value: object) -> str:
    """A value in a message: `repr`, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


class Tally:
    """Collects differences; `outcome` turns them into a grade."""

    def __init__(self, rule: str, tolerance: Tolerance) -> None:
        self.rule = rule
        self.tolerance = tolerance
        self.passed_over: list[str] = []
        """Rules under which something that is not the same was accepted."""
        self._first: str | None = None
        self._differences = 0
        self._deviations = 0
        self._largest = -1.0
        self._largest_where = ""

    @property
    def failed(self) -> bool:
        """True once anything is different."""
        return self._first is not None

    def differs(self, what: str, *, times: int = 1) -> None:
        """Something is different; only the first is kept, the others are counted."""
        if self._first is None:
            self._first = what
        self._differences += times

    def passes_over(self, rule: str) -> None:
        """Something differs in a way that does not matter, and by which rule."""
        if rule not in self.passed_over:
            self.passed_over.append(rule)

    def number(self, where: str, original: float, reproduced: float) -> None:
        """Compare two numbers of the same type."""
        if _same_number(original, reproduced):
            return
        if self.tolerance.allows(original, reproduced):
            self.deviates(where, original, reproduced, abs(reproduced - original))
        else:
            self.differs(f"{where}: {original!r} -> {reproduced!r}")

    def deviates(
        self, where: str, original: object, reproduced: object, by: float, *, times: int = 1
    ) -> None:
        """A number is off by no more than the tolerance allows."""
        self._deviations += times
        if by > self._largest:
            self._largest = by
            self._largest_where = f"{by:.3g} at {where}: {original!r} -> {reproduced!r}"

    def takes(self, where: str, found: Outcome) -> None:
        """Take in what comparing a part by rules of its own gave."""
        if found.grade is Grade.DIFFERENT:
            self.differs(f"{where}: {found.detail}")
        elif found.grade is Grade.WITHIN_TOLERANCE:
            self._deviations += 1
            self._largest_where = self._largest_where or f"in {where}: {found.detail}"
        elif found.detail:
            self.passes_over(f"{where}: {found.detail}")

    def values(self, where: str, original: object, reproduced: object) -> None:
        """Compare two plain values: types must agree, NaN equals NaN, zeros have signs."""
        first, second = type(original), type(reproduced)
        if {first, second} == {int, float} and not self.tolerance.is_exact:
            self.number(where, original, reproduced)  # type: ignore[arg-type]
        elif first is not second:
            self.differs(
                f"{where}: {show(original)} ({first.__name__})"
                f" -> {show(reproduced)} ({second.__name__})"
            )
        elif first in {int, float}:
            self.number(where, original, reproduced)  # type: ignore[arg-type]
        elif original != reproduced:
            self.differs(f"{where}: {show(original)} -> {show(reproduced)}")

    def arrays(self, where: str, original: "np.ndarray[Any, Any]", reproduced: Any) -> None:
        """Compare two NumPy arrays that hold no objects: type, shape, every element."""
        if original.dtype != reproduced.dtype:
            self.differs(f"{where or 'array'}: dtype {original.dtype} -> {reproduced.dtype}")
        elif original.shape != reproduced.shape:
            self.differs(f"{where or 'array'}: shape {original.shape} -> {reproduced.shape}")
        elif original.dtype.names is not None:
            for field in original.dtype.names:
                self.arrays(f"{where}.{field}", original[field], reproduced[field])
        else:
            self._elements(where, original, reproduced)

    def piece(
        self, where: str, original: Any, reproduced: Any, *, start: int, shape: tuple[int, ...]
    ) -> None:
        """Compare a piece of two larger arrays of the same type, of which no more is in memory.

        Args:
            where: Names the whole array.
            original: Some elements that follow each other, in one dimension.
            reproduced: As many of the other array.
            start: How many elements are before them.
            shape: Of the whole array.
        """
        self._elements(where, original, reproduced, (start, shape))

    def _elements(
        self,
        where: str,
        original: Any,
        reproduced: Any,
        of: tuple[int, tuple[int, ...]] | None = None,
    ) -> None:
        import numpy as np

        kind = original.dtype.kind
        if kind == "c":
            self._elements(f"{where}.real", original.real, reproduced.real, of)
            self._elements(f"{where}.imag", original.imag, reproduced.imag, of)
            return
        unequal = np.asarray(original != reproduced)
        if kind == "f":
            unequal |= np.signbit(original) != np.signbit(reproduced)
            unequal &= ~(np.isnan(original) & np.isnan(reproduced))
        elif kind in "mM":
            unequal &= ~(np.isnat(original) & np.isnat(reproduced))
        if not unequal.any():
            return
        places = np.argwhere(unequal)
        if of is not None:
            start, shape = of
            flat = start + places[:, 0]
            # NumPy does not give the index of the one element of an array without dimensions.
            places = np.transpose(np.unravel_index(flat, shape)) if shape else places[:, :0]
        # Only what is unequal is widened: arrays may be large, differences are mostly few.
        first, second = original[unequal], reproduced[unequal]
        allowed = np.zeros(len(places), dtype=bool)
        if kind in "fiu" and not self.tolerance.is_exact:
            allowed, off = self._within(first, second)
            if allowed.any():
                at = int(np.argmax(np.where(allowed, off, -1.0)))
                self.deviates(
                    f"{where}{_index(places[at])}",
                    first[at].item(),
                    second[at].item(),
                    float(off[at]),
                    times=int(allowed.sum()),
                )
        if not allowed.all():
            at = int(np.argmax(~allowed))
            self.differs(
                f"{where}{_index(places[at])}:"
                f" {show(_plain(first[at]))} -> {show(_plain(second[at]))}",
                times=int((~allowed).sum()),
            )

    def _within(self, original: Any, reproduced: Any) -> tuple[Any, Any]:
        import numpy as np

        # Wider than any element, so that neither uint64 nor float16 overflow in the difference.
        wide, other = original.astype(np.longdouble), reproduced.astype(np.longdouble)
        with np.errstate(all="ignore"):
            off = np.abs(other - wide)
            bound = self.tolerance.absolute + self.tolerance.relative * np.abs(wide)
            allowed = np.isfinite(wide) & np.isfinite(other) & (off <= bound)
        return allowed, off

    def outcome(self, same: str = "") -> Outcome:
        """The grade of what was seen.

        Args:
            same: What to say where everything that counts is the same.
        """
        if self._first is not None:
            more = self._differences - 1
            return self._outcome(
                Grade.DIFFERENT, self._first + (f" (and {more} more)" if more else "")
            )
        if self._deviations:
            count = "1 number" if self._deviations == 1 else f"{self._deviations} numbers"
            return self._outcome(
                Grade.WITHIN_TOLERANCE, f"{count} off, largest {self._largest_where}"
            )
        return self._outcome(Grade.EQUIVALENT, same)

    def _outcome(self, grade: Grade, detail: str) -> Outcome:
        if self.passed_over and grade is not Grade.DIFFERENT:
            detail = "; ".join(part for part in (detail, *self.passed_over) if part)
        return Outcome(grade, self.rule, detail)


def _same_number(original: float, reproduced: float) -> bool:
    if original == reproduced:
        return original != 0 or math.copysign(1.0, original) == math.copysign(1.0, reproduced)
    # Integers may be too large for isnan; of those that differ none is NaN.
    return all(isinstance(n, float) and math.isnan(n) for n in (original, reproduced))


def _index(place: Any) -> str:
    return f"[{', '.join(str(int(i)) for i in place)}]" if len(place) else ""


def _plain(value: Any) -> Any:
    """An element as Python shows it; times keep NumPy's own spelling."""
    if hasattr(value, "dtype") and value.dtype.kind in "mM":
        return str(value)
    return value.item() if hasattr(value, "item") else value
