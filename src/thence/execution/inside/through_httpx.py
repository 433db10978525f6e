"""httpx: what its own transports fetch."""

from __future__ import annotations

from .addresses import peer_text
from .wrapping import quietly
from .wrapping import wrap as wrap_function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .bodies import Body
    from .fetches import Fetches
    from .replay import Replay

__all__ = ["wrap"]

_PART = "remote"


def wrap(module: Any, fetches: Fetches, replay: Replay) -> None:
    """Observe the transports of the module `httpx._transports.default`."""
    streams = _streams(module)

    def synchronous(inner: Any) -> Any:
        def handle_request(self: Any, request: Any) -> Any:
            kept = _kept(module, request, replay, streams[2])
            response = inner(self, request) if kept is None else kept
            quietly(lambda: observe(request, response, streams[0], kept is not None))
            return response

        return handle_request

    def asynchronous(inner: Any) -> Any:
        async def handle_async_request(self: Any, request: Any) -> Any:
            kept = _kept(module, request, replay, streams[2])
            response = await inner(self, request) if kept is None else kept
            quietly(lambda: observe(request, response, streams[1], kept is not None))
            return response

        return handle_async_request

    def observe(request: Any, response: Any, stream: Any, is_kept: bool) -> None:
        body = fetches.answered(
            request.method,
            str(request.url),
            response.status_code,
            response.headers.multi_items(),
            library="httpx",
            peer=_peer(response),
            replayed=is_kept,
        )
        if body is not None:
            response.stream = stream(response.stream, body)

    wrap_function(module.HTTPTransport, "handle_request", synchronous, _PART)
    wrap_function(module.AsyncHTTPTransport, "handle_async_request", asynchronous, _PART)


def _peer(response: Any) -> str:
    stream = response.extensions.get("network_stream")
    return peer_text(stream.get_extra_info("server_addr")) if stream is not None else ""


def _kept(module: Any, request: Any, replay: Replay, stream: Any) -> Any:
    answer = replay.find(request.method, str(request.url), request.headers.get("range", ""))
    if answer is None:
        return None
    return module.Response(
        answer.status,
        headers=answer.headers,
        stream=stream(answer.pieces()),
        extensions={"http_version": b"HTTP/1.1", "reason_phrase": b"Kept"},
    )


def _streams(module: Any) -> tuple[Any, Any, Any]:
    class Passing(module.SyncByteStream):  # type: ignore[misc]
        def __init__(self, inner: Any, body: Body) -> None:
            self._inner = inner
            self._body = body

        def __iter__(self) -> Any:
            for part in self._inner:
                self._body.feed(part)
                yield part
            self._body.end()

        def close(self) -> None:
            if hasattr(self._inner, "close"):
                self._inner.close()

    class PassingAsync(module.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, inner: Any, body: Body) -> None:
            self._inner = inner
            self._body = body

        async def __aiter__(self) -> Any:
            async for part in self._inner:
                self._body.feed(part)
                yield part
            self._body.end()

        async def aclose(self) -> None:
            if hasattr(self._inner, "aclose"):
                await self._inner.aclose()

    class Kept(module.SyncByteStream, module.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, pieces: Any) -> None:
            self._pieces = pieces

        def __iter__(self) -> Any:
            return iter(self._pieces)

        async def __aiter__(self) -> Any:
            for piece in self._pieces:
                yield piece

    return Passing, PassingAsync, Kept
