import math
from datetime import timedelta
from typing import Any

import pytest
from index_samples import START, SampleLogs, run_id

from thence.errors import InvalidInput, NotFound
from thence.index import Index
from thence.index.runs import find_run, run_detail, run_files, runs, series
from thence.model.ids import Digest, RunId
from thence.model.names import RunRef, parse_ref
from thence.model.records import (
    Code,
    FileRole,
    FileUse,
    Finding,
    MetricPoint,
    Param,
    RunStatus,
    encode_lines,
)

RUN = run_id(0)


def indexed(logs: SampleLogs) -> Index:
    index = Index(":memory:")
    index.ingest(logs.items(), logs.contents)
    return index


def find(index: Index, text: str) -> RunId:
    ref = parse_ref(text)
    assert isinstance(ref, RunRef)
    return find_run(index, ref).run


def test_a_run_is_running_until_it_is_sealed() -> None:
    logs = SampleLogs()
    logs.opened(RUN, name="fit", experiment="churn")
    index = indexed(logs)
    (found,) = runs(index)
    assert (found.status, found.ended, found.duration_s) == (RunStatus.RUNNING, None, None)
    assert (found.name, found.experiment, found.command) == (
        "fit",
        "churn",
        ("python", "train.py"),
    )
    record = logs.sealed(
        RUN,
        status=RunStatus.FAILED,
        exit_code=3,
        python="3.11.7",
        metrics={"auc": 0.9, "loss": math.inf},
        code=Code(commit="abc", dirty=True),
        inputs_count=2,
        outputs_count=1,
    )
    index.ingest(logs.items())
    (found,) = runs(index)
    assert (found.status, found.ended, found.exit_code) == (RunStatus.FAILED, record.ended, 3)
    assert (found.name, found.experiment) == ("fit", "churn")
    assert (found.python, found.commit, found.dirty) == ("3.11.7", "abc", True)
    assert (found.inputs_count, found.outputs_count) == (2, 1)
    assert (found.sensor, found.completeness) == ("audit-hook", "python-complete")
    assert found.metrics == {"auc": 0.9, "loss": math.inf}
    assert found.duration_s == 5


def test_a_sealed_run_whose_beginning_is_lost_is_there() -> None:
    logs = SampleLogs()
    logs.opened(RUN)
    logs.sealed(RUN, name="fit")
    index = Index(":memory:")
    index.ingest(logs.items()[1:])
    assert [(r.name, r.status) for r in runs(index)] == [("fit", RunStatus.FINISHED)]
    assert run_detail(index, RUN).opened is None


def test_what_was_edited_while_it_ran_outlives_the_seal() -> None:
    logs = SampleLogs()
    logs.opened(RUN, note="opened", tags={"a": "1", "b": "1"})
    logs.edit_run(RUN, note="while it ran", tags={"a": "2", "b": None})
    logs.sealed(RUN, note="opened", tags={"a": "1", "b": "1", "c": "1"})
    (found,) = runs(indexed(logs))
    assert found.note == "while it ran"
    assert found.tags == {"a": "2", "c": "1"}


def test_a_run_that_was_recovered_and_then_ended_shows_its_real_end() -> None:
    logs = SampleLogs()
    logs.opened(RUN)
    logs.sealed(RUN, status=RunStatus.DIED, metrics={"a": 1.0}, uses=(Digest.of(b"u"),))
    logs.sealed(RUN, status=RunStatus.FINISHED, metrics={"b": 2.0})
    index = indexed(logs)
    (found,) = runs(index)
    assert (found.status, found.metrics) == (RunStatus.FINISHED, {"b": 2.0})
    assert run_detail(index, RUN).uses == ()


def test_the_first_beginning_counts() -> None:
    logs = SampleLogs()
    first = logs.opened(RUN, name="first")
    logs.opened(RUN, name="second")
    index = indexed(logs)
    assert [r.name for r in runs(index)] == ["first"]
    assert run_detail(index, RUN).opened == first


