"""A store in an S3 bucket: Amazon's, or that of a service that speaks its language."""

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from thence.errors import Denied, InvalidInput, MissingExtra, StorageError, ThenceError
from thence.store.bucket import BucketStore
from thence.store.clients import NO_RETRIES, certificates, make_clients
from thence.store.service_failures import Failure

if TYPE_CHECKING:
    import botocore.session

__all__ = ["open_s3"]

_KEY_CODES = frozenset(
    {"InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException"}
)
_SECRET_CODES = frozenset({"SignatureDoesNotMatch", "InvalidSignature"})
_TOKEN_CODES = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken"}
)
_REGION_CODES = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "PermanentRedirect",
        "TemporaryRedirect",
    }
)
_RIGHT_CODES = frozenset({"AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden"})

_ADDRESS = re.compile(r"https?://([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d+)?(/[^?#]*)?")

# How long obstore may use credentials that botocore renews: it asks again five minutes before.
_LEASE = timedelta(minutes=10)


class _Settings(NamedTuple):
    """Where the bucket is and who asks.

    Attributes:
        endpoint: The address of the service; None for Amazon's own.
        provider: Gives credentials that may change; None where obstore finds fixed ones itself.
        source: Where the credentials are from, as it goes into an error text.
    """

    endpoint: str | None
    region: str
    provider: "_Renewed | None"
    source: str


def open_s3(
    bucket: str,
    prefix: str,
    options: Mapping[str, str],
    url: str,
    *,
    environment: Mapping[str, str] = os.environ,
) -> BucketStore:
    """The store below a prefix of a bucket.

    Credentials are found as by every other tool: `AWS_ACCESS_KEY_ID` and its companions, else
    whatever botocore finds (profiles with keys, single sign-on, roles to assume or programs to
    ask; web identities; roles of containers and instances). No request is made here, except where
    botocore needs one to get credentials.

    Args:
        bucket: The name of the bucket.
        prefix: What keys in the bucket begin with; may be empty.
        options: `endpoint`, `region`, `profile`, `addressing` (`path` or `virtual`).
        url: The URL, without secrets.
        environment: Where `AWS_…` variables are.

    Raises:
        MissingExtra: obstore or botocore is not installed.
        InvalidInput: An option cannot be understood, or there is no such profile.
        Denied: There are no credentials, or they cannot be renewed.
        NotFound: The file of certificates in AWS_CA_BUNDLE or SSL_CERT_FILE is not there.
        StorageError: That file cannot be read.
    """
    try:
        import obstore.store
    except ImportError as error:
        raise _missing() from error

    settings = _settings(options, environment, url)
    endpoint = settings.endpoint
    addressing = options.get("addressing", "path" if endpoint or "." in bucket else "virtual")
    if addressing not in {"path", "virtual"}:
        raise InvalidInput(
            f"not a way to address a bucket: {addressing!r}",
            hint="Write ?addressing=path or ?addressing=virtual.",
            about=url,
        )
    config: Any = {
        "region": settings.region,
        "virtual_hosted_style_request": addressing == "virtual",
        "conditional_put": "etag",
        # Joining parts is the one operation of S3 that copies only if there is no object.
        "copy_if_not_exists": "multipart",
        "checksum_algorithm": "SHA256",
        "disable_tagging": True,
        # The call that deletes many needs other rights, and not every service has it.
        "disable_bulk_delete": True,
    }
    if endpoint:
        if addressing == "virtual":
            parts = urlsplit(endpoint)
            endpoint = parts._replace(netloc=f"{bucket}.{parts.netloc}").geturl()
        # The second name wins in obstore, and would be read from the environment.
        config |= {"endpoint": endpoint, "aws_endpoint_url_s3": endpoint}

    roots = certificates(environment, "AWS_CA_BUNDLE", "SSL_CERT_FILE")

    def client(http: Any) -> Any:
        return obstore.store.S3Store(
            bucket,
            config=config,
            client_options=http,
            retry_config=NO_RETRIES,
            credential_provider=settings.provider,
        )

    return BucketStore(
        lambda: make_clients(client, endpoint=endpoint, roots=roots),
        url=url,
        bucket=bucket,
        prefix=prefix,
        describe=lambda failure: _describe(failure, settings),
        ordered=_is_amazon(settings.endpoint),
    )


