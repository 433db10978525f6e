"""From a log entry to rows: a pure function, so that the index can always be rebuilt."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec

from thence.errors import ThenceError
from thence.index.subjects import subject
from thence.model import codec
from thence.model.ids import Digest
from thence.model.points import read_points
from thence.model.records import (
    AliasMove,
    ArtifactEdit,
    Entry,
    Erasure,
    ErasureLifted,
    FileUse,
    Record,
    Restored,
    RunEdit,
    RunOpened,
    RunRestored,
    RunSealed,
    RunStatus,
    RunTombstone,
    Tombstone,
    Verdict,
    Version,
    VersionEdit,
    decode_entry,
    decode_lines,
)

__all__ = ["COLUMNS", "LogItem", "Row", "SqlValue", "rows", "wanted"]

SqlValue: TypeAlias = str | int | float | None

_ERASURES = "refs/erasures"
_MAX_INTEGER = (1 << 63) - 1
# What reading bytes that somebody else wrote can raise: our errors, too deep a nesting, a time at
# the edge of the calendar.
_UNREADABLE = (ThenceError, RecursionError, OverflowError, ValueError)


class LogItem(NamedTuple):
    """One entry of a log as it lies in the store.

    Attributes:
        log: `refs/artifacts/<key>/@`, `refs/runs/<run id>` …
        number: From 1; beyond `LOCAL` where it waits in an outbox.
        data: The bytes of the entry.
    """

    log: str
    number: int
    data: bytes


class Row(NamedTuple):
    """One row of a table, its values in the order of `COLUMNS[table]`."""

    table: str
    values: tuple[SqlValue, ...]


COLUMNS: Mapping[str, tuple[str, ...]] = {
    table: tuple(columns.split())
    for table, columns in {
        "entries": "log number digest entry_id at author type record",
        "entry_problems": "log number kind reason",
        "versions": "artifact number record name kind tree size_bytes files created author run"
        " base_note base_card",
        "version_sources": "version position source",
        "version_edits": "artifact number version at author note card",
        "version_tag_edits": "artifact version name number value",
        "version_metric_edits": "artifact version name number value",
        "tombstones": "artifact number version at author reason removes",
        "artifact_edits": "artifact number at author description card",
        "artifact_tag_edits": "artifact name number value",
        "alias_moves": "artifact alias number version at author note",
        "run_states": "run number type name experiment note command root cwd started ended status"
        " exit_code author host python code_commit dirty sensor completeness inputs_count"
        " outputs_count files series",
        "run_edits": "run number at author note",
        "run_tombstones": "run number at author reason removes",
        "erasures": "number at author reason",
        "erasure_contents": "number position digest erases",
        "run_tag_edits": "run name layer number value",
        "sealed_params": "run number name value amount origin",
        "sealed_metrics": "run number name value",
        "sealed_versions": "run number role position version",
        "verdicts": "run number finding started ended author host results reasons",
        "contents": "role digest items problem",
        "listed_files": "files position path percent role size_bytes digest why_not_kept executable"
        " redacted changed_during_run version package",
        "metric_points": "series name position step at value",
    }.items()
}
"""The tables that `rows` fills, with the columns of each."""

_CONTENTS = {"contents", "listed_files", "metric_points"}


def wanted(item: LogItem) -> set[Digest]:
    """The contents that `rows` can make more of this entry with: files and series of a run."""
    # Decoding costs far more than this look, and almost no entry refers to contents.
    if b'"type":"sealed"' not in item.data:
        return set()
    try:
        record = decode_entry(item.data).record
    except _UNREADABLE:
        return set()
    if not isinstance(record, RunSealed):
        return set()
    return {digest for digest in (record.files, record.series) if digest is not None}


def rows(item: LogItem, attachments: Mapping[Digest, bytes]) -> list[Row]:
    """The rows of one entry; the same for the same bytes, whatever else is in the index.

    An entry that is damaged, of a type that is not known, or in a log where it does not belong
    gives a row in `entry_problems`; nothing is raised for it.

    Args:
        item: The entry.
        attachments: Contents by digest, where they are at hand; those that the entry does not
            refer to, and bytes that are not of their digest, are passed over.
    """
    try:
        entry = decode_entry(item.data)
        found = [_entry_row(item, entry)]
        if entry.record is None:
            found.append(_problem(item, "unknown", _unknown(entry)))
        else:
            found.extend(_record_rows(item, entry, entry.record, attachments))
        if unfit := _unfit(row for row in found if row.table not in _CONTENTS):
            return _damaged(item, unfit)
    except _UNREADABLE as error:
        return _damaged(item, _reason(error))
    return found


def _reason(error: Exception) -> str:
    text = f"{error.what}: {error.why}" if isinstance(error, ThenceError) else str(error)
    return " ".join(text.encode(errors="backslashreplace").decode().split())


def _entry_row(item: LogItem, entry: Entry) -> Row:
    record = entry.record_bytes.decode()
    type_name = (
        _type_of(record) if entry.record is None else str(entry.record.__struct_config__.tag)
    )
    return Row(
        "entries",
        (
            item.log,
            item.number,
            Digest.of(item.data).hex,
            entry.id,
            codec.format_time(entry.at),
            entry.by,
            type_name,
            record,
        ),
    )


def _type_of(record: str) -> str:
    return str(msgspec.json.decode(record).get("type", ""))


def _unknown(entry: Entry) -> str:
    type_name = _type_of(entry.record_bytes.decode())
    return f"A record of type {type_name!r}, which this version of thence does not know."


def _damaged(item: LogItem, reason: str) -> list[Row]:
    digest = Digest.of(item.data).hex
    nothing = (None,) * 5
    return [
        Row("entries", (item.log, item.number, digest, *nothing)),
        _problem(item, "damaged", reason),
    ]


def _problem(item: LogItem, kind: str, reason: str) -> Row:
    return Row("entry_problems", (item.log, item.number, kind, reason))


def _unfit(found: Iterable[Row]) -> str | None:
    """Why a database could not hold these rows."""
    for row in found:
        for value in row.values:
            if type(value) is int and not -_MAX_INTEGER <= value <= _MAX_INTEGER:
                return f"A number that is too large: {value}."
            if type(value) is str and not value.isascii():
                value.encode()  # a lone surrogate raises UnicodeEncodeError, a ValueError
    return None


def _record_rows(
    item: LogItem, entry: Entry, record: Record, attachments: Mapping[Digest, bytes]
) -> Iterator[Row]:
    match record:
        case Version() if _artifact_log(item, "") == record.artifact.key:
            yield from _version(item, entry, record)
        case VersionEdit() if key := _artifact_log(item, "edits"):
            yield from _version_edit(key, item, entry, record)
        case Tombstone() | Restored() if key := _artifact_log(item, "edits"):
            stamp = (codec.format_time(entry.at), entry.by)
            removes = int(isinstance(record, Tombstone))
            values = (key, item.number, record.version.hex, *stamp, record.reason, removes)
            yield Row("tombstones", values)
        case ArtifactEdit() if _artifact_log(item, "edits") == record.artifact.key:
            yield from _artifact_edit(item, entry, record)
        case AliasMove() if _alias_log(item) == (record.artifact.key, record.alias.key):
            yield _alias_move(item, entry, record)
        case RunOpened() if _run_log(item) == record.run:
            yield from _opened(item, record)
        case RunSealed() if _run_log(item) == record.run:
            yield from _sealed(item, record, attachments)
        case RunEdit() if _run_log(item) == record.run:
            stamp = (codec.format_time(entry.at), entry.by)
            yield Row("run_edits", (str(record.run), item.number, *stamp, record.note))
            yield from _run_tags(str(record.run), 2, item.number, record.tags)
        case RunTombstone() | RunRestored() if _run_log(item) == record.run:
            stamp = (codec.format_time(entry.at), entry.by)
            removes = int(isinstance(record, RunTombstone))
            run = str(record.run)
            yield Row("run_tombstones", (run, item.number, *stamp, record.reason, removes))
        case Verdict() if _run_log(item) == record.run:
            yield _verdict(item, record)
        case Erasure() | ErasureLifted() if item.log == _ERASURES:
            yield from _erasure(item, entry, record)
        case _:
            yield _problem(item, "misplaced", "A record that does not belong in this log.")


def _artifact_log(item: LogItem, part: str) -> str | None:
    found = subject(item.log)
    kind = "edits" if part else "versions"
    return found.key if found and found.kind == kind else None


def _alias_log(item: LogItem) -> tuple[str, str] | None:
    found = subject(item.log)
    return (found.key, found.alias) if found and found.kind == "alias" else None


def _run_log(item: LogItem) -> str | None:
    found = subject(item.log)
    return found.key if found and found.kind == "run" else None


def _version(item: LogItem, entry: Entry, record: Version) -> Iterator[Row]:
    key, digest = record.artifact.key, entry.digest.hex
    yield Row(
        "versions",
        (
            key,
            item.number,
            digest,
            str(record.artifact),
            record.kind.value,
            record.tree.hex,
            record.size,
            record.files,
            codec.format_time(record.created),
            record.author,
            None if record.run is None else str(record.run),
            record.note,
            _hex(record.card),
        ),
    )
    for position, source in enumerate(record.sources):
        yield Row("version_sources", (digest, position, source.hex))
    for name, text in record.tags.items():
        yield Row("version_tag_edits", (key, digest, name, 0, text))
    for name, value in record.metrics.items():
        yield Row("version_metric_edits", (key, digest, name, 0, _number(value)))


def _version_edit(key: str, item: LogItem, entry: Entry, record: VersionEdit) -> Iterator[Row]:
    version = record.version.hex
    stamp = (codec.format_time(entry.at), entry.by)
    yield Row("version_edits", (key, item.number, version, *stamp, record.note, _hex(record.card)))
    for name, text in record.tags.items():
        yield Row("version_tag_edits", (key, version, name, item.number, text))
    for name, value in record.metrics.items():
        yield Row("version_metric_edits", (key, version, name, item.number, _number(value)))


def _artifact_edit(item: LogItem, entry: Entry, record: ArtifactEdit) -> Iterator[Row]:
    key = record.artifact.key
    stamp = (codec.format_time(entry.at), entry.by)
    values = (key, item.number, *stamp, record.description, _hex(record.card))
    yield Row("artifact_edits", values)
    for name, text in record.tags.items():
        yield Row("artifact_tag_edits", (key, name, item.number, text))


def _alias_move(item: LogItem, entry: Entry, record: AliasMove) -> Row:
    return Row(
        "alias_moves",
        (
            record.artifact.key,
            str(record.alias),
            item.number,
            _hex(record.version),
            codec.format_time(entry.at),
            entry.by,
            record.note,
        ),
    )


def _opened(item: LogItem, record: RunOpened) -> Iterator[Row]:
    yield _run_state(item, record, RunStatus.RUNNING, {})
    yield from _run_tags(str(record.run), 0, item.number, record.tags)


def _sealed(item: LogItem, record: RunSealed, attachments: Mapping[Digest, bytes]) -> Iterator[Row]:
    run, number = str(record.run), item.number
    known: dict[str, SqlValue] = {
        "ended": codec.format_time(record.ended),
        "exit_code": record.exit_code,
        "python": record.python,
        "code_commit": record.code.commit,
        "dirty": int(record.code.dirty),
        "sensor": record.sensor.name,
        "completeness": record.sensor.completeness,
        "inputs_count": record.inputs_count,
        "outputs_count": record.outputs_count,
        "files": _hex(record.files),
        "series": _hex(record.series),
    }
    yield _run_state(item, record, record.status, known)
    yield from _run_tags(run, 1, number, record.tags)
    for name, param in record.params.items():
        text = codec.encode(param.value).decode()
        yield Row("sealed_params", (run, number, name, text, _amount(param.value), param.origin))
    for name, value in record.metrics.items():
        yield Row("sealed_metrics", (run, number, name, _number(value)))
    for role, digests in (("uses", record.uses), ("makes", record.makes)):
        for position, digest in enumerate(digests):
            yield Row("sealed_versions", (run, number, role, position, digest.hex))
    yield from _content("files", record.files, attachments, _listed_files)
    yield from _content("series", record.series, attachments, _metric_points)


def _run_state(
    item: LogItem,
    record: RunOpened | RunSealed,
    status: RunStatus,
    known: Mapping[str, SqlValue],
) -> Row:
    values: dict[str, SqlValue] = {
        "run": str(record.run),
        "number": item.number,
        "type": str(record.__struct_config__.tag),
        "name": record.name,
        "experiment": record.experiment,
        "note": record.note,
        "command": codec.encode(record.command).decode(),
        "root": record.root,
        "cwd": record.cwd,
        "started": codec.format_time(record.started),
        "status": status.value,
        "author": record.author,
        "host": record.host.name,
        **known,
    }
    return Row("run_states", tuple(values.get(column) for column in COLUMNS["run_states"]))


def _run_tags(
    run: str, layer: int, number: int, tags: Mapping[str, str] | Mapping[str, str | None]
) -> Iterator[Row]:
    for name, text in tags.items():
        yield Row("run_tag_edits", (run, name, layer, number, text))


def _erasure(item: LogItem, entry: Entry, record: Erasure | ErasureLifted) -> Iterator[Row]:
    stamp = (codec.format_time(entry.at), entry.by)
    yield Row("erasures", (item.number, *stamp, record.reason))
    erases = int(isinstance(record, Erasure))
    for position, digest in enumerate(record.contents):
        yield Row("erasure_contents", (item.number, position, digest.hex, erases))


def _verdict(item: LogItem, record: Verdict) -> Row:
    return Row(
        "verdicts",
        (
            str(record.run),
            item.number,
            record.finding.value,
            codec.format_time(record.started),
            codec.format_time(record.ended),
            record.author,
            record.host.name,
            len(record.results),
            codec.encode(record.reasons).decode(),
        ),
    )


def _content(
    role: str,
    digest: Digest | None,
    attachments: Mapping[Digest, bytes],
    read: Callable[[str, bytes], list[Row]],
) -> list[Row]:
    if digest is None:
        return []
    data = attachments.get(digest)
    if data is None or Digest.of(data) != digest:
        return []
    try:
        found = read(digest.hex, data)
        problem = _unfit(found)  # here, as it leaves the entry as it is
    except _UNREADABLE as error:
        found, problem = [], _reason(error)
    if problem is not None:
        return [Row("contents", (role, digest.hex, 0, problem))]
    return [Row("contents", (role, digest.hex, len(found), None)), *found]


def _listed_files(files: str, data: bytes) -> list[Row]:
    return [
        Row(
            "listed_files",
            (
                files,
                position,
                use.path,
                int(use.percent),
                use.role.value,
                use.size,
                _hex(use.digest),
                use.why_not_kept,
                int(use.executable),
                int(use.redacted),
                int(use.changed_during_run),
                _hex(use.version),
                use.package,
            ),
        )
        for position, use in enumerate(decode_lines(data, FileUse))
    ]


def _metric_points(series: str, data: bytes) -> list[Row]:
    return [
        Row(
            "metric_points",
            (
                series,
                point.name,
                position,
                point.step,
                at,
                _number(point.value),
            ),
        )
        for position, (point, at) in enumerate(read_points(data))
    ]


def _hex(digest: Digest | None) -> str | None:
    return None if digest is None else digest.hex


def _number(value: float) -> float | None:
    return None if value != value else value  # noqa: PLR0124 - true for NaN alone


def _amount(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return _number(float(value))
    except OverflowError:
        return None
