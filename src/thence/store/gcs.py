"""A store in a bucket of Google Cloud Storage."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from thence.errors import (
    InvalidInput,
    NotFound,
    StorageError,
    ThenceError,
)
from thence.store.base import Bytes, ObjectInfo, check_key, no_object, taken
from thence.store.failures import failures_of
from thence.store.gcs_connection import GcsLink, connect, require_library
from thence.store.gcs_failures import describe_answer, describe_exception, said_in
from thence.store.gcs_upload import Upload, body_of_file, body_of_parts, crc32c_of
from thence.store.key_order import is_key
from thence.store.service_failures import Failure, no_bucket

__all__ = ["GcsStore", "open_gcs"]

_MIB = 1 << 20
_LARGE_BYTES = 8 * _MIB  # above, one more request buys that a broken upload goes on
_SMALL_TAIL = 256 * 1024
_FARTHEST = 1 << 62
_TIMEOUT_S = (10, 60)  # to connect, and between two bytes
_OPTIONS = frozenset({"endpoint", "project"})
_BINARY = "application/octet-stream"
# The emulator says `0--1/0` of an object without bytes.
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(-?\d+)|\*)/(\d+)")
_CRC32C = re.compile(r"crc32c=([A-Za-z0-9+/=]+)")


class _Content(NamedTuple):
    """The bytes that an answer holds, and where in the object they are."""

    data: bytes
    start: int
    size_bytes: int


class GcsStore:
    """Objects below a prefix of a bucket, over the JSON API.

    `create` is one upload that the service refuses if there is an object
    (`ifGenerationMatch=0`). What is larger than 8 MiB goes up in a resumable session under the
    same condition: after a broken connection it goes on where the service says it stopped. Every
    upload carries the CRC32C of its bytes, which the service checks; every download of a whole
    object is checked against it, and of every range the length.

    Args:
        bucket: Name of the bucket.
        prefix: What all keys in the bucket begin with; no `/` at either end.
        url: What `url` gives; holds no secrets.
        endpoint: Another server than Google's. Credentials are sent to `https` addresses of
            `googleapis.com` only, whatever the URL of a store says.
        project: The project that pays for requests, where the bucket makes its readers pay.
        sleep: What waits before an upload goes on.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        url: str,
        endpoint: str | None = None,
        project: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bucket = bucket
        self._root = f"{prefix}/" if prefix else ""
        self._url = url
        self._endpoint = endpoint
        self._project = project
        self._sleep = sleep
        self._lock = threading.Lock()
        self._made: GcsLink | None = None
        self._reached = False  # the service has answered something
        self._bucket_seen = False  # ... from which we know that there is such a bucket

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"

    @property
    def url(self) -> str:
        """How to open this store again; holds no secrets."""
        return self._url

    def get(self, key: str) -> bytes:
        """As `Store.get`.

        Raises:
            NotFound: There is no such object.
            Denied: No right to read it.
            StorageError: The service failed, or could not be reached.
            InvalidInput: The key is none.
        """
        return self._download(check_key(key)).data

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """As `Store.get_range`.

        Raises:
            NotFound: There is no such object.
            Denied: No right to read it.
            StorageError: The service failed, or could not be reached.
            InvalidInput: The key is none, or the length is negative.
        """
        check_key(key)
        if length < 0:
            raise InvalidInput(f"not a length: {length}", about=key)
        if length == 0 or (start < 0 and -start - length > _SMALL_TAIL):
            info = self.head(key)
            if info is None:
                raise self._not_found(key)
            start = max(0, info.size_bytes + start) if start < 0 else start
            length = min(length, info.size_bytes - start)
            if length <= 0:
                return b""
        if start >= 0:
            return self._range(key, min(start, _FARTHEST), min(length, _FARTHEST))
        # The service can count from the end only up to the end.
        found = self._download(key, f"bytes=-{min(-start, _FARTHEST)}")
        begin = max(0, found.size_bytes + start)
        self._expect(key, found, begin, found.size_bytes)
        return found.data[begin - found.start :][:length]

    def create(self, key: str, parts: Sequence[Bytes]) -> None:
        """As `Store.create`.

        Raises:
            AlreadyExists: There is an object; it was not touched.
            Denied: No right to write.
            StorageError: The service failed, or could not be reached.
            InvalidInput: The key is none.
        """
        self._put(check_key(key), parts, "create", only_if_free=True)

    def create_from_file(self, key: str, path: Path) -> None:
        """As `Store.create_from_file`; the file is left alone.

        Raises:
            AlreadyExists: There is an object; it was not touched.
            NotFound: There is no such file.
            Denied: No right to write, or to read the file.
            StorageError: The service failed, or could not be reached; the file cannot be read.
            InvalidInput: The key is none.
        """
        check_key(key)
        with failures_of(f"cannot read {str(path)!r}", about=str(path)), path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            small = file.read() if size <= _LARGE_BYTES else None
        if small is not None:
            self.create(key, [small])
            return
        with failures_of(f"cannot read {str(path)!r}", about=str(path)):
            body = body_of_file(path)
        self._put_large(key, body, "create", only_if_free=True)

    def replace(self, key: str, parts: Sequence[Bytes]) -> None:
        """As `Store.replace`.

        Raises:
            Denied: No right to write.
            StorageError: The service failed, or could not be reached.
            InvalidInput: The key is none.
        """
        self._put(check_key(key), parts, "write", only_if_free=False)

    def head(self, key: str) -> ObjectInfo | None:
        """As `Store.head`.

        Raises:
            Denied: No right to read it.
            StorageError: The service failed, or could not be reached, or there is no such bucket.
            InvalidInput: The key is none.
        """
        path = self._root + check_key(key)
        with self._asking(f"look at {key!r}", key) as link:
            blob = link.bucket.get_blob(path, timeout=_TIMEOUT_S, retry=None)
        if blob is None:
            self._check_bucket()
            return None
        self._bucket_seen = True
        return ObjectInfo(key, int(blob.size), blob.time_created.timestamp())

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """As `Store.list`.

        Raises:
            Denied: No right to list.
            StorageError: The service failed, or could not be reached, or there is no such bucket.
        """
        if not prefix.isascii():
            return  # as no key is
        action = f"list {prefix!r}" if prefix else "list the objects"
        # The service begins with the offset itself, and knows nothing of what is no text.
        begin = self._root + after if after > prefix and after.isascii() else None
        with self._asking(action, None) as link:
            found = iter(
                link.client.list_blobs(
                    link.bucket,
                    prefix=self._root + prefix or None,
                    start_offset=begin,
                    fields="items(name,size,timeCreated),nextPageToken",
                    page_size=1_000,
                    timeout=_TIMEOUT_S,
                    retry=None,
                )
            )
        while True:
            with self._asking(action, None):
                blob = next(found, None)
            self._bucket_seen = True
            if blob is None:
                return
            key = blob.name[len(self._root) :]
            if key > after and is_key(key):
                yield ObjectInfo(key, int(blob.size), blob.time_created.timestamp())

    def delete(self, key: str) -> None:
        """As `Store.delete`.

        Raises:
            Denied: No right to delete.
            StorageError: The service failed, or could not be reached, or there is no such bucket.
            InvalidInput: The key is none.
        """
        from google.api_core.exceptions import NotFound as Missing

        path = self._root + check_key(key)
        with self._asking(f"delete {key!r}", key, writes=True) as link:
            try:
                link.bucket.blob(path).delete(timeout=_TIMEOUT_S, retry=None)
            except Missing:
                self._reached = True
            else:
                self._bucket_seen = True
        self._check_bucket()

    def _put(self, key: str, parts: Sequence[Bytes], action: str, *, only_if_free: bool) -> None:
        from google.api_core.exceptions import PreconditionFailed

        if sum(memoryview(part).nbytes for part in parts) > _LARGE_BYTES:
            self._put_large(key, body_of_parts(parts), action, only_if_free=only_if_free)
            return
        data = b"".join(parts)
        with self._asking(f"{action} {key!r}", key, writes=True) as link:
            blob = link.bucket.blob(self._root + key)
            blob.crc32c = crc32c_of([data])
            try:
                blob.upload_from_string(
                    data,
                    _BINARY,
                    if_generation_match=0 if only_if_free else None,
                    checksum=None,  # it is in the metadata
                    timeout=_TIMEOUT_S,
                    retry=None,
                )
            except PreconditionFailed:
                self._bucket_seen = True
                raise taken(key) from None
        self._bucket_seen = True

    def _put_large(self, key: str, body: Any, action: str, *, only_if_free: bool) -> None:
        from google.api_core.exceptions import PreconditionFailed

        if only_if_free and self.head(key) is not None:  # before gigabytes go up for nothing
            raise taken(key)
        with self._asking(f"{action} {key!r}", key, writes=True) as link:
            blob = link.bucket.blob(self._root + key)
            blob.crc32c = body.crc32c
            try:
                address = blob.create_resumable_upload_session(
                    _BINARY,
                    size=body.size_bytes,
                    if_generation_match=0 if only_if_free else None,
                    checksum=None,
                    timeout=_TIMEOUT_S,
                    retry=None,
                )
            except PreconditionFailed:
                raise taken(key) from None
            self._bucket_seen = True
            upload = Upload(link.http, address, body, timeout_s=_TIMEOUT_S, sleep=self._sleep)
            answer = upload.run()
        if answer.status_code == 412:
            raise taken(key)
        if answer.status_code not in {200, 201}:
            action = f"{action} {key!r}"
            raise self._refusal(answer.status_code, answer.content, action, key, writes=True)
        stored = answer.json().get("crc32c", body.crc32c)
        if stored != body.crc32c:
            # It is ours, for nobody else could create it meanwhile; and it must not stay.
            self.delete(key)
            raise self._cut_short(f"{action} {key!r}", key, "The bytes changed on the way.")

    def _range(self, key: str, start: int, length: int) -> bytes:
        found = self._download(key, f"bytes={start}-{start + length - 1}")
        end = min(start + length, found.size_bytes)
        if start >= end:
            return b""
        self._expect(key, found, start, end)
        return found.data[start - found.start :][:length]

    def _expect(self, key: str, found: _Content, start: int, end: int) -> None:
        """A server may ignore the range and send all; less is an answer that was cut short."""
        if found.start > start or found.start + len(found.data) < end:
            why = f"{len(found.data)} bytes came, {end - start} were to come."
            raise self._cut_short(f"read {key!r}", key, f"The answer was cut short: {why}")

    def _download(self, key: str, wanted: str | None = None) -> _Content:
        action = f"read {key!r}"
        # Nothing is compressed on the way, so that lengths and checksums are those of the object.
        headers = {"Accept-Encoding": "identity", **({"Range": wanted} if wanted else {})}
        with self._asking(action, key) as link:
            answer = link.http.get(
                link.address + quote(self._root + key, safe=""),
                params={
                    "alt": "media",
                    **({"userProject": self._project} if self._project else {}),
                },
                headers=headers,
                stream=True,
                timeout=_TIMEOUT_S,
            )
            with answer:
                body = answer.raw.read(decode_content=False)
        if answer.status_code == 404:
            if b"bucket does not exist" in body[:1_000]:
                raise no_bucket(self._failure(action, key, writes=False))
            raise self._not_found(key)
        if answer.status_code not in {200, 206, 416}:
            raise self._refusal(answer.status_code, body, action, key, writes=False)
        self._bucket_seen = True
        place = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if answer.status_code == 416:
            return _Content(b"", 0, 0)
        if answer.status_code == 206 and place and place[1]:
            found = _Content(body, int(place[1]), int(place[3]))
            if len(body) == int(place[2]) - found.start + 1:
                return found
            raise self._cut_short(action, key, f"{len(body)} bytes came of {place[0]}.")
        return self._whole(key, answer, body)

    def _whole(self, key: str, answer: Any, body: bytes) -> _Content:
        stored = _CRC32C.search(answer.headers.get("X-Goog-Hash", ""))
        size = int(answer.headers.get("Content-Length") or len(body))
        size = int(answer.headers.get("X-Goog-Stored-Content-Length") or size)
        if len(body) != size or answer.status_code == 206:
            why = f"The answer was cut short: {len(body)} bytes came, {size} were to come."
            raise self._cut_short(f"read {key!r}", key, why)
        if stored and stored[1] != crc32c_of([body]):
            why = "The bytes changed on the way: they do not have the checksum of the object."
            raise self._cut_short(f"read {key!r}", key, why)
        return _Content(body, 0, len(body))

    def _check_bucket(self) -> None:
        """Raise if there is no such bucket: the service may say the same of a missing object."""
        if self._bucket_seen:
            return
        from google.api_core.exceptions import NotFound as Missing

        with self._asking("list the objects", None) as link:
            try:
                next(iter(link.client.list_blobs(link.bucket, max_results=1, retry=None)), None)
            except Missing:
                raise no_bucket(self._failure("list the objects", None, writes=False)) from None
        self._bucket_seen = True

    def _not_found(self, key: str) -> NotFound:
        self._check_bucket()
        return no_object(key, self._url)

    def _cut_short(self, action: str, key: str, why: str) -> StorageError:
        return StorageError(
            self._failure(action, key, writes=False).what,
            why=why,
            hint="Repeat the command. If it happens again, look for a proxy on the way.",
            about=key,
            transient=True,
        )

    def _refusal(
        self, status: int, body: bytes, action: str, key: str, *, writes: bool
    ) -> ThenceError:
        code, message = said_in(body)
        failure = self._failure(action, key, writes=writes)
        return describe_answer(failure._replace(status=status, code=code, message=message))

    def _failure(self, action: str, key: str | None, *, writes: bool) -> Failure:
        reached = self._reached or self._bucket_seen
        return Failure(action, key, self._url, self._bucket, writes, reached)

    @contextmanager
    def _asking(self, action: str, key: str | None, *, writes: bool = False) -> Iterator[GcsLink]:
        try:
            yield self._link()
        except (ThenceError, GeneratorExit):
            raise
        except Exception as error:
            found = describe_exception(error, self._failure(action, key, writes=writes))
            if found is None:
                raise
            # Not chained: what was raised may hold the address of an upload.
            raise found from None
        self._reached = True

    def _link(self) -> GcsLink:
        if self._made is None:
            with self._lock:
                if self._made is None:
                    self._made = connect(
                        self._bucket, endpoint=self._endpoint, project=self._project
                    )
        return self._made


