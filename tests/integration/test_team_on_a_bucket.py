"""Several people and one bucket: real processes, a real service, a wire that breaks."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import wire
from patience import PATIENCE_S
from seaweed import S3Server
from thence.model.numbers import label
from thence.project import Project
from thence.store.open import open_store


@pytest.fixture
def bucket(seaweed: S3Server, request: pytest.FixtureRequest) -> str:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[:50].strip("-")
    return seaweed.make_bucket(f"t-{name}")


@pytest.fixture
def url(seaweed: S3Server, bucket: str) -> str:
    return seaweed.url(bucket, "team")


@pytest.fixture
def owner(seaweed: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def broken(seaweed: S3Server) -> Iterator[wire.Wire]:
    with wire.wire_to(int(seaweed.endpoint.rpartition(":")[2])) as made:
        yield made


def thence(
    folder: Path, *arguments: str, status: int = 0, env: Mapping[str, str] = MappingProxyType({})
) -> list[dict[str, Any]]:
    """One command in a process of its own; its objects."""
    done = subprocess.run(
        [sys.executable, "-m", "thence", arguments[0], "--json", *arguments[1:]],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def history(folder: Path, name: str) -> list[tuple[str, str]]:
    """Label and content of each version, the newest first."""
    return [(label(one.number), str(one.tree)) for one in Project.open(folder).history(name)]


def logs(root: Path) -> dict[str, bytes]:
    """The mirrored entries of a clone, or of a store in a folder, by keys."""
    folder = root / ".thence" / "store" / "refs"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.usefixtures("owner")
def test_sixteen_processes_save_to_one_name_at_once(tmp_path: Path, url: str) -> None:
    thence(tmp_path, "init", "--store", url)
    folders = []
    for number in range(16):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "data.csv").write_text(f"n\n{number}\n")
        folders.append(folder)
        Project.init(folder, store=url)
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "thence", "save", "data.csv"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for folder in folders
    ]
    for one in running:
        output, _ = one.communicate(timeout=240)
        assert one.returncode == 0, output
    project = Project.open(tmp_path)
    versions = project.history("data.csv")
    assert sorted(one.number for one in versions) == list(range(1, 17))
    assert len({one.tree for one in versions}) == 16


@pytest.mark.usefixtures("owner")
def test_two_clones_work_offline_and_both_push_twice(
    tmp_path: Path, bucket: str, broken: wire.Wire
) -> None:
    url = f"s3://{bucket}/team?endpoint={broken.url}"
    seed = tmp_path / "seed"
    seed.mkdir()
    (seed / "data.csv").write_text("a\n0\n")
    thence(seed, "init", "--store", url)
    thence(seed, "save", "data.csv")
    thence(seed, "alias", "data.csv", "champion")
    clones = [tmp_path / name for name in ("ann", "bob")]
    for folder in clones:
        thence(tmp_path, "clone", url, str(folder))
    broken.cut()
    for folder in clones:
        (folder / "data.csv").write_text(f"a\n{folder.name}\n")
        thence(folder, "save", "data.csv", env={"THENCE_AUTHOR": folder.name})
        thence(folder, "alias", "data.csv@local.1", "champion")
        script = "import thence; thence.log(score=1.5); open('out.txt', 'w').write('x')"
        thence(folder, "run", sys.executable, "-c", script)
    broken.mend()
    ann, bob = clones
    pushed = [thence(ann, "push"), thence(ann, "push")]
    assert [one["ref"] for one in pushed[0] if one["type"] == "pushed"] == [
        "data.csv@v2",
        "out.txt@v1",
    ]
    assert [one for one in pushed[1] if one["type"] == "pushed"] == []
    first = thence(bob, "push", status=5)
    assert [one["ref"] for one in first if one["type"] == "pushed"] == ["data.csv@v3", "out.txt@v2"]
    (error,) = [one for one in first if one["type"] == "error" or "why" in one]
    assert "data.csv@champion" in error["what"]
    assert "v3" in error["why"]
    again = thence(bob, "push", status=5)
    assert [one for one in again if one["type"] == "pushed"] == []
    for folder in clones:
        thence(folder, "pull")
    assert logs(ann) == logs(bob)
    assert history(ann, "data.csv") == history(bob, "data.csv")
    assert [number for number, _ in history(ann, "data.csv")] == ["v3", "v2", "v1"]
    for folder in clones:
        project = Project.open(folder)
        assert len(project.runs()) == 2
        assert project.load("data.csv@champion")["a"].tolist() == ["ann"]
        assert all(run.status.value == "finished" for run in project.runs())
    # Bob looks at both, and decides.
    (waiting,) = thence(bob, "outbox", "list")
    assert waiting["ref"] == "data.csv@champion"
    assert waiting["conflict"]
    thence(bob, "alias", "data.csv@v3", "champion")
    thence(bob, "push")
    thence(ann, "pull")
    assert Project.open(ann).load("data.csv@champion")["a"].tolist() == ["bob"]
    assert thence(bob, "outbox", "list") == []


@pytest.mark.usefixtures("owner")
def test_a_lost_answer_to_every_kind_of_put(
    tmp_path: Path, seaweed: S3Server, bucket: str, broken: wire.Wire
) -> None:
    """The service did what it was asked, and nobody heard of it: once for each object it got."""
    url = f"s3://{bucket}/team?endpoint={broken.url}"
    project = Project.init(tmp_path, store=url)
    kinds = set()
    for number in range(3):
        (tmp_path / "data.csv").write_text(f"a\n{number}\n")
        seen: set[str] = set()

        def first_of_its_kind(line: str, seen: set[str] = seen) -> bool:
            method, path, *_ = line.split()
            kind = path.split("/team/")[-1].split("/")[0].split("?")[0]
            if method != "PUT" or kind in seen:
                return False
            seen.add(kind)
            kinds.add(kind)
            return True

        broken.lose_answers(first_of_its_kind, times=100)
        (saved,) = project.save_paths([tmp_path / "data.csv"])
        assert saved.version.number == number + 1
        project.alias("data.csv", "best")
    broken.mend()
    assert {"packs", "journal", "refs"} <= kinds
    assert [one.number for one in project.history("data.csv")] == [3, 2, 1]
    assert [move.number for move in project.alias_history("data.csv")] == [3, 2, 1]
    keys = [info.key for info in open_store(seaweed.url(bucket, "team")).list("refs/")]
    assert len(keys) == 6


@pytest.mark.usefixtures("owner")
def test_a_lost_answer_to_the_very_first_put(
    tmp_path: Path, bucket: str, broken: wire.Wire
) -> None:
    broken.lose_answers(lambda line: line.startswith("PUT") and "project.json" in line)
    project = Project.init(tmp_path, store=f"s3://{bucket}/team?endpoint={broken.url}")
    assert broken.lost
    assert project.ls() == []
