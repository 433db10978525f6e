"""What the record of a run holds of what was fetched over the network."""

import importlib.util
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from library_http import TABLE, Library, digest, library
from patience import PATIENCE_S
from seaweed import S3Server
from thence.execution.supervisor import probe
from thence.index.views import RunDetail
from thence.model.observed import RemoteRead, decode_observed
from thence.model.records import FileRole, Finding
from workshop import Workshop

SENSORS = [
    pytest.param(
        "seccomp", marks=pytest.mark.skipif(probe() is not None, reason=f"no sensor: {probe()}")
    ),
    "audit-hook",
]

URLLIB = "import urllib.request\nbody = urllib.request.urlopen(URL).read()\n"
REQUESTS = "import requests\nbody = requests.get(URL).content\n"
STREAMED = """
import requests
with requests.get(URL, stream=True) as answer:
    body = b"".join(answer.iter_content(1000))
"""
HTTPX = "import httpx\nbody = httpx.get(URL, follow_redirects=True).content\n"
HTTPX_ASYNC = """
import asyncio, httpx
async def main():
    async with httpx.AsyncClient(follow_redirects=True) as client:
        return (await client.get(URL)).content
body = asyncio.run(main())
"""
AIOHTTP = """
import asyncio, aiohttp
async def main():
    async with aiohttp.ClientSession() as session, session.get(URL) as answer:
        return await answer.read()
body = asyncio.run(main())
"""
PANDAS = "import pandas\nbody = pandas.read_csv(URL).to_csv(index=False).encode()\n"
FSSPEC = "import fsspec\nwith fsspec.open(URL) as file: body = file.read()\n"

CLIENTS = [
    ("urllib", URLLIB),
    ("requests", REQUESTS),
    ("requests", STREAMED),
    ("httpx", HTTPX),
    ("httpx", HTTPX_ASYNC),
    ("aiohttp", AIOHTTP),
    ("pandas", PANDAS),
    ("fsspec", FSSPEC),
]
NAMES = [*["urllib", "requests", "streamed", "httpx", "httpx-async", "aiohttp", "pandas", "fsspec"]]
END = "\nopen('out.txt', 'w').write(str(len(body)))\n"


@pytest.fixture
def server() -> Iterator[Library]:
    with library() as found:
        yield found


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "project")


def reads(workshop: Workshop, run: RunDetail) -> list[RemoteRead]:
    assert run.sealed is not None
    if run.sealed.observed is None:
        return []
    lines = workshop.read(run.sealed.observed).splitlines()
    return [one for one in decode_observed(lines) if isinstance(one, RemoteRead)]


def only(found: list[RemoteRead], status: int = 200, method: str = "GET") -> RemoteRead:
    (one,) = [one for one in found if one.status == status and one.method == method]
    return one


def connections(run: RunDetail) -> tuple[str, ...]:
    assert run.sealed is not None
    return run.sealed.connections


def needs(name: str) -> None:
    if name in {"httpx", "aiohttp", "requests", "fsspec", "pandas"}:
        pytest.importorskip(name)
    if name == "fsspec":
        pytest.importorskip("aiohttp")


@pytest.mark.parametrize("sensor", SENSORS)
@pytest.mark.parametrize(("library_name", "script"), CLIENTS, ids=NAMES)
def test_a_client_leaves_address_status_version_and_digest(
    workshop: Workshop, server: Library, library_name: str, script: str, sensor: str
) -> None:
    needs(library_name)
    url = f"{server.url}table.csv"
    run = workshop.script(f"URL = {url!r}\n{script}{END}", sensor=sensor)
    assert run.exit_code == 0
    # fsspec asks for as much as it needs, and gets a part.
    found = only(reads(workshop, run), 206 if library_name == "fsspec" else 200)
    assert (found.url, found.via) == (url, library_name)
    assert found.etag == f'"{digest(TABLE)[:8]}"'
    assert found.version == "Tue, 01 Sep 2026 08:00:00 GMT"
    assert (found.size, found.kept) == (len(TABLE), False)
    assert found.digest is not None
    assert found.digest.hex == digest(TABLE)
    assert connections(run) == ()


