"""Files of a run become the versions that hold them, or new ones."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from thence.execution.binding import Bound, Stored, bind, plan
from thence.index.views import VersionDetail
from thence.model.ids import Digest, RunId
from thence.model.records import FileRole, FileUse, Kind
from thence.project import Project

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
RUN = RunId("0" * 20)


class Bench:
    def __init__(self, root: Path) -> None:
        root.mkdir()
        self.project = Project.init(root)
        self.items: list[Stored] = []

    def add(
        self,
        path: str,
        data: bytes = b"x",
        role: FileRole = FileRole.OUTPUT,
        kind: Kind = Kind.DATASET,
        **more: Any,
    ) -> None:
        with self.project.site.vault.writer() as writer:
            digest = writer.put_bytes(data).digest
        use = FileUse(path=path, role=role, digest=digest, size=len(data), **more)
        self.items.append(Stored(use, kind, "text/csv"))

    def bind(self, role: FileRole = FileRole.OUTPUT, sources: tuple[Digest, ...] = ()) -> Bound:
        site = self.project.site
        with site.vault.writer() as writer:
            planned = plan(site, self.items, role, writer=writer)
        bound = bind(site, planned, run=RUN, sources=sources, now=NOW)
        self.items = []
        return bound

    def version(self, ref: str) -> VersionDetail:
        found = self.project.show(ref)
        assert isinstance(found, VersionDetail)
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "project")


def test_outputs_become_versions_of_the_run(bench: Bench) -> None:
    source = Digest.of(b"a source")
    bench.add("out/a.csv", b"a\n1\n")
    bench.add("model.pkl", b"m", kind=Kind.MODEL, executable=True)
    bound = bench.bind(sources=(source, source))
    assert bound.problems == ()
    assert len(bound.appended) == len(bound.versions) == 2
    version = bench.version("out/a.csv")
    assert (version.run, version.sources, version.created) == (RUN, (source,), NOW)
    assert (version.kind, version.files, version.size_bytes) == (Kind.DATASET, 1, 4)
    assert version.metadata == {"media_type": "text/csv"}
    (entry,) = bench.project.files("model.pkl")
    assert (entry.path, entry.executable) == ("model.pkl", True)
    assert [item.use.version for item in bound.items] == [
        version.record,
        bench.version("model.pkl").record,
    ]


def test_what_is_not_asked_for_passes_through(bench: Bench) -> None:
    bench.add("in.csv", role=FileRole.INPUT)
    bench.add("code.py", role=FileRole.CODE)
    bench.add("/data/far.csv")
    bench.add("caf%E9.csv", percent=True)
    bench.add("key.json", redacted=True)
    bench.items.append(
        Stored(FileUse(path=".env", role=FileRole.OUTPUT), Kind.CONFIG, "text/plain")
    )
    before = list(bench.items)
    bound = bench.bind()
    assert bound == Bound(before, (), (), ())
    assert bench.project.ls() == []


def test_the_same_again_is_the_same_version(bench: Bench) -> None:
    bench.add("a.csv", b"1")
    first = bench.bind()
    bench.project.refresh()
    bench.add("a.csv", b"1")
    again = bench.bind()
    assert again.versions == first.versions
    assert again.appended == ()
    bench.add("a.csv", b"2")
    assert bench.bind().versions != first.versions
    assert [one.number for one in bench.project.history("a.csv")] == [2, 1]


def test_inputs_are_not_of_the_run_that_read_them(bench: Bench) -> None:
    bench.add("in.csv", role=FileRole.INPUT)
    bench.bind(FileRole.INPUT, sources=(Digest.of(b"other"),))
    version = bench.version("in.csv")
    assert (version.run, version.sources) == (None, ())


def test_inputs_that_were_saved_are_those_versions(bench: Bench) -> None:
    root = bench.project.root
    (root / "raw" / "deep").mkdir(parents=True)
    (root / "raw" / "deep" / "a.csv").write_bytes(b"a")
    (root / "b.csv").write_bytes(b"b")
    (root / "c.csv").write_bytes(b"c")
    folder = bench.project.save(root / "raw", "raw-data")
    single = bench.project.save(root / "b.csv", "bee")
    (both,) = bench.project.save_paths([root / "b.csv", root / "c.csv"], name="both")
    bench.add("raw/deep/a.csv", b"a", FileRole.INPUT)
    bench.add("c.csv", b"c", FileRole.INPUT)
    bound = bench.bind(FileRole.INPUT)
    assert bound.appended == ()
    assert set(bound.versions) == {folder.record, both.version.record}
    # Saved last as a part of `both`, it is that.
    bench.add("b.csv", b"b", FileRole.INPUT)
    assert bench.bind(FileRole.INPUT).versions == (both.version.record,)
    assert single.record != both.version.record
    # Changed since, each is a version of its own name.
    bench.add("raw/deep/a.csv", b"changed", FileRole.INPUT)
    bound = bench.bind(FileRole.INPUT)
    assert bound.versions == (bench.version("raw/deep/a.csv").record,)


def test_a_full_folder_is_one_version(bench: Bench) -> None:
    for number in range(40):
        bench.add(f"parts/{number:02}.csv", str(number).encode())
    bound = bench.bind()
    version = bench.version("parts")
    assert bound.versions == (version.record,)
    assert (version.files, version.metadata) == (40, {})
    assert {item.use.version for item in bound.items} == {version.record}
    assert [entry.path for entry in bench.project.files("parts")][:2] == ["00.csv", "01.csv"]


def test_a_name_that_is_taken_is_a_problem_and_no_failure(bench: Bench) -> None:
    bench.add("Data.csv", b"1")
    bench.bind()
    bench.add("data.csv", b"2")
    bench.add("other.csv", b"3")
    bound = bench.bind()
    assert len(bound.problems) == 1
    assert "data.csv did not become a version" in bound.problems[0]
    assert bound.items[0].use.version is None
    assert bound.items[1].use.version is not None


@pytest.mark.parametrize("path", ["a b/ü.csv", "@odd.csv", "v1.csv", "-x", "a:b.csv", "x" * 200])
def test_paths_that_are_odd_as_names(bench: Bench, path: str) -> None:
    bench.add(path)
    bound = bench.bind()
    assert bound.problems == (), bound.problems
    (found,) = bench.project.ls()
    assert found.versions == 1
