"""A commit of the files as a run had them, and a bundle of it, without a trace in the work."""

import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from thence.execution.capture.bundle import Bundle, make_bundle
from thence.execution.capture.code import capture_code
from thence.execution.capture.git import Git, find_repository
from thence.execution.capture.snapshot import REFS, Opened, Snapshot, take_snapshot

RUN = "01J0000000000000"
FIRST = {"train.py": "print(1)\n", "conf.yaml": "lr: 0.1\n", "gone.py": "x\n", "lib/a.py": "a\n"}


def git(folder: Path, *arguments: str, check: bool = True) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
    identity += ["-c", "protocol.file.allow=always"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=check
    )
    return done.stdout.strip()


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "proj"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    write(folder, FIRST)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


def snapshot(
    folder: Path,
    *added: str,
    run: str = RUN,
    opened: Mapping[str, Opened] | None = None,
    secret: bytes = b"no secret",
    file_limit_bytes: int = 1 << 20,
) -> Snapshot:
    found = find_repository(folder)
    assert found is not None
    return take_snapshot(
        found,
        Git(found.top, 20),
        capture_code(folder),
        run,
        added=added,
        opened=opened,
        find_secret=lambda path, data: "key" if secret in data else None,
        file_limit_bytes=file_limit_bytes,
    )


def bundle(folder: Path, taken: Snapshot, *, secret: bytes = b"no secret", **limits: int) -> Bundle:
    found = find_repository(folder)
    assert found is not None
    assert taken.commit is not None
    return make_bundle(
        found,
        Git(found.top, 20),
        taken.commit,
        taken.ref or "HEAD",
        find_secret=lambda path, data: "key" if secret in data else None,
        **limits,
    )


def shown(folder: Path, commit: str | None, path: str) -> str:
    return git(folder, "show", f"{commit}:{path}")


def traces(folder: Path) -> dict[str, str]:
    """Everything of a repository that a person would miss, as bytes and as git tells it."""
    found = find_repository(folder)
    assert found is not None
    plain = {
        str(path.relative_to(top)): path.read_bytes().hex()
        for top in {found.git_dir, found.common}
        for path in sorted(top.rglob("*"))
        if path.is_file() and not {"objects", "thence"}.intersection(path.relative_to(top).parts)
    }
    told = {
        " ".join(question): git(folder, "--no-optional-locks", *question, check=False)
        for question in (
            ("status", "--porcelain=v2", "--branch"),
            ("stash", "list"),
            ("reflog", "--all"),
            ("rev-parse", "HEAD"),
            ("for-each-ref", "--exclude=refs/thence", "refs/heads", "refs/tags", "refs/remotes"),
            ("config", "--list"),
        )
    }
    files = {
        str(path): path.read_bytes().hex() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
        if ".git" not in path.parts
    }
    return {**plain, **told, **files}


def change(folder: Path) -> None:
    write(folder, {"train.py": "print(2)\n", "new.py": "new\n", "junk.bin": "junk\n"})
    (folder / "gone.py").unlink()


def test_a_clean_work_tree_is_its_commit(repository: Path) -> None:
    write(repository, {"junk.bin": "junk\n"})
    before = traces(repository)
    assert snapshot(repository) == Snapshot(git(repository, "rev-parse", "HEAD"))
    assert git(repository, "for-each-ref", "refs/thence") == ""
    assert traces(repository) == before


def test_the_commit_has_the_files_of_the_run_and_no_others(repository: Path) -> None:
    change(repository)
    before = traces(repository)
    taken = snapshot(repository, "new.py")
    assert traces(repository) == before
    assert (taken.ref, taken.problems) == (REFS + RUN, ())
    assert git(repository, "rev-parse", REFS + RUN) == taken.commit
    assert git(repository, "rev-parse", f"{taken.commit}^") == git(repository, "rev-parse", "HEAD")
    names = git(repository, "ls-tree", "-r", "--name-only", str(taken.commit)).split()
    assert names == ["conf.yaml", "lib/a.py", "new.py", "train.py"]
    assert shown(repository, taken.commit, "train.py") == "print(2)"
    git(repository, "gc", "-q", "--prune=now")
    assert shown(repository, taken.commit, "new.py") == "new"


def test_equal_files_are_an_equal_commit(repository: Path) -> None:
    change(repository)
    first = snapshot(repository, "new.py")
    git(repository, "update-ref", "-d", REFS + RUN)
    second = snapshot(repository, "new.py", run="01J0000000000001")
    assert first.commit == second.commit
    write(repository, FIRST)
    assert snapshot(repository).commit == git(repository, "rev-parse", "HEAD")