def _settings(options: Mapping[str, str], environment: Mapping[str, str], url: str) -> _Settings:
    profile = options.get("profile")
    endpoint = options.get("endpoint") or _endpoint_of(environment)
    region = (
        options.get("region")
        or environment.get("AWS_REGION")
        or environment.get("AWS_DEFAULT_REGION")
    )
    fixed = not profile and bool(
        environment.get("AWS_ACCESS_KEY_ID") and environment.get("AWS_SECRET_ACCESS_KEY")
    )
    fixed = fixed or environment.get("AWS_SKIP_SIGNATURE", "").lower() in {"1", "true"}
    provider = None
    source = "the environment (AWS_ACCESS_KEY_ID)"
    # botocore takes a tenth of a second to import, so it is asked only for what it must tell.
    if not fixed or (not region and not endpoint and _has_profiles(environment)):
        session = _session(profile, url)
        scoped: Mapping[str, Any] = session.get_scoped_config()
        region = region or scoped.get("region")
        if not endpoint and not _ignores_endpoints(environment):
            endpoint = _endpoint_in(session, scoped)
        if not fixed:
            provider = _Renewed(session, url)
            name = profile or environment.get("AWS_PROFILE")
            source = (
                f"the AWS profile {name!r}" if name else "the AWS configuration of this machine"
            )
    if endpoint and not _ADDRESS.fullmatch(endpoint):
        raise InvalidInput(
            f"not an endpoint: {endpoint!r}",
            why="It is the address of a server.",
            hint="Write for example ?endpoint=https://storage.example.org",
            about=url,
        )
    return _Settings(endpoint, region or "us-east-1", provider, source)


def _endpoint_of(environment: Mapping[str, str]) -> str | None:
    if _ignores_endpoints(environment):
        return None
    return environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or None


def _ignores_endpoints(environment: Mapping[str, str]) -> bool:
    return environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true"


def _endpoint_in(session: "botocore.session.Session", scoped: Mapping[str, Any]) -> str | None:
    services = session.full_config.get("services", {}).get(scoped.get("services"), {})
    own = services.get("s3", {})
    found = own.get("endpoint_url") if isinstance(own, dict) else None
    return found or scoped.get("endpoint_url")


def _has_profiles(environment: Mapping[str, str]) -> bool:
    path = environment.get("AWS_CONFIG_FILE") or "~/.aws/config"
    return os.path.exists(os.path.expanduser(path))


