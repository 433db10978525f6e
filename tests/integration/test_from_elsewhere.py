"""One script that takes its data from everywhere: what each source left in the record, and what a
reproduction makes of it when the servers are gone."""

import contextlib
import io
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest

import postgres as postgres_server
import seaweed as seaweed_server
from library_http import TABLE, Library, digest, library
from thence.index.views import RunDetail
from thence.model.observed import Query, RemoteRead
from thence.model.records import FileRole, Finding
from workshop import Workshop, seal_of

CLIENTS = ("urllib", "requests", "httpx", "aiohttp", "pandas", "fsspec")
for name in (*CLIENTS[1:], "boto3", "polars", "pyarrow", "duckdb", "psycopg"):
    pytest.importorskip(name)

SELECT = "select a, b from t where a < 3 order by a"
ROWS = b'[[0,"n0"],[1,"n1"],[2,"n2"]]'

# Parts that are named on the command line are left out.
SCRIPT = """
import asyncio, hashlib, io, json, sqlite3, sys
import urllib.request
import aiohttp, boto3, duckdb, fsspec, httpx, pandas, polars, requests

BASE, ENDPOINT, BUCKET, DATABASE = json.load(open("places.json"))
found = {}

def keep(name, data):
    found[name] = hashlib.sha256(data).hexdigest()

async def by_aiohttp():
    async with aiohttp.ClientSession() as session, session.get(BASE + "aiohttp") as answer:
        return await answer.read()

keep("urllib", urllib.request.urlopen(BASE + "urllib").read())
keep("requests", requests.get(BASE + "requests").content)
keep("httpx", httpx.get(BASE + "httpx").content)
keep("aiohttp", asyncio.run(by_aiohttp()))
keep("pandas", pandas.read_csv(BASE + "pandas").to_csv(index=False).encode())
with fsspec.open(BASE + "fsspec") as file:
    keep("fsspec", file.read())

client = boto3.client("s3", endpoint_url=ENDPOINT)
keep("boto3", client.get_object(Bucket=BUCKET, Key="boto3.csv")["Body"].read())
body = client.get_object(Bucket=BUCKET, Key="read.parquet")["Body"].read()
found["polars over boto3"] = polars.read_parquet(io.BytesIO(body))["a"].sum()

if "native" not in sys.argv:
    import pyarrow.fs, pyarrow.parquet
    options = {"aws_endpoint_url": ENDPOINT, "aws_allow_http": "true", "max_retries": 0}
    frame = polars.read_parquet(f"s3://{BUCKET}/polars.parquet", storage_options=options)
    found["polars"] = frame["a"].sum()
    system = pyarrow.fs.S3FileSystem(
        endpoint_override=ENDPOINT.partition("//")[2], scheme="http", region="us-east-1")
    table = pyarrow.parquet.read_table(f"{BUCKET}/pyarrow.parquet", filesystem=system)
    found["pyarrow"] = sum(table.column("a").to_pylist())

connection = sqlite3.connect("some.db")
found["sqlite"] = connection.execute("SELECT").fetchall()
connection.close()
with duckdb.connect("some.duckdb", read_only=True) as connection:
    found["duckdb"] = connection.execute("SELECT").fetchall()
if "postgresql" not in sys.argv:
    import psycopg
    with psycopg.connect(DATABASE, connect_timeout=5) as connection:
        found["postgresql"] = connection.execute("SELECT").fetchall()

json.dump(found, open("found.json", "w"), indent=1)
""".replace("SELECT", SELECT)


class World(NamedTuple):
    """The servers."""

    http: Library
    s3: seaweed_server.S3Server
    postgres: postgres_server.Postgres
    bucket: str


@contextlib.contextmanager
def world() -> Iterator[World]:
    with library() as http, seaweed_server.seaweed() as s3, postgres_server.postgres() as base:
        for client in CLIENTS:
            http.contents[f"/{client}"] = TABLE
        bucket = s3.make_bucket("elsewhere")
        s3.client().put_object(Bucket=bucket, Key="boto3.csv", Body=TABLE)
        for key in ("read", "polars", "pyarrow"):
            s3.client().put_object(Bucket=bucket, Key=f"{key}.parquet", Body=table_of_numbers())
        import psycopg

        with psycopg.connect(base.url) as connection:
            connection.execute(
                "create table t as select g as a, 'n' || g as b from generate_series(0, 9) g"
            )
        yield World(http, s3, base, bucket)


def table_of_numbers() -> bytes:
    import pyarrow
    import pyarrow.parquet

    target = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"a": list(range(1000))}), target)
    return target.getvalue()