def test_names_modes_and_links_of_any_kind(repository: Path) -> None:
    odd = 'a "b"\n[x]*é.py'
    write(repository, {odd: "odd\n", "run.sh": "#!/bin/sh\n"})
    (repository / "run.sh").chmod(0o755)
    (repository / "conf.yaml").unlink()
    (repository / "conf.yaml").symlink_to("lib/a.py")
    shutil.rmtree(repository / "lib")
    write(repository, {"lib": "now a file\n"})
    (repository / "train.py").unlink()
    write(repository, {"train.py/inner.py": "now a folder\n"})
    taken = snapshot(repository, odd, "run.sh", "lib", "train.py/inner.py")
    assert taken.problems == ()
    lines = git(repository, "ls-tree", "-r", "-z", str(taken.commit)).strip("\0").split("\0")
    found = {line.split("\t", 1)[1]: line.split(" ")[0] for line in lines}
    assert found == {
        odd: "100644", "run.sh": "100755", "conf.yaml": "120000", "lib": "100644",
        "gone.py": "100644", "train.py/inner.py": "100644",
    }  # fmt: skip
    assert shown(repository, taken.commit, "conf.yaml") == "lib/a.py"


def test_staged_changes_and_intents_are_what_the_work_tree_has(repository: Path) -> None:
    write(repository, {"train.py": "print('staged')\n", "added.py": "1\n", "meant.py": "2\n"})
    git(repository, "add", "train.py", "added.py")
    git(repository, "add", "-N", "meant.py")
    write(repository, {"train.py": "print('worked on')\n"})
    git(repository, "mv", "conf.yaml", "moved.yaml")
    before = traces(repository)
    taken = snapshot(repository)
    assert traces(repository) == before
    assert shown(repository, taken.commit, "train.py") == "print('worked on')"
    names = git(repository, "ls-tree", "-r", "--name-only", str(taken.commit)).split()
    assert {"added.py", "meant.py", "moved.yaml"} <= set(names)
    assert "conf.yaml" not in names


