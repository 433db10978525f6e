"""docs/format/read.py gives back what the vault wrote, without any module of ours."""

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.model.records import Kind, Tombstone, Version
from thence.store.local import LocalStore
from thence.vault import tree
from thence.vault.layout import make_project
from thence.vault.logs import edits_log, versions_log
from thence.vault.pack import BlockKind, entries_of, parse_pack_key, read_directory
from thence.vault.tree import TreeEntry
from thence.vault.vault import Vault

READER = Path(__file__).parents[2] / "docs" / "format" / "read.py"
AT = datetime(2026, 11, 23, 10, tzinfo=UTC)

# Runs the reader as a program, in isolated mode, with thence made impossible to import.
BLOCKED = """
import runpy, sys
for name in ("thence", "blake3", "msgspec", "numpy", "pyfastcdc"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def read(*arguments: str | Path, program: str = BLOCKED) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-I", "-c", program, str(READER), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


class Project:
    """A project in a folder, written through the vault."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "store"
        self.store = LocalStore(self.root, create=True)
        self.vault = Vault(self.store, folder / "cache")
        make_project(self.store, project_id="1", now=AT)

    def save(
        self, name: str, files: dict[str, bytes], links: frozenset[str] = frozenset()
    ) -> Digest:
        with self.vault.writer() as writer:
            entries = [
                TreeEntry(
                    path,
                    len(data),
                    writer.put_bytes(data).digest,
                    executable=path.endswith(".sh"),
                    link=path in links,
                )
                for path, data in files.items()
            ]
        return self.save_tree(name, tree.encode(entries))

    def save_tree(self, name: str, data: bytes) -> Digest:
        with self.vault.writer() as writer:
            digest = writer.put_bytes(data).digest
        version = Version(
            artifact=ArtifactName(name),
            kind=Kind.DATASET,
            tree=digest,
            size=0,
            files=data.count(b"\n"),
            created=AT,
            author="a",
        )
        return self.vault.append(versions_log(version.artifact), version, by="a").entry.digest


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_the_reader_is_small_and_uses_nothing_of_ours() -> None:
    text = READER.read_text("utf-8")
    assert "import thence" not in text
    assert "from thence" not in text
    assert len([line for line in text.splitlines() if line.strip()]) <= 140


def test_everything_that_a_version_can_hold_comes_back(project: Project, tmp_path: Path) -> None:
    dice = random.Random(4)
    files = {f"many/{n % 17}/file-{n}.txt": b"content %d\n" % n for n in range(2000)}
    files |= {
        "large.bin": dice.randbytes(24_000_000),
        "large.csv": b"".join(b"%d,%d\n" % (n, n * n) for n in range(1_300_000)),
        "empty": b"",
        "bin/run.sh": b"#!/bin/sh\n",
        "to-file": b"large.bin",
        "to-nowhere": b"../../nowhere",
        os.fsdecode(b"100%/caf\xe9"): b"latin",
        "ünï/数.txt": b"unicode",
        'quote".txt': b"\r\n",
        "line\nfeed": b"1",
        "return\rback": b"2",
    }
    links = frozenset({"to-file", "to-nowhere"})
    project.save("Raw/Data", files, links)
    kinds = {
        entry.kind
        for info in project.store.list("packs/")
        for entry in entries_of(
            read_directory(project.store, parse_pack_key(info.key) or bytes(32))
        )
    }
    assert kinds == set(BlockKind)  # the recipes are long enough to have lists
    target = tmp_path / "out"
    done = read(project.root, "raw/DATA@v1", target)
    assert (done.returncode, done.stderr) == (0, "")
    found = {
        os.path.relpath(os.path.join(folder, name), target)
        for folder, _, names in os.walk(target)
        for name in names
    }
    assert found == set(files)
    for path, data in files.items():
        if path in links:
            assert os.readlink(target / path) == data.decode()
        else:
            assert (target / path).read_bytes() == data
            assert os.access(target / path, os.X_OK) == path.endswith(".sh")


def test_artifacts_and_versions_are_listed(project: Project) -> None:
    project.save("b", {"x": b"1"})
    first = project.save("a/b", {"x": b"2"})
    project.save("a/b", {"x": b"3", "y": b"4"})
    project.vault.append(
        edits_log(ArtifactName("a/b")), Tombstone(version=first, reason="r"), by="a"
    )
    done = read(project.root)
    assert done.returncode == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == ["a/b@v1", "a/b@v2", "b@v1"]
    assert [line[-1] == "deleted" for line in lines] == [True, False, False]
    assert all(line[4].startswith("sha256:") for line in lines)


def test_what_is_not_there_is_said(project: Project, tmp_path: Path) -> None:
    project.save("a", {"x": b"1"})
    for arguments in (
        (project.root, "b@v1", tmp_path / "out"),
        (project.root, "a@v2", tmp_path / "out"),
        (project.root, "a", tmp_path / "out"),
        (tmp_path / "nowhere",),
        (),
        (project.root, "a@v1"),
    ):
        done = read(*arguments)
        assert done.returncode == 1
        assert done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_existing_target_is_left_alone(project: Project, tmp_path: Path) -> None:
    project.save("a", {"x": b"1"})
    (tmp_path / "out").mkdir()
    assert read(project.root, "a@v1", tmp_path / "out").returncode == 1
    assert list((tmp_path / "out").iterdir()) == []


