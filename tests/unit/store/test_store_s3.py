"""What the S3 store asks, and what it makes of the answers."""

import base64
import hashlib
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore.store
import pytest

from patience import PATIENCE_S
from scripted import Answer, Asked, scripted
from serving import deaf_port
from thence.errors import AlreadyExists, Denied, InvalidInput, NotFound, StorageError, ThenceError
from thence.store.base import Store
from thence.store.bucket import BucketStore
from thence.store.clients import HTTP_OPTIONS, NO_RETRIES, Clients
from thence.store.open import open_store
from thence.store.wrap import Retry

SECRET = "hunter2-secret"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def refusal(status: int, code: str, message: str = "It said no.", more: str = "") -> Answer:
    text = (
        f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>"
    )
    return Answer(status, text.encode(), {"Content-Type": "application/xml"})


def problem(call: Callable[[Store], object], say: Callable[[Asked], Answer]) -> ThenceError:
    """The error that a call ends with; it holds no secret, also where it is printed in full."""
    with scripted(say) as server:
        store = open_store(f"s3://bucket/p?endpoint={server.url}")
        with pytest.raises(ThenceError) as caught:
            call(store)
    error = caught.value
    printed = "".join(traceback.format_exception(error)) + repr(store) + repr(error.to_dict())
    assert SECRET not in printed
    assert "TOK-VALUE" not in printed
    assert (error.why and error.hint) or isinstance(error, NotFound | AlreadyExists)
    return error


CALLS: dict[str, Callable[[Store], object]] = {
    "get": lambda store: store.get("a"),
    "get_range": lambda store: store.get_range("a", 0, 4),
    "head": lambda store: store.head("a"),
    "create": lambda store: store.create("a", [b"1"]),
    "replace": lambda store: store.replace("a", [b"1"]),
    "delete": lambda store: store.delete("a"),
    "list": lambda store: list(store.list("x/")),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (refusal(403, "InvalidAccessKeyId"), Denied, "does not know this access key"),
        (refusal(403, "SignatureDoesNotMatch"), Denied, "does not belong to the access key"),
        (
            refusal(400, "ExpiredToken", more="<Token-0>TOK-VALUE</Token-0>"),
            Denied,
            "has expired",
        ),
        (refusal(403, "AccessDenied"), Denied, "have no right to"),
        (refusal(403, "RequestTimeTooSkewed"), StorageError, "clock"),
        (refusal(404, "NoSuchBucket"), StorageError, "there is no bucket 'bucket'"),
        (
            refusal(400, "AuthorizationHeaderMalformed", "the region is wrong; expecting 'x-y-1'"),
            StorageError,
            "expecting 'x-y-1'",
        ),
        (refusal(501, "NotImplemented"), StorageError, "NotImplemented"),
    ],
    ids=lambda value: (
        value.body.decode().split("Code>")[1][:-2] if isinstance(value, Answer) else ""
    ),
)
def test_refusals_say_what_to_do(
    call: Callable[[Store], object], answer: Answer, kind: type[ThenceError], says: str
) -> None:
    error = problem(call, lambda _: answer)
    assert type(error) is kind
    assert says in str(error)
    assert not getattr(error, "transient", False)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    "answer",
    [
        refusal(503, "SlowDown"),
        refusal(500, "InternalError"),
        refusal(429, "TooManyRequests"),
        refusal(400, "RequestTimeout"),
        Answer(502, b"<html>a proxy</html>"),
    ],
    ids=["SlowDown", "InternalError", "429", "RequestTimeout", "proxy"],
)
def test_busy_services_are_asked_again_later(
    call: Callable[[Store], object], answer: Answer
) -> None:
    error = problem(call, lambda _: answer)
    assert isinstance(error, StorageError)
    assert error.transient


def test_the_library_does_not_repeat_requests_by_itself() -> None:
    with scripted(lambda _: refusal(503, "SlowDown")) as server:
        store = open_store(f"s3://bucket/p?endpoint={server.url}")
        for call in CALLS.values():
            before = len(server.asked)
            with pytest.raises(StorageError):
                call(store)
            assert len(server.asked) == before + 1


def test_two_writers_at_once_is_not_a_lost_race() -> None:
    answers = iter([refusal(409, "ConditionalRequestConflict"), Answer()])
    with scripted(lambda _: next(answers)) as server:
        store = Retry(open_store(f"s3://bucket/p?endpoint={server.url}"), sleep=lambda _: None)
        store.create("a", [b"1"])
        assert [asked.method for asked in server.asked] == ["PUT", "PUT"]


