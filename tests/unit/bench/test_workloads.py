"""The workloads of the benchmark are the same each time, and differ where they say they do."""

from pathlib import Path

import pytest
from bench.workloads import WORKLOADS, made, million

SMALL = 0.001


def _content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", [name for name in WORKLOADS if name != "million"])
def test_a_workload_has_the_same_bytes_each_time(name: str, tmp_path: Path) -> None:
    first = made(tmp_path / "one", name, SMALL)
    second = made(tmp_path / "two", name, SMALL)

    content = _content(first)
    assert content == _content(second)
    states = [
        (first / str(n + 1) / WORKLOADS[name].entry) for n in range(len(WORKLOADS[name].states))
    ]
    assert all(state.exists() for state in states)


def test_what_was_made_is_not_made_again(tmp_path: Path) -> None:
    folder = made(tmp_path, "csv", SMALL)
    (folder / "1" / "table.csv").write_text("mine")

    assert made(tmp_path, "csv", SMALL) == folder
    assert (folder / "1" / "table.csv").read_text() == "mine"


def test_the_edited_file_has_ten_insertions_and_ten_overwritten_places(tmp_path: Path) -> None:
    folder = made(tmp_path, "big", SMALL)
    before, after = ((folder / state / "big.bin").read_bytes() for state in "12")
    edit = len(before) // 100 // 20

    assert len(after) - len(before) == 10 * edit
    # Pieces of the first file that are whole in the second, by 256 bytes.
    kept = {after[at : at + 256] for at in range(len(after) - 255)}
    lost = sum(before[at : at + 256] not in kept for at in range(0, len(before), 256))
    assert 20 <= lost <= 20 * (edit // 256 + 2)


def test_the_csv_grows_by_a_twentieth_at_its_end(tmp_path: Path) -> None:
    folder = made(tmp_path, "csv", SMALL)
    before, after = ((folder / state / "table.csv").read_bytes() for state in "12")

    assert after.startswith(before)
    assert 0.05 <= len(after) / len(before) - 1 <= 0.06


def test_one_tensor_of_ten_is_another(tmp_path: Path) -> None:
    folder = made(tmp_path, "model", SMALL)
    before, after = ((folder / state / "model.safetensors").read_bytes() for state in "12")
    size = (len(before) - 8 - int.from_bytes(before[:8], "little")) // 10
    begin = len(before) - 10 * size

    changed = [
        number
        for number in range(10)
        if before[begin + number * size :][:size] != after[begin + number * size :][:size]
    ]
    assert len(before) == len(after)
    assert changed == [4]


def test_the_small_files_are_as_long_as_they_should_be() -> None:
    files = dict(million(0.0004))

    assert len(files) == 400
    assert all(100 <= len(data) <= 2000 for data in files.values())
    assert {name.split("/")[0] for name in files} == {f"{number:03d}" for number in range(20)}
