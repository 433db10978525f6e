"""An HTTP server with entity tags, redirects, chunks and compression, on loopback."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TABLE = b"a,b\n" + b"1,2\n" * 40_000


class Library:
    """What is asked of it, and what it answers with.

    Attributes:
        url: Of its root, with a slash.
        port: On 127.0.0.1.
        contents: By path.
        turns: Bodies that a path gives one after the other.
        asked: Requests, as method and path.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/"
        self.contents = {"/table.csv": TABLE, "/gzip": gzip.compress(TABLE, mtime=0)}
        self.turns: dict[str, list[bytes]] = {}
        self.asked: list[str] = []

    def body(self, path: str) -> bytes:
        """What is there now."""
        waiting = self.turns.get(path)
        if waiting:
            return waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return self.contents[path]


def digest(data: bytes) -> str:
    """As records write it."""
    return sha256(data).hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    library: Library

    def handle_error(self, *_: Any) -> None:
        """Clients that go away early are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        library = self.server.library
        library.asked.append(f"{self.command} {path}")
        if path == "/moved":
            self._answer(302, b"", Location="/table.csv")
        elif path == "/chunked":
            self._chunked(TABLE)
        elif path in library.turns or path in library.contents:
            data = library.body(path)
            more = {"Content-Encoding": "gzip"} if path == "/gzip" else {}
            self._answer(200, data, ETag=f'"{digest(data)[:8]}"', **more)
        else:
            self._answer(404, b"there is no such thing")

    def _answer(self, status: int, data: bytes, **headers: str) -> None:
        asked = self.headers.get("Range", "")
        if status == 200 and asked.startswith("bytes="):
            first, _, last = asked[6:].partition("-")
            start, end = int(first), min(int(last or len(data) - 1), len(data) - 1)
            headers["Content_Range"] = f"bytes {start}-{end}/{len(data)}"
            status, data = 206, data[start : end + 1]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Last-Modified", "Tue, 01 Sep 2026 08:00:00 GMT")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _chunked(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(data), 7001):
            piece = data[at : at + 7001]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")


@contextmanager
def library() -> Iterator[Library]:
    """A server in a thread of this process."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.library = Library(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.library
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
