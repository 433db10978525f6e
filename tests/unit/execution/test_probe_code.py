import os
import subprocess
from pathlib import Path

import pytest

from thence.execution.capture.code import CodeState, capture_code, find_documents
from thence.execution.capture.secret_files import is_secret_file


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "proj"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "train.py").write_text("print(1)\n")
    (folder / ".env").write_text("TOKEN=one\n")
    (folder / "data.bin").write_bytes(bytes(range(256)))
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


def test_a_clean_repository(repository: Path) -> None:
    git(repository, "remote", "add", "origin", "https://me:pw@git.example/x.git")
    state = capture_code(repository, ["train.py"])
    assert state == CodeState(
        commit=git(repository, "rev-parse", "HEAD"),
        branch="main",
        remote="https://git.example/x.git",
        is_complete=True,
    )


def test_the_diff_gives_the_working_files_back(repository: Path, tmp_path: Path) -> None:
    (repository / "train.py").write_text("print(2)\n")
    (repository / "data.bin").write_bytes(bytes(range(255, -1, -1)))
    (repository / "added.py").write_text("x\n")
    git(repository, "add", "added.py")
    git(repository, "config", "diff.noprefix", "true")
    git(repository, "config", "color.ui", "always")
    state = capture_code(repository)
    assert state.dirty
    assert state.diff is not None
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "-q", str(repository), str(copy))
    subprocess.run(["git", "apply", "-"], cwd=copy, input=state.diff, check=True)
    for name in ("train.py", "data.bin", "added.py"):
        assert (copy / name).read_bytes() == (repository / name).read_bytes()


def test_changes_of_secret_files_are_not_in_the_diff(repository: Path) -> None:
    (repository / ".env").write_text("TOKEN=two\n")
    (repository / "train.py").write_text("print(2)\n")
    state = capture_code(repository)
    assert state.diff is not None
    assert b"print(2)" in state.diff
    assert b"TOKEN" not in state.diff
    assert state.problems == ("uncommitted changes of .env were not kept, it holds secrets",)


def test_only_asked_files_are_listed_as_untracked(repository: Path) -> None:
    (repository / "new.py").write_text("")
    (repository / "sub").mkdir()
    (repository / "sub" / "odd [x]*.py").write_text("")
    (repository / "junk.bin").write_text("")
    absolute = str(repository / "sub" / "odd [x]*.py")
    state = capture_code(repository, ["new.py", absolute, "train.py", "/etc/hosts"])
    assert state.untracked == ("new.py", absolute)
    assert not state.dirty
    inside = capture_code(repository / "sub", ["odd [x]*.py", "../train.py"])
    assert inside.untracked == ("odd [x]*.py",)


def test_a_detached_head_and_a_repository_without_commits(repository: Path, tmp_path: Path) -> None:
    git(repository, "checkout", "-q", "--detach")
    state = capture_code(repository)
    assert (state.branch, state.commit) == (None, git(repository, "rev-parse", "HEAD"))
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q", "-b", "trunk")
    (empty / "a.py").write_text("")
    git(empty, "add", "a.py")
    state = capture_code(empty, ["a.py"])
    assert (state.commit, state.branch, state.diff, state.problems) == (None, "trunk", None, ())


def test_no_repository(tmp_path: Path) -> None:
    assert capture_code(tmp_path, ["a.py"]) == CodeState()


def test_a_diff_that_is_too_long_is_a_problem(repository: Path) -> None:
    (repository / "train.py").write_text("x = 1\n" * 1000)
    state = capture_code(repository, diff_limit_bytes=1000)
    assert state.dirty
    assert state.diff is None
    assert "the diff is longer than" in state.problems[0]


@pytest.mark.parametrize("packed", [False, True])
def test_without_git_the_files_of_the_repository_tell_the_commit(
    repository: Path, monkeypatch: pytest.MonkeyPatch, *, packed: bool
) -> None:
    git(repository, "remote", "add", "origin", "https://tok@git.example/x.git")
    commit = git(repository, "rev-parse", "HEAD")
    if packed:
        git(repository, "pack-refs", "--all")
    monkeypatch.setattr("shutil.which", lambda name: None)
    state = capture_code(repository / "nothing" / "..", [])
    assert (state.commit, state.branch) == (commit, "main")
    assert state.remote == "https://git.example/x.git"
    assert state.problems == ("uncommitted changes are not known: git is not installed",)