def test_create_asks_the_service_to_refuse_and_to_check() -> None:
    with scripted(lambda _: Answer()) as server:
        open_store(f"s3://bucket/team-a?endpoint={server.url}").create("x/y", [b"12", b"3"])
    (asked,) = server.asked
    digest = hashlib.sha256(b"123").digest()
    assert (asked.method, asked.path, asked.body) == ("PUT", "/bucket/team-a/x/y", b"123")
    headers = {name.lower(): value for name, value in asked.headers.items()}
    assert headers["if-none-match"] == "*"
    assert headers["x-amz-checksum-sha256"] == base64.b64encode(digest).decode()
    assert headers["x-amz-content-sha256"] == digest.hex()
    assert "AKIAEXAMPLE" in headers["authorization"]


def test_a_create_that_lost_is_told_so() -> None:
    def say(asked: Asked) -> Answer:
        return refusal(412, "PreconditionFailed") if asked.method == "PUT" else Answer(body=b"1")

    assert type(problem(CALLS["create"], say)) is AlreadyExists


@pytest.mark.parametrize("name", ["get", "get_range"])
def test_an_object_that_is_missing(name: str) -> None:
    assert type(problem(CALLS[name], lambda _: refusal(404, "NoSuchKey"))) is NotFound


def test_head_asks_once_more_to_tell_a_missing_object_from_a_missing_bucket() -> None:
    with scripted(lambda _: refusal(404, "NoSuchKey")) as server:
        store = open_store(f"s3://bucket/p?endpoint={server.url}")
        assert store.head("a") is None
        assert store.head("b") is None
        assert [asked.method for asked in server.asked] == ["HEAD", "GET", "HEAD"]


# --- answers that are cut short


def short(asked: Asked) -> Answer:
    """The connection ends before all was said."""
    ranged = "Range" in asked.headers or "range" in asked.headers
    return Answer(
        206 if ranged else 200,
        b"01",
        {"Content-Range": "bytes 0-3/10"} if ranged else {},
        promised=4 if ranged else 10,
    )


def shortened(asked: Asked) -> Answer:
    """A proxy that gives less than was asked for, with a head that fits."""
    return Answer(206, b"01", {"Content-Range": "bytes 0-1/10"})


@pytest.mark.parametrize("name", ["get", "get_range"])
def test_an_answer_that_ends_early_is_never_taken_for_the_whole(name: str) -> None:
    error = problem(CALLS[name], short)
    assert isinstance(error, StorageError)
    assert error.transient
    assert "ended before the answer was complete" in error.why


def test_a_range_that_is_shorter_than_it_must_be_is_not_taken() -> None:
    error = problem(CALLS["get_range"], shortened)
    assert isinstance(error, StorageError)
    assert error.transient
    assert "cut short" in error.why


def test_a_service_that_ignores_ranges_is_read_whole() -> None:
    with scripted(lambda _: Answer(200, b"0123456789")) as server:
        store = open_store(f"s3://bucket?endpoint={server.url}")
        assert store.get_range("a", 2, 3) == b"234"
        assert store.get_range("a", -2, 3) == b"89"


@pytest.mark.parametrize("name", ["get", "get_range", "create"])
def test_silence_ends_a_request(name: str) -> None:
    def say(asked: Asked) -> Answer:
        ranged = "range" in {header.lower() for header in asked.headers}
        head = {"Content-Range": "bytes 0-3/10"} if ranged else {}
        return Answer(206 if ranged else 200, b"0123", head, silent=True)

    with scripted(say) as server:
        http: Any = {**HTTP_OPTIONS, "allow_http": True, "read_timeout": "200ms"}
        client = obstore.store.S3Store(
            "bucket",
            endpoint=server.url,
            client_options=http,
            retry_config=NO_RETRIES,
        )
        store = BucketStore(lambda: Clients(client, client), url="s3://bucket", bucket="bucket")
        with pytest.raises(StorageError, match="stopped answering") as caught:
            CALLS[name](store)
    assert caught.value.transient


# --- no answer at all


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_nobody_there(call: Callable[[Store], object]) -> None:
    with deaf_port() as port:
        store = open_store(f"s3://bucket/p?endpoint=http://127.0.0.1:{port}")
        with pytest.raises(StorageError, match="Nobody listens") as caught:
            call(store)
    # A wrong address should be told at once, and not after a minute of retries.
    assert not caught.value.transient


def test_a_server_that_went_away_is_tried_again() -> None:
    with scripted(lambda _: Answer(200, b"1")) as server:
        store = open_store(f"s3://bucket/p?endpoint={server.url}")
        assert store.get("a") == b"1"
    with pytest.raises(StorageError) as caught:
        store.get("a")
    assert caught.value.transient


