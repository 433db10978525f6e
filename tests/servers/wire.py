"""A wire to a server that can be cut: what networks do, at the moment that a test chooses."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_PIECE = 65536
_METHODS = (b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE ", b"PATCH ")

Wanted = Callable[[str], bool]


class Wire:
    """Forwards connections to a port of loopback, byte by byte, and breaks them when told to.

    Attributes:
        port: Where to connect to.
        requests: The request lines that went through, `PUT /bucket/key HTTP/1.1`.
        sent: Bytes from clients to the server.
        received: Bytes from the server to clients.
        delay_s: How much later a request comes to the server; what far away costs.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._lose: tuple[Wanted, int] | None = None
        self._truncate: tuple[Wanted, int, int] | None = None
        self._limit_sent: int | None = None
        self._limit_received: int | None = None
        self._down = False
        self._open: set[socket.socket] = set()
        self._closing = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[str] = []
        self.sent = 0
        self.received = 0
        self.delay_s = 0.0
        self.lost: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def lose_answers(self, wanted: Wanted, *, times: int = 1) -> None:
        """The server does what such a request asks, and nobody hears of it."""
        with self._lock:
            self._lose = (wanted, times)

    def truncate_answers(self, wanted: Wanted, *, keep: int, times: int = 1) -> None:
        """The answer ends after so many bytes, head included, as if all were said."""
        with self._lock:
            self._truncate = (wanted, keep, times)

    def cut_after(self, *, sent: int | None = None, received: int | None = None) -> None:
        """The wire is cut, and stays cut, when so many more bytes went one way."""
        with self._lock:
            self._limit_sent = None if sent is None else self.sent + sent
            self._limit_received = None if received is None else self.received + received

    def cut(self) -> None:
        """Cut it now."""
        with self._lock:
            self._down = True
            broken = list(self._open)
        for one in broken:
            _close(one)

    def mend(self) -> None:
        """From now on everything goes through; counting begins again."""
        with self._lock:
            self._down = False
            self._lose = self._truncate = None
            self._limit_sent = self._limit_received = None
            self.requests, self.lost = [], []
            self.sent = self.received = 0

    def close(self) -> None:
        self._closing = True
        _close(self._listener)
        self.cut()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._down:
                _close(client)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=30)
            except OSError:
                _close(client)
                continue
            server.settimeout(None)
            line = _Line()
            with self._lock:
                self._open |= {client, server}
            for work in (self._upward, self._downward):
                threading.Thread(target=work, args=(client, server, line), daemon=True).start()

    def _upward(self, client: socket.socket, server: socket.socket, line: "_Line") -> None:
        with suppress(OSError):
            while data := client.recv(_PIECE):
                if data.startswith(_METHODS):
                    line.text = data.split(b"\r\n", 1)[0].decode("latin-1")
                    line.answered = 0
                    with self._lock:
                        self.requests.append(line.text)
                    time.sleep(self.delay_s)
                with self._lock:
                    self.sent += len(data)
                    over = self._limit_sent is not None and self.sent > self._limit_sent
                if over:
                    self.cut()
                    break
                server.sendall(data)
        self._end(client, server)

    def _downward(self, client: socket.socket, server: socket.socket, line: "_Line") -> None:
        with suppress(OSError):
            while data := server.recv(_PIECE):
                if data.startswith(b"HTTP/1.1 100") and data.count(b"\r\n") == 2:
                    client.sendall(data)
                    continue
                if self._is_lost(line):
                    break
                kept = self._kept(line, len(data))
                with self._lock:
                    self.received += kept
                    over = self._limit_received is not None and self.received > self._limit_received
                if over:
                    self.cut()
                    break
                line.answered += len(data)  # before who gets it can send the next request
                client.sendall(data[:kept])
                if kept < len(data):
                    break
        self._end(client, server)

    def _is_lost(self, line: "_Line") -> bool:
        with self._lock:
            if self._lose is None or line.answered:
                return False
            wanted, times = self._lose
            if not wanted(line.text):
                return False
            self._lose = (wanted, times - 1) if times > 1 else None
            self.lost.append(line.text)
            return True

    def _kept(self, line: "_Line", size: int) -> int:
        with self._lock:
            if self._truncate is None:
                return size
            wanted, keep, times = self._truncate
            if not wanted(line.text) or line.answered + size <= keep:
                return size
            self._truncate = (wanted, keep, times - 1) if times > 1 else None
            self.lost.append(line.text)
            return max(0, keep - line.answered)

    def _end(self, client: socket.socket, server: socket.socket) -> None:
        with self._lock:
            self._open -= {client, server}
        _close(client)
        _close(server)


class _Line:
    """The request that a connection is at, and how much of its answer went through."""

    def __init__(self) -> None:
        self.text = ""
        self.answered = 0


def _close(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def wire_to(port: int) -> Iterator[Wire]:
    """A wire to a server on loopback, for as long as the block."""
    wire = Wire(port)
    try:
        yield wire
    finally:
        wire.close()
