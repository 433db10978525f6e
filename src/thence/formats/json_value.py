"""JSON and JSON Lines: dictionaries, lists and numbers; configuration in YAML and TOML likewise."""

import enum
import json
import re
from collections.abc import Iterator, Mapping
from datetime import date
from fnmatch import fnmatchcase
from itertools import zip_longest
from pathlib import Path
from typing import Any

from thence.errors import DataDamaged, InvalidInput
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
from thence.formats.tally import Tally, show
from thence.model import codec
from thence.model.records import Kind

__all__ = ["JSON", "compare_trees"]

_MEASURED = (
    *("seconds", "duration", "elapsed", "runtime", "pid", "hostname", "uuid"),
    *("*_seconds", "*_duration", "*_elapsed", "duration_*", "elapsed_*"),
    *("wall_time", "cpu_time", "*_time_s", "*_time_ms", "*_uuid"),
)
_MOMENTS = (
    *("time", "date", "datetime", "timestamp", "created", "created_at", "modified", "updated_at"),
    *("started", "started_at", "ended", "ended_at", "finished_at", "start_time", "end_time"),
    *("generated", "generated_at", "*_timestamp"),
)
_MISSING = object()


class JSON:
    """Saves plain values, loads and compares JSON, JSON Lines, YAML and TOML.

    *Saving.* Keys are sorted, indented by two, so that equal values are equal bytes and a change is
    a few lines. NaN, infinities and large integers are written as canonical JSON writes them
    (`thence.model.codec`) and come back. Tuples come back as lists, times and dates as text, enum
    members as their values; anything else that JSON has not is refused, with its place.

    *Comparing.* Numbers are exact unless a tolerance is given, and `1` is not `1.0`. Spacing and
    the order of keys are `equivalent`. So are fields that change in every run: durations,
    process ids, host names and UUIDs anywhere, and times and dates outside lists (a date in a list
    of rows is data). They must still be there with a value of the same type, and the detail names
    them. `Tolerance.volatile` adds more.
    """

    name = "json"
    media_type = "application/json"
    kind = Kind.DATASET

    def matches(self, name: str, head: bytes) -> bool:
        """By media type."""
        return sniff(name, head).media_type in {
            "application/json",
            "application/geo+json",
            "application/jsonl",
            "application/yaml",
            "application/toml",
        }

    def saves(self, obj: Any) -> bool:
        """Dictionaries, lists, tuples, numbers and booleans."""
        return isinstance(obj, (dict, list, tuple, int, float))

    def save(self, obj: Any, stem: str) -> Dumped:
        """As sorted, indented JSON.

        Raises:
            InvalidInput: It holds something that JSON has not; the message says where.
        """
        file_name = with_suffix(stem, ".json")
        try:
            plain = codec.to_plain(_without_numpy(obj, ""))
        except RecursionError as error:
            raise InvalidInput(
                "cannot be saved as JSON: it contains itself, or is nested too deeply"
            ) from error
        text = json.dumps(plain, sort_keys=True, ensure_ascii=False, indent=2, allow_nan=False)
        metadata = {"format": self.name, "file": file_name, "python_type": type(obj).__name__}
        file = DumpedFile(file_name, f"{text}\n".encode())
        return Dumped((file,), sniff(file_name, file.data[:64]).kind, metadata)

    def load(self, path: Path, metadata: Mapping[str, Any], trust: Trust) -> Any:
        """The value; of a file that thence did not write, what it says literally.

        JSON Lines give a list.
        """
        media_type = sniff(path.name, b"").media_type
        documents = [document for _, document in _documents(path, media_type)]
        if media_type == "application/jsonl":
            return documents
        if metadata.get("format") == self.name:
            try:
                return codec.from_plain(documents[0])
            except DataDamaged as error:
                raise Unreadable(path, error.what) from error
        return documents[0]

    def compare(self, original: Path, reproduced: Path, context: CompareContext) -> Outcome:
        """Value by value; JSON Lines line by line."""
        tally = Tally(self.name, context.tolerance)
        media_type = sniff(context.name or original.name, b"").media_type
        lines = media_type == "application/jsonl"
        pairs = zip_longest(
            _documents(original, media_type),
            _documents(reproduced, media_type),
            fillvalue=(_MISSING, _MISSING),
        )
        for number, ((_, first), (_, second)) in enumerate(pairs):
            where = f"[{number}]" if lines else ""
            if first is _MISSING or second is _MISSING:
                which = "more" if first is _MISSING else "fewer"
                tally.differs(f"{which} than {number} lines")
                break
            compare_trees(tally, first, second, where=where)
        return tally.outcome("same values, written differently")


