"""Answers as JSON Lines: every field of a record, nothing left out."""

import json
import math
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any

import msgspec

from thence.index.views import RunSummary, VersionSummary
from thence.model.codec import format_time
from thence.model.numbers import is_local, label

__all__ = ["dumps", "named", "plain", "run_fields", "version_fields"]

_NUMBERS = {"latest", "number", "version"}


def plain(value: Any) -> Any:
    """A value as JSON has it.

    Records and named tuples become objects with all their fields; times are RFC 3339 in UTC;
    numbers that JSON has not become "NaN", "Infinity" and "-Infinity", as in the JSON mapping of
    Protocol Buffers.
    """
    if value is None or type(value) in {bool, int}:
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _name(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        # Names of files may hold bytes that are not UTF-8.
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, msgspec.Struct):
        return named({field: getattr(value, field) for field in value.__struct_fields__})
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return named(dict(zip(value._fields, value, strict=True)))
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return plain(str(value))


def version_fields(version: VersionSummary) -> dict[str, Any]:
    """The fields of a version, with its ref and without the record that they were made from."""
    found: dict[str, Any] = {"ref": version.ref, **plain(version)}
    found.pop("original", None)
    return found


def run_fields(run: RunSummary) -> dict[str, Any]:
    """The fields of a run, with its ref and without the record of its beginning."""
    found: dict[str, Any] = {"ref": f"run:{run.run}", **plain(run)}
    found.pop("opened", None)
    return found


def _name(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def named(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as JSON has them; a version that waits in the outbox is `local.1` and no number."""
    return {
        name: label(value)
        if name in _NUMBERS and type(value) is int and is_local(value)
        else plain(value)
        for name, value in fields.items()
    }


def dumps(value: Any) -> str:
    """One line of JSON."""
    return json.dumps(plain(value), ensure_ascii=False)
