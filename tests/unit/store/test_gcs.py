"""What a store in Google Cloud Storage makes of answers that are none it hoped for."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from thence.errors import Denied, InvalidInput, NotFound, StorageError, ThenceError
from thence.store.gcs import GcsStore, open_gcs
from thence.store.gcs_upload import crc32c_of

pytest.importorskip("google.cloud.storage")

_Answer = tuple[int, dict[str, str], bytes]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    answer: _Answer = (200, {}, b"")
    headers: list[dict[str, str]]


class _Handler(BaseHTTPRequestHandler):
    def _serve(self) -> None:
        assert isinstance(self.server, _Server)
        self.server.headers.append(dict(self.headers))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, headers, body = self.server.answer
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[_Server]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.headers = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def store(service: _Server) -> GcsStore:
    endpoint = f"http://127.0.0.1:{service.server_port}"
    return open_gcs("bucket", "p", {"endpoint": endpoint}, f"gs://bucket/p?endpoint={endpoint}")


def _error(status: int, reason: str, message: str) -> _Answer:
    error = {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}
    return status, {"Content-Type": "application/json"}, json.dumps({"error": error}).encode()


_SAID = "The service's own sentence."
_CALLS: dict[str, Callable[[GcsStore], object]] = {
    "get": lambda store: store.get("a"),
    "get_range": lambda store: store.get_range("a", -3, 3),
    "head": lambda store: store.head("a"),
    "list": lambda store: list(store.list()),
    "create": lambda store: store.create("a", [b"1"]),
    "create-large": lambda store: store.create("a", [bytes(9 << 20)]),
    "delete": lambda store: store.delete("a"),
}


@pytest.mark.parametrize("call", _CALLS.values(), ids=_CALLS)
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (_error(401, "authError", _SAID), (Denied, None)),
        (_error(403, "forbidden", _SAID), (Denied, None)),
        (_error(403, "rateLimitExceeded", _SAID), (StorageError, True)),
        (_error(408, "", _SAID), (StorageError, True)),
        (_error(409, "conflict", _SAID), (StorageError, True)),
        (_error(429, "rateLimitExceeded", _SAID), (StorageError, True)),
        (_error(500, "backendError", _SAID), (StorageError, True)),
        (_error(503, "backendError", _SAID), (StorageError, True)),
        (_error(400, "invalid", _SAID), (StorageError, False)),
        (
            _error(404, "notFound", _SAID),
            (StorageError, False),
        ),  # each says 404, so there is no bucket
    ],
)
def test_answers(
    service: _Server,
    store: GcsStore,
    call: Callable[[GcsStore], object],
    answer: _Answer,
    expected: tuple[type[ThenceError], bool | None],
) -> None:
    kind, transient = expected
    service.answer = answer
    with pytest.raises(kind) as caught:
        call(store)
    assert getattr(caught.value, "transient", None) == transient
    assert caught.value.why
    assert caught.value.hint
    assert not isinstance(caught.value, NotFound)
    if answer[0] == 403:
        assert _SAID in caught.value.why


def test_an_answer_with_another_checksum_is_tried_again(service: _Server, store: GcsStore) -> None:
    right = {"X-Goog-Hash": f"crc32c={crc32c_of([b'hello'])},md5=x"}
    service.answer = (200, right, b"hello")
    assert store.get("a") == b"hello"
    service.answer = (200, right, b"jello")
    with pytest.raises(StorageError, match="checksum") as caught:
        store.get("a")
    assert caught.value.transient


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "10"},  # the connection ends early
        {"X-Goog-Stored-Content-Length": "10"},  # a proxy has cut it and put the length right
    ],
)
def test_an_answer_cut_short_is_tried_again(
    service: _Server, store: GcsStore, headers: dict[str, str]
) -> None:
    service.answer = (200, headers, b"01234")
    with pytest.raises(StorageError) as caught:
        store.get("a")
    assert caught.value.transient


def test_ranges_are_counted(service: _Server, store: GcsStore) -> None:
    service.answer = (206, {"Content-Range": "bytes 2-5/10"}, b"2345")
    assert store.get_range("a", 2, 4) == b"2345"
    for header, body in (
        ("bytes 2-5/10", b"234"),  # less than it says
        ("bytes 2-4/10", b"234"),  # less than was asked for, and not at the end
        ("bytes 3-6/10", b"3456"),  # another place
    ):
        service.answer = (206, {"Content-Range": header}, body)
        with pytest.raises(StorageError) as caught:
            store.get_range("a", 2, 4)
        assert caught.value.transient


def test_a_server_that_ignores_ranges_may_send_all(service: _Server, store: GcsStore) -> None:
    service.answer = (200, {}, b"0123456789")
    assert store.get_range("a", 2, 4) == b"2345"
    assert store.get_range("a", -3, 2) == b"78"
    assert store.get_range("a", 10, 2) == b""


def test_nobody_listens() -> None:
    store = open_gcs("bucket", "", {"endpoint": "http://127.0.0.1:1"}, "gs://bucket")
    with pytest.raises(StorageError) as caught:
        store.get("a")
    assert not caught.value.transient  # it never answered: a wrong address


def test_credentials_go_to_google_only(
    service: _Server, store: GcsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    service.answer = (200, {}, b"1")
    assert store.get("a") == b"1"
    assert all("Authorization" not in headers for headers in service.headers)


def test_credentials_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    with pytest.raises(Denied, match=r"/nowhere/key\.json"):
        open_gcs("bucket", "", {}, "gs://bucket").get("a")


def test_the_emulator_of_the_environment(service: _Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"127.0.0.1:{service.server_port}")
    service.answer = (200, {}, b"1")
    assert open_gcs("bucket", "", {}, "gs://bucket").get("a") == b"1"


@pytest.mark.parametrize("endpoint", ["ftp://x", "http://", "http://a/b", "http://a b"])
def test_endpoints_that_are_none(endpoint: str) -> None:
    with pytest.raises(InvalidInput):
        open_gcs("bucket", "", {"endpoint": endpoint}, "gs://bucket")


def test_options_that_there_are_not() -> None:
    with pytest.raises(InvalidInput, match="region"):
        open_gcs("bucket", "", {"region": "x"}, "gs://bucket")
