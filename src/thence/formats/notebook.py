"""Notebooks, compared cell by cell: what stands in them and what they gave."""

import base64
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from thence.errors import MissingExtra
from thence.formats.base import CompareContext, Outcome, Trust, Unreadable
from thence.formats.image import Image
from thence.formats.json_value import compare_trees
from thence.formats.media import sniff
from thence.formats.tally import Tally, show
from thence.formats.text import Text, compare_lines
from thence.model.records import Kind

__all__ = ["Notebook"]

_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# What a kernel, a bar of progress or a drawing library makes up anew each time, in the text of an
# output; `Text` knows times, addresses and UUIDs.
_CHANCE = (
    (re.compile(r"\bipykernel_\d+[/\\]\d+\.py\b"), "ipykernel"),
    (re.compile(r"\[\d\d:\d\d(?::\d\d)?<[^\]]*\]"), "[time]"),
    (re.compile(r"(?<=[#\"])T_[0-9a-f]{5}(?=[_\" ])"), "T_id"),
    (re.compile(r"\baltair-viz-[0-9a-f]{32}\b"), "altair-viz"),
)
_PICTURES = {"image/png": ".png", "image/jpeg": ".jpg", "image/gif": ".gif"}
_NAMED = 40


class _Output(NamedTuple):
    """An output of a cell: what it is, and its content by media type."""

    name: str
    data: Mapping[str, Any]


class Notebook:
    """Compares notebooks; loads them as text.

    Cells are compared by their kind, source and outputs, and the detail names the one that differs.
    Numbers of execution, ids and metadata are `equivalent`: with times, memory addresses, widths of
    progress bars and other made-up names in outputs. What is written to stdout and to stderr
    counts, and not how the two were mixed. With a tolerance, numbers in outputs may deviate.
    """

    name = "notebook"
    media_type = "application/x-ipynb+json"
    kind = Kind.DOCUMENT

    def matches(self, name: str, head: bytes) -> bool:
        """By media type."""
        return sniff(name, head).media_type == self.media_type

    def load(self, path: Path, metadata: Mapping[str, Any], trust: Trust) -> str:
        """Its text."""
        return Text().load(path, metadata, trust)

    def compare(self, original: Path, reproduced: Path, context: CompareContext) -> Outcome:
        """Cell by cell.

        Raises:
            MissingExtra: Pictures in it differ in their bytes, and Pillow is not installed.
        """
        tally = Tally(self.name, context.tolerance)
        first, second = _cells(original), _cells(reproduced)
        comparing = _Comparing(tally, context)
        for number, (one, other) in enumerate(zip(first, second, strict=False), 1):
            comparing.cells(f"cell {number}{_told(one)}", one, other)
        if len(first) != len(second):
            tally.differs(f"{len(first)} -> {len(second)} cells")
        if comparing.missing is not None and not tally.failed:
            raise comparing.missing
        return tally.outcome("same cells and outputs, other times, ids or metadata")