def prepare(workshop: Workshop, there: World) -> None:
    import sqlite3

    import duckdb

    with contextlib.closing(sqlite3.connect(workshop.root / "some.db")) as made:
        made.execute("create table t (a integer, b text)")
        made.executemany("insert into t values (?, ?)", [(one, f"n{one}") for one in range(10)])
        made.commit()
    with duckdb.connect(str(workshop.root / "some.duckdb")) as made:
        made.execute("create table t as select range a, 'n' || range b from range(10)")
    places = [there.http.url, there.s3.endpoint, there.bucket, there.postgres.url]
    workshop.write("places.json", json.dumps(places))
    # A program that signs its requests wants a name of a key, whoever checks it.
    workshop.write("thence.toml", '[capture]\nenvironment = ["AWS_ACCESS_KEY_ID", "AWS_REGION"]\n')


def check_requests(workshop: Workshop, run: RunDetail, there: World) -> None:
    reads = [one for one in workshop.project.observed(run) if isinstance(one, RemoteRead)]
    for client in CLIENTS:
        (one,) = [
            one
            for one in reads
            if one.url == there.http.url + client and one.method == "GET" and one.kept
        ]
        assert (one.via, one.status) == (client, 206 if client == "fsspec" else 200)
        assert one.etag == f'"{digest(TABLE)[:8]}"'
        assert one.digest is not None
        assert (one.digest.hex, one.size) == (digest(TABLE), len(TABLE))
    objects = {one.url.removeprefix(f"s3://{there.bucket}/"): one for one in reads}
    by_boto = objects["boto3.csv"]
    assert (by_boto.via, by_boto.status, by_boto.kept) == ("botocore", 200, True)
    assert by_boto.digest is not None
    assert by_boto.digest.hex == digest(TABLE)
    for native in ("polars", "pyarrow"):
        one = objects[f"{native}.parquet"]
        assert (one.via, one.status, one.digest, one.kept) == (native, None, None, False)


def check_queries(workshop: Workshop, run: RunDetail, there: World) -> None:
    asked = [one for one in workshop.project.observed(run) if isinstance(one, Query)]
    databases = {
        "sqlite3": str(workshop.root / "some.db"),
        "duckdb": str(workshop.root / "some.duckdb"),
        "psycopg": f"postgresql://127.0.0.1:{there.postgres.port}/postgres",
    }
    assert {one.via: one.database for one in asked} == databases
    for one in asked:
        assert (one.statement, one.rows) == (SELECT, 3)
        assert one.digest is not None
        assert one.digest.hex == sha256(ROWS).hexdigest()


def check_page(workshop: Workshop, run: RunDetail, there: World) -> None:
    page = workshop.thence("show", f"run:{run.run}").stdout
    _, _, fetched = page.partition("fetched over the network (")
    fetched, _, asked = fetched.partition("asked of databases (3)")
    lines = [line.split() for line in fetched.splitlines()]
    for client in CLIENTS:
        assert any(
            line[0] == there.http.url + client and client in line and line[-1] == "kept"
            for line in lines
            if line
        ), client
    for key in ("boto3.csv", "polars.parquet", "pyarrow.parquet"):
        assert f"s3://{there.bucket}/{key}" in fetched
    for database in ("some.db", "some.duckdb", f"127.0.0.1:{there.postgres.port}/postgres"):
        assert any(database in line and SELECT in line for line in asked.splitlines()), database


@pytest.mark.slow
def test_every_source_leaves_its_part_and_what_is_kept_is_given_back(tmp_path: Path) -> None:
    for server in (seaweed_server, postgres_server):
        if reason := server.available():
            pytest.skip(reason)
    workshop = Workshop(tmp_path / "project")
    with world() as there:
        prepare(workshop, there)
        variables = there.s3.environment
        run = workshop.script(SCRIPT, variables=variables, keep_remote=True)
        assert run.exit_code == 0, workshop.read(seal_of(run).stderr)
        kept = workshop.script(
            *(SCRIPT, "native", "postgresql"), variables=variables, keep_remote=True
        )
        assert kept.exit_code == 0, workshop.read(seal_of(kept).stderr)
        check_requests(workshop, run, there)
        check_queries(workshop, run, there)
        check_page(workshop, run, there)
        assert seal_of(run).connections == ()
        files = workshop.files(run)
        assert files["some.db"].role is files["some.duckdb"].role is FileRole.INPUT

    # Nobody answers any more.
    verdict = workshop.reproduce(f"run:{kept.run}", variables=variables)
    assert verdict.finding is Finding.REPRODUCED, verdict
    assert workshop.outcomes(verdict) == {"found.json": "identical"}
    assert verdict.missing == ()
    # What native code and databases gave is not kept, and nothing is claimed without it.
    verdict = workshop.reproduce(f"run:{run.run}", variables=variables)
    assert verdict.finding is Finding.CANNOT_BE_CHECKED, verdict
    assert f"s3://{there.bucket}/pyarrow.parquet: it was not fetched again" in verdict.missing
