import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thence.errors import InvalidInput
from thence.formats.arrays import Array, ArrayDictionary
from thence.formats.base import CompareContext, Tolerance
from thence.formats.registry import compare, load_file
from thence.model.records import Grade


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (np.array([1, "a", None], dtype=object), "an array of Python objects"),
        (np.array([(1, "x")], dtype=[("a", "i4"), ("b", "O")]), "an array of Python objects"),
        (np.ma.masked_array([1, 2], mask=[True, False]), "MaskedArray"),
    ],
)
def test_what_would_be_lost_or_pickled_is_refused(array: Any, what: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Array().save(array, "x")
    assert what in caught.value.what
    with pytest.raises(InvalidInput, match="under 'k'"):
        ArrayDictionary().save({"k": array}, "x")


def test_names_of_arrays_are_text() -> None:
    with pytest.raises(InvalidInput, match="0 is not a name"):
        ArrayDictionary().save({0: np.zeros(2)}, "x")


def test_a_file_with_pickled_objects_is_not_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "exploded",))

    np.save(tmp_path / "a.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", a=np.array([Bomb()], dtype=object))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(InvalidInput, match="not readable"):
            load_file(tmp_path / name)
        outcome = compare(tmp_path / name, tmp_path / "a.npy", name, CompareContext())
        assert outcome.grade in {Grade.UNCHECKED, Grade.IDENTICAL}
    assert not (tmp_path / "exploded").exists()


def test_memory_order_does_not_matter(tmp_path: Path) -> None:
    array = np.arange(6.0).reshape(2, 3)
    np.save(tmp_path / "a.npy", array)
    np.save(tmp_path / "b.npy", np.asfortranarray(array))
    outcome = compare(tmp_path / "a.npy", tmp_path / "b.npy", "x.npy", CompareContext())
    assert outcome.grade is Grade.EQUIVALENT


def test_times_and_compression_of_the_archive_do_not_matter(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(9), y=np.zeros(3))
    np.savez_compressed(tmp_path / "b.npz", y=np.zeros(3), x=np.arange(9))
    outcome = compare(tmp_path / "a.npz", tmp_path / "b.npz", "x.npz", CompareContext())
    assert outcome.grade is Grade.EQUIVALENT
    np.savez(tmp_path / "b.npz", x=np.arange(9), y=np.array([0, 0, 1e-9]))
    outcome = compare(tmp_path / "a.npz", tmp_path / "b.npz", "x.npz", CompareContext())
    assert outcome.detail == "y[2]: 0.0 -> 1e-09"
    loose = CompareContext(tolerance=Tolerance(absolute=1e-6))
    outcome = compare(tmp_path / "a.npz", tmp_path / "b.npz", "x.npz", loose)
    assert outcome.grade is Grade.WITHIN_TOLERANCE


def test_what_we_write_is_what_numpy_reads(tmp_path: Path) -> None:
    arrays = {"a": np.arange(3), "deep/name": np.array([np.nan])}
    path = tmp_path / "x.npz"
    path.write_bytes(ArrayDictionary().save(arrays, "x").files[0].data)
    with np.load(path, allow_pickle=False) as loaded:
        assert sorted(loaded.files) == ["a", "deep/name"]
        assert loaded["a"].tolist() == [0, 1, 2]
    with zipfile.ZipFile(path) as archive:
        assert {member.date_time[0] for member in archive.infolist()} == {1980}
