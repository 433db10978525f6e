"""`http.client`, and what is made of it: urllib, requests, urllib3, botocore, pandas."""

from __future__ import annotations

from . import wrapping
from .addresses import key_of, peer_text
from .bodies import Body, Dechunked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .fetches import Fetches
    from .replay import Replay

__all__ = ["wrap", "wrap_urllib3"]

_PART = "http"


def wrap(module: Any, fetches: Fetches, replay: Replay) -> None:
    """Observe all connections of the module `http.client`."""
    connection = module.HTTPConnection
    wrapping.wrap(connection, "putrequest", lambda ask: _asking(ask, replay), _PART)
    wrapping.wrap(connection, "getresponse", lambda answer: _answering(answer, fetches), _PART)


def _asking(ask: Any, replay: Replay) -> Any:
    def putrequest(self: Any, method: str, url: str, *args: Any, **named: Any) -> Any:
        done = ask(self, method, url, *args, **named)
        # It fails with an address that nobody has seen yet.
        wrapping.quietly(lambda: asked(self, str(method), url))
        return done

    def asked(self: Any, method: str, url: str) -> None:
        full = _url(self, url)
        self._thence_asked = (method, full)
        if isinstance(self.sock, _Kept):
            self.sock = None
        if replay.has(method, full):
            if self.sock is not None:
                self.sock.close()
            self.sock = _Kept(self, method, full, replay)

    return putrequest


def _answering(answer: Any, fetches: Fetches) -> Any:
    def getresponse(self: Any, *args: Any, **named: Any) -> Any:
        sock = self.sock
        peer = _peer(sock)
        response = answer(self, *args, **named)
        asked = getattr(self, "_thence_asked", None)
        if asked is not None and fetches.listening:
            is_kept = isinstance(sock, _Kept) and sock.is_answered
            wrapping.quietly(lambda: _observe(fetches, response, asked, peer, is_kept))
        return response

    return getresponse


def wrap_urllib3(module: Any, replay: Replay) -> None:
    """Have the pools of urllib3 not connect before it is known what is asked for."""

    def around(validate: Any) -> Any:
        def _validate_conn(self: Any, conn: Any) -> Any:
            origin = key_of(_url(conn, "/"))[:-1]
            is_kept = conn.sock is None and origin in replay.origins
            return None if is_kept else validate(self, conn)

        return _validate_conn

    if replay.origins:
        wrapping.wrap(module.HTTPSConnectionPool, "_validate_conn", around, _PART)


def _url(connection: Any, path: str) -> str:
    if "://" in path.partition("?")[0]:
        return path  # through a proxy
    default = getattr(connection, "default_port", 80)
    tunnel = getattr(connection, "_tunnel_host", None)
    host = tunnel or connection.host
    port = getattr(connection, "_tunnel_port", None) if tunnel else connection.port
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    place = host if port in {default, None} else f"{host}:{port}"
    return f"{'https' if default == 443 else 'http'}://{place}{path}"


def _peer(sock: Any) -> str:
    try:
        return peer_text(sock.getpeername())
    except (OSError, AttributeError):
        return ""


def _observe(
    fetches: Fetches, response: Any, asked: tuple[str, str], peer: str, is_kept: bool
) -> None:
    body = fetches.answered(
        *asked,
        response.status,
        response.getheaders(),
        library="http.client",
        peer=peer,
        replayed=is_kept,
    )
    if body is None or asked[0].upper() == "CONNECT":
        return
    if response.length == 0 and not response.chunked:
        body.end()
    elif response.fp is not None:
        response.fp = _Passing(response.fp, body, response)


class _Passing:
    """A file that is read, and what is read of it; where the body begins it stands in its place."""

    def __init__(self, file: Any, body: Body, response: Any) -> None:
        self._file = file
        self._body = body
        self._chunks = Dechunked(body) if response.chunked else None
        self._left = response.length

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Passing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> _Passing:
        return self

    def __next__(self) -> Any:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def close(self) -> None:
        self._file.close()

    def read(self, size: int | None = -1) -> Any:
        data = self._file.read(size)
        return self._seen(data, size is None or size < 0 or (size > 0 and not data))

    def read1(self, size: int = -1) -> Any:
        data = self._file.read1(size)
        return self._seen(data, not data and size != 0)

    def readline(self, limit: int = -1) -> Any:
        data = self._file.readline(limit)
        return self._seen(data, not data and limit != 0)

    def readlines(self, hint: int = -1) -> Any:
        lines = self._file.readlines(hint)
        self._seen(b"".join(lines), hint is None or hint <= 0)
        return lines

    def readinto(self, buffer: Any) -> Any:
        count = self._file.readinto(buffer)
        self._seen_in(buffer, count)
        return count

    def readinto1(self, buffer: Any) -> Any:
        count = self._file.readinto1(buffer)
        self._seen_in(buffer, count)
        return count

    def _seen_in(self, buffer: Any, count: int | None) -> None:
        try:
            view = memoryview(buffer)
            self._seen(view.cast("B")[: count or 0], count == 0 and view.nbytes > 0)
        except Exception:  # noqa: S110
            pass  # a buffer of another form, which the program may read into all the same

    def _seen(self, data: Any, is_end: bool) -> Any:
        try:
            if data is None:
                return data
            if self._chunks is not None:
                self._chunks.feed(data)
                return data
            if len(data):
                self._body.feed(data)
            if self._left is None:
                if is_end:
                    self._body.end()
                return data
            self._left -= len(data)
            if self._left <= 0:
                self._body.end()
        except Exception:  # noqa: S110
            pass  # the program gets what it read, whatever becomes of us
        return data


class _Kept:
    """Stands in the place of a socket, and answers from what was kept.

    What turns out not to be kept after all, such as another part of it, is asked of the network.
    """

    def __init__(self, connection: Any, method: str, url: str, replay: Replay) -> None:
        self._connection = connection
        self._method = method
        self._url = url
        self._replay = replay
        self._sent = b""
        self.is_answered = False

    def sendall(self, data: Any, *_: Any) -> None:
        """Part of the request."""
        self._sent += bytes(data)

    send = sendall

    def makefile(self, *args: Any, **named: Any) -> Any:
        """The answer."""
        import io

        answer = self._replay.find(self._method, self._url, _range(self._sent))
        if answer is None:
            connection = self._connection
            connection.sock = None
            connection.connect()
            connection.sock.sendall(self._sent)
            return connection.sock.makefile(*args, **named)
        self.is_answered = True
        return io.BufferedReader(_reader(answer.head(), answer.pieces()))

    def getpeername(self) -> tuple[()]:
        """Nobody."""
        return ()

    def fileno(self) -> int:
        """None; whoever wants to wait need not."""
        return -1

    def __getattr__(self, name: str) -> Any:
        # settimeout, setsockopt, shutdown, close …
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: None


def _range(request: bytes) -> str:
    for line in request.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"range":
            return value.strip().decode("latin-1")
    return ""


def _reader(head: bytes, pieces: Any) -> Any:
    import io

    class Reader(io.RawIOBase):
        rest = head

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            while not self.rest:
                piece = next(pieces, None)
                if piece is None:
                    return 0
                self.rest = piece
            count = min(len(buffer), len(self.rest))
            buffer[:count] = self.rest[:count]
            self.rest = self.rest[count:]
            return count

    return Reader()
