"""A verdict as one page of HTML that needs nothing else: to read, to print, to send."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from shlex import quote
from typing import NamedTuple

from thence.execution.report_style import STYLE
from thence.index.views import RunDetail
from thence.model.records import (
    Comparison,
    Finding,
    Grade,
    Host,
    Isolation,
    RunSealed,
    SensorReport,
    Verdict,
)

__all__ = ["to_html"]

# What would act on the page instead of being seen: control characters, and marks that reorder text.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_ISOLATIONS = {
    Isolation.NAMESPACE: "at its original paths, in a namespace of its own",
    Isolation.FOLDER: "in a plain folder",
}
_STRICT = ", and saw nothing of the machine but its system"
_HEADLINES = {
    Finding.REPRODUCED: ("good", "✓", "Reproduced"),
    Finding.WITHIN_TOLERANCE: ("good", "≈", "Reproduced within tolerance"),
    Finding.DIFFERS: ("bad", "✗", "Differs"),
    Finding.CANNOT_BE_CHECKED: ("open", "?", "Cannot be checked"),
}
_GRADES = {
    Grade.IDENTICAL: ("good", "✓", "every byte is the same"),
    Grade.EQUIVALENT: ("good", "✓", "the bytes differ, the meaning does not"),
    Grade.WITHIN_TOLERANCE: ("good", "≈", "numbers differ by no more than was allowed"),
    Grade.DIFFERENT: ("bad", "✗", "not the same result"),
    Grade.MISSING: ("bad", "✗", "the new run did not make it"),
    Grade.UNCHECKED: ("open", "?", "could not be compared"),
}


def to_html(verdict: Verdict, run: RunDetail) -> str:
    """The verdict on a run as one self-contained page.

    Loads nothing from elsewhere and runs no script. Everything that came from the run (paths,
    details, the command) is escaped, and characters that cannot be seen are spelled out.

    Args:
        verdict: On this run.
        run: As it is in the project.
    """
    short = run.run.short
    tone, mark, headline = _HEADLINES[verdict.finding]
    sections = (
        _reasons(verdict),
        _results(verdict.results),
        _then_and_now(verdict, run),
        _metrics(run.metrics),
        _environment(verdict, run),
        _listed("What could not be given back", verdict.missing),
        _listed(
            "Opened outside the restored folder",
            verdict.opened_outside,
            note="These files lie where the original run was. What the new run read there may "
            "not be what was kept.",
            code=True,
        ),
        _listed(
            "Looked for, and kept from it",
            verdict.hidden,
            note="These files are on the machine that reproduced the run, and are not of the run.",
            code=True,
        ),
        _watched(run.sealed.sensor if run.sealed else None, verdict.sensor),
        _withheld(run.sealed),
        _repeat(run),
    )
    return _PAGE.format(
        title=f"{_text(headline)}: {_text(_name_of(run))}",
        style=STYLE,
        tone=tone,
        mark=mark,
        headline=_text(headline),
        scope=_text(_scope(verdict.results)),
        name=_text(_name_of(run)),
        run=_text(short),
        sections="\n".join(section for section in sections if section),
        made=_text(_moment(verdict.ended)),
        author=_text(verdict.author),
    )


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<header>
<p class="kicker">Verdict on {run}</p>
<h1>{name}</h1>
<div class="badge {tone}" role="status">
<span class="mark" aria-hidden="true">{mark}</span>
<p><strong>{headline}</strong><span>{scope}</span></p>
</div>
</header>
{sections}
</main>
<footer><p>Reproduced by {author}, {made}. Written by thence.</p></footer>
</body>
</html>
"""


# Sections


def _reasons(verdict: Verdict) -> str:
    if not verdict.reasons:
        return ""
    return f'<section class="reasons">{_list(verdict.reasons)}</section>'


def _results(results: Sequence[Comparison]) -> str:
    if not results:
        return _section("Results", "<p>No result was compared.</p>")
    rows = []
    for one in results:
        tone, mark, meaning = _GRADES[one.grade]
        grade = (
            f'<span class="grade {tone}" title="{_text(meaning)}">'
            f'<span aria-hidden="true">{mark}</span> {_text(one.grade.value)}</span>'
        )
        detail = _text(one.detail) if one.detail else f'<span class="quiet">{meaning}</span>'
        rows.append(
            f'<tr><th scope="row"><code>{_text(one.path)}</code></th><td>{grade}</td>'
            f'<td data-label="Compared by">{_text(one.rule)}</td>'
            f'<td class="wide">{detail}</td></tr>'
        )
    return _section(
        "Results",
        '<table class="results">'
        "<caption>Each result of the run, as it came out again</caption>"
        '<thead><tr><th scope="col">Result</th><th scope="col">Grade</th>'
        '<th scope="col">Compared by</th><th scope="col">What was found</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>",
    )


class _Fact(NamedTuple):
    """One line of the comparison of then and now; the texts are plain."""

    label: str
    then: str
    now: str


def _then_and_now(verdict: Verdict, run: RunDetail) -> str:
    then_host = run.sealed.host if run.sealed else (run.opened.host if run.opened else None)
    facts = [
        _Fact("When", _moment(run.started), _moment(verdict.started)),
        _Fact(
            "Took",
            _duration(run.duration_s),
            _duration((verdict.ended - verdict.started).total_seconds()),
        ),
        _Fact("Who", run.author, verdict.author),
        *_host_facts(then_host, verdict.host),
        _Fact("Exit status", _or_dash(run.exit_code), _or_dash(verdict.exit_code)),
    ]
    rows = "".join(
        f'<tr><th scope="row">{fact.label}</th><td data-label="Then">{_text(fact.then)}</td>'
        f'<td data-label="Now"{_changed(fact)}>{_text(fact.now)}</td></tr>'
        for fact in facts
    )
    command = " ".join(map(quote, run.command))
    return _section(
        "Then and now",
        f'<pre class="command"><code>{_text(command)}</code></pre>'
        '<table class="facts">'
        "<caption>The original run and its reproduction</caption>"
        '<thead><tr><td></td><th scope="col">Then</th><th scope="col">Now</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>",
    )


