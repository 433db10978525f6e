"""Where the files of a run are put, and what cannot be given back."""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from thence.execution.restore import Restored, check_elsewhere, restore_files
from thence.model.ids import Digest, RunId
from thence.model.records import (
    FileRole,
    FileUse,
    Host,
    RunSealed,
    RunStatus,
    SensorReport,
)
from thence.store.memory import MemoryStore
from thence.vault.checkout import digest_of_file
from thence.vault.vault import Vault

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def sealed(root: str, **changes: Any) -> RunSealed:
    values: dict[str, Any] = {
        "run": RunId("0" * 20),
        "command": ("true",),
        "root": root,
        "cwd": ".",
        "started": NOW,
        "ended": NOW,
        "status": RunStatus.FINISHED,
        "author": "ada",
        "host": Host(name="box", system="Linux", release="6.1", machine="x86_64"),
        "sensor": SensorReport(name="seccomp", completeness="kernel-complete"),
    }
    return RunSealed(**{**values, **changes})


class Bench:
    def __init__(self, base: Path) -> None:
        self.base = base / "base"
        self.vault = Vault(MemoryStore(), base / "cache")
        self.uses: list[FileUse] = []

    def add(
        self, path: str, data: bytes = b"x", role: FileRole = FileRole.INPUT, **more: Any
    ) -> None:
        with self.vault.writer() as writer:
            digest = writer.put_bytes(data).digest
        self.uses.append(FileUse(path=path, role=role, digest=digest, size=len(data), **more))

    def restore(self, root: str, secrets: dict[str, str] | None = None, **changes: Any) -> Restored:
        return restore_files(
            sealed(root, **changes),
            self.uses,
            self.vault.content,
            self.base,
            secrets=secrets or {},
            progress=lambda text: None,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_project_comes_back_with_its_folders(bench: Bench) -> None:
    bench.add("data/in.csv", b"a\n")
    bench.add("run.sh", b"#!/bin/sh\n", FileRole.CODE, executable=True)
    bench.add("conf.yaml", b"a: 1\n", FileRole.CONFIG)
    bench.add("README.md", b"# x\n", FileRole.DOCUMENT)
    bench.add("out.csv", b"x", FileRole.OUTPUT)
    bench.add("old.csv", b"x", FileRole.OVERWRITTEN)
    restored = bench.restore("/home/ada/study", cwd="work/deep", folders=("results", "a/b"))
    root = restored.root
    assert root == bench.base / "tree" / "study"
    assert (root / "data/in.csv").read_bytes() == b"a\n"
    assert stat.S_IMODE((root / "run.sh").stat().st_mode) & 0o100
    assert not (root / "conf.yaml").stat().st_mode & 0o100
    for folder in ("work/deep", "results", "a/b"):
        assert (root / folder).is_dir()
    assert (bench.base / "home").is_dir()
    # Nothing that the command has to make itself.
    assert sorted(path.name for path in root.iterdir()) == [
        *("a", "conf.yaml", "data", "results", "run.sh", "work")
    ]
    assert (restored.files, restored.missing, restored.elsewhere) == (3, {}, {})


def test_files_beside_the_project_lie_beside_it(bench: Bench) -> None:
    bench.add("/home/ada/shared/x.csv", b"1")
    bench.add("/home/ada/work/other/y.csv", b"2")
    restored = bench.restore("/home/ada/work/study")
    root = restored.root
    assert (root / "../../shared/x.csv").resolve().read_bytes() == b"1"
    assert (root / "../other/y.csv").resolve().read_bytes() == b"2"
    assert root.resolve().is_relative_to(bench.base / "tree")
    assert restored.elsewhere == {}


def test_a_command_may_run_above_its_project(bench: Bench) -> None:
    bench.add("in.csv", b"1")
    restored = bench.restore("/home/ada/work/study", cwd="../../notes")
    assert (restored.root / "../../notes").is_dir()
    assert restored.root == bench.base / "tree" / "ada" / "work" / "study"
    assert (restored.root / "in.csv").is_file()


def test_files_far_away_are_used_where_they_are(bench: Bench) -> None:
    bench.add("/data/lake/x.csv", b"1")
    bench.add("/home/bob/y.csv", b"2")
    restored = bench.restore("/home/ada/study")
    assert set(restored.elsewhere) == {"/data/lake/x.csv", "/home/bob/y.csv"}
    assert list((bench.base / "tree").rglob("*.csv")) == []


def test_nothing_is_written_outside_of_the_base(bench: Bench, tmp_path: Path) -> None:
    outside = tmp_path / "victim.txt"
    outside.write_text("precious")
    climb = "../" * 30 + str(outside).lstrip("/")
    for path in ("../../victim.txt", climb, "a/../../../victim.txt"):
        bench.add(path, b"evil")
    bench.add("editable/../../../victim.txt", b"evil", FileRole.PACKAGE)
    restored = bench.restore("/home/ada/study", cwd="../../..", folders=("../../made",))
    assert outside.read_text() == "precious"
    assert not (tmp_path / "made").exists()
    inside = [p for p in tmp_path.rglob("*") if p.is_file() and p.read_bytes() == b"evil"]
    assert all(path.resolve().is_relative_to(bench.base) for path in inside)
    assert len(restored.missing) >= 1


def test_packages_have_a_place_of_their_own(bench: Bench) -> None:
    bench.add("editable/tool/__init__.py", b"", FileRole.PACKAGE, package="tool")
    bench.add("local/helper.py", b"", FileRole.PACKAGE, package="helper")
    bench.add("patched/numpy/core.py", b"# mine", FileRole.PACKAGE, package="numpy")
    restored = bench.restore("/home/ada/study")
    names = {path.name for path in restored.packages}
    assert names == {"editable", "local"}
    assert restored.patched["numpy/core.py"].read_bytes() == b"# mine"


def test_names_that_are_not_utf8(bench: Bench) -> None:
    bench.add("caf%E9.csv", b"1", percent=True)
    bench.add("100%25.csv", b"2")
    root = bench.restore("/home/ada/study").root
    assert (root / os.fsdecode(b"caf\xe9.csv")).read_bytes() == b"1"
    assert (root / "100%25.csv").read_bytes() == b"2"


def test_secrets_are_put_back_where_they_are_known(bench: Bench) -> None:
    known, unknown = "<secret:0123456789abcdef>", "<secret:fedcba9876543210>"
    data = f"a: {known}\nb: {unknown}\nc: caf".encode() + b"\xe9"
    bench.add("conf.yaml", data, FileRole.CONFIG, redacted=True)
    bench.add("talk.md", known.encode())
    root = bench.restore("/home/ada/study", {known: "hunter22"}).root
    wanted = f"a: hunter22\nb: {unknown}\nc: caf".encode() + b"\xe9"
    assert (root / "conf.yaml").read_bytes() == wanted
    assert (root / "talk.md").read_bytes() == known.encode()  # it was so


def test_what_cannot_be_given_back_is_told(bench: Bench) -> None:
    bench.uses += [
        FileUse(path=".env", role=FileRole.INPUT, why_not_kept="secret"),
        FileUse(path="pipe", role=FileRole.INPUT, why_not_kept="special"),
        FileUse(path="lost.csv", role=FileRole.INPUT, digest=Digest.of(b"nowhere")),
        FileUse(path="large.bin", role=FileRole.INPUT, why_not_kept="changed"),
    ]
    restored = bench.restore("/home/ada/study")
    assert restored.files == 0
    assert restored.missing[".env"] == ".env: a secret file, which is never kept"
    assert restored.missing["pipe"] == "pipe: special"
    assert restored.missing["large.bin"] == "large.bin: it changed before it could be kept"
    assert restored.missing["lost.csv"].startswith("lost.csv: ")


def test_inputs_elsewhere_are_checked(tmp_path: Path) -> None:
    for name in ("same", "other", "unknown"):
        (tmp_path / name).write_text(name)
    uses = {
        str(tmp_path / name): FileUse(path=name, role=FileRole.INPUT, digest=digest)
        for name, digest in (
            ("same", Digest.of(b"same")),
            ("other", Digest.of(b"before")),
            ("gone", Digest.of(b"gone")),
            ("unknown", None),
        )
    }
    wrong = check_elsewhere(uses, lambda path, _: digest_of_file(path))
    assert wrong == {
        str(tmp_path / "other"): f"{tmp_path / 'other'}: it has other content on this machine",
        str(tmp_path / "gone"): f"{tmp_path / 'gone'}: it is not on this machine",
    }
