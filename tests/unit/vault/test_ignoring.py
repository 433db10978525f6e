"""Rules of what is ignored are Git's: where Git is here, it is asked."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from thence.errors import InvalidInput
from thence.vault.folders import look
from thence.vault.ignoring import IGNORE_FILE, Rules
from thence.vault.statcache import StatCache

FILES = [
    "a.log",
    "keep.log",
    "build/x",
    "src/build/y",
    "src/keep.log",
    "src/a.txt",
    "src/deep/a.txt",
    "src/deep/b.txt",
    "doc/a.txt",
    "doc/deep/a.txt",
    "out/1.bin",
    "sub/out/1.bin",
    "#hash",
    "space ",
    "cache/keep",
    "logs/2020/keep",
    "logs/2020/other",
    "foo/bar/baz",
    "Ä.txt",
    "x.pyc",
    "x.pyd",
    "x.pyq",
    os.fsdecode(b"caf\xe9.tmp"),
]
RULES = [
    "*.log\n!keep.log\n",
    "build/\n",
    "/out/*.bin\n",
    "doc/*.txt\n",
    "doc/**/a.txt\n",
    "\\#hash\nspace\\ \n",
    "cache/*\n!cache/keep\n",
    "cache/\n!cache/keep\n",
    "logs/**\n!logs/2020/\n!logs/2020/keep\n",
    "**/baz\n",
    "*.py[cd]\n# comment\n\n",
    "*\n!*/\n!*.txt\n",
    "Ä*\n*.tmp\n",
    "\ufeff*.tmp\r\n*.bin\r\n",
    "foo\n!foo/bar\n",
    "foo/**/\n",
    "**/\n!src/\n",
    "/*\n!/src\n",
    "src/**/*.txt\n",
    "foo/*\n",
    "*/\n!logs/\n",
    "**\n!/a.log\n",
    "[a-c]*/**\n",
    "?.log\n",
    "d*/\n!doc\n",
]


def _fill(folder: Path) -> None:
    for name in FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, errors="surrogateescape")


def _kept(folder: Path, stats: StatCache) -> set[str]:
    walk = look([folder], stats, root=folder)
    return {
        f"{one.prefix}{os.fsdecode(name)}"
        for one in walk.folders()
        for name in (one.names.split(b"/") if len(one) else ())
    }


@pytest.mark.skipif(shutil.which("git") is None, reason="Git is not installed here")
@pytest.mark.parametrize("rules", RULES)
def test_rules_leave_out_what_git_leaves_out(tmp_path: Path, rules: str) -> None:
    _fill(tmp_path)
    # In a folder further down, which decides before the one above.
    for name, text in ((".", rules), ("src", "!*.log\ndeep/b.txt\n")):
        for file in (IGNORE_FILE, ".gitignore"):
            (tmp_path / name / file).write_text(text, encoding="utf-8")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    command = ["git", "-C", str(tmp_path), "ls-files", "-z", "--others", "--exclude-standard"]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    done = subprocess.run(command, check=True, capture_output=True, env=environment)
    expected = {os.fsdecode(name) for name in done.stdout.split(b"\0") if name}
    assert _kept(tmp_path, StatCache(tmp_path.parent / "stat")) == expected


def test_rules_of_the_folders_above_hold_up_to_the_projects(tmp_path: Path) -> None:
    root = tmp_path / "project"
    (root / "data" / "sub").mkdir(parents=True)
    (tmp_path / IGNORE_FILE).write_text("*\n")
    (root / IGNORE_FILE).write_text("*.tmp\n/data/sub/b\n")
    (root / "data" / IGNORE_FILE).write_text("a\n")
    for name in ("a", "b", "c.tmp", "d"):
        (root / "data" / "sub" / name).write_text(name)
    stats = StatCache(tmp_path / "stat")
    walk = look([root / "data" / "sub"], stats, root=root)
    assert walk.ignored == ("a", "b", "c.tmp")
    walk = look([root / "data"], stats, root=root)
    assert walk.ignored == ("sub/a", "sub/b", "sub/c.tmp")
    assert look([root / "data"], stats).ignored == ()


def test_what_is_named_is_meant(tmp_path: Path) -> None:
    """Rules above that leave it out do not hold for it; those inside of it do."""
    (tmp_path / "build" / "deep").mkdir(parents=True)
    (tmp_path / IGNORE_FILE).write_text("build/\n*.bin\n")
    (tmp_path / "build" / IGNORE_FILE).write_text("*.o\n")
    for name in ("a.bin", "b.o", "deep/c.bin"):
        (tmp_path / "build" / name).write_text(name)
    stats = StatCache(tmp_path / "stat")
    assert look([tmp_path / "build"], stats, root=tmp_path).ignored == ("b.o",)
    assert look([tmp_path / "build" / "deep"], stats, root=tmp_path).ignored == ()
    (single,) = look([tmp_path / "build" / "a.bin"], stats, root=tmp_path).roots
    assert single.names == b"a.bin"


def test_rules_outside_of_the_project_are_those_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / IGNORE_FILE).write_text("a\n")
    (tmp_path / IGNORE_FILE).write_text("b\n")
    for name in ("a", "b"):
        (tmp_path / "data" / name).write_text(name)
    walk = look([tmp_path / "data"], StatCache(tmp_path / "stat"), root=tmp_path / "project")
    assert walk.ignored == ("a",)


@pytest.mark.parametrize("line", ["!", "a\\"])
def test_a_line_that_is_no_pattern_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / IGNORE_FILE).write_text(f"*.tmp\n{line}\n")
    with pytest.raises(InvalidInput, match="line 2"):
        Rules().read(str(tmp_path))


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "/\n"])
def test_a_file_without_rules_ignores_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / IGNORE_FILE).write_text(text)
    assert Rules().read(str(tmp_path)).ignored(["a", "b"], folders=False) == set()


def test_a_folder_of_that_name_is_no_file_of_rules(tmp_path: Path) -> None:
    (tmp_path / IGNORE_FILE).mkdir()
    (tmp_path / IGNORE_FILE / "x").write_text("1")
    walk = look([tmp_path], StatCache(tmp_path.parent / "stat"), root=tmp_path)
    assert [folder.prefix for folder in walk.folders()] == ["", f"{IGNORE_FILE}/"]