def _is_amazon(endpoint: str | None) -> bool:
    host = urlsplit(endpoint).hostname if endpoint else "s3.amazonaws.com"
    return (host or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _session(profile: str | None, url: str) -> "botocore.session.Session":
    try:
        import botocore.exceptions
        import botocore.session
    except ImportError as error:
        raise _missing() from error
    try:
        session = botocore.session.Session(profile=profile)
        session.get_scoped_config()
    except botocore.exceptions.ProfileNotFound as error:
        names = ", ".join(sorted(botocore.session.Session().available_profiles)) or "none"
        raise InvalidInput(
            f"there is no AWS profile {profile or os.environ.get('AWS_PROFILE')!r}",
            why=f"The profiles on this machine: {names}.",
            hint="Check ?profile= in the URL, or AWS_PROFILE, or run `aws configure`.",
            about=url,
        ) from error
    except botocore.exceptions.BotoCoreError as error:
        raise InvalidInput(
            "the AWS configuration of this machine cannot be read",
            why=f"botocore says {type(error).__name__}.",
            hint="Check ~/.aws/config and ~/.aws/credentials.",
            about=url,
        ) from error
    return session


class _Renewed:
    """Credentials that botocore finds, and renews before they expire."""

    def __init__(self, session: "botocore.session.Session", url: str) -> None:
        self._url = url
        self.problem: ThenceError | None = None
        self._credentials = self._guarded(session.get_credentials)
        if self._credentials is None:
            raise Denied(
                f"there are no credentials for {url}",
                why="Neither the environment nor the AWS configuration of this machine has any.",
                hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`, or "
                "name a profile: ?profile=NAME.",
                about=url,
            )
        self()  # what cannot be renewed is told now, in words of ours

    def __repr__(self) -> str:
        return "_Renewed(…)"

    def __call__(self) -> Any:
        frozen = self._guarded(self._credentials.get_frozen_credentials)
        changes = hasattr(self._credentials, "refresh_needed")
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _LEASE if changes else None,
        }

    def _guarded(self, call: Any) -> Any:
        import botocore.exceptions as trouble

        why = hint = ""
        try:
            result = call()
        except (
            trouble.SSOError,
            trouble.TokenRetrievalError,
        ):
            why = "The single sign-on of this profile has expired."
            hint = "Run `aws sso login` (with --profile NAME where it is not the default one)."
        except (trouble.BotoCoreError, trouble.ClientError) as error:
            # The text of some holds what a program printed, which may be anything.
            why = f"botocore says {type(error).__name__}."
            hint = "Try `aws sts get-caller-identity`, which uses the same credentials."
        else:
            self.problem = None
            return result
        self.problem = Denied(
            f"cannot get credentials for {self._url}", why=why, hint=hint, about=self._url
        )
        raise self.problem


def _describe(failure: Failure, settings: _Settings) -> ThenceError | None:
    what, about = failure.what, failure.key
    if failure.status is None and settings.provider and settings.provider.problem:
        return settings.provider.problem
    if failure.code in _KEY_CODES:
        return Denied(
            what,
            why="The service does not know this access key.",
            hint=f"Check the credentials: they are from {settings.source}.",
            about=about,
        )
    if failure.code in _SECRET_CODES:
        return Denied(
            what,
            why="The secret key does not belong to the access key, or a proxy changed the request.",
            hint=f"Check the credentials: they are from {settings.source}.",
            about=about,
        )
    if failure.code in _TOKEN_CODES:
        return Denied(
            what,
            why="The session token has expired, or is not valid.",
            hint=f"Log in again, for example with `aws sso login`, or renew AWS_SESSION_TOKEN: the "
            f"credentials are from {settings.source}.",
            about=about,
        )
    if failure.code == "RequestTimeTooSkewed":
        return StorageError(
            what,
            why=f"The clock of this computer says {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, which is "
            "more than 15 minutes away from that of the service.",
            hint="Set the clock.",
            about=about,
        )
    if failure.code in _REGION_CODES or "incorrectly configured region" in failure.raw:
        said = f" {failure.said}" if failure.message else ""
        return StorageError(
            what,
            why=f"The bucket is not in the region {settings.region!r}.{said}",
            hint="Add ?region=… to the URL, or set AWS_REGION.",
            about=about,
        )
    if failure.status == 404 and not failure.code:
        return StorageError(
            what,
            why="Something answered that does not speak S3.",
            hint="Check the endpoint of the store.",
            about=about,
        )
    if failure.code in _RIGHT_CODES:
        rights = "s3:PutObject and s3:DeleteObject" if failure.writes else "s3:GetObject"
        return Denied(
            f"no right to {'write to' if failure.writes else 'read'} {failure.url}",
            why="The credentials are valid but have no right to "
            + ("write here." if failure.writes else "read here."),
            hint=f"Ask the owner of the bucket for {rights} on the objects and s3:ListBucket on "
            f"the bucket. The credentials are from {settings.source}.",
            about=about,
        )
    return None


def _missing() -> MissingExtra:
    return MissingExtra(
        "stores in S3 need two packages that are not installed",
        why="They are obstore and botocore.",
        hint="pip install 'thence[s3]'",
    )