def test_a_server_without_tls() -> None:
    with scripted(lambda _: Answer()) as server:
        store = open_store(f"s3://bucket?endpoint={server.url.replace('http:', 'https:')}")
        with pytest.raises(StorageError, match="does not speak TLS") as caught:
            store.get("a")
    assert "http://" in caught.value.hint
    assert not caught.value.transient


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_server_that_does_not_speak_s3_is_not_an_empty_store(
    call: Callable[[Store], object],
) -> None:
    error = problem(call, lambda _: Answer(404, b"<html>Not here</html>"))
    assert isinstance(error, StorageError)
    assert "does not speak S3" in error.why


def test_a_process_that_was_forked_says_so_instead_of_hanging() -> None:
    code = """
import os, sys
from thence.errors import StorageError
from thence.store.open import open_store
store = open_store(sys.argv[1])
store.get("a")
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
for again in (store, open_store(sys.argv[1])):
    try:
        again.get("a")
    except StorageError as error:
        assert "forked" in error.why
        assert not error.transient
    else:
        os._exit(1)
os._exit(0)
"""
    with scripted(lambda _: Answer(200, b"1")) as server:
        command = [sys.executable, "-c", code, f"s3://bucket?endpoint={server.url}"]
        subprocess.run(command, check=True, timeout=PATIENCE_S)


# --- settings


def opened(url: str) -> Asked:
    """The request of a store that was opened at `url`, with the address of a server in it."""
    with scripted(lambda _: Answer(200, b"1")) as server:
        open_store(url.format(server.url)).get("a")
    return server.asked[0]


def test_the_endpoint_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(lambda _: Answer(200, b"1")) as server, scripted(lambda _: Answer()) as other:
        monkeypatch.setenv("AWS_ENDPOINT_URL", other.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        assert open_store("s3://bucket").get("a") == b"1"
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", other.url)
        assert open_store(f"s3://bucket?endpoint={server.url}").get("a") == b"1"
    assert len(server.asked) == 2
    assert not other.asked


def test_the_region_is_signed() -> None:
    assert "/us-east-1/s3/" in opened("s3://bucket?endpoint={}").headers["authorization"]
    asked = opened("s3://bucket?endpoint={}&region=xy-west-7")
    assert "/xy-west-7/s3/" in asked.headers["authorization"]


def test_profiles_give_keys_region_and_endpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with scripted(lambda _: Answer(200, b"1")) as server:
        (tmp_path / "config").write_text(
            "[profile team]\nregion = xy-north-1\nservices = ours\n"
            f"[services ours]\ns3 =\n  endpoint_url = {server.url}\n"
        )
        (tmp_path / "keys").write_text(
            "[team]\naws_access_key_id = TEAMKEY\naws_secret_access_key = s\n"
        )
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
        assert open_store("s3://bucket?profile=team").get("a") == b"1"
        with pytest.raises(InvalidInput, match="no AWS profile 'tema'") as caught:
            open_store("s3://bucket?profile=tema")
    assert "team" in caught.value.why
    authorization = server.asked[0].headers["authorization"]
    assert "TEAMKEY" in authorization
    assert "/xy-north-1/s3/" in authorization


def test_a_program_may_give_the_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    program = tmp_path / "program"
    program.write_text(
        '#!/bin/sh\necho "{\\"Version\\": 1, \\"AccessKeyId\\": \\"PROGRAMKEY\\", '
        '\\"SecretAccessKey\\": \\"s\\", \\"SessionToken\\": \\"t\\", '
        '\\"Expiration\\": \\"2099-01-01T00:00:00Z\\"}"\n'
    )
    program.chmod(0o755)
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert "PROGRAMKEY" in opened("s3://bucket?endpoint={}").headers["authorization"]

    program.write_text(f"#!/bin/sh\necho {SECRET} >&2; exit 1\n")
    with pytest.raises(Denied, match="cannot get credentials") as caught:
        open_store("s3://bucket")
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_an_authority_of_ones_own_is_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with pytest.raises(NotFound, match="cannot read the certificates"):
        open_store("s3://bucket")
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(InvalidInput, match=r"cannot use .*: its settings are refused"):
        open_store("s3://bucket").get("a")


def test_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(Denied, match="there are no credentials") as caught:
        open_store("s3://bucket")
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint
    assert "?profile=" in caught.value.hint


def test_nonsense_in_options() -> None:
    for url in (
        "s3://bucket?addressing=diagonal",
        "s3://bucket?endpoint=example.org",
        "s3://bucket?endpoint=http://[::",
    ):
        with pytest.raises(InvalidInput):
            open_store(url)
