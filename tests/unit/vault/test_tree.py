"""Trees: what is in a folder, as bytes with an identity, and nothing that can escape."""

import os
import random
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from thence.errors import DataDamaged, InvalidInput, NotFound, StorageError
from thence.model.ids import Digest
from thence.vault import tree
from thence.vault.tree import TreeChange, TreeEntry

D = Digest.of(b"")
HEX = D.hex


def entry(path: str, size: int = 0, **flags: bool) -> TreeEntry:
    return TreeEntry(path, size, D, **flags)


def test_the_bytes_of_a_tree_are_pinned() -> None:
    entries = [
        entry("b\udce9", 3),
        entry("ä.csv", 2),
        entry("a/link", 1, link=True),
        entry("a-b"),
        entry("a/run.sh", 9, executable=True),
        entry('quote"\n', 1),
    ]
    assert (
        tree.encode(entries)
        == (
            f'["a-b",0,"","{HEX}"]\n'
            f'["a/link",1,"l","{HEX}"]\n'
            f'["a/run.sh",9,"x","{HEX}"]\n'
            f'["b%E9",3,"p","{HEX}"]\n'
            f'["quote\\"\\n",1,"","{HEX}"]\n'
            f'["ä.csv",2,"","{HEX}"]\n'
        ).encode()
    )
    assert tree.decode(tree.encode(entries)) == sorted(
        entries, key=lambda one: os.fsencode(one.path)
    )


def test_an_empty_tree() -> None:
    assert tree.encode([]) == b""
    assert tree.decode(b"") == []


def test_equal_content_is_an_equal_tree() -> None:
    entries = [entry(f"folder-{n % 7}/file-{n}", n) for n in range(500)]
    shuffled = random.Random(1).sample(entries, len(entries))
    assert tree.encode(entries) == tree.encode(shuffled)


def test_paths_sort_by_their_bytes_not_by_their_text() -> None:
    """U+FFFF sorts before U+10000 in UTF-8; percent-encoded paths sort by what they stand for."""
    entries = [entry("\U00010000"), entry("\uffff"), entry("\udcff"), entry("z")]
    assert [one.path for one in tree.decode(tree.encode(entries))] == [
        "z",
        "\uffff",
        "\U00010000",
        "\udcff",
    ]


@pytest.mark.parametrize(
    "paths", [("a", "a"), ("a", "a/b"), ("a", "a-b", "a/b/c"), ("x/y", "x/y/z/w")]
)
def test_a_path_cannot_be_two_things(paths: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput):
        tree.encode(map(entry, paths))


def row(path: str = '"a"', size: str = "0", flags: str = '""', digits: str = f'"{HEX}"') -> bytes:
    return f"[{path},{size},{flags},{digits}]\n".encode()


def test_the_hostile_rows_below_fail_for_one_reason_each() -> None:
    assert tree.decode(row()) == [entry("a")]


@pytest.mark.parametrize(
    "data",
    [
        # Paths that lead elsewhere.
        row('""'),
        row('"."'),
        row('".."'),
        row('"/etc/passwd"'),
        row('"../a"'),
        row('"a/../../b"'),
        row('"a/.."'),
        row('"a//b"'),
        row('"a/"'),
        row('"./a"'),
        row('"a\\u0000b"'),
        row('"%2e%2e/a"', flags='"p"'),
        row('"%2Fetc"', flags='"p"'),
        row('"a%00"', flags='"p"'),
        # A file below a link, and other paths that are two things.
        row('"a"', flags='"l"') + row('"a/b"'),
        row('"a"') + row('"a/b"'),
        row() + row(),
        row() + row('"%61"', flags='"p"'),
        row('"b"') + row('"a"'),
        # What is no row.
        b"x\n",
        b"\n",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b'"abcd"\n',
        b'{"a":0,"0":0,"":0,"' + HEX.encode() + b'":0}\n',
        b"[" * 100_000 + b"\n",
        row()[:-2],
        row()[:-2] + b',"s3://bucket"]\n',
        row("5"),
        row("null"),
        row('"\\ud800"'),
        row('"\\udce9"'),
        row(size="-1"),
        row(size="1.5"),
        row(size='"1"'),
        row(size="1e999"),
        row(size="true"),
        row(size="null"),
        row(flags="null"),
        row(flags='"u"'),
        row(flags='"q"'),
        row(flags='"lx"'),
        row(flags='"xx"'),
        row(digits='"ab"'),
        row(digits="null"),
        row(digits=f'"{HEX.upper()}"'),
        row(digits=f'"sha256:{HEX}"'),
        b"\xff" + row(),
        row().replace(b"a", b"\xe9"),
    ],
)
def test_hostile_trees_are_refused(data: bytes) -> None:
    with pytest.raises(DataDamaged):
        tree.decode(data)


