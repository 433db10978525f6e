"""What is said when a bucket cannot be used: what happened, why, what to do; and soon."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

import scripted
import wire
from seaweed import READER, STRANGER, S3Server
from thence.project import Project

# What cannot heal is told at once; a minute would be the budget of what can. Loaded machines are
# slow to start Python.
_SOON_S = 120


class Said(NamedTuple):
    """How a command ended."""

    status: int
    what: str
    why: str
    hint: str


class Shared(NamedTuple):
    """A project in a bucket, a folder that works in it, and a clone in which something waits."""

    bucket: str
    url: str
    folder: Path
    clone: Path


def call(folder: Path, *arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.run(
        [sys.executable, "-m", "thence", *arguments],
        cwd=folder,
        env={**clean, **env},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def refused(folder: Path, *arguments: str, env: Mapping[str, str], soon_s: float = _SOON_S) -> Said:
    """The three lines of a command that fails, which hold no secret."""
    begun = time.monotonic()
    done = call(folder, *arguments, env=env)
    assert time.monotonic() - begun < soon_s
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stderr
    for name, value in env.items():
        if "SECRET" in name or "TOKEN" in name:
            assert value not in done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 3, done.stderr
    what, why, hint = lines
    assert what.startswith("thence: ")
    return Said(done.returncode, what.removeprefix("thence: "), why.strip(), hint.strip())


@pytest.fixture(scope="module")
def shared(seaweed: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    bucket = seaweed.make_bucket("bucket-errors")
    url = seaweed.url(bucket, "team")
    root = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in seaweed.environment.items():
            patched.setenv(name, value)
        yield make_shared(bucket, url, root)


def make_shared(bucket: str, url: str, root: Path) -> Shared:
    home = Project.init(root / "folder", store=url)
    (home.root / "data.csv").write_text("a\n1\n")
    home.save_paths([home.root / "data.csv"])
    clone, _ = Project.clone(url, root / "clone")
    (clone.root / "data.csv").write_text("a\n2\n")
    clone.save_paths([clone.root / "data.csv"])
    (home.root / "data.csv").write_text("a\n3\n")
    for project in (home, clone):
        project.site.index.close()
    return Shared(bucket, url, home.root, clone.root)


def commands(shared: Shared, empty: Path) -> list[tuple[Path, list[str]]]:
    """All that goes to the bucket."""
    return [
        (empty, ["init", "--store", shared.url]),
        (empty, ["clone", shared.url, "copy"]),
        (shared.folder, ["save", "data.csv"]),
        (shared.folder, ["ls"]),
        (shared.folder, ["get", "data.csv", "got.csv"]),
        (shared.clone, ["push"]),
        (shared.clone, ["pull"]),
    ]


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong-secret-987"}, ("secret key does not", "credentials")),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, ("does not know this access key", "credentials")),
        (STRANGER.environment, ("no right to read", "Ask the owner")),
    ],
    ids=["secret", "key", "rights"],
)
def test_credentials_that_do_not_fit(
    seaweed: S3Server,
    shared: Shared,
    tmp_path: Path,
    change: dict[str, str],
    texts: tuple[str, str],
) -> None:
    why, hint = texts
    env = {**seaweed.environment, **change}
    for folder, command in commands(shared, tmp_path):
        said = refused(folder, *command, env=env)
        assert said.status == 1
        assert shared.url in said.what
        assert why in said.why
        assert hint in said.hint
    assert list(tmp_path.iterdir()) == []  # nothing half-made, and so nothing in the way


def test_no_credentials_at_all(shared: Shared, tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    said = refused(tmp_path, "init", "--store", shared.url, env=env)
    assert said.what == f"there are no credentials for {shared.url}"
    assert "AWS_ACCESS_KEY_ID" in said.hint


def test_credentials_that_may_only_read(seaweed: S3Server, shared: Shared, tmp_path: Path) -> None:
    env = READER.environment
    new = seaweed.url(shared.bucket, "another")
    for folder, command in [
        (tmp_path, ["init", "--store", new]),
        (shared.folder, ["save", "data.csv"]),
        (shared.clone, ["push"]),
        (shared.clone, ["mirror", seaweed.url(shared.bucket, "copy")]),
    ]:
        said = refused(folder, *command, env=env)
        assert said.status == 1
        assert said.what.startswith("no right to write to s3://bucket-errors/")
        assert said.why == "The credentials are valid but have no right to write here."
        assert "s3:PutObject" in said.hint
    assert list(tmp_path.iterdir()) == []
    for arguments in (["clone", shared.url, "copy"], ["init", "--store", shared.url]):
        done = call(tmp_path, *arguments, env=env)
        assert done.returncode == 0, done.stderr
    listed = call(tmp_path, "ls", env=env)
    assert "data.csv" in listed.stdout


def test_an_expired_token(shared: Shared, seaweed: S3Server, tmp_path: Path) -> None:
    body = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message>"

    def say(asked: scripted.Asked) -> scripted.Answer:
        return scripted.Answer(400, body + b"</Error>", {"Content-Type": "application/xml"})

    env = {**seaweed.environment, "AWS_SESSION_TOKEN": "session-token-abc"}
    with scripted.scripted(say) as server:
        url = f"s3://{shared.bucket}/team?endpoint={server.url}"
        for arguments in (["init", "--store", url], ["clone", url, "copy"]):
            said = refused(tmp_path, *arguments, env=env)
            assert "token has expired" in said.why
            assert "aws sso login" in said.hint
    assert list(tmp_path.iterdir()) == []


def test_a_service_that_cannot_be_reached(
    shared: Shared, seaweed: S3Server, tmp_path: Path
) -> None:
    secure = seaweed.endpoint.replace("http://", "https://")
    for endpoint, why, hint in [
        ("http://127.0.0.1:1", "Nobody listens", "server is running"),
        ("http://no-such-host.invalid", "name of the server cannot be found", "online"),
        (secure, "does not speak TLS", "http:// instead of https://"),
    ]:
        url = f"s3://{shared.bucket}/team?endpoint={endpoint}"
        for arguments in (["init", "--store", url], ["clone", url, "copy"]):
            said = refused(tmp_path, *arguments, env=seaweed.environment)
            assert said.status == 1
            assert why in said.why
            assert hint in said.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_bucket_that_is_not_there_or_not_any_more(seaweed: S3Server, tmp_path: Path) -> None:
    env = seaweed.environment
    missing = seaweed.url("never-made", "team")
    for arguments in (["init", "--store", missing], ["clone", missing, "copy"]):
        said = refused(tmp_path, *arguments, env=env)
        assert (said.status, said.what) == (1, "there is no bucket 'never-made'")
        assert "Check the spelling" in said.hint
    assert list(tmp_path.iterdir()) == []

    gone = seaweed.make_bucket("soon-gone")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in env.items():
            patched.setenv(name, value)
        shared = make_shared(gone, seaweed.url(gone, "team"), tmp_path)
    client = seaweed.client()
    for item in client.list_objects_v2(Bucket=gone)["Contents"]:
        client.delete_object(Bucket=gone, Key=item["Key"])
    client.delete_bucket(Bucket=gone)
    for folder, command in commands(shared, tmp_path)[2:]:
        said = refused(folder, *command, env=env)
        assert said.what == "there is no bucket 'soon-gone'"
    # What waited in the clone waits there still.
    assert "data.csv@local.1" in call(shared.clone, "outbox", "list", env=env).stdout


@pytest.mark.parametrize("garbage", [b"\0not json", b"<html>Log in</html>", b"{}", b""])
def test_something_else_is_where_the_project_should_be(
    seaweed: S3Server, shared: Shared, tmp_path: Path, garbage: bytes
) -> None:
    prefix = f"garbage-{garbage.hex()}"
    seaweed.client().put_object(Bucket=shared.bucket, Key=f"{prefix}/project.json", Body=garbage)
    url = seaweed.url(shared.bucket, prefix)
    for arguments in (["init", "--store", url], ["clone", url, "copy"]):
        said = refused(tmp_path, *arguments, env=seaweed.environment)
        assert said.status == 6
        assert said.what == f"project.json of {url} cannot be read"
        assert "codec" not in said.why
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_home_holds_another_project(seaweed: S3Server, tmp_path: Path) -> None:
    bucket = seaweed.make_bucket("exchanged")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in seaweed.environment.items():
            patched.setenv(name, value)
        shared = make_shared(bucket, seaweed.url(bucket, "team"), tmp_path)
        Project.init(tmp_path / "other", store=seaweed.url(bucket, "other"))
    client = seaweed.client()
    other = client.get_object(Bucket=bucket, Key="other/project.json")["Body"].read()
    client.put_object(Bucket=bucket, Key="team/project.json", Body=other)
    for folder, command in commands(shared, tmp_path)[2:]:
        said = refused(folder, *command, env=seaweed.environment)
        assert said.status == 5
        assert "holds another project than this folder" in said.what


@pytest.fixture
def broken(seaweed: S3Server) -> Iterator[wire.Wire]:
    with wire.wire_to(int(seaweed.endpoint.rpartition(":")[2])) as made:
        yield made


@pytest.mark.slow
def test_a_proxy_that_cuts_answers_short(
    seaweed: S3Server, shared: Shared, broken: wire.Wire, tmp_path: Path
) -> None:
    """What happens once is healed by asking again, what happens always is told."""
    env = seaweed.environment
    prefix = seaweed.url(shared.bucket, "cut-short")
    home = tmp_path / "home"
    home.mkdir()
    (home / "noise.bin").write_bytes(os.urandom(200_000))
    for arguments in (["init", "--store", prefix], ["save", "noise.bin"]):
        assert call(home, *arguments, env=env).returncode == 0
    url = f"s3://{shared.bucket}/cut-short?endpoint={broken.url}"
    # In the head of an answer, and in its body.
    for part, keep in (("project.json", 100), ("/packs/", 20_000)):

        def concerned(line: str, part: str = part) -> bool:
            return line.startswith("GET ") and part in line

        broken.mend()
        broken.truncate_answers(concerned, keep=keep)
        done = call(tmp_path, "clone", url, f"healed-{keep}", env=env)
        assert done.returncode == 0, done.stderr
        assert len(broken.lost) == 1
        noise = tmp_path / f"got-{keep}"
        got = call(tmp_path / f"healed-{keep}", "get", "noise.bin", str(noise), env=env)
        assert got.returncode == 0, got.stderr
        assert noise.read_bytes() == (home / "noise.bin").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_proxy_that_always_cuts_answers_short(
    seaweed: S3Server, shared: Shared, broken: wire.Wire, tmp_path: Path
) -> None:
    """It takes the minute for which thence goes on trying, and then says what it met."""
    env = seaweed.environment
    prefix = seaweed.url(shared.bucket, "cut-always")
    home = tmp_path / "home"
    home.mkdir()
    (home / "noise.bin").write_bytes(os.urandom(200_000))
    for arguments in (["init", "--store", prefix], ["save", "noise.bin"]):
        assert call(home, *arguments, env=env).returncode == 0
    url = f"s3://{shared.bucket}/cut-always?endpoint={broken.url}"
    broken.truncate_answers(lambda line: "/packs/" in line, keep=20_000, times=1_000_000)
    said = refused(tmp_path, "clone", url, "copy", env=env, soon_s=230)
    assert said.status == 1
    assert "packs/" in said.what
    assert "cut short" in said.why or "ended before the answer was complete" in said.why
    assert "Repeat the command" in said.hint
    broken.mend()
    done = call(tmp_path, "clone", url, "copy", env=env)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("no small disk can be mounted here: that takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
def test_a_disk_that_gets_full(seaweed: S3Server, small_disk: Path, tmp_path: Path) -> None:
    env = {**seaweed.environment, "TMPDIR": str(tmp_path)}
    url = seaweed.url(seaweed.make_bucket("full-disk"), "team")
    home = tmp_path / "home"
    home.mkdir()
    noise = os.urandom(5_000_000)
    (home / "noise.bin").write_bytes(noise)
    for arguments in (["init", "--store", url], ["save", "noise.bin"]):
        assert call(home, *arguments, env=env).returncode == 0

    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(13_000_000))
    said = refused(small_disk, "clone", url, "copy", env=env)
    assert (said.status, said.what) == (1, "the disk is full")
    assert "Free some space" in said.hint
    ballast.unlink()
    done = call(small_disk, "clone", url, "copy", env=env)
    assert done.returncode == 0, done.stderr

    (home / "noise.bin").write_bytes(noise[::-1])
    assert call(home, "save", "noise.bin", env=env).returncode == 0
    free = os.statvfs(small_disk)
    ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - 1_500_000))
    clone = small_disk / "copy"
    said = refused(clone, "pull", env=env)
    assert (said.status, said.what) == (1, "the disk is full")
    said = refused(clone, "get", "noise.bin@v1", "got.bin", env=env)
    assert (said.status, said.what) == (1, "the disk is full")
    assert not (clone / "got.bin").exists()
    ballast.unlink()
    assert call(clone, "get", "noise.bin@v1", str(tmp_path / "got"), env=env).returncode == 0
    assert (tmp_path / "got").read_bytes() == noise
    done = call(clone, "pull", env=env)
    assert done.returncode == 0, done.stderr
