"""Questions about runs."""

from collections import defaultdict
from datetime import datetime
from typing import Any

from thence.errors import InvalidInput, NotFound
from thence.index.database import Index
from thence.index.ingest import SqlValue
from thence.index.versions import versions_by_record
from thence.index.views import Deletion, RunDetail, RunSummary, RunVerdict, UsedVersion
from thence.model import codec
from thence.model.ids import Digest, RunId
from thence.model.names import RunRef
from thence.model.records import (
    FileRole,
    FileUse,
    Finding,
    MetricPoint,
    Param,
    RunOpened,
    RunSealed,
    RunStatus,
    Verdict,
)

__all__ = [
    "find_run",
    "run_detail",
    "run_files",
    "runs",
    "runs_that_read",
    "series",
    "versions_read",
]

_CANDIDATES = 10
_CHUNK = 500
_LAST_RUN_ID = "g"  # the character after the last hexadecimal digit

_COLUMNS = (
    "run, name, experiment, note, command, root, cwd, started, ended, status, exit_code, author,"
    " host, python, code_commit, dirty, sensor, completeness, inputs_count, outputs_count, finding,"
    " stone.at, stone.by, stone.reason"
)
# With names of its own, so that the conditions on runs need no prefix.
_TABLES = (
    "runs LEFT JOIN (SELECT run AS removed, number AS stone, at, author AS by, reason"
    " FROM run_tombstones) AS stone ON stone.removed = runs.run AND stone.stone = runs.tombstone"
)
_FILE_COLUMNS = (
    "path, percent, role, size_bytes, digest, why_not_kept, executable, redacted,"
    " changed_during_run, version, package"
)


def runs(
    index: Index,
    *,
    experiment: str | None = None,
    status: RunStatus | None = None,
    removed: bool = True,
    before: RunSummary | None = None,
    limit: int | None = None,
) -> list[RunSummary]:
    """Runs, the one that began last first.

    Args:
        index: Where to ask.
        experiment: Only those of this experiment.
        status: Only those with this status.
        removed: With those that are removed.
        before: Only runs that come after this one in the list, for the next page.
        limit: At most so many.
    """
    wheres: list[str] = []
    parameters: list[SqlValue] = []
    if experiment is not None:
        wheres.append("experiment = ?")
        parameters.append(experiment)
    if status is not None:
        wheres.append("status = ?")
        parameters.append(status.value)
    if not removed:
        wheres.append("tombstone IS NULL")
    if before is not None:
        wheres.append("(started, run) < (?, ?)")
        parameters += [codec.format_time(before.started), before.run]
    where = f"WHERE {' AND '.join(wheres)}" if wheres else ""
    return _select(
        index,
        f"{where} ORDER BY started DESC, run DESC LIMIT ?",
        [*parameters, -1 if limit is None else limit],
    )


def find_run(index: Index, ref: RunRef) -> RunSummary:
    """The run that a ref names, removed or not; its path is not looked at.

    `run:last` passes over those that are removed.

    Raises:
        NotFound: There is no such run.
        InvalidInput: Several runs begin so; the hint lists them.
    """
    if ref.prefix is None:
        found = runs(index, removed=False, limit=1)
        if not found:
            raise NotFound(
                "no run yet",
                why="Nothing was run in this project, or all of it was removed.",
                hint="Run something: thence run python train.py",
                about=str(ref),
            )
        return found[0]
    found = _select(
        index,
        "WHERE run >= ? AND run < ? ORDER BY started DESC, run DESC LIMIT ?",
        (ref.prefix, ref.prefix + _LAST_RUN_ID, _CANDIDATES + 1),
    )
    if not found:
        raise NotFound(
            f"no run {ref}",
            why="No run has an id that begins so.",
            hint="See the runs: thence runs list",
            about=str(ref),
        )
    if len(found) > 1:
        listed = ", ".join(
            f"run:{run.run[: max(8, len(ref.prefix) + 2)]}" for run in found[:_CANDIDATES]
        )
        count = f"more than {_CANDIDATES}" if len(found) > _CANDIDATES else str(len(found))
        raise InvalidInput(
            f"{ref} is not one run",
            why=f"The ids of {count} runs begin so.",
            hint=f"Give more digits, or one of: {listed}",
            about=str(ref),
        )
    return found[0]


