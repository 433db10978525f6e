"""A store in a bucket that obstore speaks to: all that S3 and Azure have in common."""

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from thence.errors import AlreadyExists, InvalidInput, NotFound, StorageError, ThenceError
from thence.store.base import Bytes, ObjectInfo, check_key, no_object, taken
from thence.store.clients import Clients, is_forked, note_use
from thence.store.failures import failures_of
from thence.store.key_order import in_order, is_key, just_before, key_before, sure_start
from thence.store.service_failures import (
    Describe,
    Failure,
    describe_failure,
    parse_failure,
    without_addresses,
)

__all__ = ["BucketStore"]

_T = TypeVar("_T")
_MIB = 1 << 20

_LARGE_BYTES = 64 * _MIB  # larger objects go up in parts

_PART_BYTES = 16 * _MIB
_PARTS_AT_ONCE = 4
_TEMPORARY = "tmp/"
_PAGE = 1_000
# How much of the end of an object is read to save a request that would only ask for its size.
_SMALL_TAIL = 256 * 1024


class BucketStore:
    """Objects below a prefix of a bucket.

    `create` is one PUT that the service refuses if there is an object (`If-None-Match: *`).
    That works up to 64 MiB in one request. What is larger goes up in parts, several at a time, to
    a key below `tmp/`; then the service copies it to its own key, again only if there is no
    object, and the temporary one is deleted: so of racing writers one wins also then, and no part
    of an object is ever seen. (S3 could check the precondition when it joins the parts, which
    saves the copy, but obstore has no call for that.) A crash may leave objects below `tmp/`,
    which no listing shows.

    Every upload carries the SHA-256 of its bytes where the service can check it; of every
    download the length is compared with what the service announced.

    Args:
        clients: Two clients of the bucket, without retries of their own.
        url: What `url` gives; holds no secrets.
        bucket: The name of the bucket, for errors.
        prefix: What all keys in the bucket begin with; no `/` at either end.
        describe: The error for a failure of this service, or None for the usual one.
        ordered: Whether the service lists by key, as AWS does; else a listing is sorted here
            (SeaweedFS goes folder by folder).
        suffix_ranges: Whether the service understands "the last n bytes" (Azure does not).
        token: Makes names of temporary objects, which nobody may have used before.
    """

    def __init__(
        self,
        clients: Callable[[], Clients],
        *,
        url: str,
        bucket: str,
        prefix: str = "",
        describe: Describe = lambda _: None,
        ordered: bool = True,
        suffix_ranges: bool = True,
        token: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._make_clients = clients
        self._url = url
        self._bucket = bucket
        self._root = f"{prefix}/" if prefix else ""
        self._describe = describe
        self._ordered = ordered
        self._suffix_ranges = suffix_ranges
        self._token = token
        self._reached = False  # the service has answered something
        self._bucket_seen = False  # ... from which we know that there is such a bucket

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"

    @property
    def url(self) -> str:
        """How to open this store again; holds no secrets."""
        return self._url

    @property
    def _clients(self) -> Clients:
        if is_forked():
            raise StorageError(
                f"this process cannot use {self._url}",
                why="It was forked from one that did, and obstore's threads were not copied: a "
                "request would never end.",
                hint="Start processes with multiprocessing.get_context('spawn').",
                about=self._url,
            )
        return self._made_clients

    @cached_property
    def _made_clients(self) -> Clients:
        note_use()
        try:
            return self._make_clients()
        except ThenceError:
            raise
        except Exception as error:
            said = without_addresses(str(error))
        raise InvalidInput(
            f"cannot use {self._url}: its settings are refused",
            why=f"The library for this store says: {said}",
            hint="Check the URL and the environment; docs/how-to/stores.md says what is read.",
            about=self._url,
        )

    def get(self, key: str) -> bytes:
        """As `Store.get`.

        Raises:
            NotFound: There is no such object.
            Denied: No right to read it.
            StorageError: The service failed, or could not be reached.
            InvalidInput: The key is none.
        """
        path = self._path(key)
        return self._ask(f"read {key!r}", key, lambda: self._download(path, None))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """As `Store.get_range`.

        Raises:
            NotFound: There is no such object.
            Denied: No right to read it.
            StorageError: The service failed, or could not be reached.
            InvalidInput: The key is none, or the length is negative.
        """
        path = self._path(key)
        if length < 0:
            raise InvalidInput(f"not a length: {length}", about=key)
        if length == 0 or (start < 0 and not self._reads_tail(start, length)):
            size = self._size(key)
            start = max(0, size + start) if start < 0 else start
            length = min(length, size - start)
            if length <= 0:
                return b""
        wanted: Any = (start, start + length) if start >= 0 else {"suffix": -start}
        try:
            data = self._ask(f"read {key!r}", key, lambda: self._download(path, wanted))
        except _BeyondTheEnd:
            return b""
        except _RangeIgnored:
            data = self.get(key)
            start = max(0, len(data) + start) if start < 0 else start
            return data[start : start + length]
        return data[:length]

    def create(self, key: str, parts: Sequence[Bytes]) -> None:
        """As `Store.create`.

        Raises:
            AlreadyExists: There is an object; it was not touched.
            Denied: No right to write.
            StorageError: The service failed, or could not be reached.
            InvalidInput: The key is none.
        """
        path = self._path(key)
        data = _joined(parts)
        if len(data) > _LARGE_BYTES:
            self._create_in_parts(key, data)
        else:
            self._put_if_free(key, path, data)

    def create_from_file(self, key: str, path: Path) -> None:
        """As `Store.create_from_file`; the file is left alone.

        Raises:
            AlreadyExists: There is an object; it was not touched.
            NotFound: There is no such file.
            Denied: No right to write, or to read the file.
            StorageError: The service failed, or could not be reached; the file cannot be read.
            InvalidInput: The key is none.
        """
        at = self._path(key)
        with failures_of(f"cannot read {str(path)!r}", about=str(path)), path.open("rb") as file:
            large = os.fstat(file.fileno()).st_size > _LARGE_BYTES
            data = b"" if large else file.read()
        if large:
            self._create_in_parts(key, path)
        else:
            self._put_if_free(key, at, data)

    def replace(self, key: str, parts: Sequence[Bytes]) -> None:
        """As `Store.replace`.

        Raises:
            Denied: No right to write.
            StorageError: The service failed, or could not be reached.
            InvalidInput: The key is none.
        """
        path = self._path(key)
        data = _joined(parts)
        self._ask(f"write {key!r}", key, lambda: self._upload(path, data), writes=True)

    def head(self, key: str) -> ObjectInfo | None:
        """As `Store.head`.

        Raises:
            Denied: No right to read it.
            StorageError: The service failed, or could not be reached, or there is no such bucket.
            InvalidInput: The key is none.
        """
        import obstore

        path = self._path(key)
        action = f"look at {key!r}"
        try:
            meta = obstore.head(self._clients.quick, path)
        except Exception as error:
            failure = self._failure(error, action, key, writes=False)
        else:
            self._reached = self._bucket_seen = True
            return ObjectInfo(key, meta["size"], _seconds(meta))
        if failure.status in {None, 500, 502, 503, 504} or failure.code:
            raise self._error(failure)
        # An answer to HEAD has no body, so it cannot say why: a missing bucket looks like a
        # missing object, and a wrong key like an expired one. A read says it.
        if failure.status == 404 and self._bucket_seen:
            return None
        try:
            self._ask(action, key, lambda: self._download(path, (0, 1)))
        except NotFound:
            return None
        except (_BeyondTheEnd, _RangeIgnored):
            pass  # it is there by now, and empty
        if failure.status == 404:
            return self.head(key)
        raise self._error(failure)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """As `Store.list`.

        Raises:
            Denied: No right to list.
            StorageError: The service failed, or could not be reached.
        """
        folder = prefix[: prefix.rfind("/") + 1]
        if folder and not is_key(folder[:-1]):
            return
        if not after.startswith(folder):
            if after > folder:
                return
            after = ""
        if not self._ordered:
            after_surely = folder + sure_start(after[len(folder) :])
        else:
            after_surely = key_before(after)
        begin = max(just_before(prefix), after_surely)
        found = self._pages(prefix, folder, begin)
        for info in found if self._ordered else in_order(found, folder):
            if info.key > after:
                yield info

    def _pages(self, prefix: str, folder: str, begin: str) -> Iterator[ObjectInfo]:
        """What the service lists, in its own order: that of keys, or folder by folder."""
        import obstore

        action = f"list {prefix!r}" if prefix else "list the objects"
        pages: Any = obstore.list(
            self._clients.quick,
            (self._root + folder).rstrip("/") or None,
            offset=self._root + begin if len(begin) > len(folder) else None,
            chunk_size=_PAGE,
        )
        while page := self._ask(action, None, lambda: next(pages, None)):
            for meta in page:
                key = meta["path"][len(self._root) :]
                if key.startswith(prefix):
                    if not key.startswith(_TEMPORARY) and is_key(key):
                        yield ObjectInfo(key, meta["size"], _seconds(meta))
                elif key[len(folder) :].partition("/")[0] > prefix[len(folder) :]:
                    return

    def delete(self, key: str) -> None:
        """As `Store.delete`.

        Raises:
            Denied: No right to delete.
            StorageError: The service failed, or could not be reached.
            InvalidInput: The key is none.
        """
        self._delete(self._path(key), key)

    def _path(self, key: str) -> str:
        check_key(key)
        if key.startswith(_TEMPORARY):
            raise InvalidInput(f"not a key: {key!r}", why=f"{_TEMPORARY} is for this store itself.")
        return self._root + key

    def _reads_tail(self, start: int, length: int) -> bool:
        return self._suffix_ranges and -start - length <= _SMALL_TAIL

    def _size(self, key: str) -> int:
        info = self.head(key)
        if info is None:
            raise no_object(key, self._url)
        return info.size_bytes

    def _download(self, path: str, wanted: Any) -> bytes:
        import obstore

        options: Any = None if wanted is None else {"range": wanted}
        result = obstore.get(self._clients.quick, path, options=options)
        first, end = result.range
        size = result.meta["size"]
        data = bytes(result.bytes())
        if wanted is None:
            promised = (0, size)
        elif isinstance(wanted, tuple):
            promised = (wanted[0], min(wanted[1], size))
        else:
            promised = (max(0, size - wanted["suffix"]), size)
        if (first, end) != promised or len(data) != end - first:
            raise StorageError(
                f"cannot read {path!r} in {self._url}",
                why=f"The answer was cut short: {len(data)} bytes came, "
                f"{promised[1] - promised[0]} were to come.",
                hint="Repeat the command. If it happens again, look for a proxy on the way.",
                about=path,
                transient=True,
            )
        return data

    def _put_if_free(self, key: str, path: str, data: bytes | memoryview) -> None:
        import obstore

        client = self._clients.quick if len(data) <= _MIB else self._clients.patient
        try:
            self._ask(
                f"create {key!r}",
                key,
                lambda: obstore.put(client, path, data, mode="create", use_multipart=False),
                writes=True,
            )
        except AlreadyExists:
            self._refuse_folder(key)
            raise

    def _refuse_folder(self, key: str) -> None:
        """Tell an object from a folder: SeaweedFS says the same of both."""
        if self.head(key) is None and next(self.list(f"{key}/"), None) is not None:
            raise InvalidInput(
                f"cannot create {key!r}",
                why="There are objects below it, and this service holds no object beside a folder "
                "of the same name.",
                about=key,
            )

    def _upload(self, path: str, data: bytes | memoryview | Path) -> None:
        """Put it there whether or not there is an object, in parts if it is large."""
        import obstore

        small = not isinstance(data, Path) and len(data) <= _LARGE_BYTES
        obstore.put(
            self._clients.patient,
            path,
            data,
            mode="overwrite",
            use_multipart=not small,
            chunk_size=_PART_BYTES,
            max_concurrency=_PARTS_AT_ONCE,
        )

    def _create_in_parts(self, key: str, data: bytes | memoryview | Path) -> None:
        import obstore

        if self.head(key) is not None:  # before gigabytes go up for nothing
            raise taken(key)
        action = f"create {key!r}"
        temporary = f"{self._root}{_TEMPORARY}{self._token()}"
        client = self._clients.patient
        try:
            self._ask(action, key, lambda: self._upload(temporary, data), writes=True)
            self._ask(
                action,
                key,
                lambda: obstore.copy(client, temporary, self._root + key, overwrite=False),
                writes=True,
            )
        finally:
            with suppress(ThenceError):
                self._delete(temporary, key)

    def _delete(self, path: str, key: str) -> None:
        import obstore

        with suppress(NotFound):
            self._ask(
                f"delete {key!r}",
                key,
                lambda: obstore.delete(self._clients.quick, path),
                writes=True,
            )

    def _ask(
        self, action: str, key: str | None, call: Callable[[], _T], *, writes: bool = False
    ) -> _T:
        try:
            result = call()
        except (ThenceError, StopIteration):
            raise
        except Exception as error:
            failure = self._failure(error, action, key, writes=writes)
        else:
            self._reached = self._bucket_seen = True
            return result
        # Outside of the handler: what obstore raised may hold tokens, and must not be chained.
        if failure.status == 416 or "but object was only" in failure.raw:
            self._bucket_seen = True
            raise _BeyondTheEnd
        if "non-partial response" in failure.raw:
            self._bucket_seen = True
            raise _RangeIgnored
        raise self._error(failure)

    def _failure(self, error: Exception, action: str, key: str | None, *, writes: bool) -> Failure:
        tried = Failure(action, key, self._url, self._bucket, writes, self._reached)
        failure = parse_failure(error, tried)
        self._reached = self._reached or failure.status is not None
        if failure.status is None and isinstance(error, FileNotFoundError):
            failure = failure._replace(status=404)
        return failure

    def _error(self, failure: Failure) -> ThenceError:
        error = self._describe(failure) or describe_failure(failure)
        if isinstance(error, NotFound | AlreadyExists):
            self._bucket_seen = True
        return error


class _BeyondTheEnd(Exception):
    """The range begins where the object ends, or later."""


class _RangeIgnored(Exception):
    """The service gave the whole object: moto does that of empty ones, some proxies of all."""


def _joined(parts: Sequence[Bytes]) -> bytes | memoryview:
    if len(parts) == 1 and isinstance(parts[0], bytes):
        return parts[0]
    return b"".join(parts)


def _seconds(meta: Any) -> float:
    # An answer to HEAD has whole seconds, a listing may have fractions; both must say the same.
    return float(int(meta["last_modified"].timestamp()))
