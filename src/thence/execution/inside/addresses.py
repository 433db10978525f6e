"""Addresses of what is fetched: without credentials, and as S3 names what it holds."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = [
    "key_of",
    "peer_text",
    "s3_address",
    "scheme_of",
    "told_header",
    "without_secrets",
]

_SECRET = (
    *("token", "secret", "password", "passwd", "signature", "apikey", "api_key", "api-key"),
    *("access_key", "accesskey", "credential", "auth", "session"),
)
_NO_SECRET = {"author", "authors", "authority"}
_SECRET_WHOLE = {"sig", "key", "pwd", "pass", "jwt", "code", "key-pair-id"}
# Beside a signature it is what was signed, else a word as any other.
_SIGNED_POLICY = "policy"
# What each signed request has anew.
_SIGNED = ("x-amz-", "x-goog-", "x-ms-")
_SIGNED_WHOLE = {"awsaccesskeyid", "expires", "se", "st", "sp", "sv", "sr", "spr", "googleaccessid"}


def is_secret_parameter(name: str) -> bool:
    """Whether a parameter of this name may hold a secret, or a signature that is one for a while.

    >>> is_secret_parameter("X-Amz-Signature"), is_secret_parameter("page")
    (True, False)
    """
    low = name.lower()
    return low not in _NO_SECRET and (
        low in _SECRET_WHOLE
        or low in {"awsaccesskeyid", "googleaccessid"}
        or low.startswith(("x-amz-s", "x-amz-c", "x-goog-s", "x-goog-c"))
        or any(word in low for word in _SECRET)
    )


def without_secrets(url: str) -> str:
    """The address without user name, password and fragment; values of secret parameters replaced.

    >>> without_secrets("https://me:pw@example.com/a?page=2&token=abc#top")
    'https://example.com/a?page=2&token=<withheld>'
    """

    def hide(name: str, rest: str, is_secret: bool) -> str:
        return f"{name}=<withheld>" if is_secret else rest

    return _rewritten(url, hide)


def told_header(name: str, value: str) -> str:
    """A header of an answer, its addresses without secrets."""
    if name in {"location", "content-location"}:
        return without_secrets(value)
    if name == "link":  # RFC 8288: <address>; rel="next", <address> …
        first, *parts = value.split("<")
        pairs = (part.partition(">") for part in parts)
        return first + "".join(f"<{without_secrets(url)}>{rest}" for url, _, rest in pairs)
    return value


def key_of(url: str) -> str:
    """What stays the same when the same is asked for again: not secrets, not signatures.

    >>> key_of("https://example.com/a?X-Amz-Date=20260101&page=2&sig=x")
    'https://example.com/a?page=2'
    """

    def keep(name: str, rest: str, is_secret: bool) -> str:
        low = name.lower()
        signed = low.startswith(_SIGNED) or low in _SIGNED_WHOLE
        return "" if signed or is_secret else rest

    return _rewritten(url, keep)


def _rewritten(url: str, function: Any) -> str:
    head, mark, query = url.partition("#")[0].partition("?")
    scheme, slashes, rest = head.partition("://")
    if slashes:
        host, slash, path = rest.partition("/")
        head = f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
    if not mark:
        return head
    parts = query.split("&")
    names = [part.partition("=")[0] for part in parts]
    is_signed = not {"signature", "key-pair-id"}.isdisjoint(map(str.lower, names))
    pairs = (
        function(
            name,
            part,
            is_secret_parameter(name) or (is_signed and name.lower() == _SIGNED_POLICY),
        )
        for name, part in zip(names, parts)  # noqa: B905 - of Python 3.10
    )
    kept = "&".join(pair for pair in pairs if pair)
    return f"{head}?{kept}" if kept else head


def peer_text(address: Any) -> str:
    """`host:port` of a socket's peer, as sensors write it; empty for what is no such address."""
    if isinstance(address, (tuple, list)) and len(address) >= 2 and isinstance(address[1], int):
        host = str(address[0])
        return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"
    return ""


def scheme_of(url: str) -> str:
    """What stands before `://`, in small letters; empty where nothing does."""
    scheme, mark, _ = url.partition("://")
    return scheme.lower() if mark else ""


def s3_address(url: str, headers: Mapping[str, str], endpoints: tuple[str, ...] = ()) -> str | None:
    """`s3://bucket/key` where an answer came from a service that speaks S3, else None.

    Args:
        url: That was asked for, without credentials.
        headers: Of the answer, names in small letters.
        endpoints: Hosts that are known to be such services; a bucket may stand before them.
    """
    if "x-amz-request-id" not in headers and "x-amz-id-2" not in headers:
        return None
    host, slash, rest = url.partition("://")[2].partition("/")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    bucket = ""
    for endpoint in endpoints:
        if name.endswith("." + endpoint):
            bucket = name[: -len(endpoint) - 1]
    if name.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        words = name.split(".")
        places = [at for at, word in enumerate(words) if word == "s3" or word.startswith("s3-")]
        bucket = ".".join(words[: places[-1]]) if places else ""
    if bucket:
        return f"s3://{bucket}/{rest}"
    return f"s3://{rest}" if slash and rest and not rest.startswith("?") else None
