"""The way to Google Cloud Storage: credentials, and a session that many threads share."""

import importlib.util
import warnings
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from thence.errors import MissingExtra

__all__ = ["GcsLink", "connect", "require_library"]

_CONNECTIONS = 64
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"


class GcsLink(NamedTuple):
    """What is made at the first request: importing and logging in take a while.

    Attributes:
        http: A session of requests.
        client: Google's client.
        bucket: Google's bucket.
        address: Address of the contents of objects, to which a quoted name is added.
    """

    http: Any
    client: Any
    bucket: Any
    address: str


def connect(bucket: str, *, endpoint: str | None, project: str | None) -> GcsLink:
    """Find credentials, and make what requests go through.

    Args:
        bucket: Name of the bucket.
        endpoint: Another server than Google's; credentials are sent to Google's only.
        project: The project that pays for requests, where the bucket makes its readers pay.
    """
    import google.auth
    from google.auth.credentials import AnonymousCredentials
    from google.auth.transport.requests import AuthorizedSession
    from google.cloud.storage import Client
    from requests import Session
    from requests.adapters import HTTPAdapter

    credentials: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
    http = Session()
    if _is_googles(endpoint):
        with warnings.catch_warnings():
            # That the credentials of a person have no quota project is of no matter here.
            warnings.simplefilter("ignore", UserWarning)
            credentials, _ = google.auth.default(scopes=[_SCOPE])
        http = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    adapter = HTTPAdapter(pool_connections=4, pool_maxsize=_CONNECTIONS, max_retries=0)
    http.mount("https://", adapter)
    http.mount("http://", adapter)
    client = Client(
        project=None,
        credentials=credentials,
        _http=http,
        client_options={"api_endpoint": endpoint} if endpoint else None,
    )
    handle = client.bucket(bucket, user_project=project)
    address = f"{client.api_endpoint}/storage/v1/b/{quote(bucket, safe='')}/o/"
    return GcsLink(http, client, handle, address)


def require_library(url: str) -> None:
    """Check, without importing it, that Google's library is there.

    Raises:
        MissingExtra: It is not.
    """
    try:
        found = importlib.util.find_spec("google.cloud.storage")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise MissingExtra(
            f"cannot open {url}",
            why="Google Cloud Storage needs the package google-cloud-storage.",
            hint="pip install 'thence[gcs]'",
        )


def _is_googles(endpoint: str | None) -> bool:
    if endpoint is None:
        return True
    parts = urlsplit(endpoint)
    return parts.scheme == "https" and (parts.hostname or "").endswith(".googleapis.com")