@pytest.mark.parametrize(("library_name", "script"), CLIENTS[:6], ids=NAMES[:6])
def test_redirects_chunks_and_compression_are_recorded_as_they_were_sent(
    workshop: Workshop, server: Library, library_name: str, script: str
) -> None:
    needs(library_name)
    text = "".join(
        f"URL = {server.url + path!r}\n{script}" for path in ("moved", "chunked", "gzip")
    )
    run = workshop.script(text + END)
    found = {one.url.removeprefix(server.url): one for one in reads(workshop, run)}
    assert found["moved"].status == 302
    sent = {"table.csv": TABLE, "chunked": TABLE, "gzip": server.contents["/gzip"]}
    for path, data in sent.items():
        one = found[path].digest
        assert one is not None, path
        assert (one.hex, found[path].size) == (digest(data), len(data))


def test_errors_are_recorded_and_reach_the_program(workshop: Workshop, server: Library) -> None:
    script = f"""
import urllib.error, urllib.request
try:
    urllib.request.urlopen({server.url + "nothing"!r})
except urllib.error.HTTPError as error:
    body = error.read()
    assert error.code == 404 and body == b"there is no such thing"
"""
    run = workshop.script(script + END)
    assert run.exit_code == 0
    assert only(reads(workshop, run), 404).size == len(b"there is no such thing")


def test_a_body_that_is_not_read_whole_has_no_digest(workshop: Workshop, server: Library) -> None:
    script = f"""
import urllib.request
with urllib.request.urlopen({server.url + "table.csv"!r}) as answer:
    body = answer.read(100)
"""
    found = only(reads(workshop, workshop.script(script + END, keep_remote=True)))
    assert (found.digest, found.kept, found.size) == (None, False, len(TABLE))


def test_equal_fetches_are_counted(workshop: Workshop, server: Library) -> None:
    text = f"URL = {server.url + 'table.csv'!r}\n" + URLLIB * 3
    found = only(reads(workshop, workshop.script(text + END)))
    assert found.count == 3


def test_secrets_in_addresses_are_not_kept(workshop: Workshop, server: Library) -> None:
    needs("requests")
    secret = "hk3-secret-0192837465"
    script = f"""
import requests
body = requests.get(
    "http://me:pass-{secret}@127.0.0.1:{server.port}/table.csv?page=2&token={secret}",
    headers={{"Authorization": "Bearer {secret}"}},
).content
"""
    run = workshop.run(sys.executable, "-c", script + END, keep_remote=True)
    found = only(reads(workshop, run))
    assert found.url == f"{server.url}table.csv?page=2&token=<withheld>"
    assert secret not in str(reads(workshop, run))
    assert run.sealed is not None
    for use in workshop.project.run_files(f"run:{run.run}"):
        assert secret not in use.path
    assert secret.encode() not in workshop.read(run.sealed.observed)


@contextmanager
def raw_server() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with closing(connection):
                connection.sendall(b"bytes")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(timeout=10)


@pytest.mark.parametrize("sensor", SENSORS)
def test_only_connections_that_nobody_understood_are_listed(
    workshop: Workshop, server: Library, sensor: str
) -> None:
    with raw_server() as port:
        script = f"""
URL = {server.url + "table.csv"!r}
{URLLIB}
import socket
with socket.create_connection(("127.0.0.1", {port})) as sock:
    assert sock.recv(100)
"""
        run = workshop.script(script + END, sensor=sensor)
    assert run.exit_code == 0
    assert connections(run) == (f"127.0.0.1:{port}",)


def test_a_run_in_this_process_is_heard(workshop: Workshop, server: Library) -> None:
    script = f"""
import thence
URL = {server.url + "table.csv"!r}
with thence.run():
{"".join("    " + line + chr(10) for line in URLLIB.splitlines())}
"""
    workshop.write("inside.py", script)
    import subprocess

    subprocess.run([sys.executable, "inside.py"], cwd=workshop.root, check=True, timeout=PATIENCE_S)
    run = workshop.project.find_run("run:last")
    found = only(reads(workshop, run)).digest
    assert found is not None
    assert found.hex == digest(TABLE)


