"""How many faults the tests injected, of which kind and into which store: a table at the end.

A test tells by the fixture `faults`. The counts travel with the reports of the tests, so that they
are added up wherever the tests ran: with pytest-xdist too.
"""

from collections import Counter
from collections.abc import Callable

import pytest

__all__ = ["Faults", "faults", "pytest_addoption", "pytest_terminal_summary"]

_KEY = "injected faults"

Faults = Callable[[str, str, int], None]
"""Is told a kind, a store and a number."""


@pytest.fixture
def faults(record_property: Callable[[str, object], None]) -> Faults:
    """Counts faults that were injected and survived; tell it after the proof."""

    def tell(kind: str, store: str, number: int) -> None:
        record_property(_KEY, (kind, store, number))

    return tell


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--fault-report`."""
    parser.addoption(
        "--fault-report",
        action="store_true",
        help="print how many faults were injected, by kind and store",
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many faults there were, and with `--fault-report` of which kinds."""
    counts: Counter[tuple[str, str]] = Counter()
    seconds = 0.0
    for report in terminalreporter.stats.get("passed", []):
        told = [value for key, value in report.user_properties if key == _KEY]
        seconds += report.duration if told else 0.0
        for kind, store, number in told:
            counts[kind, store] += number
    if not counts:
        return
    total = sum(counts.values())
    if not terminalreporter.config.getoption("--fault-report"):
        terminalreporter.write_line(
            f"{total:,} faults were injected, and nothing was lost (by kind: --fault-report)"
        )
        return
    stores = sorted({store for _, store in counts})
    kinds = sorted({kind for kind, _ in counts})
    width = max(map(len, [*kinds, "all"]))
    terminalreporter.section("faults that were injected, and nothing was lost")
    terminalreporter.write_line(" " * width + "".join(f"  {name:>12}" for name in [*stores, "all"]))
    for kind in [*kinds, "all"]:
        row = [
            sum(
                number
                for (of, where), number in counts.items()
                if kind in {of, "all"} and store in {where, "all"}
            )
            for store in [*stores, "all"]
        ]
        terminalreporter.write_line(f"{kind:<{width}}" + "".join(f"  {n:>12,}" for n in row))
    terminalreporter.write_line(f"in {seconds:,.0f} s of tests")
