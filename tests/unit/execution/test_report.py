"""The page of a verdict: complete, self-contained, and deaf to what hostile names ask for."""

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from thence.execution.report import to_html
from thence.index.views import RunDetail
from thence.model.ids import Digest, RunId
from thence.model.records import (
    Comparison,
    Finding,
    Grade,
    Host,
    RunOpened,
    RunSealed,
    RunStatus,
    SensorReport,
    Verdict,
    Withheld,
)

RUN = RunId("0123456789abcdef0123")
THEN = datetime(2026, 3, 1, 9, 0, 0, tzinfo=UTC)
NOW = datetime(2026, 3, 8, 14, 30, 0, tzinfo=UTC)
LAPTOP = Host(
    name="laptop",
    system="Linux",
    release="6.8",
    machine="x86_64",
    cpu="Old Chip",
    cpus=8,
    memory_bytes=16 << 30,
    distribution="debian 12",
)
SERVER = Host(name="server", system="Linux", release="6.12", machine="x86_64", cpus=2)
SENSOR = SensorReport(name="seccomp", completeness="kernel-complete", events=1234)

VOID = {"meta", "br", "link", "img", "input", "hr"}
LOADING = {"src", "href", "srcset", "data", "action", "poster", "background"}


class Page(HTMLParser):
    """Reads a page, checks that it nests, and keeps what a reader would see."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def make_run(
    *,
    command: tuple[str, ...] = ("python", "train.py"),
    name: str | None = "train",
    metrics: dict[str, float] | None = None,
    withheld: tuple[Withheld, ...] = (),
    sealed: bool = True,
) -> RunDetail:
    end = THEN + timedelta(seconds=83)
    opened = RunOpened(
        run=RUN, command=command, root="/home/ada/study", cwd=".", started=THEN, author="ada",
        host=LAPTOP, name=name,
    )  # fmt: skip
    record = RunSealed(
        run=RUN, command=command, root="/home/ada/study", cwd=".", started=THEN, ended=end,
        status=RunStatus.FINISHED, author="ada", host=LAPTOP, sensor=SENSOR, exit_code=0,
        environment=Digest.of(b"environment"), withheld=withheld,
    )  # fmt: skip
    return RunDetail(
        run=RUN, name=name, experiment=None, note=None, tags={}, command=command,
        root="/home/ada/study", cwd=".", started=THEN, ended=end if sealed else None,
        status=RunStatus.FINISHED, exit_code=0, author="ada", host="laptop", python="3.11.7",
        commit="c0ffee0123456789", dirty=True, sensor="seccomp", completeness="kernel-complete",
        inputs_count=3, outputs_count=4, metrics=metrics or {}, finding=None, params={}, uses=(),
        makes=(), verdicts=(), opened=opened, sealed=record if sealed else None,
    )  # fmt: skip


def make_verdict(
    finding: Finding = Finding.REPRODUCED,
    *results: Comparison,
    reasons: tuple[str, ...] = (),
    deviations: tuple[str, ...] = (),
    missing: tuple[str, ...] = (),
    opened_outside: tuple[str, ...] = (),
) -> Verdict:
    return Verdict(
        run=RUN, finding=finding, results=results, started=NOW,
        ended=NOW + timedelta(seconds=12.5), author="grace", host=SERVER, reasons=reasons,
        deviations=deviations, missing=missing, opened_outside=opened_outside, exit_code=0,
        original_exit_code=0, sensor=SENSOR,
    )  # fmt: skip


def test_says_what_was_compared_and_how_it_came_out() -> None:
    verdict = make_verdict(
        Finding.WITHIN_TOLERANCE,
        Comparison(path="metrics.json", grade=Grade.WITHIN_TOLERANCE, rule="json",
                   detail="auc: 0.91 and 0.9100001"),
        Comparison(path="roc.png", grade=Grade.IDENTICAL),
        Comparison(path="predictions.csv", grade=Grade.IDENTICAL),
    )  # fmt: skip

    text = Page(to_html(verdict, make_run())).text

    assert "Reproduced within tolerance" in text
    assert "3 results compared: 2 identical, 1 within tolerance" in text
    for result in verdict.results:
        assert result.path in text
    assert "auc: 0.91 and 0.9100001" in text
    assert "numbers differ by no more than was allowed" not in text  # the detail says it better


@pytest.mark.parametrize("finding", Finding)
def test_each_finding_has_a_headline_that_needs_no_colour(finding: Finding) -> None:
    text = Page(to_html(make_verdict(finding), make_run())).text

    assert finding.value in text.lower()
    assert "No result was compared." in text


@pytest.mark.parametrize("grade", Grade)
def test_each_grade_is_written_out(grade: Grade) -> None:
    verdict = make_verdict(Finding.DIFFERS, Comparison(path="a.csv", grade=grade))

    assert f"1 result compared: 1 {grade.value}" in Page(to_html(verdict, make_run())).text


def test_tells_when_where_and_who_for_both_runs() -> None:
    text = Page(to_html(make_verdict(), make_run())).text

    for told in ("2026-03-01 09:00:00 UTC", "2026-03-08 14:30:00 UTC", "1 min 23 s", "12.5 s",
                 "ada", "grace", "laptop", "server", "debian 12, Linux 6.8 x86_64",
                 "Old Chip, 8 CPUs, 16 GiB memory", "python train.py"):  # fmt: skip
        assert told in text


def test_lists_deviations_missing_things_secrets_and_what_was_opened_outside() -> None:
    verdict = make_verdict(
        Finding.CANNOT_BE_CHECKED,
        reasons=("It read files of the original folder.",),
        deviations=("numpy 2.1.0 instead of 2.0.2",),
        missing=("the variable API_TOKEN",),
        opened_outside=("/home/ada/study/extra.csv",),
    )
    run = make_run(
        withheld=(Withheld(name="API_TOKEN", where="environment", placeholder="<secret:ab>"),)
    )

    text = Page(to_html(verdict, run)).text

    for told in ("It read files of the original folder.", "numpy 2.1.0 instead of 2.0.2",
                 "the variable API_TOKEN", "/home/ada/study/extra.csv", "API_TOKEN (environment)",
                 "commit c0ffee012345, with uncommitted changes", "kernel-complete",
                 "1,234 events"):  # fmt: skip
        assert told in text


def test_sections_without_content_are_left_out() -> None:
    text = Page(to_html(make_verdict(), make_run())).text

    assert "No deviation from the recorded environment" in text
    for absent in ("could not be given back", "Opened outside", "Secrets", "Metrics"):
        assert absent not in text


def test_tells_how_to_repeat_it() -> None:
    assert "thence reproduce run:01234567" in Page(to_html(make_verdict(), make_run())).text


def test_a_run_that_is_not_sealed_gets_a_page_too() -> None:
    text = Page(to_html(make_verdict(), make_run(sealed=False))).text

    assert "The reproduction was watched by seccomp" in text
    assert "The original run was watched" not in text


HOSTILE = (
    "<script>alert(1)</script>",
    '"\' onmouseover=alert(1) x="',
    "</code></table></main><h1>reproduced",
    "&lt;b&gt; {0} {title} %s $x",
    "a\x00b\x1b[31mred\nnew line",
    "invoice\u202egnp.exe",
    "half \ud800 pair",
)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_is_shown_and_does_nothing(hostile: str) -> None:
    plain = Page(to_html(make_verdict(Finding.DIFFERS, *_results("x")), _hostile_run("x")))
    page = to_html(
        make_verdict(
            Finding.DIFFERS,
            *_results(hostile),
            reasons=(hostile,),
            deviations=(hostile,),
            missing=(hostile,),
            opened_outside=(hostile,),
        ),
        _hostile_run(hostile),
    )
    page.encode("utf-8")  # can be written to a file

    seen = Page(page)

    names = {name for name, _ in seen.attributes}
    assert names == {name for name, _ in plain.attributes}
    assert "script" not in seen.tags
    assert seen.tags.count("h1") == plain.tags.count("h1") == 1
    assert not any(char in page for char in "\x00\x1b\u202e")


def _results(text: str) -> tuple[Comparison, ...]:
    return (Comparison(path=text, grade=Grade.DIFFERENT, rule=text, detail=text),)


def _hostile_run(text: str) -> RunDetail:
    return make_run(
        command=(text, text),
        name=text,
        metrics={text: float("nan")},
        withheld=(Withheld(name=text, where=text),),
    )


def test_the_text_of_a_hostile_path_can_still_be_read() -> None:
    path = "out/<b>&\"'\u202egnp.csv"
    verdict = make_verdict(Finding.DIFFERS, Comparison(path=path, grade=Grade.MISSING))

    assert "out/<b>&\"'\\u202egnp.csv" in Page(to_html(verdict, make_run())).text


def test_the_page_loads_nothing() -> None:
    html = to_html(make_verdict(Finding.DIFFERS, *_results("x")), make_run())
    page = Page(html)

    assert not LOADING & {name for name, _ in page.attributes}
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert "@import" not in html
    assert "url(" not in html
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


def test_the_page_can_be_read_by_a_screen_reader() -> None:
    page = Page(to_html(make_verdict(Finding.DIFFERS, *_results("x")), make_run()))

    assert ("lang", "en") in page.attributes
    assert page.tags.count("caption") == page.tags.count("table")
    assert {"main", "header", "footer", "title", "h1"} <= set(page.tags)
    assert page.tags.count("th") == sum(name == "scope" for name, _ in page.attributes)