# --- keeping and giving back


ALL = "".join(
    f"URL = BASE + {path!r}\n{script}open({f'out-{number}-{path}'!r}, 'wb').write(body)\n"
    for number, (name, script) in enumerate(CLIENTS)
    for path in ("table.csv", "moved", "gzip")
    if all(
        importlib.util.find_spec(one) is not None
        for one in ({name} - {"urllib"}) | ({"aiohttp"} if name == "fsspec" else set())
    )
    and (name, path) not in {("pandas", "gzip"), ("fsspec", "gzip")}
)


def test_what_was_kept_is_given_back_without_the_network(
    workshop: Workshop, server: Library
) -> None:
    run = workshop.script(f"BASE = {server.url!r}\n{ALL}", keep_remote=True)
    assert run.exit_code == 0
    kept = workshop.files(run, FileRole.REMOTE)
    assert workshop.read(kept[f"{server.url}table.csv"].digest) == TABLE
    assert workshop.read(kept[f"{server.url}gzip"].digest) == server.contents["/gzip"]
    server.asked.clear()
    verdict = workshop.reproduce()
    assert server.asked == []
    assert verdict.finding is Finding.REPRODUCED, verdict
    assert verdict.missing == ()
    assert not [one for one in verdict.deviations if server.url in one or "connected" in one]


TURNS = """
import urllib.request
bodies = [urllib.request.urlopen(URL).read() for _ in range(4)]
open("out.txt", "wb").write(b"|".join(bodies))
"""


def test_several_bodies_of_one_address_are_given_back_in_order(
    workshop: Workshop, server: Library
) -> None:
    server.turns["/live"] = [b"one", b"two", b"two", b"three"]
    run = workshop.script(f"URL = {server.url + 'live'!r}\n{TURNS}", keep_remote=True)
    kept = workshop.files(run, FileRole.REMOTE)
    assert sorted(name.removeprefix(server.url) for name in kept) == [
        "live",
        "live (2)",
        "live (3)",
    ]
    server.turns["/live"] = [b"later"]
    verdict = workshop.reproduce()
    assert verdict.finding is Finding.REPRODUCED, verdict


def test_the_verdict_says_that_something_was_not_kept(workshop: Workshop, server: Library) -> None:
    script = f"""
import sys, urllib.request
urllib.request.urlopen({server.url + "table.csv"!r}).read()
part = urllib.request.urlopen({server.url + "gzip"!r}).read(10)
open("out.txt", "wb").write(part)
"""
    workshop.script(script, keep_remote=True)
    verdict = workshop.reproduce()
    assert verdict.finding is Finding.REPRODUCED, verdict
    assert f"{server.url}gzip: it is not kept, so the network was asked for it" in (
        verdict.deviations
    )


def test_the_verdict_says_that_something_changed_since(workshop: Workshop, server: Library) -> None:
    workshop.script(f"URL = {server.url + 'table.csv'!r}\n{URLLIB}{END}")
    server.contents["/table.csv"] = b"other"
    verdict = workshop.reproduce()
    assert verdict.finding is not Finding.REPRODUCED
    assert verdict.missing == (
        f"{server.url}table.csv: it has other content now than when the run fetched it",
    )


def test_a_part_is_given_back_from_what_was_kept(workshop: Workshop, server: Library) -> None:
    script = f"""
import urllib.request
asked = urllib.request.Request({server.url + "table.csv"!r}, headers={{"Range": "bytes=2-9"}})
open("out.txt", "wb").write(urllib.request.urlopen(asked).read())
"""
    run = workshop.script(script, keep_remote=True)
    assert only(reads(workshop, run), 206).part == f"bytes 2-9/{len(TABLE)}"
    server.contents.clear()
    assert workshop.reproduce().finding is Finding.REPRODUCED


