"""What `thence.toml` may say, and what it means."""

from pathlib import Path

import pytest

from thence.errors import InvalidInput
from thence.execution.settings import ResultSettings, Settings, parse_settings, read_settings
from thence.formats.base import Tolerance


def test_without_a_file_everything_is_as_usual(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == Settings()


def test_all_that_may_be_said(tmp_path: Path) -> None:
    (tmp_path / "thence.toml").write_text(
        """
        [results]
        paths = ["metrics.json", "figures/*.png"]
        ignore = ["*.bak"]
        relative = 1e-9
        [results.tolerance."metrics.json"]
        absolute = 1
        volatile = ["seconds"]
        [capture]
        environment = ["MY_APP_*"]
        ignore = ["scratch/"]
        """
    )
    settings = read_settings(tmp_path)
    assert settings.capture.environment == ("MY_APP_*",)
    assert settings.capture.ignore == ("scratch/",)
    assert settings.results.tolerance_of("metrics.json") == Tolerance(
        relative=1e-9, absolute=1.0, volatile=("seconds",)
    )
    assert settings.results.tolerance_of("figures/a.png") == Tolerance(relative=1e-9, absolute=0.0)


@pytest.mark.parametrize(
    "text",
    [
        "[result]\n",
        "[results]\npath = []\n",
        "[results]\nrelative = 'much'\n",
        "[results]\npaths = 'a.csv'\n",
        "[results.tolerance.'a']\nrel = 1\n",
        "[results\n",
        "[capture]\nenvironment = [1]\n",
    ],
)
def test_what_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"thence\.toml cannot be used") as refused:
        parse_settings(text.encode())
    assert refused.value.why


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thence.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput):
        read_settings(tmp_path)
    (tmp_path / "thence.toml").unlink()
    (tmp_path / "thence.toml").mkdir()
    with pytest.raises(InvalidInput, match="cannot read"):
        read_settings(tmp_path)


@pytest.mark.parametrize(
    "path", ["train.log", "out/train.log", "a.tmp", "logs/x.txt", "out/logs/x.txt", ".x.swp"]
)
def test_logs_and_temporaries_are_no_results(path: str) -> None:
    assert not ResultSettings().is_result(path)
    assert ResultSettings(paths=(path,)).is_result(path)  # unless they are named


@pytest.mark.parametrize("path", ["a.csv", "catalogs/x.txt", "log", "out/log.txt", "a.log.csv"])
def test_everything_else_is_a_result(path: str) -> None:
    assert ResultSettings().is_result(path)


def test_patterns_are_of_names_of_paths_and_of_folders() -> None:
    settings = ResultSettings(paths=("*.csv", "out/*.png", "tables/"))
    for path in ("a.csv", "deep/er/a.csv", "out/a.png", "tables/a", "tables/deep/b"):
        assert settings.is_result(path), path
    for path in ("a.png", "deep/out/a.png", "other/tables/a", "tables"):
        assert not settings.is_result(path), path
    assert not ResultSettings(paths=("*.csv",), ignore=("draft/",)).is_result("draft/a.csv")


def test_the_first_tolerance_that_fits_counts() -> None:
    settings = parse_settings(
        b"[results]\nvolatile = ['at']\n"
        b"[results.tolerance.'a.json']\nrelative = 0.1\n"
        b"[results.tolerance.'*.json']\nrelative = 0.2\nvolatile = ['id']\n"
    ).results
    assert settings.tolerance_of("a.json") == Tolerance(relative=0.1, volatile=("at",))
    assert settings.tolerance_of("b.json") == Tolerance(relative=0.2, volatile=("at", "id"))
    assert settings.tolerance_of("c.csv") == Tolerance(volatile=("at",))
