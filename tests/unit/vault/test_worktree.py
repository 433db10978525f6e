"""Which version a path is: appended by many, torn by crashes, never lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from thence.errors import StorageError
from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.vault import worktree as worktree_module
from thence.vault.worktree import Tracked, Worktree


def item(path: str, content: bytes = b"", member: str = "") -> Tracked:
    digest = Digest.of(content)
    return Tracked(
        path=path, artifact=ArtifactName("a"), version=digest, tree=digest, member=member
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "worktree.jsonl"


def test_what_is_remembered_comes_back(path: Path) -> None:
    assert Worktree(path).tracked() == {}
    Worktree(path).remember([item("a"), item("b", b"1", "sub/b"), item("ä\n", b"2")])
    Worktree(path).remember([item("a", b"3")])
    Worktree(path).remember([])
    assert Worktree(path).tracked() == {
        "a": item("a", b"3"),
        "b": item("b", b"1", "sub/b"),
        "ä\n": item("ä\n", b"2"),
    }


def test_names_that_are_not_utf8(path: Path) -> None:
    odd = os.fsdecode(b"100%/caf\xe9")
    items = [item(odd), item("plain", member=odd), item("100%25")]
    Worktree(path).remember(items)
    assert Worktree(path).tracked() == {one.path: one for one in items}


def test_a_line_torn_by_a_crash_costs_only_itself(path: Path) -> None:
    Worktree(path).remember([item("a"), item("b")])
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        Worktree(path).remember([item("c")])
        expected = {"c"} | ({"a"} if length >= whole.index(b"\n") else set())
        expected |= {"b"} if length >= len(whole) - 1 else set()
        assert set(Worktree(path).tracked()) == expected, length


def test_lines_that_make_no_sense_are_passed_over(path: Path) -> None:
    Worktree(path).remember([item("a")])
    with path.open("ab") as file:
        file.write(b'\n{}\n[]\n\xff\n{"$f":[]}\n' + b"[" * 100_000 + b"\n")
    Worktree(path).remember([item("b")])
    assert set(Worktree(path).tracked()) == {"a", "b"}


def test_a_long_file_is_compacted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worktree_module, "_COMPACT_AT", 50)
    tree = Worktree(path)
    for count in range(300):
        tree.remember([item(f"file-{count % 10}", str(count).encode())])
        assert path.read_bytes().count(b"\n") <= 50
    assert tree.tracked() == {
        f"file-{n}": item(f"file-{n}", str(290 + n).encode()) for n in range(10)
    }


def test_a_long_file_of_different_paths_is_not(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worktree_module, "_COMPACT_AT", 10)
    Worktree(path).remember(item(f"file-{n}") for n in range(100))
    assert len(Worktree(path).tracked()) == 100


def test_a_crash_during_compaction_loses_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worktree_module, "_COMPACT_AT", 20)
    tree = Worktree(path)
    tree.remember([item(f"file-{n}") for n in range(9)] * 2)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", crash)
        with pytest.raises(KeyboardInterrupt):
            tree.remember([item("x")] * 5)
    assert set(tree.tracked()) == {"x", *(f"file-{n}" for n in range(9))}
    tree.remember([item("y")])
    assert set(tree.tracked()) == {"x", "y", *(f"file-{n}" for n in range(9))}


_APPEND = """
import sys
from pathlib import Path
from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.vault import worktree
worktree._COMPACT_AT = 40
tree = worktree.Worktree(Path(sys.argv[1]))
for n in range(200):
    digest = Digest.of(f"{sys.argv[2]} {n}".encode())
    for name in (f"{sys.argv[2]}-{n % 20}", f"{sys.argv[2]}-last"):
        tree.remember([worktree.Tracked(
            path=name, artifact=ArtifactName("a"), version=digest, tree=digest)])
"""


def test_processes_append_and_compact_at_once(path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", _APPEND, str(path), str(n)]) for n in range(3)
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    tracked = Worktree(path).tracked()
    expected = {
        f"{writer}-{n % 20}": Digest.of(f"{writer} {n}".encode())
        for writer in range(3)
        for n in range(180, 200)
    }
    expected |= {f"{writer}-last": Digest.of(f"{writer} 199".encode()) for writer in range(3)}
    assert {name: one.version for name, one in tracked.items()} == expected


def test_what_cannot_be_written_or_read_is_our_error(path: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"in the way")
    with pytest.raises(StorageError):
        Worktree(path).remember([item("a")])
    with pytest.raises(StorageError):
        Worktree(path).tracked()
    with pytest.raises(StorageError):
        Worktree(tmp_path).tracked()