def test_a_verdict_that_comes_later_shows_in_the_list() -> None:
    logs = SampleLogs()
    logs.sealed(RUN)
    index = indexed(logs)
    assert runs(index)[0].finding is None
    logs.verdict(RUN, finding=Finding.DIFFERS)
    index.ingest(logs.items()[-1:])
    assert runs(index)[0].finding is Finding.DIFFERS


def test_runs_come_newest_first_filtered_and_in_pages() -> None:
    logs = SampleLogs()
    for number in range(6):
        logs.opened(run_id(number), experiment="even" if number % 2 == 0 else None)
        if number < 4:
            status = RunStatus.FAILED if number == 1 else RunStatus.FINISHED
            logs.sealed(run_id(number), status=status, started=START + timedelta(days=number))
    index = indexed(logs)
    order = [run_id(number) for number in (3, 2, 1, 5, 4, 0)]
    assert [r.run for r in runs(index)] == order
    assert [r.run for r in runs(index, experiment="even")] == [run_id(n) for n in (2, 4, 0)]
    assert [r.run for r in runs(index, status=RunStatus.RUNNING)] == [run_id(5), run_id(4)]
    assert runs(index, status=RunStatus.FAILED, experiment="even") == []
    first = runs(index, limit=4)
    assert [r.run for r in first] == order[:4]
    assert [r.run for r in runs(index, before=first[-1], limit=4)] == order[4:]


def test_runs_that_began_at_the_same_moment_are_paged_without_loss() -> None:
    logs = SampleLogs()
    for number in range(5):
        logs.opened(run_id(number), started=START)
    index = indexed(logs)
    seen: list[RunId] = []
    page = runs(index, limit=2)
    while page:
        seen += [run.run for run in page]
        page = runs(index, before=page[-1], limit=2)
    assert sorted(seen) == sorted(run_id(number) for number in range(5))


def test_a_run_is_found_by_last_and_by_a_prefix_that_is_unique() -> None:
    logs = SampleLogs()
    one, two = RunId("ab12" + "0" * 16), RunId("ab34" + "0" * 16)
    logs.opened(one)
    logs.opened(two)
    index = indexed(logs)
    assert find(index, "run:last") == two
    assert find(index, "run:ab1:out.csv") == one
    assert find(index, f"run:{two}") == two
    with pytest.raises(InvalidInput) as ambiguous:
        find(index, "run:ab")
    assert ambiguous.value.why == "The ids of 2 runs begin so."
    assert ambiguous.value.hint == "Give more digits, or one of: run:ab340000, run:ab120000"
    with pytest.raises(NotFound) as missing:
        find(index, "run:cd")
    assert missing.value.what == "no run run:cd"
    with pytest.raises(NotFound) as empty:
        find(Index(":memory:"), "run:last")
    assert empty.value.what == "no run yet"


def test_many_candidates_are_not_all_listed() -> None:
    logs = SampleLogs()
    for number in range(20):
        logs.opened(RunId(f"aa{number:018x}"))
    with pytest.raises(InvalidInput) as ambiguous:
        find(indexed(logs), "run:aa00")
    assert ambiguous.value.why == "The ids of more than 10 runs begin so."
    assert ambiguous.value.hint.count("run:") == 10


def test_the_detail_of_a_run_has_all_of_it() -> None:
    logs = SampleLogs()
    data = logs.version("data")
    model = logs.version("model", run=RUN)
    lost = Digest.of(b"lost")
    opened = logs.opened(RUN)
    params = {"lr": Param(value=0.1, origin="argv"), "big": Param(value=10**400, origin="log")}
    sealed = logs.sealed(
        RUN, params=params, uses=(data.digest, lost), makes=(model.digest,), stdout=lost
    )
    logs.verdict(RUN, finding=Finding.DIFFERS, reasons=("other numbers",))
    last = logs.verdict(RUN, finding=Finding.REPRODUCED)
    found = run_detail(indexed(logs), RUN)
    assert (found.opened, found.sealed) == (opened, sealed)
    assert found.params == params
    assert [(u.artifact, u.number) for u in found.uses] == [("data", 1), (None, None)]
    assert found.uses[1].record == lost
    assert [(m.artifact, m.number) for m in found.makes] == [("model", 1)]
    assert [(v.number, v.verdict.finding) for v in found.verdicts] == [
        (3, Finding.DIFFERS),
        (4, Finding.REPRODUCED),
    ]
    assert found.verdicts[1].verdict == last
    assert found.finding is Finding.REPRODUCED


