"""What programs are heard to fetch: addresses, bodies, kept answers, and what becomes of notes."""

import gzip
import hashlib
import json
import marshal
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thence.execution.capture.queries import read_queries
from thence.execution.capture.remote import file_names, read_remote, remote_plan
from thence.execution.inside.addresses import (
    key_of,
    peer_text,
    s3_address,
    told_header,
    without_secrets,
)
from thence.execution.inside.bodies import Body, Dechunked
from thence.execution.inside.http import _Passing
from thence.execution.inside.replay import INDEX, Replay


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://me:pw@host/a?b=1#c", "https://host/a?b=1"),
        ("https://host/a?token=x&b=1", "https://host/a?token=<withheld>&b=1"),
        ("https://host/a?X-Amz-Signature=x", "https://host/a?X-Amz-Signature=<withheld>"),
        ("https://host/a?api_key=x", "https://host/a?api_key=<withheld>"),
        ("https://host/a@b?max_keys=5", "https://host/a@b?max_keys=5"),
        ("http://[::1]:80/a", "http://[::1]:80/a"),
        ("https://host/a?jwt=x&sig=y", "https://host/a?jwt=<withheld>&sig=<withheld>"),
        (
            "https://host/a?Policy=x&Signature=y&Key-Pair-Id=z&Expires=1",
            "https://host/a?Policy=<withheld>&Signature=<withheld>&Key-Pair-Id=<withheld>&Expires=1",
        ),
        ("https://host/a?policy=strict&pages=2", "https://host/a?policy=strict&pages=2"),
        ("https://host/a?author=ada&code=utf-8", "https://host/a?author=ada&code=<withheld>"),
        (
            "https://host/a?X-Amz-Credential=x&X-Amz-Security-Token=y&X-Amz-Expires=60",
            "https://host/a?X-Amz-Credential=<withheld>&X-Amz-Security-Token=<withheld>"
            "&X-Amz-Expires=60",
        ),
        ("s3://me:pw@bucket/key", "s3://bucket/key"),
    ],
)
def test_addresses_lose_their_secrets(url: str, clean: str) -> None:
    assert without_secrets(url) == clean


def test_headers_lose_the_secrets_of_addresses_in_them() -> None:
    assert told_header("location", "/next?page=2&jwt=abc#top") == "/next?page=2&jwt=<withheld>"
    links = '<https://h/a?page=2&sig=x>; rel="next", <https://h/a?page=9>; rel="last"'
    assert told_header("link", links) == (
        '<https://h/a?page=2&sig=<withheld>>; rel="next", <https://h/a?page=9>; rel="last"'
    )
    assert told_header("content-disposition", "attachment; filename=a?b=c#d") == (
        "attachment; filename=a?b=c#d"
    )


def test_signed_addresses_of_the_same_are_the_same() -> None:
    cut = "https://d.cloudfront.net/a?v=1&Policy=p&Signature=s&Key-Pair-Id=k"
    assert key_of(cut) == key_of(without_secrets(cut)) == "https://d.cloudfront.net/a?v=1"
    first = "https://b.s3.amazonaws.com/k?X-Amz-Date=1&X-Amz-Signature=2&versionId=3"
    second = "https://b.s3.amazonaws.com/k?X-Amz-Date=4&X-Amz-Signature=5&versionId=3"
    assert key_of(first) == key_of(second) == "https://b.s3.amazonaws.com/k?versionId=3"
    assert key_of(without_secrets(first)) == key_of(first)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("https://bucket.s3.eu-west-1.amazonaws.com/a/b", "s3://bucket/a/b"),
        ("https://my.bucket.s3.amazonaws.com/a", "s3://my.bucket/a"),
        ("https://s3.eu-west-1.amazonaws.com/bucket/a", "s3://bucket/a"),
        ("https://s3-eu-west-1.amazonaws.com/bucket/a", "s3://bucket/a"),
        ("http://127.0.0.1:8333/bucket/a?versionId=1", "s3://bucket/a?versionId=1"),
        ("http://bucket.files.example.com:9000/a", "s3://bucket/a"),
        ("http://127.0.0.1:8333/", None),
    ],
)
def test_objects_in_s3_are_recognised(url: str, named: str | None) -> None:
    headers = {"x-amz-request-id": "1"}
    assert s3_address(url, headers, ("files.example.com",)) == named
    assert s3_address(url, {}) is None


def test_peers_are_written_as_sensors_write_them() -> None:
    assert peer_text(("127.0.0.1", 80)) == "127.0.0.1:80"
    assert peer_text(("::1", 80, 0, 0)) == "[::1]:80"
    assert peer_text("/run/socket") == ""


