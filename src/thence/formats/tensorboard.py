"""Event files of TensorBoard, compared event by event without the times of the clock."""

import struct
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO

from thence.formats.base import CompareContext, Outcome, Unreadable
from thence.formats.event_file import Damaged, read_records
from thence.formats.media import sniff
from thence.formats.protobuf import BYTES, Message, Messages, Slot, fields, parse
from thence.formats.tally import Tally
from thence.formats.tensors import decode
from thence.model.records import Kind

__all__ = ["TensorBoard"]

# From event.proto and summary.proto of TensorFlow, and api.proto of the hparams plug-in.
_SCHEMA = {
    "Event": {
        1: Slot("wall_time", "skip"),
        2: Slot("step", "int"),
        3: Slot("file_version", "text"),
        4: Slot("graph", "bytes"),
        5: Slot("summary", "Summary"),
        10: Slot("source", "skip"),
    },
    "Summary": {1: Slot("value", "Value", 1)},
    "Value": {
        1: Slot("tag", "text"),
        2: Slot("value", "float"),
        4: Slot("image", "Image"),
        5: Slot("histogram", "Histogram"),
        6: Slot("audio", "bytes"),
        7: Slot("node_name", "text"),
        8: Slot("tensor", "Tensor"),
        9: Slot("metadata", "Metadata"),
    },
    "Image": {
        1: Slot("height", "int"),
        2: Slot("width", "int"),
        3: Slot("colors", "int"),
        4: Slot("encoded", "bytes"),
    },
    "Histogram": {
        1: Slot("min", "double"),
        2: Slot("max", "double"),
        3: Slot("num", "double"),
        4: Slot("sum", "double"),
        5: Slot("sum_squares", "double"),
        6: Slot("bucket_limit", "double"),
        7: Slot("bucket", "double"),
    },
    "TensorFields": {
        1: Slot("dtype", "int"),
        2: Slot("shape", "bytes"),
        3: Slot("version", "int"),
        4: Slot("content", "bytes"),
        5: Slot("value", "float"),
        6: Slot("value", "double"),
        8: Slot("text", "bytes"),
    },
    "Metadata": {1: Slot("plugin", "Plugin"), 2: Slot("name", "text"), 3: Slot("text", "text")},
    "Plugin": {1: Slot("name", "text"), 2: Slot("content", "bytes")},
    "HParams": {
        1: Slot("version", "int"),
        2: Slot("experiment", "Experiment"),
        3: Slot("start", "Start"),
        4: Slot("end", "End"),
    },
    "Experiment": {3: Slot("time_created", "skip")},
    "Start": {1: Slot("hparams", "HParam", 1), 5: Slot("start_time", "skip")},
    "HParam": {1: Slot("name", "text"), 2: Slot("value", "bytes")},
    "End": {1: Slot("status", "int"), 2: Slot("end_time", "skip")},
}
_NUMBERS = {1: "float32", 2: "float64"}


class TensorBoard:
    """Compares event files: steps, tags and values, in the order in which they were written.

    The times of the events are `equivalent`, and so are those of a session of hyperparameters and
    the name of the program that wrote the file. With a tolerance, scalars, histograms and tensors
    of floating-point numbers may deviate.
    """

    name = "tensorboard"
    media_type = "application/x-tfevents"
    kind = Kind.METRICS

    def matches(self, name: str, head: bytes) -> bool:
        """By media type."""
        return sniff(name, head).media_type == self.media_type

    def compare(self, original: Path, reproduced: Path, context: CompareContext) -> Outcome:
        """Event by event."""
        tally = Tally(self.name, context.tolerance)
        with original.open("rb") as one, reproduced.open("rb") as other:
            first, second = _Events(original, one), _Events(reproduced, other)
            for number, (event, twin) in enumerate(zip_longest(first, second), 1):
                if event is None or twin is None:
                    tally.differs(
                        f"{'more' if event is None else 'fewer'} than {number - 1} events"
                    )
                    break
                _compare(tally, f"event {number}", event, twin)
        return tally.outcome("same events, at other times")


class _Events:
    """The events in a file, each of them whole."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._records = read_records(file, path.stat().st_size, whole=True)

    def __iter__(self) -> "_Events":
        return self

    def __next__(self) -> bytes:
        try:
            record = next(self._records)
            for number, kind, begin, end in fields(record, 0, len(record)):
                if number == 5 and kind == BYTES:
                    parse(record[begin:end])
        except (Damaged, IndexError) as error:
            raise Unreadable(self._path, f"not readable as events: {error}") from error
        return record


def _compare(tally: Tally, where: str, original: bytes, reproduced: bytes) -> None:
    step = parse(original).get(2, [0])[-1]
    messages = Messages(tally, _SCHEMA, {"Tensor": _tensor, "Plugin": _plugin})
    try:
        messages.compare("Event", f"{where} (step {step})", original, reproduced)
    except (IndexError, TypeError, struct.error) as error:
        tally.differs(f"{where}: not readable on one side: {error}")


def _tensor(tally: Tally, where: str, original: Message, reproduced: Message) -> None:
    """A tensor whose numbers are written in one piece may deviate, too."""
    dtype = _NUMBERS.get(original.get(1, [0])[-1], "")
    first, second = original.pop(4, [b""])[-1], reproduced.pop(4, [b""])[-1]
    one, other = decode(dtype, first), decode(dtype, second)
    if one is None or other is None or len(one) != len(other):
        if first != second:
            tally.differs(f"{where}: other content")
    else:
        tally.piece(where, one, other, start=0, shape=one.shape)
    Messages(tally, _SCHEMA).parsed("TensorFields", where, original, reproduced)


def _plugin(tally: Tally, where: str, original: Message, reproduced: Message) -> None:
    """What a plug-in keeps; that for hyperparameters notes the times of a session."""
    messages = Messages(tally, _SCHEMA)
    if original.get(1) == reproduced.get(1) == [b"hparams"]:
        first, second = original.pop(2, [b""])[-1], reproduced.pop(2, [b""])[-1]
        messages.compare("HParams", f"{where}.hparams", first, second)
    messages.parsed("Plugin", where, original, reproduced)