class _Comparing:
    """Compares cells into a tally.

    Attributes:
        missing: What is needed to compare pictures, and is not installed.
    """

    def __init__(self, tally: Tally, context: CompareContext) -> None:
        self.missing: MissingExtra | None = None
        self._tally = tally
        self._context = context

    def cells(self, where: str, original: Any, reproduced: Any) -> None:
        first, second = (str(one.get("cell_type")) for one in (original, reproduced))
        if first != second:
            self._tally.differs(f"{where}: {first} -> {second} cell")
            return
        self._source(where, original, reproduced)
        outputs = zip_longest(_outputs(original), _outputs(reproduced))
        for number, (one, other) in enumerate(outputs, 1):
            if one is None or other is None or one.name != other.name:
                names = ("none" if out is None else out.name for out in (one, other))
                self._tally.differs(f"{where}, output {number}: {' -> '.join(names)}")
                return
            self._output(f"{where}, {one.name}", one.data, other.data)

    def _source(self, where: str, original: Any, reproduced: Any) -> None:
        lines = (
            _text(cell.get("source", cell.get("input", ""))) for cell in (original, reproduced)
        )
        first, second = (text.rstrip().splitlines() for text in lines)
        for number, (one, other) in enumerate(zip_longest(first, second), 1):
            if one != other:
                self._tally.differs(f"{where}, source, line {number}: {_or_end(one, other)}")
                return

    def _output(
        self, where: str, original: Mapping[str, Any], reproduced: Mapping[str, Any]
    ) -> None:
        if original.keys() != reproduced.keys():
            kinds = (", ".join(sorted(one)) or "nothing" for one in (original, reproduced))
            self._tally.differs(f"{where}: {' -> '.join(kinds)}")
            return
        for media_type, first in original.items():
            second = reproduced[media_type]
            if first == second:
                continue
            at = where if len(original) == 1 else f"{where}, {media_type}"
            if media_type in _PICTURES:
                self._picture(at, media_type, _text(first), _text(second))
            elif isinstance(first, (dict, int, float)) or media_type.endswith("json"):
                given = (_without_ids(first), _without_ids(second))
                compare_trees(self._tally, *given, where=f"{at}, value")
            else:
                self._lines(at, _settled(_text(first)), _settled(_text(second)))

    def _lines(self, where: str, original: str, reproduced: str) -> None:
        pairs = zip_longest(original.splitlines(), reproduced.splitlines())
        for number, (one, other) in enumerate(pairs, 1):
            at = f"{where}, line {number}"
            if one is None or other is None:
                self._tally.differs(f"{at}: {_or_end(one, other)}")
                return
            if one != other:
                compare_lines(self._tally, at, one, other)

    def _picture(self, where: str, media_type: str, original: str, reproduced: str) -> None:
        with tempfile.TemporaryDirectory(prefix="thence-") as folder:
            first, second = (Path(folder) / f"{name}{_PICTURES[media_type]}" for name in "ab")
            try:
                first.write_bytes(base64.b64decode(original))
                second.write_bytes(base64.b64decode(reproduced))
                self._tally.takes(where, Image().compare(first, second, self._context))
            except MissingExtra as error:
                self.missing = error
            except (ValueError, Unreadable):
                self._tally.differs(f"{where}: one of the pictures cannot be read")


def _cells(path: Path) -> list[Any]:
    try:
        notebook = json.loads(path.read_text("utf-8"))
        if "worksheets" in notebook:  # before 2014
            return [cell for sheet in notebook["worksheets"] for cell in sheet["cells"]]
        return [{**cell} for cell in notebook["cells"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = str(error).splitlines()[0][:200]
        raise Unreadable(path, f"not readable as a notebook: {reason}") from error


def _told(cell: Any) -> str:
    """The first line of a cell that says something, by which a person knows it."""
    lines = [line.strip() for line in _text(cell.get("source", "")).splitlines()]
    said = [line for line in lines if line and not line.startswith("#")] or [
        line for line in lines if line
    ]
    if not said:
        return ""
    return f" ({said[0] if len(said[0]) <= _NAMED else f'{said[0][: _NAMED - 1]}…'})"


def _outputs(cell: Any) -> Iterator[_Output]:
    """What is displayed in its order, then all that was written to each of the streams."""
    streams: dict[str, list[str]] = {}
    for output in cell.get("outputs", ()):
        kind = str(output.get("output_type", ""))
        if kind == "stream":
            stream = str(output.get("name", output.get("stream", "stdout")))
            streams.setdefault(stream, []).append(_text(output.get("text", "")))
        elif kind in {"error", "pyerr"}:
            fields = ("ename", "evalue", "traceback")
            yield _Output("error", {name: _text(output.get(name, ""), "\n") for name in fields})
        else:
            data = output.get("data")
            yield _Output("result", data if isinstance(data, dict) else _old_data(output))
    for name in sorted(streams):
        yield _Output(name, {"text": "".join(streams[name])})


def _old_data(output: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in output.items()
        if key not in {"output_type", "metadata", "prompt_number", "execution_count"}
    }


def _text(value: Any, joint: str = "") -> str:
    """A text, which notebooks write as one or as a list of lines."""
    return joint.join(map(str, value)) if isinstance(value, list) else str(value)


def _settled(text: str) -> str:
    """The text as it stands at the end: without colours, overwritten lines and made-up names."""
    text = _ESCAPE.sub("", text).replace("\r\n", "\n")
    text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    for pattern, mask in _CHANCE:
        text = pattern.sub(mask, text)
    return text


def _without_ids(value: Any) -> Any:
    """Without the names that widgets are given by chance."""
    if isinstance(value, dict):
        return {key: _without_ids(one) for key, one in value.items() if key != "model_id"}
    if isinstance(value, list):
        return [_without_ids(one) for one in value]
    return value


def _or_end(original: str | None, reproduced: str | None) -> str:
    first, second = ("end" if one is None else show(one) for one in (original, reproduced))
    return f"{first} -> {second}"
