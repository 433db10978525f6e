"""What a storage service says went wrong, as errors of ours.

Everything that a person reads is written here or by the adapter of a service: of what the service
sent, only its own code and its message are repeated, because the rest may hold signed addresses
and tokens.
"""

import re
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from thence.errors import Denied, StorageError, ThenceError
from thence.store.base import no_object, taken

__all__ = [
    "Describe",
    "Failure",
    "describe_failure",
    "no_bucket",
    "parse_failure",
    "without_addresses",
]

# What a service says when the same request may succeed a moment later.
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_BUSY_CODES = frozenset(
    {
        "ConditionalRequestConflict",  # S3's 409: two writers at once, and neither has lost yet
        "OperationAborted",
        "RequestLimitExceeded",
        "RequestTimeout",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ServerBusy",
        "OperationTimedOut",
    }
)
# What arrived is not what was sent: the next try may arrive whole.
_DAMAGED_CODES = frozenset(
    {
        "BadDigest",
        "IncompleteBody",
        "Md5Mismatch",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    }
)
_NO_BUCKET_CODES = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"})

_NO_OBJECT_CODES = frozenset({"BlobNotFound", "NoSuchKey", "ResourceNotFound"})

_STATUS = re.compile(
    r"non-2xx status code: (\d{3})[^:\n]*:?\s?(.*?)(?=\n\s*Debug source:|\Z)", re.DOTALL
)
_CODE = re.compile(r"<Code>([A-Za-z0-9_.-]{1,80})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,400})")


class Failure(NamedTuple):
    """A request that did not succeed.

    Attributes:
        action: What was asked for, as it goes after `cannot`: `read 'a/b'`.
        key: The key, or the prefix of a listing; None where it is about the store.
        url: The URL of the store.
        bucket: The name of the bucket or container.
        writes: Whether the request would have changed something.
        reached: Whether the service has answered an earlier request of this store.
        status: The HTTP status, or None where there was no answer.
        code: The service's own word for it (`SlowDown`), or an empty string.
        message: The service's own sentence, or an empty string.
        raw: All that the library said. It may hold secrets: match on it, never show it.
    """

    action: str
    key: str | None
    url: str
    bucket: str
    writes: bool
    reached: bool
    status: int | None = None
    code: str = ""
    message: str = ""
    raw: str = ""

    @property
    def what(self) -> str:
        """The first line of the error."""
        return f"cannot {self.action} in {self.url}"

    @property
    def said(self) -> str:
        """What the service said, as one sentence."""
        words = self.code or (f"status {self.status}" if self.status else "nothing")
        sentence = " ".join(self.message.split()).rstrip(".")
        return (
            f"The service said {words}: {sentence}." if sentence else f"The service said {words}."
        )


Describe: TypeAlias = Callable[[Failure], ThenceError | None]
"""What an adapter knows about the codes of its service; None where it knows nothing special."""


def parse_failure(error: Exception, failure: Failure) -> Failure:
    """Take apart what obstore raised; its exceptions hold all they know in their text.

    Args:
        error: What was raised.
        failure: What was tried; the rest of it is filled in.
    """
    raw = str(error)
    found = _STATUS.search(raw)
    body = found.group(2) if found else ""
    code, message = _CODE.search(body), _MESSAGE.search(body)
    return failure._replace(
        status=int(found.group(1)) if found else None,
        code=code.group(1) if code else "",
        message=message.group(1) if message else "",
        raw=raw,
    )


