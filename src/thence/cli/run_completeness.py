"""The parts of a run's page about how complete the capture was, and what was withheld."""

from collections.abc import Sequence

from thence.cli import human
from thence.cli.output import Output
from thence.cli.page import Field, fields, folded, section
from thence.cli.run_observed import unseeded
from thence.model.observed import Observed
from thence.model.records import FileRole, FileUse, RunSealed

__all__ = ["completeness", "show_completeness", "show_withheld"]

_SHOWN = 20
_SENTENCES = {
    "kernel-complete": "Every file that its processes opened was seen.",
    "trace-complete": "Every file that its processes opened was seen.",
    "python-complete": "What its Python programs opened was seen; other programs were not watched.",
    "partial": "Only a part of what it did was seen.",
}


def completeness(
    sealed: RunSealed, files: Sequence[FileUse], observed: Sequence[Observed]
) -> tuple[str, bool]:
    """How complete the capture was, in a sentence or two; and whether nothing is missing."""
    lost = [one for one in files if one.role is FileRole.INPUT and one.digest is None]
    told = [_SENTENCES.get(sealed.sensor.completeness, f"{sealed.sensor.completeness}.")]
    gaps = []
    if lost:
        gaps.append(f"{human.count(len(lost), 'input')} could not be kept")
    if sealed.connections:
        count = human.count(len(sealed.connections), "connection")
        gaps.append(f"what came over {count} was not seen")
    if chance := unseeded(observed):
        count = human.count(len({one.library for one in chance}), "random generator")
        gaps.append(f"{count} had no seed")
    remarks = len(sealed.sensor.not_seen) + len(sealed.problems)
    if remarks:
        gaps.append(f"{human.count(remarks, 'remark')} below")
    if gaps:
        text = ", ".join(gaps)
        told.append(f"{text[0].upper()}{text[1:]}.")
    elif sealed.sensor.completeness in {"kernel-complete", "trace-complete"}:
        told.append("All of it is kept.")
    is_whole = not gaps and sealed.sensor.completeness in {"kernel-complete", "trace-complete"}
    return " ".join(told), is_whole


def show_completeness(output: Output, sealed: RunSealed) -> None:
    """Who watched, and what cannot have been seen."""
    section(output, "how complete this is")
    sensor = sealed.sensor
    rows: list[Field] = [("sensor", f"{sensor.name}: {sensor.completeness}")]
    rows += [("not seen", text) for text in sensor.not_seen]
    rows += [("network", address) for address in sealed.connections[:_SHOWN]]
    if (more := len(sealed.connections) - _SHOWN) > 0:
        rows.append(("", f"and {more} more addresses"))
    rows += [("problem", text) for text in sealed.problems]
    if sealed.omitted_variables:
        rows.append(
            ("variables", f"{len(sealed.environment_variables)} of the environment kept, "
             f"{len(sealed.omitted_variables)} left out")
        )  # fmt: skip
    fields(output, rows)


def show_withheld(output: Output, sealed: RunSealed, files: Sequence[FileUse]) -> None:
    """Secrets that were seen and not kept: by name, with the places where each was."""
    places: dict[str, dict[str, None]] = {}
    for one in sealed.withheld:
        where = one.where.removeprefix(f"{sealed.root}/")
        places.setdefault(one.name, {})[where] = None
    if not places:
        return
    section(output, f"withheld, because it is secret ({len(places):,})")
    rows: list[Field] = [(name, ", ".join(places[name])) for name in list(places)[:_SHOWN]]
    if (more := len(places) - _SHOWN) > 0:
        rows.append(("", f"and {more} more withheld"))
    fields(output, rows)
    from thence.execution.wanted import wanted_secrets

    if wanted := dict.fromkeys(one.name for one in wanted_secrets(sealed, files)):
        for text in folded(output, f"to reproduce it, give back: {', '.join(wanted)}"):
            output.data(text)
