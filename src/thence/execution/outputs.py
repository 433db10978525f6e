"""What the outputs of a run looked like when it ended: who recovers it later can tell changes."""

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from thence.execution.capture.states import Ledger, WrittenFile

__all__ = ["Marked", "mark_changes", "note_outputs"]

_FILE = "outputs.json"
_NOTES = ("files.jsonl", "events-*.jsonl", "stdout", "stderr")
# Between the last note of a run and its last write to a file that it had open.
_GRACE_NS = 5_000_000_000

_log = logging.getLogger(__name__)


class Marked(NamedTuple):
    """Files of a run of which outputs are marked that may not be what it wrote.

    Attributes:
        problems: Sentences on them, and on those that are gone.
    """

    ledger: Ledger
    problems: list[str]


def note_outputs(spool: Path, outputs: Iterable[WrittenFile]) -> None:
    """Note what the outputs look like at the end of a run; a full disk costs only the note."""
    signatures = {str(output.path): _signature(output.path) for output in outputs}
    try:
        # ASCII JSON: names that are not UTF-8 are escaped and come back as they were.
        (spool / _FILE).write_text(json.dumps(signatures), "ascii")
    except OSError as error:
        _log.warning("the outputs of %s were not noted: %s", spool.name, error)


def mark_changes(spool: Path, ledger: Ledger) -> Marked:
    """Mark outputs that were changed after the run.

    Where its recorder died before the end, that is any that was written to well after the last
    note of the run: whether by the run cannot be known.
    """
    noted = _read(spool)
    last_ns = _last_note_ns(spool)
    outputs = []
    problems = []
    for output in ledger.outputs:
        now = _signature(output.path)
        if noted is not None:
            is_changed = noted.get(str(output.path)) != now
        else:
            is_changed = now is None or now[1] > last_ns + _GRACE_NS
        outputs.append(output._replace(changed=is_changed))
        if is_changed:
            problems.append(
                f"{output.path} was written to after the last that is known of the run, so it may "
                "not be what the run wrote."
            )
    there = {str(output.path) for output in outputs}
    problems += [
        f"{path} was written by the run and was gone when it was recovered."
        for path in noted or ()
        if path not in there
    ]
    return Marked(ledger._replace(outputs=tuple(outputs)), problems)


def _read(spool: Path) -> dict[str, list[int] | None] | None:
    try:
        found = json.loads((spool / _FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _last_note_ns(spool: Path) -> int:
    paths = (path for pattern in _NOTES for path in spool.glob(pattern))
    return max((path.stat().st_mtime_ns for path in paths), default=0)


def _signature(path: Path) -> list[int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return [facts.st_size, facts.st_mtime_ns, facts.st_ino]
