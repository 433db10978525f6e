"""Answers from elsewhere, told when they begin; their bodies are told of when they have passed."""

from __future__ import annotations

import os
import sys

from .addresses import s3_address, told_header, without_secrets
from .bodies import Body
from .identity import image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .observation import Observation

__all__ = ["Fetches", "via"]

_LIBRARIES = {
    *("adbc_driver_manager", "aiobotocore", "aiohttp", "asyncpg", "boto3", "botocore", "datasets"),
    *("deltalake", "duckdb", "fsspec", "gcsfs", "huggingface_hub", "httpx", "kagglehub", "obstore"),
    *("openml", "pandas", "polars", "pooch", "psycopg", "psycopg2", "pyarrow", "requests", "s3fs"),
    *("sklearn", "smart_open", "sqlalchemy", "torch", "torchvision", "urllib", "urllib3"),
}
_DEEPEST = 80
# Of the headers of a kept answer: by these its body is understood. Never cookies.
_TOLD = {
    *("content-type", "content-encoding", "content-disposition", "content-language", "location"),
    *("content-range", "accept-ranges", "etag", "last-modified", "link", "content-length"),
}
_TOLD_PREFIXES = ("x-amz-meta-", "x-amz-checksum-", "x-amz-version-id", "x-goog-hash")
# That something is not there is an answer that programs go by.
_ABSENT = {404, 410}
_LONGEST = 4000
_REMEMBERED = 10_000


class Fetches:
    """Tells of them.

    Args:
        observation: Of this process.
    """

    def __init__(self, observation: Observation) -> None:
        self._observation = observation
        wanted = observation.plan.get("remote", {})
        self._keep = str(wanted.get("keep", ""))
        self._next = 0
        self.told: dict[str, None] = {}
        observation.on_fork(self.told.clear)

    @property
    def listening(self) -> bool:
        """Whether anybody wants to know."""
        observation = self._observation
        return bool(observation.watcher.active or not observation.plan.get("files", True))

    def guard(self, function: Any, argument: Any = None) -> None:
        """Call a function; what it does is not observed, and it cannot fail."""
        self._observation.watcher.guarded(function, argument)

    def answered(
        self,
        method: str,
        url: str,
        status: int,
        headers: Iterable[tuple[str, str]],
        *,
        library: str,
        peer: str = "",
        replayed: bool = False,
    ) -> Body | None:
        """An answer has begun.

        Args:
            method: Of the request.
            url: As it was asked for.
            status: Of the answer.
            headers: Of the answer.
            library: Which got it, if no other is found among those that called it.
            peer: `host:port` that it came from.
            replayed: Whether it was kept and came from us.

        Returns:
            What is to be told of its body; None where nobody wants to know, or there is none.
        """
        made: list[dict[str, Any]] = []

        def note(_: Any) -> None:
            few = {str(name).lower(): str(value)[:_LONGEST] for name, value in headers}
            made.append(self._fields(method.upper(), url, status, few))

        if not self.listening:
            return None
        self.guard(note)
        if not made:
            return None  # we are asked by ourselves
        fields = made[0]
        if replayed:
            fields["replayed"] = True
        self._observation.tell("remote", **fields, via=via(library), peer=peer)
        if method.upper() == "HEAD" or status == 304:
            return None
        path = ""
        if "headers" in fields and method.upper() == "GET":
            path = os.path.join(self._keep, f"{image()}-{fields['id']}")
        return Body(fields["id"], self._observation.tell, self.guard, path, fields["url"])

    def _fields(
        self, method: str, url: str, status: int, headers: dict[str, str]
    ) -> dict[str, Any]:
        clean = without_secrets(url)[:_LONGEST]
        if len(self.told) < _REMEMBERED:
            self.told[clean] = None
        named = s3_address(clean, headers, _endpoints())
        size = headers.get("content-length", "")
        found: dict[str, Any] = {
            "id": self._number(),
            "method": method,
            "url": named or clean,
            "address": clean if named else None,
            "status": status,
            "etag": headers.get("etag"),
            "version": headers.get("x-amz-version-id") or headers.get("last-modified"),
            "size": int(size) if size.isdigit() else None,
            "part": headers.get("content-range") if status == 206 else None,
        }
        if self._keep and method in {"GET", "HEAD"} and (status < 400 or status in _ABSENT):
            found["headers"] = {
                name: told_header(name, value)
                for name, value in headers.items()
                if name in _TOLD or name.startswith(_TOLD_PREFIXES)
            }
        return {name: value for name, value in found.items() if value is not None}

    def _number(self) -> int:
        self._next += 1
        return self._next

    def asked(self, url: str, library: str, *, method: str = "GET", peer: str = "") -> None:
        """Native code was asked for this; nobody sees what came."""
        clean = without_secrets(url)[:_LONGEST]
        if self.listening:
            self._observation.tell(
                "remote", id=self._number(), method=method, url=clean, via=via(library), peer=peer
            )


def _endpoints() -> tuple[str, ...]:
    found = []
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        host = os.environ.get(name, "").partition("://")[2].partition("/")[0]
        if host:
            found.append(host.rpartition(":")[0] or host)
    return tuple(found)


def via(library: str) -> str:
    """The outermost known library among the callers, or this one."""
    frame = sys._getframe(1)  # noqa: SLF001 - inspect would have to be imported
    found = library
    for _ in range(_DEEPEST):
        name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if name in _LIBRARIES:
            found = name
        if frame.f_back is None:
            break
        frame = frame.f_back
    return found
