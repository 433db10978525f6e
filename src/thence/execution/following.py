"""Looking on while a run goes on: from its spool on this machine, from its segments elsewhere."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from thence.errors import NotFound
from thence.execution import live
from thence.execution.capture.resources import read_resources
from thence.execution.recovery import Waiting
from thence.execution.site import Site
from thence.execution.spool import Spool
from thence.index import runs as run_questions
from thence.index.views import RunDetail, RunSummary
from thence.model.ids import RunId
from thence.model.observed import Sample
from thence.model.records import (
    MetricPoint,
    Param,
    RunSealed,
    RunStatus,
    decode_entry,
    decode_lines,
)
from thence.vault.live_segments import Segments, by_writer
from thence.vault.logs import run_log

__all__ = ["Follower", "Live", "detail", "look", "with_live"]

Run = TypeVar("Run", bound=RunSummary)


class Live(NamedTuple):
    """How a run does that goes on.

    Attributes:
        metrics: The last value of each.
        params: What the program named so far.
        points: How many metric points there are.
        last_sign: When something of it was last heard; None where nothing was.
        is_here: Whether it goes on on this machine.
    """

    metrics: dict[str, float]
    params: dict[str, Param]
    points: int
    last_sign: datetime | None
    is_here: bool


def look(site: Site, run: RunId) -> Live | None:
    """How a run does; None where nothing is known of it but its beginning.

    Raises:
        StorageError: The home cannot be reached.
    """
    folder = _spool_of(site, run)
    if folder.is_dir():
        said = _sum_up(live.read_lines(folder))
        return said._replace(last_sign=_last_sign(site, Spool(folder, run)), is_here=True)
    if not site.vault.remote:
        return None
    pulse = Segments(site.vault.store).pulse(run)
    if pulse is None:
        return None
    params = {name: Param(value=value, origin="log") for name, value in pulse.params.items()}
    return Live(pulse.metrics, params, pulse.points, pulse.at, is_here=False)


def with_live(run: Run, seen: Live | None) -> Run:
    """A run with what was seen of it, where its end is not known yet."""
    if seen is None or run.status is not RunStatus.RUNNING:
        return run
    if isinstance(run, RunDetail):
        params = {**seen.params, **run.params}
        return msgspec.structs.replace(run, metrics=seen.metrics, params=params)
    return msgspec.structs.replace(run, metrics=seen.metrics)


def detail(site: Site, run: RunId) -> RunDetail:
    """Everything that is known here of a run, without asking the home.

    A run that waits to be published is known by its spool alone.

    Raises:
        NotFound: Nothing is known of it.
        DataDamaged: Its spool cannot be read.
    """
    try:
        found = run_questions.run_detail(site.index, run)
    except NotFound:
        found = None
    if found is not None and found.sealed is not None:
        return found
    spool = Spool(_spool_of(site, run), run)
    try:
        held = Waiting(run, spool.beginning(), spool.end())
    except NotFound:
        if found is None:
            raise
        return found
    return _of_spool(spool, held)


def _of_spool(spool: Spool, held: Waiting) -> RunDetail:
    """A run as its spool knows it."""
    opened, end = held.beginning.opened, held.end
    gathered = spool.gathered()
    draft = None if gathered is None else gathered.draft
    said = _sum_up(live.read_lines(spool.folder))
    return RunDetail(
        run=opened.run,
        name=opened.name,
        experiment=opened.experiment,
        note=opened.note,
        tags=opened.tags,
        command=opened.command,
        root=opened.root,
        cwd=opened.cwd,
        started=opened.started,
        ended=None if end is None else end.ended,
        status=RunStatus.RUNNING if end is None else end.status,
        exit_code=None if end is None else end.exit_code,
        author=opened.author,
        host=opened.host.name,
        python=None if draft is None else draft.python,
        commit=None if draft is None else draft.code.commit,
        dirty=draft is not None and draft.code.dirty,
        sensor=None if end is None else end.sensor.name,
        completeness=None if end is None else end.sensor.completeness,
        inputs_count=0 if draft is None else draft.inputs_count,
        outputs_count=0 if draft is None else draft.outputs_count,
        metrics=said.metrics if draft is None else draft.metrics,
        finding=None,
        params={**said.params, **held.beginning.params} if draft is None else draft.params,
        uses=(),
        makes=(),
        verdicts=(),
        opened=opened,
        sealed=None,
    )


class Follower:
    """Reads what a run says, as it says it.

    Args:
        site: The project.
        run: The run.
    """

    def __init__(self, site: Site, run: RunId) -> None:
        self._site = site
        self._run = run
        self._folder = _spool_of(site, run)
        self._offsets: dict[Path, int] = {}
        self._known: dict[str, int] = {}
        self._entries = 0
        self._sealed: RunSealed | None = None
        self._given: Counter[str] = Counter()

    def news(self) -> list[live.Line]:
        """What was said since the last call.

        Raises:
            DataDamaged: A segment is not what was written.
            StorageError: The home cannot be reached.
        """
        lines = list(self._news())
        self._given.update(line.name for line in lines if isinstance(line, live.LoggedMetric))
        return lines

    def _news(self) -> Iterator[live.Line]:
        if self._folder.is_dir():
            return live.merge_lines(self._of_files())
        if not self._site.vault.remote:
            return iter(())
        pieces = list(Segments(self._site.vault.store).news(self._run, self._known))
        self._known.update((piece.writer, piece.number) for piece in pieces)
        return live.merge_lines(by_writer(pieces).values())

    def is_over(self) -> bool:
        """Whether the run is sealed.

        Raises:
            StorageError: The home cannot be reached.
        """
        for number, data in self._site.vault.logs.after(run_log(self._run), self._entries):
            self._entries = number
            if isinstance(record := decode_entry(data).record, RunSealed):
                self._sealed = record
        return self._sealed is not None

    def rest(self) -> list[live.Line]:
        """The metric points of the run, which is sealed, that `news` did not give.

        Raises:
            NotFound: They are not there.
            DataDamaged: They cannot be read.
            StorageError: The home cannot be reached.
        """
        series = self._sealed.series if self._sealed is not None else None
        if series is None:
            return []
        given = self._given.copy()
        found: list[live.Line] = []
        for point in decode_lines(self._site.vault.content.read(series), MetricPoint):
            if given[point.name]:
                given[point.name] -= 1
            else:
                found.append(
                    live.LoggedMetric(
                        name=point.name, value=point.value, step=point.step, at=point.at
                    )
                )
        return found

    def sample(self) -> Sample | None:
        """What the run has of this machine, as it was measured last; None where it was not."""
        samples = read_resources(self._folder).samples
        return samples[-1] if samples else None

    def is_abandoned(self) -> bool:
        """Whether it began on this machine, and nobody records it any more."""
        return self._folder.is_dir() and not Spool(self._folder, self._run).is_held()

    def _of_files(self) -> Iterator[bytes]:
        for path in sorted(self._folder.glob("events-*.jsonl")):
            try:
                with path.open("rb") as file:
                    file.seek(self._offsets.get(path, 0))
                    data = file.read()
            except OSError:
                continue
            lines = data[: data.rfind(b"\n") + 1]
            self._offsets[path] = self._offsets.get(path, 0) + len(lines)
            yield lines


def _spool_of(site: Site, run: RunId) -> Path:
    return site.local / "spool" / run


def _last_sign(site: Site, spool: Spool) -> datetime | None:
    if spool.is_held():
        return site.clock()
    try:
        times = [path.stat().st_mtime for path in spool.folder.iterdir()]
    except OSError:
        return None
    return datetime.fromtimestamp(max(times), UTC) if times else None


def _sum_up(lines: Iterable[live.Line]) -> Live:
    metrics: dict[str, float] = {}
    params: dict[str, Param] = {}
    points = 0
    for line in lines:
        if isinstance(line, live.LoggedMetric):
            metrics[line.name] = line.value
            points += 1
        elif isinstance(line, live.LoggedParam):
            params[line.name] = Param(value=line.value, origin="log")
    return Live(metrics, params, points, None, is_here=False)