def test_differences() -> None:
    old = [entry("a"), entry("b", 1), entry("c"), entry("d")]
    new = [entry("b", 2), entry("c"), entry("d", executable=True), entry("e")]
    assert list(tree.diff(old, new)) == [
        TreeChange("a", entry("a"), None),
        TreeChange("b", entry("b", 1), entry("b", 2)),
        TreeChange("d", entry("d"), entry("d", executable=True)),
        TreeChange("e", None, entry("e")),
    ]
    assert list(tree.diff(new, new)) == []


def test_a_folder_is_walked(tmp_path: Path) -> None:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "sub" / "program").write_bytes(b"")
    (tmp_path / "sub" / "program").chmod(0o755)
    (tmp_path / "sub" / "deep" / "x").write_bytes(b"")
    (tmp_path / os.fsdecode(b"caf\xe9")).write_bytes(b"")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "folder-link").symlink_to("sub")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    found = {item.relative: item for item in tree.walk(tmp_path)}
    files = {"broken", "caf\udce9", "file", "folder-link", "link", "loop", "pipe"}
    assert found.keys() == files | {"sub/deep/x", "sub/program"}
    assert {name for name, item in found.items() if item.link} == {
        "broken",
        "folder-link",
        "link",
        "loop",
    }
    assert [name for name, item in found.items() if item.executable] == ["sub/program"]
    assert {name: item.special for name, item in found.items() if item.special} == {"pipe": "pipe"}
    assert found["file"].stat.st_size == 5
    assert found["file"].path == tmp_path / "file"


def test_sockets_and_devices_have_no_content() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,  # the path of a socket must be short
        socket.socket(socket.AF_UNIX) as server,
    ):
        server.bind(f"{folder}/socket")
        assert [item.special for item in tree.walk(Path(folder))] == ["socket"]
        assert [item.special for item in tree.walk(Path(folder, "socket"))] == ["socket"]
    assert [item.special for item in tree.walk(Path("/dev/null"))] == ["device"]


def test_a_single_file_and_a_link_to_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        (item,) = tree.walk(tmp_path / name)
        assert (item.relative, item.link, item.stat.st_size) == (name, False, 5)


def test_a_link_to_a_folder_that_is_named_itself_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_bytes(b"")
    (tmp_path / "link").symlink_to("real")
    assert [item.relative for item in tree.walk(tmp_path / "link")] == ["x"]


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotFound):
        list(tree.walk(tmp_path / "missing"))
    with pytest.raises(NotFound):
        list(tree.walk(tmp_path / "file" / "below"))
    with pytest.raises(NotFound) as caught:
        list(tree.walk(tmp_path / "broken"))
    assert "nowhere" in str(caught.value)
    with pytest.raises(StorageError):
        list(tree.walk(tmp_path / "loop"))


def test_a_folder_that_vanishes_during_the_walk_is_our_error(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(b"")

    walk = tree.walk(tmp_path)
    first = next(walk)
    other = "a" if first.relative == "b/x" else "b"
    shutil.rmtree(tmp_path / other)
    with pytest.raises(NotFound):
        next(walk)


def test_a_deep_folder_is_no_problem(tmp_path: Path) -> None:
    """Deeper than Python may recurse."""
    here = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1500):
            Path("d").mkdir()
            os.chdir("d")
        assert list(tree.walk(tmp_path)) == []
        for _ in range(1500):
            os.chdir("..")
            Path("d").rmdir()
    finally:
        os.chdir(here)


@pytest.mark.parametrize("path", [".git/hooks/post-commit", "a/.GIT/config", ".thence/store/x"])
def test_a_tree_that_would_write_into_git_or_a_project_is_refused(path: str) -> None:
    line = f'["{path}",1,"","{"0" * 64}"]\n'.encode()
    with pytest.raises(DataDamaged, match="no save makes"):
        tree.decode(line)
