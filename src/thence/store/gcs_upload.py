"""Large uploads to Google Cloud Storage that go on after a broken connection."""

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from thence.store.base import Bytes

__all__ = ["Body", "Upload", "body_of_file", "body_of_parts", "crc32c_of"]

_BLOCK = 1 << 20
_TRIES = 6
_FIRST_PAUSE_S = 0.2
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_RECEIVED = re.compile(r"bytes=0-(\d+)")


class Body(NamedTuple):
    """What is uploaded.

    Attributes:
        size_bytes: How much it is.
        crc32c: Its checksum, in base64 as the service writes it.
        blocks: Its bytes from an offset, in blocks; may be called many times.
    """

    size_bytes: int
    crc32c: str
    blocks: Callable[[int], Iterator[Bytes]]


def crc32c_of(blocks: Iterable[Bytes]) -> str:
    """The CRC32C (Castagnoli) of bytes, in base64 as the service writes it."""
    import google_crc32c

    checksum = 0
    for block in blocks:
        checksum = google_crc32c.extend(checksum, bytes(block))
    return base64.b64encode(checksum.to_bytes(4, "big")).decode("ascii")


def body_of_parts(parts: Sequence[Bytes]) -> Body:
    """Bytes in memory; they are not copied."""
    views = [memoryview(part).cast("B") for part in parts if memoryview(part).nbytes]

    def blocks(offset: int) -> Iterator[Bytes]:
        for view in views:
            for start in range(min(offset, len(view)), len(view), _BLOCK):
                yield view[start : start + _BLOCK]
            offset = max(0, offset - len(view))

    return Body(sum(len(view) for view in views), crc32c_of(blocks(0)), blocks)


def body_of_file(path: Path) -> Body:
    """The bytes of a file, which is read once for its checksum and once to be sent."""

    def blocks(offset: int) -> Iterator[Bytes]:
        with path.open("rb") as file:
            file.seek(offset)
            while block := file.read(_BLOCK):
                yield block

    return Body(path.stat().st_size, crc32c_of(blocks(0)), blocks)


class Upload:
    """One resumable session (https://cloud.google.com/storage/docs/performing-resumable-uploads).

    All is sent in one request, which is what the service recommends. If that breaks, the service
    says how much it has kept, and the rest is sent; only a try that brought nothing further
    counts as failed.

    Args:
        http: A session of requests.
        address: Address of the upload session. Who knows it may write: never show it.
        body: What to send.
        timeout_s: Seconds to connect, and of silence, after which a request is given up.
        sleep: What waits between tries.
    """

    def __init__(
        self,
        http: Any,
        address: str,
        body: Body,
        *,
        timeout_s: tuple[float, float],
        sleep: Callable[[float], None],
    ) -> None:
        self._http = http
        self._address = address
        self._body = body
        self._timeout_s = timeout_s
        self._sleep = sleep

    def run(self) -> Any:
        """The last answer of the service, be it good or bad; raises what requests raises."""
        offset, tries = 0, 0
        while True:
            answer, problem = self._try(self._send, offset)
            if answer is None or answer.status_code in _PASSING:
                tries += 1
                if tries >= _TRIES:
                    break
                self._sleep(_FIRST_PAUSE_S * 2 ** (tries - 1))
                asked, _ = self._try(self._send, self._body.size_bytes)
                if asked is None or asked.status_code in _PASSING:
                    continue
                answer = asked
            if answer.status_code != 308:
                return answer
            received = _RECEIVED.fullmatch(answer.headers.get("Range", ""))
            kept = int(received[1]) + 1 if received else 0
            tries = 0 if kept > offset else tries + 1
            if tries >= _TRIES:
                return answer
            offset = kept
        if problem is not None:
            raise problem
        return answer

    def _try(
        self, send: Callable[[int], Any], offset: int
    ) -> tuple[Any, None] | tuple[None, OSError]:
        import requests

        try:
            return send(offset), None
        except (requests.ConnectionError, requests.Timeout) as problem:
            return None, problem

    def _send(self, offset: int) -> Any:
        """Send what follows an offset; at the end of the body that asks how much was kept."""
        total = self._body.size_bytes
        rest = total - offset
        headers = {
            "Content-Range": f"bytes {offset}-{total - 1}/{total}" if rest else f"bytes */{total}",
            "Content-Type": "application/octet-stream",
        }
        return self._http.put(
            self._address,
            data=_Rest(self._body, offset) if rest else b"",
            headers=headers,
            timeout=self._timeout_s,
            allow_redirects=False,
        )


class _Rest:
    """What follows an offset, in a form that requests sends as it is, and again if need be."""

    def __init__(self, body: Body, offset: int) -> None:
        self._body = body
        self._offset = offset

    def __len__(self) -> int:
        return self._body.size_bytes - self._offset

    def __iter__(self) -> Iterator[Bytes]:
        return self._body.blocks(self._offset)
