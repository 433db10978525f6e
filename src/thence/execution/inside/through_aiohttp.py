"""aiohttp, and what is made of it: fsspec, s3fs, gcsfs."""

# ruff: noqa: SLF001 - the clients have no public place to stand in

from __future__ import annotations

import weakref

from .addresses import peer_text
from .wrapping import quietly, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .bodies import Body
    from .fetches import Fetches
    from .replay import Answer, Replay

__all__ = ["wrap_connector", "wrap_parser", "wrap_response", "wrap_streams"]

# By the `id` of the stream of a body, which is held so that no other gets its number. Those that no
# answer asks for are of a server in this process.
_compressed: dict[int, tuple[Any, _Raw]] = {}
_COMPRESSED_AT_MOST = 256
_EARLY_AT_MOST = 1 << 20
_PART = "remote"
# What holds the stream holds what is found by it.
_passing: Any = weakref.WeakValueDictionary()


class _Raw:
    """Compressed bytes: they may come before the program has seen that there is an answer."""

    def __init__(self) -> None:
        self.body: Body | None = None
        self._early: list[bytes] = []
        self._size = 0
        self._is_done = False

    def feed(self, data: bytes) -> None:
        if self.body is not None:
            self.body.feed(data)
        elif data:
            self._size += len(data)
            if self._size <= _EARLY_AT_MOST:
                self._early.append(data)

    def end(self) -> None:
        self._is_done = True
        if self.body is not None:
            self.body.end()

    def attach(self, body: Body | None) -> None:
        early, self._early = self._early, []
        self.body = body
        if body is not None and self._size <= _EARLY_AT_MOST:
            for data in early:
                body.feed(data)
            if self._is_done:
                body.end()
        elif body is not None:
            self.body = None  # its beginning is not known any more


def wrap_response(module: Any, fetches: Fetches) -> None:
    """Observe answers, of the module `aiohttp.client_reqrep`."""

    def starting(inner: Any) -> Any:
        async def start(self: Any, connection: Any) -> Any:
            result = await inner(self, connection)
            quietly(lambda: observe(self, connection))
            return result

        return start

    def observe(response: Any, connection: Any) -> None:
        transport = connection.transport
        address = transport.get_extra_info("peername") if transport is not None else None
        body = fetches.answered(
            response.method,
            str(response.url),
            response.status,
            response.headers.items(),
            library="aiohttp",
            peer=peer_text(address),
            replayed=getattr(connection.protocol, "_thence_kept", False),
        )
        content = response.content
        raw = _compressed.pop(id(content), None)
        if raw is not None:
            raw[1].attach(body)
        elif body is not None:
            if content.at_eof():
                body.end()
            else:
                response._thence_body = body
                _passing[id(content)] = body

    wrap(module.ClientResponse, "start", starting, _PART)


def wrap_parser(module: Any) -> None:
    """See compressed bodies as they were sent, of the module `aiohttp.http_parser`."""

    def making(inner: Any) -> Any:
        def __init__(self: Any, out: Any, *args: Any, **named: Any) -> None:  # noqa: N807
            inner(self, out, *args, **named)
            quietly(lambda: expect(self, out))

        return __init__

    def expect(buffer: Any, out: Any) -> None:
        while len(_compressed) >= _COMPRESSED_AT_MOST:
            _compressed.pop(next(iter(_compressed)), None)
        buffer._thence_raw = raw = _Raw()
        _compressed[id(out)] = (out, raw)

    def feeding(inner: Any) -> Any:
        def feed_data(self: Any, chunk: Any, *args: Any, **named: Any) -> Any:
            raw = getattr(self, "_thence_raw", None)
            if raw is not None and chunk:
                quietly(lambda: raw.feed(bytes(chunk)))
            return inner(self, chunk, *args, **named)

        return feed_data

    def ending(inner: Any) -> Any:
        def feed_eof(self: Any, *args: Any, **named: Any) -> Any:
            result = inner(self, *args, **named)
            raw = getattr(self, "_thence_raw", None)
            if raw is not None:
                quietly(raw.end)
            return result

        return feed_eof

    wrap(module.DeflateBuffer, "__init__", making, _PART)
    wrap(module.DeflateBuffer, "feed_data", feeding, _PART)
    wrap(module.DeflateBuffer, "feed_eof", ending, _PART)


def wrap_streams(module: Any) -> None:
    """See bodies as they are read, of the module `aiohttp.streams`."""

    def taking(inner: Any) -> Any:
        def _read_nowait_chunk(self: Any, n: int) -> Any:
            data = inner(self, n)
            body = _passing.get(id(self))
            if body is not None:
                quietly(lambda: taken(self, body, data))
            return data

        return _read_nowait_chunk

    def taken(stream: Any, body: Body, data: Any) -> None:
        body.feed(data)
        if stream._eof and not stream._buffer:
            body.end()

    def ending(inner: Any) -> Any:
        def feed_eof(self: Any, *args: Any, **named: Any) -> Any:
            result = inner(self, *args, **named)
            body = _passing.get(id(self))
            if body is not None and not self._buffer:
                quietly(body.end)
            return result

        return feed_eof

    wrap(module.StreamReader, "_read_nowait_chunk", taking, _PART)
    wrap(module.StreamReader, "feed_eof", ending, _PART)


def wrap_connector(module: Any, replay: Replay) -> None:
    """Connect to what was kept, where that is asked for; of the module `aiohttp.connector`."""

    def connecting(inner: Any) -> Any:
        async def connect(self: Any, req: Any, *args: Any, **named: Any) -> Any:
            answer = replay.find(req.method, str(req.url), req.headers.get("range", ""))
            if answer is None:
                return await inner(self, req, *args, **named)
            return await _connected(module, self, req, answer)

        return connect

    if replay.origins:
        wrap(module.BaseConnector, "connect", connecting, _PART)


async def _connected(module: Any, connector: Any, req: Any, answer: Answer) -> Any:
    """A connection on whose other side a thread answers."""
    import socket
    import threading

    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=_serve, args=(theirs, answer), daemon=True)
    _, protocol = await connector._loop.create_connection(connector._factory, sock=ours)
    protocol._thence_kept = True
    connector._acquired.add(protocol)
    thread.start()
    return module.Connection(connector, req.connection_key, protocol, connector._loop)


def _serve(sock: Any, answer: Answer) -> None:
    try:
        request = b""
        while b"\r\n\r\n" not in request:
            piece = sock.recv(1 << 16)
            if not piece:
                return
            request += piece
        sock.sendall(answer.head())
        for piece in answer.pieces():
            sock.sendall(piece)
    except OSError:
        pass  # nobody reads on
    finally:
        sock.close()
