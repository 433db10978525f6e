"""A server that says what a test tells it to say: answers that real services give too seldom."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Answer(NamedTuple):
    """What to say.

    Attributes:
        promised: The length that the head announces; that of the body if None.
        silent: Say nothing until the test is over; of what a GET asks for, head and half the body.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    promised: int | None = None
    silent: bool = False


class ScriptedServer(NamedTuple):
    """A server on loopback.

    Attributes:
        url: Its address.
        asked: All requests so far.
    """

    url: str
    asked: list[Asked]


@contextmanager
def scripted(say: Callable[[Asked], Answer]) -> Iterator[ScriptedServer]:
    """Answers each request with what the function says; called in several threads."""
    asked: list[Asked] = []
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Asked(self.command, self.path, dict(self.headers.items()), body)
            asked.append(request)
            said = say(request)
            if said.silent and self.command != "GET":
                over.wait(60)
                self.close_connection = True
                return
            self.send_response(said.status)
            length = len(said.body) if said.promised is None else said.promised
            if "Last-Modified" not in said.headers:
                self.send_header("Last-Modified", "Mon, 23 Nov 2026 10:00:00 GMT")
            self.send_header("ETag", '"tag"')
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command == "HEAD":
                return
            if said.silent:
                self.wfile.write(said.body[: len(said.body) // 2])
                self.wfile.flush()
                over.wait(60)
            else:
                self.wfile.write(said.body)
            if said.silent or length != len(said.body):
                self.close_connection = True

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield ScriptedServer(f"http://127.0.0.1:{server.server_address[1]}", asked)
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.hang_up()
        server.server_close()


class _Server(ThreadingHTTPServer):
    """Ends also the connections that clients keep for later."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._open: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def hang_up(self) -> None:
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that left early is what some tests are about
