"""The grammar of URLs of stores in buckets."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode

from thence.errors import InvalidInput
from thence.store.base import check_key

__all__ = ["SCHEMES", "StoreUrl", "parse_store_url"]

SCHEMES: Mapping[str, str] = MappingProxyType(
    {
        "s3": "s3",
        "gs": "gs",
        "gcs": "gs",
        "az": "az",
        "azure": "az",
        "abfs": "az",
        "abfss": "az",
    }
)
"""What a URL may begin with, and what we call it."""

_OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "s3": ("addressing", "endpoint", "profile", "region"),
        "gs": ("endpoint", "project"),
        "az": ("account", "endpoint"),
    }
)
_CREDENTIALS: Mapping[str, str] = MappingProxyType(
    {
        "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile: ?profile=NAME.",
        "gs": "Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS.",
        "az": "Run `az login`, or set AZURE_STORAGE_CONNECTION_STRING or AZURE_STORAGE_KEY.",
    }
)
_EXAMPLES: Mapping[str, str] = MappingProxyType(
    {
        "s3": "s3://bucket/prefix?endpoint=https://storage.example.org",
        "gs": "gs://bucket/prefix",
        "az": "az://container/prefix?account=NAME",
    }
)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}[A-Za-z0-9]")
_SPLIT = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?", re.DOTALL)
# abfss://container@account.dfs.core.windows.net/path, as other tools write it
_ABFS = re.compile(r"([^@:]+)@([a-z0-9]{3,24})\.(?:dfs|blob)\.core\.windows\.net", re.IGNORECASE)


class StoreUrl(NamedTuple):
    """A store in a bucket.

    Attributes:
        scheme: `s3`, `gs` or `az`.
        bucket: The bucket or container.
        prefix: What all keys begin with, without `/` at either end; may be empty.
        options: What came after `?`, by name; never a credential.
    """

    scheme: str
    bucket: str
    prefix: str
    options: Mapping[str, str]

    def __str__(self) -> str:
        path = f"/{quote(self.prefix)}" if self.prefix else ""
        query = urlencode(sorted(self.options.items()), safe=":/")
        return f"{self.scheme}://{self.bucket}{path}{'?' if query else ''}{query}"


def parse_store_url(text: str) -> StoreUrl:
    """The parts of the URL of a store in a bucket.

    The text is not repeated in errors where it may hold a secret.

    Raises:
        InvalidInput: It is none, or holds credentials, or an option that is not known.
    """
    found = _SPLIT.fullmatch(text)
    scheme = SCHEMES.get(found.group(1).lower()) if found else None
    if found is None or scheme is None:
        raise InvalidInput(
            "not the URL of a store in a bucket", hint=f"Write for example {_EXAMPLES['s3']}"
        )
    bucket, path, query, fragment = found.group(2, 3, 4, 5)
    options = _options(scheme, query or "")
    if scheme == "az" and (account := _ABFS.fullmatch(bucket)):
        bucket = account.group(1)
        options.setdefault("account", account.group(2).lower())
    if "@" in bucket or ":" in bucket:
        raise InvalidInput(
            f"the URL of a store holds no credentials: {scheme}://…@{bucket.rpartition('@')[2]}",
            why="URLs are kept in files, shown in logs, and shared with colleagues.",
            hint=_CREDENTIALS[scheme],
        )
    if fragment or not _BUCKET.fullmatch(bucket):
        raise InvalidInput(
            f"not a store: {scheme}://{bucket}{path}",
            why="'#' has a meaning of its own in a URL."
            if fragment
            else "After :// comes the name of a bucket: letters, digits, '.', '-' and '_'.",
            hint=f"Write for example {_EXAMPLES[scheme]}",
        )
    prefix = unquote(path).strip("/")
    if prefix:
        try:
            check_key(f"{prefix}/x")
        except InvalidInput as error:
            raise InvalidInput(
                f"not a prefix in a bucket: {prefix!r}",
                why="It is made of plain segments, with '/' between them.",
                hint=f"Write for example {_EXAMPLES[scheme]}",
            ) from error
    return StoreUrl(scheme, bucket, prefix, MappingProxyType(options))


def _options(scheme: str, query: str) -> dict[str, str]:
    known = _OPTIONS[scheme]
    listed = ", ".join(known)
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            # Only the name is shown: the value may be a key.
            raise InvalidInput(
                f"there is no option {name!r} of {scheme}:// stores",
                why=f"There are: {listed}. Credentials have no place in a URL.",
                hint=_CREDENTIALS[scheme],
            )
        if name in options or not value:
            raise InvalidInput(
                f"the option {name!r} is {'given twice' if name in options else 'empty'}",
                hint=f"Give each option once, with a value: {listed}.",
            )
        if name == "endpoint" and "@" in value:
            raise InvalidInput(
                "the endpoint of a store holds no credentials", hint=_CREDENTIALS[scheme]
            )
        options[name] = value.rstrip("/") if name == "endpoint" else value
    return options
