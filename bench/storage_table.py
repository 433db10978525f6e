"""From measurements to tables, and to ratios that are held against goals: no measuring here."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

STEPS = (
    ("big", "save", "save 1 GiB, incompressible"),
    ("big", "save v2", "save it with 1 % changed in 20 places"),
    ("big", "restore", "restore it"),
    ("csv", "save", "save a CSV of 0.5 GB"),
    ("csv", "save v2", "save it with 5 % more rows"),
    ("csv", "restore", "restore it"),
    ("files", "save", "save 100,000 files of 1 to 8 KiB"),
    ("files", "save again", "save them again, nothing changed"),
    ("files", "status", "status, nothing changed"),
    ("files", "restore", "restore them"),
    ("model", "save", "save a safetensors checkpoint, 10 tensors of 16 MiB"),
    ("model", "save v2", "save it with one tensor changed"),
    ("parquet", "save", "save a Parquet file of 3,000,000 rows"),
    ("parquet", "save v2", "save it written again with one row more at the end"),
    ("parquet", "save v3", "save it written again with one row in between"),
)
_NAMES = {(group, step): text for group, step, text in STEPS}


class Sample(NamedTuple):
    """One step of one tool in one round; CPU is net of the bare interpreter."""

    group: str
    step: str
    tool: str
    number: int
    wall_s: float = 0.0
    cpu_s: float = 0.0
    rss_bytes: int = 0
    stored_bytes: int = 0
    new_bytes: int = 0
    failed: str = ""

    def packed(self) -> list[Any]:
        """As it stands in the document."""
        return list(self)


class Goal(NamedTuple):
    """A ratio, what it may be at most, and what it was: the median of the rounds, and the range."""

    what: str
    goal: float
    measured: float
    least: float
    most: float

    @property
    def held(self) -> bool:
        return self.measured <= self.goal


class _Wanted(NamedTuple):
    what: str
    goal: float
    step: tuple[str, str]
    of: str  # a field of a sample
    against: str  # a tool, or "changed"
    their_step: tuple[str, str] | None = None


_A, _B, _C = ("big", "save"), ("csv", "save"), ("files", "save")
_WANTED = (
    _Wanted("incompressible file, CPU / borg", 0.7, _A, "cpu_s", "borg"),
    _Wanted("CSV, CPU / borg", 1.2, _B, "cpu_s", "borg"),
    _Wanted("CSV, bytes stored / DVC", 0.36, _B, "stored_bytes", "dvc"),
    _Wanted("small files, CPU / borg", 0.45, _C, "cpu_s", "borg"),
    _Wanted("small files, CPU / DVC", 0.08, _C, "cpu_s", "dvc"),
    _Wanted("nothing changed: save, CPU / DVC", 0.2, ("files", "save again"), "cpu_s", "dvc"),
    _Wanted("nothing changed: status, CPU / git status", 5, ("files", "status"), "cpu_s", "git"),
    _Wanted(
        "1 % edited: new bytes / bytes changed", 1.4, ("big", "save v2"), "new_bytes", "changed"
    ),
    _Wanted("CSV + 5 %: new bytes / DVC", 1 / 50, ("csv", "save v2"), "new_bytes", "dvc"),
    _Wanted("restore big file, CPU / DVC", 0.9, ("big", "restore"), "cpu_s", "dvc"),
    _Wanted("restore CSV, CPU / borg", 1.5, ("csv", "restore"), "cpu_s", "borg"),
    _Wanted("restore small files, CPU / borg", 0.7, ("files", "restore"), "cpu_s", "borg"),
    _Wanted("restore small files, CPU / DVC", 0.2, ("files", "restore"), "cpu_s", "dvc"),
)


def goals(document: Mapping[str, Any]) -> list[Goal]:
    """The ratios that can be told from what was measured.

    A ratio is taken within each round, where both had the same neighbours on the machine; the
    median of these counts.
    """
    samples = [Sample(*packed) for packed in document["samples"]]
    by_place = {
        (one.group, one.step, one.tool, one.number): one for one in samples if not one.failed
    }
    # Of a file of which 1 % is changed, in places that are 1/2,000 of it each.
    changed = document["sizes"]["big"][0] // 100 // 20 * 20 if "big" in document["sizes"] else 0
    found = []
    for wanted in _WANTED:
        ratios = []
        for number in range(1, document["rounds"] + 1):
            ours = by_place.get((*wanted.step, "thence", number))
            theirs = by_place.get((*wanted.step, wanted.against, number))
            if ours is None or (theirs is None and wanted.against != "changed"):
                continue
            below = changed if theirs is None else getattr(theirs, wanted.of)
            ratios.append(ratio(getattr(ours, wanted.of), below))
        if ratios:
            median = statistics.median(ratios)
            found.append(Goal(wanted.what, wanted.goal, median, min(ratios), max(ratios)))
    return found


def ratio(ours: float, theirs: float) -> float:
    """How many times as much; what is too little to be measured is a millisecond, or a byte."""
    return max(ours, 0.001) / max(theirs, 0.001)


def rows(found: Iterable[Goal]) -> list[dict[str, Any]]:
    """The rows that `python -m bench` prints."""
    return [
        {"what": one.what, "measured": one.measured, "unit": "x", "goal": one.goal} for one in found
    ]


def markdown(document: Mapping[str, Any]) -> str:
    """Tables of everything: ratios, CPU, wall, memory, bytes."""
    return "\n".join([ratios_table(goals(document)), tables(document)])


def tables(document: Mapping[str, Any]) -> str:
    """What each tool took for each step: CPU, wall, memory, bytes."""
    samples = [Sample(*packed) for packed in document["samples"]]
    tools = list(document["versions"])
    parts = []
    for title, text in (
        ("CPU seconds", lambda one: f"{one.cpu_s:.2f}"),
        ("Wall seconds", lambda one: f"{one.wall_s:.2f}"),
        ("Peak memory, MB", lambda one: f"{one.rss_bytes / 1e6:.0f}"),
        ("New bytes stored, MB", lambda one: megabytes(one.new_bytes)),
        ("Bytes stored in all, MB", lambda one: megabytes(one.stored_bytes)),
    ):
        parts.append(f"### {title}\n\n{_table(samples, tools, text)}")
    return "\n".join(parts)


def ratios_table(found: Sequence[Goal]) -> str:
    """What was to be reached, and what was."""
    lines = ["| what | goal | measured | range | |", "|---|---:|---:|---:|---|"]
    for one in found:
        held = "held" if one.held else "**missed**"
        lines.append(
            f"| {one.what} | ≤ {one.goal:g} | {one.measured:.3g} "
            f"| {one.least:.3g} to {one.most:.3g} | {held} |"
        )
    return "\n".join(lines) + "\n"


def megabytes(count: int) -> str:
    """With one digit where it is small, as next to nothing is what matters there."""
    return f"{count / 1e6:,.0f}" if count >= 1e8 else f"{count / 1e6:.1f}"


def _table(samples: Sequence[Sample], tools: Sequence[str], text: Callable[[Sample], str]) -> str:
    lines = ["| | " + " | ".join(tools) + " |", "|---|" + "---:|" * len(tools)]
    for group, step, name in STEPS:
        cells = [_cell(samples, (group, step, tool), text) for tool in tools]
        if any(cells):
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(
    samples: Sequence[Sample], place: tuple[str, str, str], text: Callable[[Sample], str]
) -> str:
    found = [one for one in samples if (one.group, one.step, one.tool) == place]
    if not found:
        return ""
    good = [one for one in found if not one.failed]
    return text(median(good)) if good else "fails"


def median(samples: Sequence[Sample]) -> Sample:
    """Each number on its own: the median of what the rounds gave."""
    return samples[0]._replace(
        wall_s=statistics.median(one.wall_s for one in samples),
        cpu_s=statistics.median(one.cpu_s for one in samples),
        rss_bytes=int(statistics.median(one.rss_bytes for one in samples)),
        stored_bytes=int(statistics.median(one.stored_bytes for one in samples)),
        new_bytes=int(statistics.median(one.new_bytes for one in samples)),
    )
