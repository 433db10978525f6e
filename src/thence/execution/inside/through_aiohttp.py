"""aiohttp, and what is made of it: fsspec, s3fs, gcsfs."""

# ruff: noqa: SLF001 - the clients have no public place to stand in

from __future__ import annotations

import weakref

from .addresses import peer_text

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
    import functools

    original = module.ClientResponse.start

    @functools.wraps(original)
    async def start(self: Any, connection: Any) -> Any:
        result = await original(self, connection)
        fetches.quietly(lambda: observe(self, connection))
        return result

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

    module.ClientResponse.start = start


def wrap_parser(module: Any) -> None:
    """See compressed bodies as they were sent, of the module `aiohttp.http_parser`."""
    import functools

    buffer = module.DeflateBuffer
    make, feed, end = buffer.__init__, buffer.feed_data, buffer.feed_eof

    @functools.wraps(make)
    def __init__(self: Any, out: Any, *args: Any, **named: Any) -> None:  # noqa: N807
        make(self, out, *args, **named)
        while len(_compressed) >= _COMPRESSED_AT_MOST:
            _compressed.pop(next(iter(_compressed)), None)
        self._thence_raw = raw = _Raw()
        _compressed[id(out)] = (out, raw)

    @functools.wraps(feed)
    def feed_data(self: Any, chunk: Any, *args: Any, **named: Any) -> Any:
        raw = getattr(self, "_thence_raw", None)
        if raw is not None and chunk:
            raw.feed(bytes(chunk))
        return feed(self, chunk, *args, **named)

    @functools.wraps(end)
    def feed_eof(self: Any, *args: Any, **named: Any) -> Any:
        result = end(self, *args, **named)
        raw = getattr(self, "_thence_raw", None)
        if raw is not None:
            raw.end()
        return result

    buffer.__init__ = __init__
    buffer.feed_data = feed_data
    buffer.feed_eof = feed_eof


def wrap_streams(module: Any) -> None:
    """See bodies as they are read, of the module `aiohttp.streams`."""
    import functools

    stream = module.StreamReader
    take, end = stream._read_nowait_chunk, stream.feed_eof

    @functools.wraps(take)
    def _read_nowait_chunk(self: Any, n: int) -> Any:
        data = take(self, n)
        body = _passing.get(id(self))
        if body is not None:
            body.feed(data)
            if self._eof and not self._buffer:
                body.end()
        return data

    @functools.wraps(end)
    def feed_eof(self: Any, *args: Any, **named: Any) -> Any:
        result = end(self, *args, **named)
        body = _passing.get(id(self))
        if body is not None and not self._buffer:
            body.end()
        return result

    stream._read_nowait_chunk = _read_nowait_chunk
    stream.feed_eof = feed_eof


def wrap_connector(module: Any, replay: Replay) -> None:
    """Connect to what was kept, where that is asked for; of the module `aiohttp.connector`."""
    import functools

    if not replay.origins:
        return
    original = module.BaseConnector.connect

    @functools.wraps(original)
    async def connect(self: Any, req: Any, *args: Any, **named: Any) -> Any:
        answer = replay.find(req.method, str(req.url), req.headers.get("range", ""))
        if answer is None:
            return await original(self, req, *args, **named)
        return await _connected(module, self, req, answer)

    module.BaseConnector.connect = connect


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