def describe_failure(failure: Failure) -> ThenceError:
    """The error of ours where the adapter has nothing better to say."""
    about = failure.key
    if failure.code in _NO_BUCKET_CODES:
        return no_bucket(failure)
    if failure.code in _BUSY_CODES or (
        failure.status in _BUSY and failure.code != "NotImplemented"
    ):
        return StorageError(
            failure.what,
            why=f"The service is busy or has a fault of its own. {failure.said}",
            hint="Repeat the command a little later.",
            about=about,
            transient=True,
        )
    if failure.code in _DAMAGED_CODES:
        return StorageError(
            failure.what,
            why=f"The bytes changed on the way; the service noticed. {failure.said}",
            hint="Repeat the command. If it happens again, look for a proxy that changes requests.",
            about=about,
            transient=True,
        )
    match failure.status:
        case None:
            return _no_answer(failure)
        case 401 | 403:
            return Denied(
                failure.what,
                why=failure.said,
                hint="Check that your credentials belong to this store, and ask its owner for "
                f"the right to {'write to' if failure.writes else 'read and list'} it.",
                about=about,
            )
        case 404 if failure.key is not None and (
            not failure.writes or failure.code in _NO_OBJECT_CODES
        ):
            return no_object(failure.key, failure.url)
        case 404:
            return no_bucket(failure)
        case 409 | 412 if failure.writes:
            return taken(failure.key)
        case 301 | 307 | 308:
            return StorageError(
                failure.what,
                why="The service says that the bucket is somewhere else.",
                hint="Check the region and the endpoint of the store.",
                about=about,
            )
    return StorageError(
        failure.what,
        why=f"{failure.said} (status {failure.status})",
        hint="Check the URL of the store. docs/how-to/stores.md says what each service needs.",
        about=about,
    )


def no_bucket(failure: Failure) -> StorageError:
    """There is no such bucket: never `NotFound`, which would look like a missing object."""
    return StorageError(
        f"there is no bucket {failure.bucket!r}",
        why=f"That is why thence {failure.what}.",
        hint="Check the spelling of the URL, and that the bucket exists: thence makes none.",
        about=failure.url,
    )


def _no_answer(failure: Failure) -> StorageError:
    raw = failure.raw
    # A store that answered before will do so again; one that never did has a wrong address.
    again = failure.reached
    if "dns error" in raw or "failed to lookup address" in raw:
        why = "The name of the server cannot be found."
        hint = "Check the endpoint of the store, and that this computer is online."
    elif re.search(r"InvalidCertificate|CertificateRequired|UnknownIssuer|NotValidForName", raw):
        why = "The certificate of the server is not trusted, or is for another name."
        hint = (
            "Check the endpoint. If the authority that signed it is your own, set SSL_CERT_FILE to "
            "the file of its certificate."
        )
        again = False
    elif re.search(r"InvalidContentType|HandshakeFailure|AlertReceived|CorruptMessage", raw):
        why = "The server does not speak TLS, or not in a way that we understand."
        hint = "If it is a server without TLS, begin its endpoint with http:// instead of https://."
        again = False
    elif "UnexpectedRange" in raw:
        why = "The answer was cut short: it holds fewer bytes than were asked for."
        hint = "Repeat the command. If it happens again, look for a proxy on the way."
        again = True
    elif "ConnectionRefused" in raw:
        why = "Nobody listens at that address."
        hint = "Check the endpoint of the store, and that the server is running."
    elif re.search(r"kind: Connect\b|NetworkUnreachable|HostUnreachable", raw):
        why = "No connection to the server could be made."
        hint = "Check the endpoint of the store, and that this computer is online."
    elif re.search(r"kind: Timeout|TimedOut|operation timed out", raw):
        why = "The server stopped answering."
        hint, again = "Repeat the command; what has arrived is not sent again.", True
    elif re.search(
        r"kind: (Interrupted|Decode|Body|Request|Unknown)|IncompleteMessage|ConnectionReset"
        r"|UnexpectedEof|BrokenPipe|error sending request|error decoding response body",
        raw,
    ):
        why = "The connection ended before the answer was complete."
        hint, again = "Repeat the command; what has arrived is not sent again.", True
    else:
        why = f"The library for this store says: {without_addresses(raw)}"
        hint, again = "docs/how-to/stores.md says what each service needs.", False
    return StorageError(failure.what, why=why, hint=hint, about=failure.key, transient=again)


def without_addresses(raw: str) -> str:
    """What a library said, as far as it holds no address, in which a signature could be."""
    line = raw.partition("Debug source:")[0].partition("<")[0]
    return " ".join(re.sub(r"\bhttps?://\S+", "…", line).split())[:200]