def run_detail(index: Index, run: RunId) -> RunDetail:
    """Everything about a run but its files and series.

    Raises:
        NotFound: There is no such run.
    """
    found = _select(index, "WHERE run = ?", (run,))
    if not found:
        raise _no_run(run)
    summary = found[0]
    ((opened, sealed),) = index.select("SELECT opened, sealed FROM runs WHERE run = ?", (run,))
    end = None if sealed is None else _record(index, run, sealed, RunSealed)
    uses, makes = (() if end is None else end.uses), (() if end is None else end.makes)
    known = versions_by_record(index, [*uses, *makes])
    verdicts = index.select(
        "SELECT verdicts.number, entries.record FROM verdicts JOIN entries"
        " ON entries.log = ? AND entries.number = verdicts.number"
        " WHERE verdicts.run = ? ORDER BY verdicts.number",
        (_log_of(run), run),
    )

    def linked(records: tuple[Digest, ...]) -> tuple[UsedVersion, ...]:
        return tuple(
            UsedVersion(digest, known[digest].artifact, known[digest].number)
            if digest in known
            else UsedVersion(digest, None, None)
            for digest in records
        )

    return RunDetail(
        **{field: getattr(summary, field) for field in summary.__struct_fields__},
        params={} if end is None else _params(end),
        uses=linked(uses),
        makes=linked(makes),
        verdicts=tuple(
            RunVerdict(number, codec.decode(text.encode(), Verdict)) for number, text in verdicts
        ),
        opened=None if opened is None else _record(index, run, opened, RunOpened),
        sealed=end,
    )


def versions_read(index: Index) -> frozenset[Digest]:
    """The records of all versions that runs read which are not removed."""
    found = index.select(
        "SELECT DISTINCT used.version FROM run_versions AS used JOIN runs ON runs.run = used.run"
        " WHERE used.role = 'uses' AND runs.tombstone IS NULL",
        (),
    )
    return frozenset(Digest.from_hex(version) for (version,) in found)


def runs_that_read(index: Index, version: Digest) -> list[RunId]:
    """The runs that read a version, by its record, and are not removed; the first one first."""
    found = index.select(
        "SELECT used.run FROM run_versions AS used JOIN runs ON runs.run = used.run"
        " WHERE used.role = 'uses' AND used.version = ? AND runs.tombstone IS NULL"
        " ORDER BY runs.started, runs.run",
        (version.hex,),
    )
    return [RunId(run) for (run,) in found]


def run_files(index: Index, run: RunId, role: FileRole | None = None) -> list[FileUse]:
    """The files of a run, in the order in which they were recorded.

    Args:
        index: Where to ask.
        run: A running run has none yet.
        role: Only files that were this to the run.

    Raises:
        NotFound: There is no such run, or the list of its files is missing or damaged.
    """
    _check_content(index, run, "files")
    found = index.select(
        f"SELECT {_FILE_COLUMNS} FROM run_files"  # noqa: S608
        " WHERE run = ? AND (? IS NULL OR role = ?) ORDER BY position",
        (run, role and role.value, role and role.value),
    )
    return [_file_use(row) for row in found]


def series(index: Index, run: RunId, name: str) -> list[MetricPoint]:
    """The points of one metric of a run, in the order in which they were logged.

    Raises:
        NotFound: There is no such run, its series are missing or damaged, or it has no metric of
            this name.
    """
    _check_content(index, run, "series")
    found = index.select(
        "SELECT points.step, points.at, points.value FROM runs"
        " JOIN metric_points AS points ON points.series = runs.series AND points.name = ?"
        " WHERE runs.run = ? ORDER BY points.position",
        (name, run),
    )
    if not found:
        names = index.select(
            "SELECT DISTINCT points.name FROM runs"
            " JOIN metric_points AS points ON points.series = runs.series"
            " WHERE runs.run = ? ORDER BY 1",
            (run,),
        )
        listed = ", ".join(row[0] for row in names)
        raise NotFound(
            f"no metric {name!r} in {run.short}",
            why=f"Its metrics are: {listed}." if listed else "It has no metric series.",
            hint="Give one of its metrics.",
            about=run,
        )
    return [
        MetricPoint(
            name=name,
            value=_float(value),
            step=step,
            at=None if at is None else datetime.fromisoformat(at),
        )
        for step, at, value in found
    ]


