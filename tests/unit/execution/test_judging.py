"""From single comparisons to one verdict that claims neither too much nor too little."""

from pathlib import Path
from typing import NamedTuple

import pytest

from thence.execution.judging import Evidence, Result, compare_results, conclude, results_of
from thence.execution.settings import ResultSettings
from thence.formats.base import CompareContext
from thence.model.ids import Digest
from thence.model.records import Comparison, FileRole, FileUse, Finding, Grade
from thence.store.memory import MemoryStore
from thence.vault.vault import Vault

GRADES = {
    "i": Grade.IDENTICAL,
    "e": Grade.EQUIVALENT,
    "t": Grade.WITHIN_TOLERANCE,
    "d": Grade.DIFFERENT,
    "m": Grade.MISSING,
    "u": Grade.UNCHECKED,
}


def evidence(
    grades: str,
    *,
    obstacles: tuple[str, ...] = (),
    missing: tuple[str, ...] = (),
    codes: tuple[int | None, int | None] = (0, 0),
) -> Evidence:
    results = tuple(
        Comparison(path=f"{n}.csv", grade=GRADES[letter]) for n, letter in enumerate(grades)
    )
    return Evidence(results, obstacles, missing, codes)


@pytest.mark.parametrize(
    ("grades", "finding"),
    [
        ("i", Finding.REPRODUCED),
        ("ie", Finding.REPRODUCED),
        ("iet", Finding.WITHIN_TOLERANCE),
        ("itd", Finding.DIFFERS),
        ("im", Finding.DIFFERS),
        ("iu", Finding.CANNOT_BE_CHECKED),
        ("tu", Finding.CANNOT_BE_CHECKED),
        # What is proven stays proven, whatever else could not be looked at.
        ("du", Finding.DIFFERS),
        ("umi", Finding.DIFFERS),
        ("", Finding.CANNOT_BE_CHECKED),
    ],
)
def test_the_worst_result_decides(grades: str, finding: Finding) -> None:
    assert conclude(evidence(grades))[0] is finding


@pytest.mark.parametrize("grades", ["i", "t", "d", "m", "u", "du"])
def test_an_obstacle_forbids_every_other_verdict(grades: str) -> None:
    finding, reasons = conclude(evidence(grades, obstacles=("it used the original folder",)))
    assert finding is Finding.CANNOT_BE_CHECKED
    assert reasons[0] == "it used the original folder"


def test_what_was_missing_matters_only_where_something_differs() -> None:
    assert conclude(evidence("it", missing=("x.csv",))) == (Finding.WITHIN_TOLERANCE, ())
    for grades in ("d", "im", "du"):
        finding, reasons = conclude(evidence(grades, missing=("x.csv", "pandas==2.0")))
        assert finding is Finding.CANNOT_BE_CHECKED
        assert reasons[-2:] == ("missing: x.csv", "missing: pandas==2.0")


def test_another_exit_code_is_a_difference() -> None:
    finding, reasons = conclude(evidence("ii", codes=(0, 1)))
    assert finding is Finding.DIFFERS
    assert reasons == ("the command ended with status 1; originally with 0",)
    assert conclude(evidence("iu", codes=(0, 1)))[0] is Finding.DIFFERS
    assert conclude(evidence("i", codes=(0, 1), missing=("x",)))[0] is Finding.CANNOT_BE_CHECKED
    assert conclude(evidence("i", codes=(3, 3)))[0] is Finding.REPRODUCED
    # Of a run whose recorder died the original one is not known.
    assert conclude(evidence("i", codes=(None, 0)))[0] is Finding.REPRODUCED
    # It did not start.
    assert conclude(evidence("", codes=(0, None)))[0] is Finding.CANNOT_BE_CHECKED


def test_the_reasons_count() -> None:
    _, reasons = conclude(evidence("iddmu"))
    assert reasons == (
        "2 of 5 results: different",
        "1 of 5 results: missing",
        "1 of 5 results: unchecked",
    )