def _body(told: list[dict[str, Any]], path: str = "") -> Body:
    return Body(1, lambda kind, **fields: told.append(fields), lambda f, a: f(a), path)


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 50))
def test_chunks_are_put_together_wherever_they_are_cut(chunks: list[bytes], step: int) -> None:
    told: list[dict[str, Any]] = []
    sent = b"".join(b"%x;name=value\r\n%b\r\n" % (len(c), c) for c in chunks if c) + b"0\r\n\r\n"
    reader = Dechunked(_body(told))
    for at in range(0, len(sent), step):
        reader.feed(sent[at : at + step])
    whole = b"".join(chunks)
    (one,) = told
    assert (one["size"], one["digest"]) == (len(whole), hashlib.sha256(whole).hexdigest())


def test_a_body_that_was_not_read_whole_leaves_nothing(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    body = _body(told, str(tmp_path / "kept"))
    body.feed(b"some" * 20_000)
    assert (tmp_path / "kept").exists()
    del body
    assert not (tmp_path / "kept").exists()
    assert told == []


@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (3,), (2, 2)])
def test_programs_read_into_buffers_of_every_form(shape: tuple[int, ...]) -> None:
    class File:
        def readinto(self, buffer: Any) -> int:
            return min(3, memoryview(buffer).nbytes)

        readinto1 = readinto

    class Response:
        chunked, length = False, 10

    told: list[dict[str, Any]] = []
    body = _body(told)
    passing = _Passing(File(), body, Response())
    buffer = np.zeros(shape, dtype=np.float64)
    assert passing.readinto(buffer) == min(3, buffer.nbytes)
    assert passing.readinto1(buffer) == min(3, buffer.nbytes)
    body.end()
    assert told[0]["size"] == 2 * min(3, buffer.nbytes)