def _check_content(index: Index, run: RunId, role: str) -> None:
    found = index.select(
        f"""
        SELECT runs.{role}, contents.digest, contents.problem FROM runs
        LEFT JOIN contents ON contents.role = ? AND contents.digest = runs.{role}
        WHERE runs.run = ?
        """,  # noqa: S608
        (role, run),
    )
    if not found:
        raise _no_run(run)
    ((wanted, given, problem),) = found
    if wanted is not None and (given is None or problem is not None):
        raise NotFound(
            f"the {role} of {run.short} are not there",
            why=problem or f"Their content sha256:{wanted[:12]} is missing or damaged.",
            hint="Look for damage: thence check",
            about=run,
        )


def _no_run(run: RunId) -> NotFound:
    return NotFound(
        f"no run {run.short}",
        why="The index has seen no run with this id.",
        hint="See the runs: thence runs list",
        about=run,
    )


def _log_of(run: RunId) -> str:
    return f"refs/runs/{run}"


def _record(index: Index, run: RunId, number: int, shape: type[Any]) -> Any:
    ((text,),) = index.select(
        "SELECT record FROM entries WHERE log = ? AND number = ?", (_log_of(run), number)
    )
    return codec.decode(text.encode(), shape)


def _params(sealed: RunSealed) -> dict[str, Param]:
    return dict(sorted(sealed.params.items()))


def _float(value: float | None) -> float:
    return float("nan") if value is None else value


def _file_use(row: Any) -> FileUse:
    path, percent, role, size, digest, why_not_kept, executable, *more = row
    redacted, changed, version, package = more
    return FileUse(
        path=path,
        percent=bool(percent),
        role=FileRole(role),
        size=size,
        digest=None if digest is None else Digest.from_hex(digest),
        why_not_kept=why_not_kept,
        executable=bool(executable),
        redacted=bool(redacted),
        changed_during_run=bool(changed),
        version=None if version is None else Digest.from_hex(version),
        package=package,
    )


def _select(index: Index, tail: str, parameters: Any) -> list[RunSummary]:
    found = index.select(f"SELECT {_COLUMNS} FROM {_TABLES} {tail}", parameters)  # noqa: S608
    ids = [row[0] for row in found]
    tags = _by_run(index, "run_tags", ids)
    metrics = _by_run(index, "run_metrics", ids)
    return [
        RunSummary(
            run=RunId(row[0]),
            name=row[1],
            experiment=row[2],
            note=row[3],
            tags=dict(tags.get(row[0], ())),
            command=codec.decode(row[4].encode(), tuple[str, ...]),
            root=row[5],
            cwd=row[6],
            started=datetime.fromisoformat(row[7]),
            ended=None if row[8] is None else datetime.fromisoformat(row[8]),
            status=RunStatus(row[9]),
            exit_code=row[10],
            author=row[11],
            host=row[12],
            python=row[13],
            commit=row[14],
            dirty=bool(row[15]),
            sensor=row[16],
            completeness=row[17],
            inputs_count=row[18] or 0,
            outputs_count=row[19] or 0,
            metrics={name: _float(value) for name, value in metrics.get(row[0], ())},
            finding=None if row[20] is None else Finding(row[20]),
            deletion=None
            if row[21] is None
            else Deletion(datetime.fromisoformat(row[21]), row[22], row[23]),
        )
        for row in found
    ]


def _by_run(index: Index, table: str, ids: list[str]) -> dict[str, list[tuple[str, Any]]]:
    found: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        marks = ", ".join("?" * len(chunk))
        for run, name, value in index.select(
            f"SELECT run, name, value FROM {table} WHERE run IN ({marks}) ORDER BY name",  # noqa: S608
            chunk,
        ):
            found[run].append((name, value))
    return found