# --- S3

BOTO = """
import boto3
client = boto3.client("s3", endpoint_url=ENDPOINT)
body = client.get_object(Bucket=BUCKET, Key="deep/table.csv")["Body"].read()
client.list_objects_v2(Bucket=BUCKET)
"""
POLARS = """
import polars
options = {"aws_endpoint_url": ENDPOINT, "aws_allow_http": "true"}
body = polars.read_parquet(f"s3://{BUCKET}/deep/table.parquet", storage_options=options).rows()
"""
ARROW = """
import pyarrow.fs, pyarrow.parquet
system = pyarrow.fs.S3FileSystem(
    endpoint_override=ENDPOINT.partition("//")[2], scheme="http", region="us-east-1")
assert isinstance(system, pyarrow.fs.S3FileSystem) and isinstance(system, pyarrow.fs.FileSystem)
with system.open_input_stream(f"{BUCKET}/deep/table.csv") as file:
    body = file.read()
table = pyarrow.parquet.read_table(f"{BUCKET}/deep/table.parquet", filesystem=system)
"""


@pytest.fixture(scope="module")
def bucket(seaweed: S3Server) -> str:
    import io

    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    name = seaweed.make_bucket("remote-reads")
    seaweed.client().put_object(Bucket=name, Key="deep/table.csv", Body=TABLE)
    target = io.BytesIO()
    parquet.write_table(arrow.table({"a": list(range(1000))}), target)
    seaweed.client().put_object(Bucket=name, Key="deep/table.parquet", Body=target.getvalue())
    return name


@pytest.mark.parametrize(
    ("name", "script"), [("boto3", BOTO), ("polars", POLARS), ("pyarrow", ARROW)]
)
def test_objects_in_s3_have_their_address(
    workshop: Workshop, seaweed: S3Server, bucket: str, name: str, script: str
) -> None:
    pytest.importorskip(name)
    text = f"ENDPOINT, BUCKET = {seaweed.endpoint!r}, {bucket!r}\n{script}{END}"
    run = workshop.script(text, variables=seaweed.environment)
    assert run.exit_code == 0, workshop.read(run.sealed.stderr if run.sealed else None)
    found = {one.url: one for one in reads(workshop, run)}
    csv, table = f"s3://{bucket}/deep/table.csv", f"s3://{bucket}/deep/table.parquet"
    if name == "boto3":
        one = found[csv]
        assert one.digest is not None
        assert (one.digest.hex, one.via, one.status) == (digest(TABLE), "botocore", 200)
        assert one.address == f"{seaweed.endpoint}/{bucket}/deep/table.csv"
        assert one.etag
        listed = f"s3://{bucket}?list-type=2&encoding-type=url"
        assert listed in found
    else:
        native = found[table]
        assert (native.digest, native.status, native.via) == (None, None, name)
    if name == "pyarrow":
        assert found[csv].via == "pyarrow"
    assert connections(run) == ()
    assert run.sealed is not None
    secret = seaweed.environment["AWS_SECRET_ACCESS_KEY"].encode()
    assert secret not in workshop.read(run.sealed.observed)


def test_objects_in_s3_are_given_back(workshop: Workshop, seaweed: S3Server, bucket: str) -> None:
    pytest.importorskip("boto3")
    seaweed.client().put_object(Bucket=bucket, Key="changing", Body=b"before")
    script = f"""
import boto3
client = boto3.client("s3", endpoint_url={seaweed.endpoint!r})
body = client.get_object(Bucket={bucket!r}, Key="changing")["Body"].read()
open("out.txt", "wb").write(body)
"""
    workshop.write("thence.toml", '[capture]\nenvironment = ["AWS_ACCESS_KEY_ID"]\n')
    workshop.script(script, variables=seaweed.environment, keep_remote=True)
    seaweed.client().put_object(Bucket=bucket, Key="changing", Body=b"after")
    verdict = workshop.reproduce(variables=seaweed.environment)
    assert verdict.finding is Finding.REPRODUCED, verdict
