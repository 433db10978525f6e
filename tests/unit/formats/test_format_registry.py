import gzip
import pickle
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from thence.errors import DataDamaged, Denied, FormatTooNew, InvalidInput
from thence.formats.base import CompareContext
from thence.formats.registry import FORMATS, compare, dump, format_of, load, load_file
from thence.model.records import Grade, Kind

HEAVY = [
    *("numpy", "pandas", "polars", "pyarrow", "PIL", "sklearn", "skops", "scipy"),
    *("matplotlib", "joblib", "yaml"),
]


def _keep(folder: Path, obj: Any, **options: Any) -> dict[str, Any]:
    dumped = dump(obj, name="thing", **options)
    for file in dumped.files:
        (folder / file.name).write_bytes(file.data)
    return dumped.metadata


def test_importing_the_registry_imports_nothing_heavy() -> None:
    script = (
        "import sys, thence.formats.registry\n"
        f"print(' '.join(sorted(set({HEAVY!r}) & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert done.stdout.strip() == ""


def test_plain_values_are_saved_without_importing_anything_heavy() -> None:
    script = (
        "import sys\nfrom thence.formats.registry import dump, sniff\n"
        "dump({'a': [1.5]}, name='x'); dump('text', name='x'); dump(b'raw', name='x')\n"
        "sniff('a.parquet', b'PAR1')\n"
        f"print(' '.join(sorted(set({HEAVY!r}) & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert done.stdout.strip() == ""


def test_names_of_formats_are_unique_and_the_last_takes_everything() -> None:
    names = [known.name for known in FORMATS]
    assert len(set(names)) == len(names)
    assert format_of("", b"").name == "bytes"


@pytest.mark.parametrize(
    ("obj", "file_name", "kind"),
    [
        (pd.DataFrame({"a": [1]}), "thing.parquet", Kind.DATASET),
        (np.zeros(2), "thing.npy", Kind.DATASET),
        ({"a": np.zeros(2)}, "thing.npz", Kind.DATASET),
        ({"a": 1}, "thing.json", Kind.DATASET),
        ({}, "thing.json", Kind.DATASET),
        (True, "thing.json", Kind.DATASET),
        ("text", "thing.txt", Kind.DOCUMENT),
        (b"raw", "thing.bin", Kind.FILE),
        (Figure(figsize=(1, 1)), "thing.png", Kind.FIGURE),
    ],
)
def test_each_object_finds_its_format(obj: Any, file_name: str, kind: Kind) -> None:
    dumped = dump(obj, name="team/thing")
    assert dumped.files[0].name == file_name
    assert dumped.kind is kind


@pytest.mark.parametrize("obj", [None, object(), Fraction(1, 2), {1, 2}, lambda: None])
def test_what_no_format_takes_is_refused_with_what_is_supported(obj: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        dump(obj, name="x")
    assert "DataFrames" in caught.value.why
    assert "allow_pickle=True" in caught.value.hint


def test_pickling_is_asked_for_twice(tmp_path: Path) -> None:
    metadata = _keep(tmp_path, Fraction(1, 2), allow_pickle=True)
    assert metadata["pickle"] is True
    assert metadata["python_type"] == "fractions.Fraction"
    with pytest.raises(Denied) as caught:
        load(tmp_path, metadata)
    assert "allow_pickle=True" in caught.value.hint
    assert load(tmp_path, metadata, allow_pickle=True) == Fraction(1, 2)


def test_pickling_is_the_last_resort_only() -> None:
    assert dump({"a": 1}, name="x", allow_pickle=True).metadata["format"] == "json"
    assert dump({"a": {1, 2}}, name="x", allow_pickle=True).metadata["format"] == "pickle"
    with pytest.raises(InvalidInput, match="cannot be pickled"):
        dump(lambda: None, name="x", allow_pickle=True)


def test_what_was_saved_as_a_file_loads_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.json").write_text('{"$f": "NaN"}')
    assert load(tmp_path, {}) == {"$f": "NaN"}
    (tmp_path / "b.txt").write_text("x")
    with pytest.raises(InvalidInput, match="2 files"):
        load(tmp_path, {})


def test_a_format_of_the_future_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(FormatTooNew, match="hologram"):
        load(tmp_path, {"format": "hologram", "file": "x"})


@pytest.mark.parametrize("name", ["../secret.json", "/etc/passwd", "..", ""])
def test_metadata_cannot_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "secret.json").write_text("{}")
    with pytest.raises(DataDamaged):
        load(inside, {"format": "json", "file": name})


def test_damaged_files_are_damaged_data_in_every_format(tmp_path: Path) -> None:
    for obj in (pd.DataFrame({"a": [1]}), np.zeros(9), {"a": np.zeros(9)}, {"a": 1}):
        metadata = _keep(tmp_path, obj)
        path = tmp_path / metadata["file"]
        path.write_bytes(path.read_bytes()[:-7])
        with pytest.raises(DataDamaged):
            load(tmp_path, metadata)


def test_files_of_the_users_are_loaded_by_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": NaN}')
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n\n{"a": 2}\n')
    (tmp_path / "a.yaml").write_text("a: [1]")
    (tmp_path / "a.toml").write_text("a = 1")
    (tmp_path / "a.md").write_bytes("# ü\r\n".encode())
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\xfd latin")
    (tmp_path / "a.xyz").write_bytes(b"\x00\x01")
    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        file.write("a,b\n1,2\n")
    np.save(tmp_path / "a.npy", np.arange(3))
    assert str(load_file(tmp_path / "a.json")) == "{'a': nan}"
    assert load_file(tmp_path / "a.jsonl") == [{"a": 1}, {"a": 2}]
    assert load_file(tmp_path / "a.yaml") == {"a": [1]}
    assert load_file(tmp_path / "a.toml") == {"a": 1}
    assert load_file(tmp_path / "a.md") == "# ü\r\n"
    assert load_file(tmp_path / "a.txt") == b"\xff\xfe\xfd latin"
    assert load_file(tmp_path / "a.xyz") == b"\x00\x01"
    assert load_file(tmp_path / "a.csv.gz")["b"].tolist() == [2]
    assert load_file(tmp_path / "a.npy").tolist() == [0, 1, 2]
    with pytest.raises(InvalidInput, match="a folder"):
        load_file(tmp_path)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InvalidInput, match=r"bad\.json: not readable as application/json"):
        load_file(tmp_path / "bad.json")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(InvalidInput, match="not readable as YAML"):
        load_file(tmp_path / "bad.yaml")


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(InvalidInput, match="not readable as YAML"):
        load_file(tmp_path / "a.yaml")


def test_equal_bytes_are_identical_whatever_they_are(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"\x89PNG broken")
    outcome = compare(tmp_path / "a", tmp_path / "b", "x.png", CompareContext())
    assert (outcome.path, outcome.grade, outcome.rule) == ("x.png", Grade.IDENTICAL, "bytes")


def test_what_has_no_comparison_differs_at_a_byte(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(3_000_000))
    (tmp_path / "b").write_bytes(bytes(2_000_000) + b"\x01" + bytes(999_999))
    outcome = compare(tmp_path / "a", tmp_path / "b", "x.bin", CompareContext())
    assert outcome.grade is Grade.DIFFERENT
    assert outcome.detail == "first difference at byte 2000000"
    (tmp_path / "b").write_bytes(bytes(10))
    outcome = compare(tmp_path / "a", tmp_path / "b", "x.bin", CompareContext())
    assert outcome.detail == "first difference at byte 10 (3000000 -> 10 bytes)"


def test_a_comparison_never_raises(tmp_path: Path) -> None:
    """Whatever the two files are, and whatever the name claims."""
    samples = {
        "json": b'{"a": 1}',
        "deep": b"[" * 100_000,
        "csv": b'a,"b\n',
        "png": b"\x89PNG\r\n\x1a\n" + bytes(30),
        "parquet": b"PAR1" + bytes(20) + b"PAR1",
        "npy": b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'",
        "npz": b"PK\x03\x04" + bytes(40),
        "arrow": b"ARROW1\x00\x00" + bytes(20),
        "gzip": b"\x1f\x8b\x08\x00" + bytes(20),
        "svg": b"<svg",
        "pickle": pickle.dumps({"a": 1}),
        "empty": b"",
        "noise": bytes(range(256)),
    }
    for name, data in samples.items():
        (tmp_path / name).write_bytes(data)
    suffixes = ["json", "csv", "png", "parquet", "npy", "npz", "feather", "csv.gz", "svg", "skops"]
    for suffix in [*suffixes, "pkl", "jsonl", "yaml", "txt", "", "h5"]:
        for one in samples:
            for other in ("json", "noise", "png", one):
                outcome = compare(tmp_path / one, tmp_path / other, f"x.{suffix}", CompareContext())
                good = outcome.grade in {Grade.IDENTICAL, Grade.EQUIVALENT}
                assert good == (one == other), (one, other, suffix, outcome)
    gone = compare(tmp_path / "json", tmp_path / "none", "x.json", CompareContext())
    assert gone.grade is Grade.UNCHECKED


def test_svg_of_matplotlib_is_equivalent_and_another_curve_is_not(tmp_path: Path) -> None:
    for name, height in (("a", 1.0), ("b", 1.0), ("c", 1.5)):
        figure = Figure(figsize=(2, 1))
        figure.subplots().plot([0, height], marker="o")
        figure.savefig(tmp_path / name, format="svg")
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()
    same = compare(tmp_path / "a", tmp_path / "b", "x.svg", CompareContext())
    assert same.grade is Grade.EQUIVALENT
    other = compare(tmp_path / "a", tmp_path / "c", "x.svg", CompareContext())
    assert other.grade is Grade.DIFFERENT


def test_a_table_compressed_again_is_equivalent(tmp_path: Path) -> None:
    for name, level, text in (("a", 1, "1"), ("b", 9, "1"), ("c", 9, "2")):
        with gzip.GzipFile(tmp_path / name, "wb", level, mtime=level) as file:
            file.write(f"v\n{text}\n".encode())
    same = compare(tmp_path / "a", tmp_path / "b", "t.csv.gz", CompareContext())
    assert same.grade is Grade.EQUIVALENT
    other = compare(tmp_path / "a", tmp_path / "c", "t.csv.gz", CompareContext())
    assert other.detail == "row 1, column 'v': 1 -> 2"
