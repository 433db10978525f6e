"""Executed notebooks: what counts in them, and which cell a difference is in."""

import base64
import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest

from thence.formats import registry
from thence.formats.base import CompareContext, Outcome, Tolerance
from thence.formats.notebook import Notebook
from thence.model.records import Comparison, Grade

Cells = list[dict[str, Any]]


def cell(source: str, *outputs: dict[str, Any], number: int | None = 1) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": "a",
        "metadata": {},
        "execution_count": number,
        "source": source,
        "outputs": list(outputs),
    }


def printed(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text.splitlines(keepends=True)}


def shown(**data: Any) -> dict[str, Any]:
    named = {key.replace("_", "/"): value for key, value in data.items()}
    return {"output_type": "display_data", "metadata": {}, "data": named}


def write(path: Path, cells: Cells, **metadata: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    text = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(text))
    return path


def compare(
    folder: Path, original: Cells, reproduced: Cells, tolerance: Tolerance | None = None
) -> Outcome:
    first = write(folder / "one" / "n.ipynb", original)
    second = write(folder / "two" / "n.ipynb", reproduced, kernelspec={"name": "other"})
    return Notebook().compare(first, second, CompareContext(tolerance=tolerance or Tolerance()))


def test_times_ids_numbers_of_execution_and_addresses_do_not_count(tmp_path: Path) -> None:
    original = [
        cell("a()", printed("<A object at 0x7f10aa20>\ntook 1.5 s\n")),
        cell("bar()", printed("\r 0%|  | 0/9\r100%|██| 9/9 [00:01<00:00, 8.91it/s]\n", "stderr")),
        cell("styled", shown(text_html='<style>#T_1a2b3_row0 {}</style><td id="T_1a2b3_row0">')),
        cell("widget", shown(**{"application_vnd.jupyter.widget-view+json": {"model_id": "a1"}})),
    ]
    again = copy.deepcopy(original)
    for number, one in enumerate(again):
        one["id"] = f"other-{number}"
        one["execution_count"] = number + 7
        one["metadata"] = {"execution": {"iopub.execute_input": "2026-01-01T00:00:00Z"}}
    again[0]["outputs"] = [printed("<A object at 0x7ffe0011>\ntook 2.25 s\n")]
    again[1]["outputs"] = [
        printed("\r50%|█ | 4/9\r100%|██| 9/9 [00:03<00:00, 2.2it/s]\n", "stderr")
    ]
    again[2]["outputs"] = [shown(text_html='<style>#T_ffff0_row0 {}</style><td id="T_ffff0_row0">')]
    again[3]["outputs"] = [
        shown(**{"application_vnd.jupyter.widget-view+json": {"model_id": "b2"}})
    ]
    found = compare(tmp_path, original, again)
    assert found.grade is Grade.EQUIVALENT, found
    assert found.rule == "notebook"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"outputs": [printed("total 13\nend\n")]},
            "cell 2 (print(total)), stdout, line 1: 'total 12' -> 'total 13'",
        ),
        (
            {"outputs": [printed("total 12\n")]},
            "cell 2 (print(total)), stdout, line 2: 'end' -> end",
        ),
        ({"outputs": []}, "cell 2 (print(total)), output 1: stdout -> none"),
        (
            {"source": "# told\nprint(total + 0)"},
            "cell 2 (print(total)), source, line 2: 'print(total)' -> 'print(total + 0)'",
        ),
        ({"cell_type": "markdown"}, "cell 2 (print(total)): code -> markdown cell"),
    ],
)
def test_the_cell_that_differs_is_named(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    original = [
        cell("total = 12"),
        cell("# told\nprint(total)", printed("total 12\nend\n")),
    ]
    found = compare(tmp_path, original, [original[0], {**original[1], **changed}])
    assert found == Outcome(Grade.DIFFERENT, "notebook", said)


def test_a_digest_that_was_printed_counts(tmp_path: Path) -> None:
    first, second = (cell("md5", printed(f"{one * 32}\n")) for one in "ab")
    assert compare(tmp_path, [first], [second]).grade is Grade.DIFFERENT


def test_how_the_two_streams_were_mixed_does_not_count(tmp_path: Path) -> None:
    original = [cell("x", printed("a\n"), printed("warning\n", "stderr"), printed("b\n"))]
    again = [cell("x", printed("warning\n", "stderr"), printed("a\nb\n"))]
    assert compare(tmp_path, original, again).grade is Grade.EQUIVALENT


def test_numbers_in_outputs_may_deviate_within_a_tolerance(tmp_path: Path) -> None:
    original, again = [cell("x", printed("loss 0.5\n"))], [cell("x", printed("loss 0.5001\n"))]
    assert compare(tmp_path, original, again).grade is Grade.DIFFERENT
    found = compare(tmp_path, original, again, Tolerance(absolute=0.001))
    assert found.grade is Grade.WITHIN_TOLERANCE
    # What the cells do may not.
    original, again = [cell("x = 0.5")], [cell("x = 0.5001")]
    found = compare(tmp_path, original, again, Tolerance(absolute=0.001))
    assert found.grade is Grade.DIFFERENT


def picture(level: int, *, compressed: int) -> str:
    image = pytest.importorskip("PIL.Image")
    target = io.BytesIO()
    image.new("L", (20, 20), level).save(target, "png", compress_level=compressed)
    return base64.b64encode(target.getvalue()).decode()


def test_pictures_are_compared_by_their_pixels(tmp_path: Path) -> None:
    def plot(level: int, compressed: int = 9) -> Cells:
        data = {"image_png": picture(level, compressed=compressed), "text_plain": "<Figure>"}
        return [cell("plot()", shown(**data))]

    assert compare(tmp_path, plot(7), plot(7, 0)).grade is Grade.EQUIVALENT
    found = compare(tmp_path, plot(7), plot(9))
    assert found.grade is Grade.DIFFERENT
    assert found.detail.startswith("cell 1 (plot()), result, image/png: ")
    found = compare(tmp_path, plot(7), plot(9), Tolerance(absolute=3))
    assert found.grade is Grade.WITHIN_TOLERANCE
    assert "cell 1 (plot()), result, image/png" in found.detail


def test_an_error_is_an_output_like_others(tmp_path: Path) -> None:
    def failed(word: str, number: int) -> Cells:
        trace = [f"\x1b[31m{word}\x1b[0m", f"/tmp/ipykernel_{number}/{number}.py in <module>"]
        output = {"output_type": "error", "ename": word, "evalue": "no", "traceback": trace}
        return [cell("1/0", output)]

    assert compare(tmp_path, failed("ValueError", 12), failed("ValueError", 99)).grade is (
        Grade.EQUIVALENT
    )
    assert compare(tmp_path, failed("ValueError", 1), failed("KeyError", 1)).grade is (
        Grade.DIFFERENT
    )


def test_the_registry_compares_notebooks_so_and_loads_them_as_text(tmp_path: Path) -> None:
    first = write(tmp_path / "a.ipynb", [cell("x", number=1)])
    second = write(tmp_path / "b.ipynb", [cell("x", number=2)])
    found = registry.compare(first, second, "train.executed.ipynb", CompareContext())
    assert found == Comparison(
        path="train.executed.ipynb",
        grade=Grade.EQUIVALENT,
        rule="notebook",
        detail="same cells and outputs, other times, ids or metadata",
    )
    assert registry.load_file(first) == first.read_text()