def test_a_fork_leaves_the_body_of_its_parent_alone(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    body = _body(told, str(tmp_path / "kept"))
    body.feed(b"one " * 20_000)
    child = os.fork()
    if child == 0:
        body.feed(b"other ")
        body.end()
        os._exit(len(told))
    assert os.waitpid(child, 0)[1] == 0
    body.feed(b"two")
    body.end()
    assert (tmp_path / "kept").read_bytes() == b"one " * 20_000 + b"two"
    assert [one["size"] for one in told] == [80_003]


SECRET = "q7Rm2Lk9" + "Zp4Wd8Xs1Vb6Nc3Tf5Gh"
CREDENTIALS = {
    "AWS": {"Code": "Success", "SecretAccessKey": SECRET, "Token": SECRET},
    "OAuth": {"token_type": "Bearer", "access_token": SECRET, "expires_in": 3599},
    "service account": {"private_key": "-----BEGIN PRIVATE KEY-----\\nabc"},
}


@pytest.mark.parametrize(
    "data",
    [
        *(json.dumps(one).encode() for one in CREDENTIALS.values()),
        *(
            gzip.compress(json.dumps(one, indent=1).encode(), mtime=0)
            for one in CREDENTIALS.values()
        ),
        f"<Credentials><SecretAccessKey>{SECRET}</SecretAccessKey></Credentials>".encode(),
        f"scope=repo&access_token={SECRET}&token_type=bearer".encode(),
    ],
)
def test_bodies_that_give_credentials_are_not_written(data: bytes, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    body = Body(
        1,
        lambda kind, **fields: told.append(fields),
        lambda f, a: f(a),
        str(tmp_path / "kept"),
        "https://h/token",
    )
    for at in range(0, len(data), 20):
        body.feed(data[at : at + 20])
        assert not (tmp_path / "kept").exists()
    body.end()
    assert not (tmp_path / "kept").exists()
    assert told == [{"id": 1, "size": len(data), "withheld": "https://h/token"}]


def test_what_services_tell_machines_about_themselves_is_not_written(tmp_path: Path) -> None:
    for host in ("169.254.169.254", "metadata.google.internal:80", "[fd00:ec2::254]"):
        told: list[dict[str, Any]] = []
        url = f"http://{host}/latest/anything"
        body = Body(
            1,
            lambda kind, told=told, **fields: told.append(fields),
            lambda f, a: f(a),
            str(tmp_path / "kept"),
            url,
        )
        body.feed(b"x" * 100_000)
        body.end()
        assert not (tmp_path / "kept").exists()
        assert told == [{"id": 1, "size": 100_000, "withheld": url}]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"access_token": "<your token>", "max_tokens": 512}',
        b'{"token": "Donaudampfschifffahrt", "tokens": ["a"], "key": "0123456789abcdef0"}',
        b"a,access_token\n1,2\n",
        b"x" * 200_000,
    ],
)
@pytest.mark.parametrize("step", [7, 50_000])
def test_other_bodies_are_kept(data: bytes, step: int, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    body = _body(told, str(tmp_path / "kept"))
    for at in range(0, len(data), step):
        body.feed(data[at : at + step])
    body.end()
    assert (tmp_path / "kept").read_bytes() == data
    assert told[0]["digest"] == hashlib.sha256(data).hexdigest()


def _entry(**fields: Any) -> dict[str, Any]:
    plain = {"method": "GET", "status": 200, "headers": {}, "part": "", "file": "0", "count": 1}
    return {**plain, "size": 10, **fields}


def _replay(folder: Path, index: dict[str, list[dict[str, Any]]]) -> Replay:
    (folder / "0").write_bytes(b"0123456789")
    (folder / "1").write_bytes(b"later")
    (folder / INDEX).write_bytes(marshal.dumps(index, 2))
    return Replay(str(folder))


def test_parts_are_cut_from_what_is_kept(tmp_path: Path) -> None:
    replay = _replay(tmp_path, {"http://a/b": [_entry()]})
    for wanted, expected in [
        ("bytes=2-4", b"234"),
        ("bytes=7-", b"789"),
        ("bytes=-2", b"89"),
        ("bytes=5-99", b"56789"),
        ("", b"0123456789"),
    ]:
        answer = replay.find("GET", "http://a/b?token=other", wanted)
        assert answer is not None
        assert b"".join(answer.pieces()) == expected
        assert answer.status == (206 if wanted else 200)
    assert replay.find("GET", "http://a/b", "bytes=20-30") is None
    assert replay.find("POST", "http://a/b") is None
    assert replay.find("GET", "http://a/other") is None


def test_a_kept_part_does_not_stand_for_the_whole(tmp_path: Path) -> None:
    part = _entry(status=206, part="bytes 100-109/1000")
    replay = _replay(tmp_path, {"http://a/b": [part]})
    answer = replay.find("GET", "http://a/b", "bytes=102-104")
    assert answer is not None
    assert b"".join(answer.pieces()) == b"234"
    assert ("content-range", "bytes 102-104/1000") in answer.headers
    assert replay.find("GET", "http://a/b") is None


def test_answers_are_given_in_their_order_to_all_processes(tmp_path: Path) -> None:
    index = {"http://a/b": [_entry(count=2), _entry(file="1", size=5)]}
    readers = [_replay(tmp_path, index), _replay(tmp_path, index)]
    found = []
    for turn in range(5):
        answer = readers[turn % 2].find("GET", "http://a/b")
        assert answer is not None
        found.append(b"".join(answer.pieces()))
    assert found == [b"0123456789", b"0123456789", b"later", b"later", b"later"]


def _note(number: int, url: str = "http://a/b", **fields: Any) -> dict[str, Any]:
    return {"kind": "remote", "pid": 1, "id": number, "url": url, "status": 200, **fields}


def _end(number: int, text: bytes, file: str = "") -> dict[str, Any]:
    digest = hashlib.sha256(text).hexdigest()
    fields = {"size": len(text), "digest": digest, "file": file}
    return {"kind": "remote-body", "pid": 1, "id": number, **fields}


def test_answers_and_bodies_find_each_other(tmp_path: Path) -> None:
    assert remote_plan(tmp_path) == {}
    (tmp_path / "bodies").mkdir()
    for name in ("1-1", "1-2", "1-3"):
        (tmp_path / "bodies" / name).write_bytes(name.encode())
    notes = [
        _note(1, headers={}, peer="127.0.0.1:80"),
        _note(2, headers={}),
        _end(2, b"two", "1-2"),
        _end(1, b"one", "1-1"),
        _note(3, headers={}),
        _end(3, b"one", "1-3"),
        _note(4, headers={}),
        _end(4, b"x", "../../etc/passwd"),
        _end(9, b"nobody asked"),
    ]
    found = read_remote(notes, tmp_path)
    assert [one.size for one in found.reads] == [3, 3, 3, 1]
    assert file_names(found.reads) == ["http://a/b", "http://a/b (2)", "http://a/b", None]
    assert {name: path.name for name, path in found.bodies.items()} == {
        "http://a/b": "1-3",
        "http://a/b (2)": "1-2",
    }
    assert found.peers == ("127.0.0.1:80",)


def test_notes_that_are_not_ours_are_passed_over(tmp_path: Path) -> None:
    odd: list[dict[str, Any]] = [
        {"kind": "remote"},
        {"kind": "remote", "url": 5},
        {"kind": "remote-body", "digest": "nonsense"},
        _note(1, status="many", size=[], etag={}, headers="none"),
        {**_end(1, b""), "digest": "nonsense"},
    ]
    (one,) = read_remote(odd, tmp_path).reads
    assert (one.status, one.size, one.digest, one.kept) == (None, 0, None, False)
    odd = [{"kind": "query"}, {"kind": "query", "statement": "s", "digest": 3, "count": "x"}]
    (query,) = read_queries(odd).queries
    assert (query.statement, query.digest, query.count) == ("s", None, 1)


def test_queries_are_added_up_over_processes() -> None:
    plain = {"kind": "query", "statement": "select a", "database": "d", "via": "v", "rows": 1}
    notes = [
        {**plain, "pid": pid, "count": count} for pid, count in [(1, 1), (1, 2), (2, 1), (1, 3)]
    ]
    (one,) = read_queries(notes).queries
    assert one.count == 4
