"""What Google Cloud Storage, or the way there, says went wrong, as errors of ours."""

import json
import os
import re
from typing import Any

from thence.errors import Denied, StorageError, ThenceError
from thence.store.service_failures import Failure, describe_failure, no_bucket

__all__ = ["describe_answer", "describe_exception", "said_in"]

_LOG_IN = (
    "Log in with `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS "
    "to the key file of a service account. They are sent to googleapis.com only."
)


def describe_exception(error: Exception, failure: Failure) -> ThenceError | None:
    """The error of ours for what Google's libraries raised; None where it is a fault of ours.

    Args:
        error: What was raised. Its text may hold the address of an upload, which is a right to
            write, so none of it is shown.
        failure: What was tried; status, code and message are still empty.
    """
    import google.auth.exceptions as auth
    import requests.exceptions as http
    import urllib3.exceptions as wire
    from google.api_core.exceptions import GoogleAPICallError

    if isinstance(error, GoogleAPICallError):
        reason, message = _said(error.errors)
        if not message and error.response is not None:  # as after uploads
            reason, message = said_in(error.response.content)
        status = int(error.code or 0) or None
        return describe_answer(failure._replace(status=status, code=reason, message=message))
    if isinstance(error, auth.DefaultCredentialsError):
        return _no_credentials(failure)
    if isinstance(error, auth.TransportError):
        return _silence(failure, "The server that issues Google's tokens does not answer.")
    if isinstance(error, auth.GoogleAuthError):
        return _not_accepted(error, failure)
    if isinstance(error, http.SSLError | wire.SSLError):
        return StorageError(
            failure.what,
            why="The certificate of the server is not trusted, or is for another name.",
            hint="Check the endpoint. If a proxy signs in its place, name its certificates in "
            "REQUESTS_CA_BUNDLE.",
            about=failure.key,
        )
    if isinstance(error, http.ProxyError):
        return _silence(failure, "The proxy that HTTPS_PROXY names does not answer.")
    if isinstance(error, http.InvalidURL | http.InvalidSchema | http.MissingSchema):
        return StorageError(
            failure.what,
            why="The endpoint is not the address of a server.",
            hint="Write for example ?endpoint=http://127.0.0.1:4443.",
            about=failure.key,
        )
    if isinstance(error, http.Timeout | wire.TimeoutError):
        return _silence(failure, "The server stopped answering.", again=True)
    if isinstance(error, http.RequestException | wire.HTTPError | ConnectionError):
        text = repr(error)
        if "NameResolution" in text or "Name or service not known" in text:
            return _silence(failure, "The name of the server cannot be found.")
        if "NewConnectionError" in text:
            return _silence(failure, "No connection to the server could be made.")
        why = "The connection ended before the answer was complete."
        return _silence(failure, why, again=True)
    return None


def describe_answer(failure: Failure) -> ThenceError:
    """The error of ours for an answer of the service that is none of the expected ones."""
    if failure.status == 409 or "ratelimit" in failure.code.lower():
        # 409 is no loser of a race, who is told 412: the service gave up on both for now.
        return StorageError(
            failure.what,
            why=f"Too many want the same at a time. {failure.said}",
            hint="Repeat the command a little later.",
            about=failure.key,
            transient=True,
        )
    if failure.status == 404 and "bucket does not exist" in failure.message:
        return no_bucket(failure)
    if failure.status == 401:
        return Denied(failure.what, why=failure.said, hint=_LOG_IN, about=failure.key)
    if failure.status == 403:
        return Denied(
            failure.what,
            why=failure.said,
            hint=f"Ask the owner of the bucket {failure.bucket!r} for the role Storage Object User "
            "(roles/storage.objectUser): it may list, read, create and delete objects.",
            about=failure.key,
        )
    if failure.status is not None and failure.status > 504:
        return describe_failure(failure._replace(status=500))
    return describe_failure(failure)


def said_in(body: bytes) -> tuple[str, str]:
    """Reason and message in the body of an answer, or two empty texts."""
    try:
        error = json.loads(body)["error"]
        code, message = _said(error.get("errors"))
        return code, message or str(error.get("message", ""))[:400]
    except (ValueError, LookupError, TypeError, AttributeError):
        return "", ""


def _silence(failure: Failure, why: str, *, again: bool = False) -> StorageError:
    # A store that answered before will do so again; one that never did has a wrong address.
    return StorageError(
        failure.what,
        why=why,
        hint="Repeat the command; what has arrived is not sent again."
        if again
        else "Check the endpoint of the store, and that this computer is online.",
        about=failure.key,
        transient=again or failure.reached,
    )


def _not_accepted(error: Any, failure: Failure) -> ThenceError:
    if getattr(error, "retryable", False):
        why = "Google's tokens could not be renewed just now."
        return StorageError(
            failure.what,
            why=why,
            hint="Repeat the command a little later.",
            about=failure.key,
            transient=True,
        )
    # `invalid_grant: Token has been expired or revoked.`; the rest of it may quote anything.
    code = re.match(r"[a-z_]+(?=:)", str(error.args[0]) if error.args else "")
    told = f" ({code.group()})" if code else ""
    return Denied(
        failure.what,
        why=f"Google does not accept the credentials, or not any more{told}.",
        hint=_LOG_IN,
        about=failure.key,
    )


def _no_credentials(failure: Failure) -> Denied:
    if named := os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        return Denied(
            failure.what,
            why="The file that GOOGLE_APPLICATION_CREDENTIALS names holds no credentials that "
            f"can be used: {named}",
            hint="Name the key file of a service account, or unset the variable.",
            about=failure.key,
        )
    return Denied(
        failure.what,
        why="No credentials for Google Cloud were found: none in the environment, none of gcloud, "
        "and no metadata server answers.",
        hint=_LOG_IN,
        about=failure.key,
    )


def _said(errors: Any) -> tuple[str, str]:
    first = errors[0] if isinstance(errors, list | tuple) and errors else {}
    if not isinstance(first, dict):
        return "", ""
    return str(first.get("reason", "")), str(first.get("message", ""))[:400]
