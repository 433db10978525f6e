"""The page on performance says what its data say, and the data are complete."""

import json

import pytest
from bench.performance import DATA, PAGE, page
from bench.storage_table import STEPS, goals

NAMED = {"thence", "dvc", "borg", "restic", "git", "cp"}


def test_the_page_is_made_from_its_data() -> None:
    assert PAGE.read_text("utf-8") == page(json.loads(DATA.read_text("utf-8"))), (
        "docs/explanation/performance.md was changed by hand: python -m bench.performance --again"
    )


def test_every_named_tool_is_in_it_at_full_size() -> None:
    storage = json.loads(DATA.read_text("utf-8"))["storage"]

    assert set(storage["versions"]) >= NAMED
    assert storage["scale"] == 1
    measured = {tuple(sample[:3]) for sample in storage["samples"] if not sample[9]}
    assert {(group, step, "thence") for group, step, _ in STEPS} <= measured


def test_every_goal_could_be_judged_and_a_missed_one_has_its_reason() -> None:
    data = json.loads(DATA.read_text("utf-8"))
    found = goals(data["storage"])

    assert len(found) == 13
    missed = {one.what for one in found if not one.held}
    if missed - set(data.get("missed", {})):
        pytest.fail(f"no reason is given for {sorted(missed - set(data.get('missed', {})))}")