def test_git_that_does_not_trust_the_folder_is_a_problem_with_the_commit_kept(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    state = capture_code(repository)
    assert state.commit is not None
    assert "safe.directory" in state.problems[0]


def test_git_that_hangs_is_ended(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    state = capture_code(repository, timeout_s=0.2)
    assert state.commit is not None
    assert "took longer than 0.2 s" in state.problems[0]


def test_what_a_repository_configures_does_not_run(repository: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(trap))
    git(repository, "config", "diff.external", str(trap))
    (repository / ".gitattributes").write_text("*.py diff=trap\n")
    git(repository, "config", "diff.trap.textconv", str(trap))
    git(repository, "config", "diff.trap.command", str(trap))
    (tmp_path / "sprung").unlink(missing_ok=True)  # git config itself may have asked the monitor
    (repository / "train.py").write_text("print(3)\n")
    state = capture_code(repository, ["train.py"])
    assert state.diff is not None
    assert b"+print(3)" in state.diff
    assert not (tmp_path / "sprung").exists()


def test_nothing_of_the_repository_is_touched(repository: Path) -> None:
    os.utime(repository / "train.py", (1, 1))  # a stat that git would write into its index
    before = (repository / ".git" / "index").read_bytes()
    capture_code(repository, ["train.py"])
    assert (repository / ".git" / "index").read_bytes() == before


def test_submodules_are_noted(repository: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "-q")
    git(library, "commit", "-q", "--allow-empty", "-m", "x")
    git(repository, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library), "l")
    state = capture_code(repository)
    assert state.submodules == (f"l {git(library, 'rev-parse', 'HEAD')}",)


def test_a_worktree(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(repository, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    state = capture_code(tmp_path / "side")
    assert state.branch == "side"
    monkeypatch.setattr("shutil.which", lambda name: None)
    plain = capture_code(tmp_path / "side")
    assert (plain.branch, plain.commit) == (state.branch, state.commit)


def test_documents_are_found_within_bounds(tmp_path: Path) -> None:
    for name in (
        "README.md", "LICENSE", "CITATION.cff", "readme_parser.py", "docs/a.md", "docs/b/c.rst",
        "docs/_build/x.md", "docs/picture.png", "notes.md",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    found = [str(p.relative_to(tmp_path)) for p in find_documents(tmp_path)]
    assert found == ["CITATION.cff", "LICENSE", "README.md", "docs/a.md", "docs/b/c.rst"]
    assert len(find_documents(tmp_path, limit_files=2)) == 2
    assert len(find_documents(tmp_path, limit_bytes=8)) == 2
    assert find_documents(tmp_path / "gone") == []


@pytest.mark.parametrize(
    "path",
    [
        "/p/.env", ".env", ".env.local", "prod.env", "/home/me/.aws/credentials",
        "/home/me/.aws/config", "/home/me/.ssh/config", "/home/me/.ssh/id_ed25519", "id_rsa",
        "/home/me/.netrc", "/home/me/.pypirc", "/home/me/.config/gcloud/x.db", "credentials.json",
        "client_secret_123.json", "service-account.json", "/home/me/.kube/config",
        "/home/me/.kaggle/kaggle.json", "secrets.yaml", "secrets.prod.toml", "server.p12",
        "/home/me/.cache/huggingface/token", "/run/secrets/db", ".git-credentials", "gone.pem",
        "/home/me/.pgpass", "/home/me/.databrickscfg", "/p/.streamlit/secrets.toml",
    ],
)  # fmt: skip
def test_secret_files(path: str) -> None:
    assert is_secret_file(path)


@pytest.mark.parametrize(
    "path",
    [
        ".env.example", ".env.sample", "env.py", "environment.yml", "secrets.py", "train.py",
        "secret_santa.csv", "/home/me/.ssh/known_hosts", "/home/me/.ssh/id_rsa.pub",
        "credentials_test.csv", "/p/config.yaml", "/p/token.txt.gz", "keys.csv", "tokenizer.json",
        "/usr/lib/python3/secrets.py", "secrets.example.yaml", "/p/.env/lib/python3/x.py",
    ],
)  # fmt: skip
def test_files_that_are_no_secret(path: str) -> None:
    assert not is_secret_file(path)


def test_key_files_are_looked_into(tmp_path: Path) -> None:
    texts = {
        "ca.pem": (b"-----BEGIN CERTIFICATE-----\nMII\n", False),
        "public.pem": (b"-----BEGIN PUBLIC KEY-----\nMII\n", False),
        "server.pem": (b"-----BEGIN RSA PRIVATE KEY-----\nMII\n", True),
        "both.pem": (b"-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n", True),
        "talk.key": (b"PK\x03\x04 keynote", False),
        "fernet.key": (b"Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE=", True),
    }
    for name, (data, secret) in texts.items():
        (tmp_path / name).write_bytes(data)
        assert is_secret_file(str(tmp_path / name)) is secret, name
