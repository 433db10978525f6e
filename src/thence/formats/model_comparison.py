"""Comparing models: what they learned, and what they predict.

Both files are opened by one interpreter in a process of its own (`model_probe`), which writes down
everything that is in them and what they predict. What it wrote is compared here, as JSON and arrays
are: any fitted parameter that differs makes the models different, and predictions say how much it
matters. Parameters are found through pickle's own protocol, so that nothing that a pickle can hold
is passed over; what cannot be taken apart is counted, and then predictions must decide.
"""

import json
import logging
import re
import subprocess
import sys
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from thence.formats import model_probe
from thence.formats.base import CompareContext, Outcome, Unreadable
from thence.formats.json_value import compare_trees
from thence.formats.tally import Tally
from thence.model.records import Grade

__all__ = ["compare_models"]

_log = logging.getLogger(__name__)

_VOLATILE = (
    "_stop_words_id",
    "_sklearn_version",
    "*_fit_time",
    "*_score_time",
    "refit_time_",
    "fit_time_",
)
"""Attributes of estimators that hold ids, versions and times, and nothing that was learned."""


class _Seen(NamedTuple):
    """What the probe wrote of one model."""

    state: Any
    arrays: dict[str, Any]
    predictions: dict[str, Any]
    rows: str
    opaque: list[str]


def compare_models(
    rule: str, original: Path, reproduced: Path, context: CompareContext, *, trusted: str = ""
) -> Outcome:
    """Grade a reproduced model.

    skops files hold no code and may be opened by this interpreter where `context.python` is None;
    `trusted` is then the pattern of the types they may hold. The caller makes sure that pickles
    never get here without the interpreter of the reproduced environment.
    """
    with tempfile.TemporaryDirectory(prefix="thence-models-") as name:
        folder = Path(name)
        problem = _run_probe(rule, (original, reproduced), folder, context, trusted)
        if problem:
            return Outcome(Grade.UNCHECKED, rule, problem)
        answers = [json.loads((folder / f"{side}.json").read_text()) for side in ("a", "b")]
        for path, answer in zip((original, reproduced), answers, strict=True):
            if "error" in answer:
                raise Unreadable(path, f"not loadable: {answer['error']}")
        first, second = (
            _Seen(arrays=_arrays(folder / f"{side}.npz"), predictions={}, **answer)
            for side, answer in zip("ab", answers, strict=True)
        )
        return _grade(rule, context, _split(first), _split(second))


def _grade(rule: str, context: CompareContext, first: _Seen, second: _Seen) -> Outcome:
    learned, predicted = Tally(rule, context.tolerance), Tally(rule, context.tolerance)
    compare_trees(learned, first.state, second.state, measured=_VOLATILE, moments=())
    # An array that is missing on one side shows in the states, which name all of them.
    for where, array in first.arrays.items():
        if where in second.arrays and not _is_volatile(where, context):
            learned.arrays(where, array, second.arrays[where])
    for method in sorted(first.predictions.keys() | second.predictions.keys()):
        if method not in first.predictions or method not in second.predictions:
            predicted.differs(f"{method}() works on one of the models only")
        else:
            predicted.arrays(f"{method}()", first.predictions[method], second.predictions[method])
    where = f"predictions on {first.rows}"
    if not first.predictions:
        where = "no predictions could be made"
        if first.opaque or second.opaque:
            detail = f"cannot be taken apart: {', '.join(sorted({*first.opaque, *second.opaque}))}"
            return Outcome(Grade.UNCHECKED, rule, f"{detail}; {where}")
    of_parameters, of_predictions = learned.outcome(), predicted.outcome()
    # the probe's own words for what an object consists of
    plain = re.sub(r"\.(attributes|dict)(?=[.\[])", "", of_parameters.detail)
    of_parameters = of_parameters._replace(detail=plain)
    grades = {of_parameters.grade, of_predictions.grade}
    if Grade.DIFFERENT in grades:
        parts = []
        if of_parameters.grade is Grade.DIFFERENT:
            parts.append(f"parameters: {of_parameters.detail}")
        same = "same" if first.predictions else ""
        parts.append(" ".join(filter(None, (f"{where}:", of_predictions.detail or same))))
        return Outcome(Grade.DIFFERENT, rule, "; ".join(parts))
    if Grade.WITHIN_TOLERANCE in grades:
        parts = [of_parameters.detail and f"parameters: {of_parameters.detail}"]
        parts.append(of_predictions.detail and f"{where}: {of_predictions.detail}")
        return Outcome(Grade.WITHIN_TOLERANCE, rule, "; ".join(filter(None, parts)))
    passed_over = "".join(f"; {text}" for text in learned.passed_over)
    same = f"same parameters, same {where}" if first.predictions else f"same parameters; {where}"
    return Outcome(Grade.EQUIVALENT, rule, same + passed_over)


def _is_volatile(where: str, context: CompareContext) -> bool:
    name = where.rpartition(".")[2]
    volatile = (*_VOLATILE, *context.tolerance.volatile)
    return any(fnmatchcase(name, pattern) for pattern in volatile)


def _split(seen: _Seen) -> _Seen:
    """Predictions apart from parameters; the probe keeps both in one file."""
    mark = model_probe.PREDICTIONS
    predictions = {k.removeprefix(mark): v for k, v in seen.arrays.items() if k.startswith(mark)}
    arrays = {k: v for k, v in seen.arrays.items() if not k.startswith(mark)}
    return seen._replace(arrays=dict(sorted(arrays.items())), predictions=predictions)


def _run_probe(
    rule: str, models: tuple[Path, Path], folder: Path, context: CompareContext, trusted: str
) -> str | None:
    """Have both models written down; the reason in a phrase where that failed."""
    request = {
        "kind": rule,
        "name": context.name,
        "models": [str(path.resolve()) for path in models],
        "inputs": {name: str(path.resolve()) for name, path in sorted(context.inputs.items())},
        "folder": str(folder),
        "root": str(context.root) if context.root else None,
        # the reproduced environment may run the user's own types, this one may not
        "trusted": None if context.python else trusted,
    }
    (folder / "request.json").write_text(json.dumps(request))
    # From standard input: a script's own folder would come first in the search for modules.
    source = Path(model_probe.__file__).read_bytes()
    python = context.python or Path(sys.executable)
    try:
        done = subprocess.run(
            # Our own interpreter must not import what lies in the restored folder.
            [python, *([] if context.python else ["-I"]), "-", folder / "request.json"],
            input=source,
            env=None if context.environment is None else dict(context.environment),
            capture_output=True,
            cwd=context.root or folder,
            timeout=context.timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"opening the models took longer than {context.timeout_s:g} s"
    except OSError as error:
        return f"the interpreter of the reproduced environment did not start: {error}"
    if done.returncode or not (folder / "b.json").is_file():
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        _log.info("the model probe failed:\n%s", "\n".join(lines))
        last = lines[-1] if lines else f"exit status {done.returncode}"
        return f"the models could not be opened: {last}"
    return None


def _arrays(path: Path) -> dict[str, Any]:
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        names = json.loads(str(archive["names"]))
        return {name: archive[f"a{number}"] for number, name in enumerate(names)}