def open_gcs(bucket: str, prefix: str, options: Mapping[str, str], url: str) -> GcsStore:
    """The store in a bucket of Google Cloud Storage; nothing is asked of the service yet.

    Args:
        bucket: Name of the bucket.
        prefix: What all keys in the bucket begin with; no `/` at either end.
        options: `endpoint`, another server, for which STORAGE_EMULATOR_HOST stands too; `project`,
            which pays for requests to a bucket that makes its readers pay.
        url: What the store gives as its URL; without secrets.

    Raises:
        InvalidInput: An option that there is not, or an endpoint that is no address.
        MissingExtra: google-cloud-storage is not installed.
    """
    require_library(url)
    if unknown := sorted(options.keys() - _OPTIONS):
        raise InvalidInput(
            f"gs:// has no option {unknown[0]!r}",
            why=f"Its options are {', '.join(sorted(_OPTIONS))}.",
            about=url,
        )
    endpoint = options.get("endpoint") or os.environ.get("STORAGE_EMULATOR_HOST") or None
    if endpoint and "://" not in endpoint:
        endpoint = f"http://{endpoint}"
    if endpoint and not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:_]+/?", endpoint):
        raise InvalidInput(
            f"not the address of a server: {endpoint!r}",
            hint="Write for example gs://bucket?endpoint=http://127.0.0.1:4443.",
            about=url,
        )
    return GcsStore(
        bucket,
        prefix.strip("/"),
        url=url,
        endpoint=endpoint.rstrip("/") if endpoint else None,
        project=options.get("project") or None,
    )