# Single results


class Compared(NamedTuple):
    vault: Vault
    root: Path
    originals: Path

    def keep(self, data: bytes) -> Digest:
        with self.vault.writer() as writer:
            return writer.put_bytes(data).digest

    def grade(self, *results: Result, secrets: dict[str, str] | None = None) -> list[Comparison]:
        return compare_results(
            results,
            self.vault.content,
            originals=self.originals,
            settings=ResultSettings(relative=0.01),
            context=CompareContext(root=self.root),
            secrets=secrets or {},
            progress=lambda text: None,
        )


@pytest.fixture
def compared(tmp_path: Path) -> Compared:
    root = tmp_path / "root"
    root.mkdir()
    return Compared(Vault(MemoryStore(), tmp_path / "cache"), root, tmp_path / "originals")


def test_each_result_is_compared_by_its_format(compared: Compared) -> None:
    names = ("same.bin", "close.json", "other.json", "gone.txt")
    (compared.root / "same.bin").write_bytes(b"\0\1")
    (compared.root / "close.json").write_text('{"a": 1.0001}')
    (compared.root / "other.json").write_text('{"a": 2}')
    originals = [b"\0\1", b'{"a":1.0}', b'{"a": 1}', b"x"]
    found = compared.grade(
        *(
            Result(name, compared.keep(data), compared.root / name)
            for name, data in zip(names, originals, strict=True)
        )
    )
    assert [one.grade for one in found] == [
        Grade.IDENTICAL,
        Grade.WITHIN_TOLERANCE,
        Grade.DIFFERENT,
        Grade.MISSING,
    ]
    assert [one.path for one in found] == list(names)
    assert found[2].rule == "json"


def test_what_was_not_kept_or_is_lost_cannot_be_compared(compared: Compared) -> None:
    (compared.root / "a").write_text("a")
    lost, never = compared.grade(
        Result("a", Digest.of(b"never stored"), compared.root / "a"),
        Result("a", None, compared.root / "a", why_not_kept="secret"),
    )
    assert (lost.grade, never.grade) == (Grade.UNCHECKED, Grade.UNCHECKED)
    assert "cannot be read" in lost.detail
    assert "secret" in never.detail


def test_a_folder_where_a_result_was_is_no_result(compared: Compared) -> None:
    (compared.root / "a").mkdir()
    (found,) = compared.grade(Result("a", compared.keep(b"x"), compared.root / "a"))
    assert found.grade is Grade.MISSING


def test_a_redacted_original_is_compared_with_the_secret_put_back(compared: Compared) -> None:
    mark = "<secret:0123456789abcdef>"
    (compared.root / "a.txt").write_text("key=hunter22")
    result = Result(
        "a.txt", compared.keep(f"key={mark}".encode()), compared.root / "a.txt", redacted=True
    )
    (unknown,) = compared.grade(result)
    assert unknown.grade is Grade.UNCHECKED
    compared.originals.joinpath("0", "a.txt").unlink()
    compared.originals.joinpath("0").rmdir()
    (known,) = compared.grade(result, secrets={mark: "hunter22"})
    assert known.grade is Grade.IDENTICAL


def test_which_outputs_are_results(tmp_path: Path) -> None:
    uses = [
        FileUse(path="a.csv", role=FileRole.OUTPUT, digest=Digest.of(b"")),
        FileUse(path="caf%E9", role=FileRole.OUTPUT, percent=True),
        FileUse(path="a.log", role=FileRole.OUTPUT),
        FileUse(path="b.csv", role=FileRole.INPUT),
    ]
    found = results_of(uses, ResultSettings(), tmp_path)
    assert [(one.path, one.original) for one in found] == [
        ("a.csv", Digest.of(b"")),
        ("caf%E9", None),
    ]
    assert found[1].reproduced.name == "caf\udce9"