def test_the_bytes_are_those_of_the_first_use(repository: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_text("print('as it was')\n")
    write(repository, {"train.py": "print('edited while it ran')\n"})
    taken = snapshot(repository, opened={"train.py": Opened(copy.read_bytes, 19)})
    assert shown(repository, taken.commit, "train.py") == "print('as it was')"


def test_files_with_secrets_stay_as_they_were_committed(repository: Path) -> None:
    write(
        repository,
        {
            "conf.yaml": "k: s3cret\n", "new.py": "s3cret\n", ".env": "A=b\n", "train.py": "2\n",
            "lib/a.py": "a2\n",
        },
    )  # fmt: skip
    git(repository, "add", "conf.yaml", "new.py")
    taken = snapshot(
        repository,
        ".env",
        secret=b"s3cret",
        opened={"lib/a.py": Opened(lambda: b"", 0, is_secret=True)},
    )
    assert sorted(taken.left_out) == [".env", "conf.yaml", "lib/a.py", "new.py"]
    assert shown(repository, taken.commit, "conf.yaml") == "lr: 0.1"
    assert shown(repository, taken.commit, "lib/a.py") == "a"
    assert shown(repository, taken.commit, "train.py") == "2"
    names = git(repository, "ls-tree", "-r", "--name-only", str(taken.commit)).split()
    assert ".env" not in names
    assert "new.py" not in names
    assert taken.problems == (
        "the commit of the code leaves out what holds secrets: .env, conf.yaml, lib/a.py, new.py",
    )
    made = bundle(repository, taken, secret=b"s3cret")
    assert made.problems == ()
    assert made.data is not None


def test_only_secrets_are_changed(repository: Path) -> None:
    write(repository, {"conf.yaml": "k: s3cret\n"})
    git(repository, "add", "conf.yaml")
    assert snapshot(repository, secret=b"s3cret").commit == git(repository, "rev-parse", "HEAD")


def test_large_files_are_left_out(repository: Path) -> None:
    write(repository, {"train.py": "x" * (3 << 20), "lib/a.py": "small\n"})
    taken = snapshot(repository)
    assert taken.problems == ("the commit of the code does not have train.py: it has 3 MiB",)
    assert shown(repository, taken.commit, "train.py") == "print(1)"
    assert shown(repository, taken.commit, "lib/a.py") == "small"


@pytest.mark.parametrize("way", ["merge", "rebase", "cherry-pick", "stash pop"])
def test_a_conflict_stays_one(repository: Path, way: str) -> None:
    git(repository, "checkout", "-q", "-b", "other")
    write(repository, {"train.py": "print('other')\n"})
    git(repository, "rm", "-q", "lib/a.py")
    git(repository, "commit", "-qam", "other")
    git(repository, "checkout", "-q", "main")
    write(repository, {"train.py": "print('main')\n", "lib/a.py": "main\n"})
    if way == "stash pop":
        git(repository, "stash")
        git(repository, "merge", "-q", "other")
        git(repository, "stash", "pop", check=False)
    else:
        git(repository, "commit", "-qam", "main")
        git(repository, way, "other", check=False)
    assert "<<<<<<<" in (repository / "train.py").read_text()
    before = traces(repository)
    taken = snapshot(repository)
    assert traces(repository) == before
    assert taken.problems == ()
    text = shown(repository, taken.commit, "train.py")
    assert text == (repository / "train.py").read_text().strip()
    assert bundle(repository, taken).data is not None


def test_a_work_tree_of_its_own_and_a_folder_below(repository: Path, tmp_path: Path) -> None:
    side = tmp_path / "side"
    git(repository, "worktree", "add", "-q", "-b", "side", str(side))
    change(side)
    before = traces(side), traces(repository)
    taken = snapshot(side / "lib", "new.py")
    assert (traces(side), traces(repository)) == before
    assert shown(repository, taken.commit, "new.py") == "new"


def test_a_repository_without_commits(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, {"a.py": "a\n", "b.py": "b\n"})
    git(tmp_path, "add", "a.py")
    taken = snapshot(tmp_path, "b.py")
    names = git(tmp_path, "ls-tree", "-r", "--name-only", str(taken.commit)).split()
    assert names == ["a.py", "b.py"]
    assert git(tmp_path, "rev-list", str(taken.commit)) == taken.commit


def test_a_submodule_is_its_commit(repository: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "-q")
    git(library, "commit", "-q", "--allow-empty", "-m", "x")
    git(repository, "submodule", "add", "-q", str(library), "s")
    git(repository, "commit", "-qm", "with a library")
    git(repository / "s", "commit", "-q", "--allow-empty", "-m", "y")
    write(repository / "s", {"inner.py": "inner\n"})
    taken = snapshot(repository, "s/inner.py")
    newest = git(repository / "s", "rev-parse", "HEAD")
    assert f"160000 commit {newest}\ts" in git(repository, "ls-tree", str(taken.commit))
    assert capture_code(repository).submodules == (f"+s {newest}",)


def test_what_a_repository_configures_does_not_run(repository: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\necho $0 >> {tmp_path}/sprung\ncat\n")
    trap.chmod(0o755)
    for name in ("reference-transaction", "post-index-change", "post-commit", "pre-commit"):
        shutil.copy(trap, repository / ".git" / "hooks" / name)
    git(repository, "config", "core.fsmonitor", str(trap))
    git(repository, "config", "core.logAllRefUpdates", "always")
    git(repository, "config", "commit.gpgSign", "true")
    git(repository, "config", "gpg.program", str(trap))
    git(repository, "config", "core.splitIndex", "true")
    (tmp_path / "sprung").unlink(missing_ok=True)
    change(repository)
    taken = snapshot(repository, "new.py")
    assert taken.problems == ()
    assert bundle(repository, taken).data is not None
    assert not (tmp_path / "sprung").exists()
    assert not (repository / ".git" / "logs" / "refs" / "thence").exists()


@pytest.mark.parametrize("place", ["objects", "refs"])
def test_a_repository_that_cannot_be_written_is_a_sentence(repository: Path, place: str) -> None:
    # Also for root, whom permissions do not stop: where a folder is to be made there is a file.
    if place == "refs":
        write(repository / ".git" / "refs", {"thence": ""})
    else:
        objects = repository / ".git" / "objects"
        store = objects.rename(repository.parent / "store")
        write(objects, {"info/alternates": f"{store}\n"})
        write(objects, {f"{number:02x}": "" for number in range(256)})
    change(repository)
    before = traces(repository)
    taken = snapshot(repository, "new.py")
    assert traces(repository) == before
    assert (taken.commit, taken.ref) == (None, None)
    assert taken.problems[0].startswith("the code could not be kept as a commit: ")


def test_runs_at_the_same_time(repository: Path) -> None:
    change(repository)
    before = traces(repository)
    (repository / ".git" / "index.lock").write_text("")  # somebody is at work in it
    taken: list[Snapshot] = []
    threads = [
        threading.Thread(
            target=lambda n=number: taken.append(snapshot(repository, "new.py", run=f"run{n}"))
        )
        for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (repository / ".git" / "index.lock").unlink()
    assert traces(repository) == before
    assert len({one.commit for one in taken}) == 1
    assert len({one.ref for one in taken}) == 6
    assert [one.problems for one in taken] == [()] * 6


# Bundles


@pytest.fixture
def clone(repository: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repository), str(copy))
    return copy


def test_what_a_remote_has_is_not_bundled(clone: Path) -> None:
    assert bundle(clone, snapshot(clone)) == Bundle()


def test_a_bundle_brings_unpushed_commits_and_changes(
    repository: Path, clone: Path, tmp_path: Path
) -> None:
    write(clone, {"train.py": "print('unpushed')\n"})
    git(clone, "commit", "-qam", "unpushed")
    unpushed = git(clone, "rev-parse", "HEAD")
    change(clone)
    taken = snapshot(clone, "new.py")
    made = bundle(clone, taken)
    assert made.problems == ()
    assert made.data is not None
    (tmp_path / "code.bundle").write_bytes(made.data)
    third = tmp_path / "third"
    git(tmp_path, "clone", "-q", str(repository), str(third))
    git(third, "fetch", "-q", str(tmp_path / "code.bundle"), str(taken.ref))
    git(third, "checkout", "-q", "FETCH_HEAD")
    assert (third / "train.py").read_text() == "print(2)\n"
    assert (third / "new.py").read_text() == "new\n"
    assert git(third, "log", "--format=%H", "-1", unpushed) == unpushed
    assert bundle(clone, taken) == made  # byte by byte


def test_without_a_remote_the_bundle_is_the_whole_history(repository: Path, tmp_path: Path) -> None:
    made = bundle(repository, snapshot(repository))
    assert made.data is not None
    (tmp_path / "code.bundle").write_bytes(made.data)
    git(tmp_path, "clone", "-q", "code.bundle", "copy")
    assert (tmp_path / "copy" / "train.py").read_text() == "print(1)\n"


@pytest.mark.parametrize(
    ("limits", "why"),
    [({"limit_bytes": 1 << 20}, "more than 1 MiB"), ({"limit_objects": 4}, "more than 4 objects")],
)
def test_long_histories_are_not_bundled(repository: Path, limits: dict[str, Any], why: str) -> None:
    write(repository, {"data.csv": "1,2\n" * (1 << 19)})
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "data")
    made = bundle(repository, snapshot(repository), **limits)
    assert made.data is None
    assert why in made.problems[0]


@pytest.mark.parametrize("place", ["conf.yaml", "message", ".env"])
def test_a_secret_that_was_committed_once_is_in_no_bundle(repository: Path, place: str) -> None:
    if place == "message":
        git(repository, "commit", "-q", "--allow-empty", "-m", "use s3cret")
    else:
        write(repository, {place: "key: s3cret\n"})
        git(repository, "add", "-A")
        git(repository, "commit", "-qm", "oops")
        git(repository, "rm", "-q", place)
        git(repository, "commit", "-qm", "gone, but not from history")
    made = bundle(repository, snapshot(repository), secret=b"s3cret")
    assert made.data is None
    assert "are not kept as a bundle" in made.problems[0]
    assert place in made.problems[0] or "the commit" in made.problems[0]


def test_a_shallow_clone(repository: Path, tmp_path: Path) -> None:
    git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repository}", str(shallow))
    change(shallow)
    before = traces(shallow)
    taken = snapshot(shallow, "new.py")
    assert traces(shallow) == before
    made = bundle(shallow, taken)
    assert made.data is not None
    (tmp_path / "code.bundle").write_bytes(made.data)
    git(repository, "fetch", "-q", str(tmp_path / "code.bundle"), str(taken.ref))
    assert shown(repository, "FETCH_HEAD", "new.py") == "new"
    git(shallow, "remote", "remove", "origin")
    assert "the clone is shallow" in bundle(shallow, taken).problems[0]


@pytest.mark.slow
def test_a_snapshot_of_20000_files_takes_part_of_a_second(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, {f"d{n % 200}/f{n}.py": f"x = {n}\n" * 40 for n in range(20_000)})
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    write(tmp_path, {f"d{n}/f{n}.py": "changed\n" for n in range(5)})
    write(tmp_path, {f"new{n}.py": "new\n" for n in range(3)})
    os.sync()
    found = find_repository(tmp_path)
    assert found is not None
    state = capture_code(tmp_path)
    times = []
    for _ in range(3):
        begun = os.times()
        taken = take_snapshot(
            found, Git(found.top, 20), state, RUN, added=[f"new{n}.py" for n in range(3)]
        )
        # Work, with git's own: a wall clock would measure whoever else uses the machine.
        times.append(sum(os.times()[:4]) - sum(begun[:4]))
    assert taken.problems == ()
    assert min(times) < 1.0, times
    print(f"snapshot of 20,000 files: {1e3 * min(times):.0f} ms")