def _host_facts(then: Host | None, now: Host) -> list[_Fact]:
    return [
        _Fact("Machine", then.name if then else "—", now.name),
        _Fact("System", _system(then), _system(now)),
        _Fact("Processor", _processor(then), _processor(now)),
    ]


def _changed(fact: _Fact) -> str:
    differs = fact.label in {"Machine", "System", "Processor", "Exit status"}
    return ' class="changed"' if differs and fact.then != fact.now else ""


def _metrics(metrics: dict[str, float]) -> str:
    if not metrics:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{_text(name)}</th><td class="number">{value:.6g}</td></tr>'
        for name, value in sorted(metrics.items())
    )
    return _section(
        "Metrics of the original run",
        '<table class="metrics"><caption>Last value of each</caption>'
        f"<tbody>{rows}</tbody></table>",
    )


def _environment(verdict: Verdict, run: RunDetail) -> str:
    commit = f"commit {run.commit[:12]}" if run.commit else "no Git commit"
    if run.dirty:
        commit += ", with uncommitted changes"
    sealed = run.sealed
    facts = [
        ("Python", run.python or "none ran"),
        ("Code", commit),
        ("Files read", str(run.inputs_count)),
        ("Files written", str(run.outputs_count)),
    ]
    if sealed is not None and sealed.environment is not None:
        facts.append(("Packages", f"listed in content {sealed.environment.short}"))
    if verdict.isolation is not None:
        facts.append(
            ("Ran", _ISOLATIONS[verdict.isolation] + (_STRICT if verdict.is_strict else ""))
        )
    rows = "".join(f"<dt>{label}</dt><dd>{_text(value)}</dd>" for label, value in facts)
    if verdict.deviations:
        deviations = f"<h3>What is not as it was</h3>{_list(verdict.deviations)}"
    else:
        deviations = "<p>No deviation from the recorded environment was found.</p>"
    return _section("Environment", f"<dl>{rows}</dl>{deviations}")


def _watched(then: SensorReport | None, now: SensorReport | None) -> str:
    parts = []
    for label, report in (("The original run", then), ("The reproduction", now)):
        if report is None:
            continue
        seen = (
            f"<p>{label} was watched by <b>{_text(report.name)}</b>: "
            f"<b>{_text(report.completeness)}</b>, {report.events:,} events.</p>"
        )
        parts.append(seen + (_list(report.not_seen) if report.not_seen else ""))
    return _section("How it was watched", "".join(parts)) if parts else ""


def _withheld(sealed: RunSealed | None) -> str:
    if sealed is None or not sealed.withheld:
        return ""
    names = sorted({f"{one.name} ({one.where})" for one in sealed.withheld})
    return _listed(
        "Secrets that were not kept",
        names,
        note="Only their names are known here; their values are nowhere in the project.",
        code=True,
    )


def _repeat(run: RunDetail) -> str:
    return _section(
        "Do it again",
        "<p>In the project's folder:</p>"
        f'<pre class="command"><code>thence reproduce {_text(run.run.short)}</code></pre>',
    )


# Pieces


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"


def _listed(title: str, items: Sequence[str], *, note: str = "", code: bool = False) -> str:
    if not items:
        return ""
    paragraph = f"<p>{note}</p>" if note else ""
    return _section(title, paragraph + _list(items, code=code))


def _list(items: Iterable[str], *, code: bool = False) -> str:
    before, after = ("<code>", "</code>") if code else ("", "")
    lines = "".join(f"<li>{before}{_text(item)}{after}</li>" for item in items)
    return f"<ul>{lines}</ul>"


def _scope(results: Sequence[Comparison]) -> str:
    """What the badge says was compared: `4 results compared: 3 identical, 1 equivalent`."""
    if not results:
        return "No result was compared."
    counts = Counter(one.grade for one in results)
    parts = ", ".join(f"{counts[grade]} {grade.value}" for grade in Grade if counts[grade])
    total = f"{len(results)} result{'' if len(results) == 1 else 's'} compared"
    return f"{total}: {parts}"


def _name_of(run: RunDetail) -> str:
    return run.name or " ".join(run.command) or run.run.short


def _system(host: Host | None) -> str:
    if host is None:
        return "—"
    kernel = f"{host.system} {host.release} {host.machine}".strip()
    return f"{host.distribution}, {kernel}" if host.distribution else kernel


def _processor(host: Host | None) -> str:
    if host is None:
        return "—"
    memory = f", {host.memory_bytes / 2**30:.0f} GiB memory" if host.memory_bytes else ""
    return f"{host.cpu or host.machine}, {host.cpus} CPUs{memory}"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} {at:%Z}".strip()


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "—"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _or_dash(value: object) -> str:
    return "—" if value is None else str(value)


def _text(value: str) -> str:
    """Text for any place in the page, also for an attribute in quotes."""
    seen = _UNSEEN.sub(lambda found: f"\\u{ord(found.group()):04x}", value)
    # A page cannot hold half of a surrogate pair; a path that is not UTF-8 may have one.
    return escape(seen.encode("utf-8", "backslashreplace").decode(), quote=True)