def test_files_come_back_as_they_were_recorded() -> None:
    logs = SampleLogs()
    shared = Digest.of(b"shared")
    uses = [
        FileUse(path="z.csv", role=FileRole.INPUT, size=3, digest=shared, version=shared),
        FileUse(path="train.py", role=FileRole.CODE, executable=True, changed_during_run=True),
        FileUse(path="a.csv", role=FileRole.INPUT, why_not_kept="secret", redacted=True),
        FileUse(path="x.so", role=FileRole.PACKAGE, package="numpy"),
        FileUse(path="caf%E9.csv", role=FileRole.INPUT, percent=True),
        FileUse(path="caf%E9.csv", role=FileRole.OUTPUT, percent=False),
    ]
    files = logs.put(encode_lines(uses))
    logs.sealed(RUN, files=files)
    logs.sealed(run_id(1), files=files)
    index = indexed(logs)
    assert run_files(index, RUN) == uses
    assert run_files(index, RUN, FileRole.INPUT) == [uses[0], uses[2], uses[4]]
    assert run_files(index, RUN, FileRole.OUTPUT) == [uses[5]]
    assert run_files(index, RUN, FileRole.OVERWRITTEN) == []


def test_a_series_comes_back_in_the_order_in_which_it_was_logged() -> None:
    logs = SampleLogs()
    points = [
        MetricPoint(name="loss", value=2.0, step=1, at=START),
        MetricPoint(name="auc", value=0.5),
        MetricPoint(name="loss", value=1.0, step=0),
    ]
    logs.sealed(RUN, series=logs.put(encode_lines(points)))
    index = indexed(logs)
    assert series(index, RUN, "loss") == [points[0], points[2]]
    assert series(index, RUN, "auc") == [points[1]]
    with pytest.raises(NotFound) as caught:
        series(index, RUN, "f1")
    assert caught.value.why == "Its metrics are: auc, loss."


def test_nan_in_a_series_comes_back() -> None:
    logs = SampleLogs()
    logs.sealed(RUN, series=logs.put(encode_lines([MetricPoint(name="x", value=math.nan)])))
    assert math.isnan(series(indexed(logs), RUN, "x")[0].value)


@pytest.mark.parametrize("content", [None, b"not a list\n"])
@pytest.mark.parametrize("role", ["files", "series"])
def test_contents_that_are_missing_or_damaged_are_said_not_passed_over(
    role: str, content: bytes | None
) -> None:
    logs = SampleLogs()
    fields: dict[str, Any] = {role: Digest.of(b"lost") if content is None else logs.put(content)}
    logs.sealed(RUN, **fields)
    index = indexed(logs)
    with pytest.raises(NotFound) as caught:
        run_files(index, RUN) if role == "files" else series(index, RUN, "loss")
    assert caught.value.what == f"the {role} of {RUN.short} are not there"
    assert caught.value.hint == "Look for damage: thence check"
    assert run_detail(index, RUN).status is RunStatus.FINISHED


def test_a_run_without_files_or_series_has_none() -> None:
    logs = SampleLogs()
    logs.opened(RUN)
    index = indexed(logs)
    assert run_files(index, RUN) == []
    with pytest.raises(NotFound, match="no metric"):
        series(index, RUN, "loss")


def test_a_run_that_is_not_known() -> None:
    index = Index(":memory:")
    for ask in (run_detail, run_files):
        with pytest.raises(NotFound, match=f"no run {RUN.short}"):
            ask(index, RUN)