HEX = hashlib.sha256(b"evil").hexdigest()


@pytest.mark.parametrize(
    "rows",
    [
        [["../evil", 4, "", HEX]],
        [["/tmp/thence-evil", 4, "", HEX]],
        [["a/../../evil", 4, "", HEX]],
        [["%2e%2e/evil", 4, "p", HEX]],
        [["%2Ftmp%2Fevil", 4, "p", HEX]],
        [["", 4, "", HEX]],
        [["a/", 4, "", HEX]],
        [["a\0b", 4, "", HEX]],
        [["a", 4, "l", HEX], ["a/evil", 4, "", HEX]],
        [["a", 4, "", HEX], ["a", 4, "", HEX]],
        [["a", 4, "q", HEX]],
        [["a", 4, "u", HEX]],
        [["a", 3, "", HEX]],
        [["a", 5, "", HEX]],
        [["a", 4, "", "00" * 32]],
    ],
)
def test_hostile_trees_write_nothing_outside(
    project: Project, tmp_path: Path, rows: list[list[object]]
) -> None:
    project.save("keep", {"evil": b"evil"})
    project.save_tree("a", b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    outside = {path for path in tmp_path.iterdir() if path.name != "cache"}
    done = read(project.root, "a@v1", tmp_path / "deep" / "er" / "out")
    assert done.returncode == 1  # `deep` is not there
    done = read(project.root, "a@v1", tmp_path / "out")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    left = {path for path in tmp_path.iterdir() if path.name != "cache"}
    assert left - outside <= {tmp_path / "out"}
    assert not Path("/tmp/thence-evil").exists()


def test_damage_is_noticed(project: Project, tmp_path: Path) -> None:
    project.save("a", {"x": random.Random(1).randbytes(300_000)})
    for path in (project.root / "packs").rglob("*/*"):
        data = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    done = read(project.root, "a@v1", tmp_path / "out")
    assert done.returncode == 1
    assert "damaged" in done.stderr or "Error" in done.stderr


def test_a_changed_entry_is_noticed(project: Project, tmp_path: Path) -> None:
    project.save("a", {"x": b"1"})
    (path,) = (project.root / "refs").rglob("0000000001")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"files":1', b'"files":2'))
    for done in (read(project.root), read(project.root, "a@v1", tmp_path / "out")):
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{path} is damaged" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "change",
    [lambda data: data[:-1], lambda data: b"", lambda data: data[:-24] + b"\2" + data[-23:]],
)
def test_a_pack_that_cannot_be_read_is_passed_over(
    project: Project, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    project.save("a", {"x": b"1"})
    packs = set((project.root / "packs").rglob("*/*"))
    project.save("b", {"x": b"2"})
    for path in set((project.root / "packs").rglob("*/*")) - packs:
        path.chmod(0o644)
        path.write_bytes(change(path.read_bytes()))
    assert read(project.root, "b@v1", tmp_path / "b").returncode == 1
    done = read(project.root, "a@v1", tmp_path / "a")
    assert done.returncode == 0
    assert "damaged or newer" in done.stderr
    assert (tmp_path / "a" / "x").read_bytes() == b"1"


def test_what_a_clone_and_a_bucket_have_besides_is_passed_over(
    project: Project, tmp_path: Path
) -> None:
    project.save("a", {"x": b"1"})
    before = read(project.root).stdout
    for key in (
        "outbox/refs/artifacts/a/@/0000000001",
        "outbox/refs/artifacts/b/@/0000000001",
        "directories/0/00000000000000000000000000000000",
        f"hints/{HEX}/00000000000000000000000000000000",
        "index/00000000000000000000000000000000",
        "runs/0123456789abcdef0123/1/0000000001",
        "later/refs/artifacts/b/@/0000000001",
        "mirror.json",
    ):
        project.store.create(key, [b"no JSON, no pack"])
    assert read(project.root).stdout == before
    assert read(project.root, "a@v1", tmp_path / "out").returncode == 0


def test_a_missing_decoder_of_zstd_is_said(project: Project, tmp_path: Path) -> None:
    project.save("a", {"x": b"1" * 1000})
    without = BLOCKED.replace(
        '"thence"', '"thence", "zstandard", "compression", "compression.zstd"'
    )
    done = read(project.root, "a@v1", tmp_path / "out", program=without)
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install zstandard" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    listed = read(project.root, program=without)
    assert (listed.returncode, listed.stderr) == (0, "")


def test_newer_projects_are_refused(project: Project) -> None:
    project.store.create("features/0000000001", [b"{}"])
    for project_file, said in (
        (None, "newer"),
        (b'{"format":"2"}', "format 2"),
        (b"{}", "format None"),
        (b"not JSON", "JSON"),
    ):
        if project_file is not None:
            project.store.replace("project.json", [project_file])
        done = read(project.root)
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr
        assert "Traceback" not in done.stderr
