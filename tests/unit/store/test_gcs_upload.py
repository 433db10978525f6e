"""Large uploads go on where a broken connection left them."""

import random
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from thence.store.gcs_upload import Body, Upload, body_of_file, body_of_parts, crc32c_of

requests = pytest.importorskip("requests")

_MIB = 1 << 20
_DATA = random.Random(7).randbytes(3 * _MIB)


class _Session:
    """What a service does with one upload; `plan` says what goes wrong, request by request."""

    def __init__(self) -> None:
        self.kept = b""
        self.plan: list[str] = []
        self.received = 0
        self.ranges: list[str] = []

    def put(self, handler: BaseHTTPRequestHandler) -> None:
        step = self.plan.pop(0) if self.plan else "good"
        asked = handler.headers["Content-Range"]
        self.ranges.append(asked)
        length = int(handler.headers["Content-Length"])
        if step == "cut":  # the connection dies half-way; what came is kept in quarters of a MiB
            part = handler.rfile.read(length // 2)
            self.received += len(part)
            self.kept += part[: len(part) // (256 * 1024) * (256 * 1024)]
            _hang_up(handler)
            return None
        body = handler.rfile.read(length)
        self.received += len(body)
        if step == "busy":
            return self.answer(handler, 503)
        if step == "gone":
            return self.answer(handler, 410)
        total = int(asked.rpartition("/")[2])
        if not asked.startswith("bytes */"):
            start = int(asked.removeprefix("bytes ").partition("-")[0])
            assert start == len(self.kept)
            self.kept += body
        if step == "lost":  # all arrived, and the answer did not
            _hang_up(handler)
            return None
        if len(self.kept) == total:
            return self.answer(handler, 412 if step == "taken" else 200)
        more = {"Range": f"bytes=0-{len(self.kept) - 1}"} if self.kept else {}
        return self.answer(handler, 308, more)

    @staticmethod
    def answer(
        handler: BaseHTTPRequestHandler, status: int, more: dict[str, str] | None = None
    ) -> None:
        handler.send_response(status)
        for name, value in (more or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"{}")


def _hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    session: _Session

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # connections that are cut on purpose


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        assert isinstance(self.server, _Server)
        self.server.session.put(self)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[_Server]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.session = _Session()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _run(service: _Server, body: Body, *plan: str) -> tuple[int, list[float]]:
    service.session.plan = list(plan)
    pauses: list[float] = []
    with requests.Session() as http:
        address = f"http://127.0.0.1:{service.server_port}/upload?upload_id=secret"
        upload = Upload(http, address, body, timeout_s=(5, 5), sleep=pauses.append)
        return upload.run().status_code, pauses


def test_all_goes_in_one_request(service: _Server) -> None:
    assert _run(service, body_of_parts([_DATA])) == (200, [])
    assert service.session.kept == _DATA
    assert service.session.received == len(_DATA)
    assert service.session.ranges == [f"bytes 0-{len(_DATA) - 1}/{len(_DATA)}"]


def test_after_a_cut_only_the_rest_is_sent(service: _Server) -> None:
    status, pauses = _run(service, body_of_parts([_DATA[:1000], _DATA[1000:]]), "cut")
    assert status == 200
    assert len(pauses) == 1
    assert service.session.kept == _DATA
    assert service.session.received < len(_DATA) + 256 * 1024


def test_many_cuts_that_each_bring_something_further(service: _Server) -> None:
    plan = ["cut", "good"] * 3
    assert _run(service, body_of_parts([_DATA]), *plan)[0] == 200
    assert service.session.kept == _DATA


def test_a_lost_answer_is_asked_for_again(service: _Server) -> None:
    assert _run(service, body_of_parts([_DATA]), "lost")[0] == 200
    assert service.session.received == len(_DATA)
    assert service.session.ranges[-1] == f"bytes */{len(_DATA)}"


def test_a_busy_service_is_waited_for(service: _Server) -> None:
    status, pauses = _run(service, body_of_parts([_DATA]), "busy", "busy", "busy", "busy")
    assert status == 200
    assert pauses == sorted(pauses)
    assert service.session.kept == _DATA


def test_the_tries_come_to_an_end(service: _Server) -> None:
    status, pauses = _run(service, body_of_parts([_DATA]), *["busy"] * 100)
    assert status == 503
    assert sum(pauses) < 30
    assert len(service.session.ranges) < 20


def test_a_loser_of_a_race_is_told_at_the_end(service: _Server) -> None:
    assert _run(service, body_of_parts([_DATA]), "taken")[0] == 412


def test_a_session_that_is_gone_is_not_gone_on_with(service: _Server) -> None:
    assert _run(service, body_of_parts([_DATA]), "cut", "gone")[0] == 410


def test_a_file_goes_on_from_where_it_was(service: _Server, tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(_DATA)
    body = body_of_file(path)
    assert (body.size_bytes, body.crc32c) == (len(_DATA), crc32c_of([_DATA]))
    assert _run(service, body, "cut")[0] == 200
    assert service.session.kept == _DATA


def test_nobody_there() -> None:
    body = body_of_parts([_DATA])
    with requests.Session() as http:
        address = "http://127.0.0.1:1/upload"
        upload = Upload(http, address, body, timeout_s=(1, 1), sleep=lambda _: None)
        with pytest.raises(requests.ConnectionError):
            upload.run()


@pytest.mark.parametrize("offset", [0, 1, 5, 6, 7, 999_999, _MIB, _MIB + 12, 2 * _MIB, len(_DATA)])
def test_blocks_from_an_offset(offset: int) -> None:
    wide = memoryview(_DATA[6:14]).cast("I")
    body = body_of_parts([_DATA[:5], b"", bytearray(_DATA[5:6]), wide, _DATA[14:]])
    assert b"".join(body.blocks(offset)) == _DATA[offset:]


def test_the_checksum_is_that_of_the_standard() -> None:
    # RFC 3720, B.4: 32 bytes of zeroes
    import base64

    assert base64.b64decode(crc32c_of([bytes(16), bytes(16)])).hex() == "8a9136aa"