def compare_trees(
    tally: Tally,
    original: Any,
    reproduced: Any,
    *,
    where: str = "",
    measured: tuple[str, ...] = _MEASURED,
    moments: tuple[str, ...] = _MOMENTS,
) -> None:
    """Compare two trees of dictionaries, lists and plain values.

    `where` is the path of the two, as `jq` writes it; fields named as in `measured` are volatile
    anywhere, those named as in `moments` outside lists.
    """
    if isinstance(original, dict) and isinstance(reproduced, dict):
        for key, first in original.items():
            at = f"{where}{_step(key)}"
            if key not in reproduced:
                tally.differs(f"{at}: {show(first)} -> missing")
            elif not _volatile(tally, at, (first, reproduced[key]), measured, moments):
                compare_trees(
                    tally, first, reproduced[key], where=at, measured=measured, moments=moments
                )
        for key in reproduced:
            if key not in original:
                tally.differs(f"{where}{_step(key)}: missing -> {show(reproduced[key])}")
    elif isinstance(original, list) and isinstance(reproduced, list):
        for index, (first, second) in enumerate(zip(original, reproduced, strict=False)):
            at = f"{where}[{index}]"
            compare_trees(tally, first, second, where=at, measured=measured, moments=moments)
        if len(original) != len(reproduced):
            tally.differs(f"{where or 'list'}: {len(original)} -> {len(reproduced)} elements")
    else:
        tally.values(where or "value", original, reproduced)


def _volatile(
    tally: Tally,
    where: str,
    values: tuple[Any, Any],
    measured: tuple[str, ...],
    moments: tuple[str, ...],
) -> bool:
    """Whether the field is expected to change; says so in the tally where it did."""
    original, reproduced = values
    dotted = re.sub(r"\[(\d+)\]", r".\1", where).lstrip(".")
    key = dotted.rpartition(".")[2]
    if tally.tolerance.ignores(key, dotted):
        ignored = True
    else:
        known = measured if "[" in where else measured + moments
        ignored = any(fnmatchcase(key.lower(), name) for name in known) and _alike(
            original, reproduced
        )
    if ignored and (type(original) is not type(reproduced) or original != reproduced):
        tally.passes_over(f"ignored {where}")
    return ignored


def _alike(original: Any, reproduced: Any) -> bool:
    """Two values that one measurement may give: both numbers, or both texts; nothing nested."""
    if isinstance(original, bool) or isinstance(reproduced, bool):
        return False
    return any(
        isinstance(original, kind) and isinstance(reproduced, kind)
        for kind in ((int, float), str, date)
    )


def _step(key: object) -> str:
    if isinstance(key, str) and re.fullmatch(r"[A-Za-z_]\w*", key):
        return f".{key}"
    return f"[{json.dumps(key, ensure_ascii=False) if isinstance(key, str) else repr(key)}]"


def _documents(path: Path, media_type: str) -> Iterator[tuple[int, Any]]:
    """The values in a file, with the number of the line each begins at."""
    try:
        if media_type == "application/jsonl":
            with path.open(encoding="utf-8-sig") as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield number, json.loads(line)
        elif media_type == "application/yaml":
            import yaml

            yield 1, yaml.safe_load(path.read_bytes())
        elif media_type == "application/toml":
            import tomllib

            yield 1, tomllib.loads(path.read_text("utf-8"))
        else:
            yield 1, json.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Unreadable(path, f"not readable as {media_type}: {error}") from error
    except Exception as error:
        if type(error).__module__.startswith("yaml"):
            raise Unreadable(path, f"not readable as YAML: {error}") from error
        raise


def _without_numpy(value: Any, where: str) -> Any:
    """The value with NumPy's scalars as Python's; refuses what is better saved on its own."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise InvalidInput(
                    f"cannot be saved as JSON: the key {key!r} at {where or 'the top'} is not text",
                    hint="Make the keys text, or pass allow_pickle=True.",
                )
        return {key: _without_numpy(item, f"{where}{_step(key)}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_numpy(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if value is None or isinstance(value, (str, bool, int, float, enum.Enum, date)):
        return value
    module = type(value).__module__.partition(".")[0]
    if module == "numpy" and hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return _without_numpy(value.item(), where)
    raise InvalidInput(
        f"cannot be saved as JSON: {module}.{type(value).__qualname__} at {where or 'the top'}",
        why="JSON has text, numbers, booleans, null, lists and dictionaries.",
        hint="Save tables, arrays and models under names of their own, or pass allow_pickle=True.",
    )
