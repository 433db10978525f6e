"""A store in a container of Azure Blob Storage."""

import base64
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from thence.errors import (
    Denied,
    InvalidInput,
    MissingExtra,
    StorageError,
    ThenceError,
)
from thence.store.base import no_object, taken
from thence.store.bucket import BucketStore
from thence.store.clients import NO_RETRIES, certificates, make_clients
from thence.store.service_failures import Failure

__all__ = ["open_azure"]

_AZURES = (
    ".core.windows.net",
    ".core.usgovcloudapi.net",
    ".core.chinacloudapi.cn",
    ".storage.azure.net",
)
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_DELETED_IN_BATCH = re.compile(r"Bulk delete request failed for key .*: (.*) \(code: (\d+)\)")
_TRIES = 10
_SMALL_BYTES = 256 * 1024
_EMULATOR_PORT = 10000
# Published by Microsoft; every emulator has it: https://learn.microsoft.com/azure/storage/common/
_EMULATOR_ACCOUNT = "devstoreaccount1"
_EMULATOR_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
_TAKEN_CODES = frozenset(
    {"BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet", "UnauthorizedBlobOverwrite"}
)
_KEY_CODES = frozenset({"AuthenticationFailed", "InvalidAuthenticationInfo"})
_RIGHT_CODES = frozenset(
    {
        "AuthorizationPermissionMismatch",
        "AuthorizationResourceTypeMismatch",
        "AuthorizationServiceMismatch",
        "InsufficientAccountPermissions",
    }
)
_KEPT_CODES = frozenset({"BlobImmutableDueToPolicy", "BlobImmutableDueToLegalHold"})


class _Settings(NamedTuple):
    """Where the container is and who asks.

    Attributes:
        account: Name of the storage account.
        endpoint: Address of the service with the account, or None for the usual one.
        config: What obstore is told; holds the credentials.
        source: Where the credentials are from, as it goes into an error text.
    """

    account: str
    endpoint: str | None
    config: dict[str, Any]
    source: str

    def __repr__(self) -> str:
        return f"_Settings({self.account!r}, {self.endpoint!r}, …)"


class _AzureStore(BucketStore):
    """As for every bucket, but nothing is copied.

    Azure answers that a copy has begun, and obstore does not wait for its end. There is no need
    for one: a single request may hold 5,000 MiB. And Azure cannot count from the end: what is
    small is read whole; else the size is asked for first, and again where it changed meanwhile.
    """

    def _create_in_parts(self, key: str, data: bytes | memoryview | Path) -> None:
        if self.head(key) is not None:  # before gigabytes go up for nothing
            raise taken(key)
        self._put_if_free(key, self._path(key), data)  # type: ignore[arg-type]

    def _download(self, path: str, wanted: Any) -> bytes:
        import obstore

        if not isinstance(wanted, dict):
            return super()._download(path, wanted)
        key = path[len(self._root) :]
        for _ in range(_TRIES):
            size = self._size(key)
            begin = max(0, size - wanted["suffix"])
            if size <= max(_SMALL_BYTES, 2 * wanted["suffix"]):
                return super()._download(path, None)[-wanted["suffix"] :]
            try:
                options: Any = {"range": (begin, size)}
                result = obstore.get(self._clients.quick, path, options=options)
                data = bytes(result.bytes())
            except Exception:
                if self._size(key) == size:
                    raise
                continue
            if result.meta["size"] == size and len(data) == size - begin:
                return data
        raise StorageError(
            f"cannot read {key!r} in {self.url}",
            why=f"It had another size each time, or was cut short, {_TRIES} times.",
            hint="Repeat the command.",
            about=key,
            transient=True,
        )


def open_azure(
    container: str,
    prefix: str,
    options: Mapping[str, str],
    url: str,
    *,
    environment: Mapping[str, str] = os.environ,
) -> BucketStore:
    """The store below a prefix of a container; no request is made yet.

    Credentials are found as by other tools, in this order: AZURE_STORAGE_CONNECTION_STRING; the
    key of the account (AZURE_STORAGE_KEY, AZURE_STORAGE_ACCOUNT_KEY); a shared access signature
    (AZURE_STORAGE_SAS_TOKEN); a service principal (AZURE_TENANT_ID, AZURE_CLIENT_ID,
    AZURE_CLIENT_SECRET); a workload identity (AZURE_FEDERATED_TOKEN_FILE); the Azure CLI; the
    managed identity of the machine.

    Args:
        container: The name of the container.
        prefix: What keys in the container begin with; may be empty.
        options: `account` and `endpoint`.
        url: The URL, without secrets.
        environment: Where `AZURE_…` variables are, and `SSL_CERT_FILE`.

    Raises:
        MissingExtra: obstore is not installed.
        InvalidInput: No account is named, or an option or variable cannot be understood.
        Denied: Credentials would go to a server that is none of Azure's.
        NotFound: The file of certificates in SSL_CERT_FILE is not there.
        StorageError: That file cannot be read.
    """
    try:
        import obstore.store
    except ImportError as error:
        raise MissingExtra(
            "stores in Azure need a package that is not installed",
            why="It is obstore.",
            hint="pip install 'thence[azure]'",
        ) from error

    settings = _settings(options, environment, url)
    config: Any = {"disable_tagging": True, **settings.config}

    roots = certificates(environment, "SSL_CERT_FILE")

    def client(http: Any) -> Any:
        return obstore.store.AzureStore(
            container, config=config, client_options=http, retry_config=NO_RETRIES
        )

    return _AzureStore(
        lambda: make_clients(client, endpoint=settings.endpoint, roots=roots),
        url=url,
        bucket=container,
        prefix=prefix,
        describe=lambda failure: _describe(failure, settings),
        ordered=False,  # accounts with folders (Data Lake) list folder by folder
    )


def _settings(options: Mapping[str, str], environment: Mapping[str, str], url: str) -> _Settings:
    given = _connection(environment.get("AZURE_STORAGE_CONNECTION_STRING", ""))
    known = (
        given.get("accountname")
        or environment.get("AZURE_STORAGE_ACCOUNT_NAME")
        or environment.get("AZURE_STORAGE_ACCOUNT")
    )
    account = options.get("account") or known
    if not account or not re.fullmatch(r"[a-z0-9]{3,24}", account):
        raise InvalidInput(
            f"no storage account for {url}" if not account else f"not an account: {account!r}",
            why="A container of Azure is in a storage account, whose name is 3 to 24 letters and "
            "digits.",
            hint="Write az://container/prefix?account=NAME, or set AZURE_STORAGE_ACCOUNT.",
            about=url,
        )
    ours = known in {None, account}  # keys in the environment are for the account named there
    endpoint = options.get("endpoint")
    trusted = endpoint is None or _is_azures(endpoint)
    if endpoint is None and ours:
        endpoint = given.get("blobendpoint") or environment.get("AZURE_STORAGE_ENDPOINT") or None
        if endpoint is None and (suffix := given.get("endpointsuffix")):
            endpoint = f"https://{account}.blob.{suffix}"
    endpoint = _with_account(endpoint, account, url) if endpoint else None
    secret, source = _credentials(given if ours else {}, environment, ours=ours)
    if not trusted and not {"account_key", "skip_signature"} & secret.keys():
        raise Denied(
            f"cannot open {url}",
            why=f"What {source} holds can be used by whoever sees it, and the endpoint of this "
            "URL is none of Azure's.",
            hint="Use the key of the account (AZURE_STORAGE_KEY), which is never sent, or name "
            "the endpoint in AZURE_STORAGE_CONNECTION_STRING.",
            about=url,
        )
    config = {"account_name": account, **secret, **({"endpoint": endpoint} if endpoint else {})}
    return _Settings(account, endpoint, config, source)


def _connection(text: str) -> dict[str, str]:
    """https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string."""
    pairs = (part.partition("=") for part in text.split(";") if part.strip())
    given = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if given.get("usedevelopmentstorage", "").lower() == "true":
        return {
            "accountname": _EMULATOR_ACCOUNT,
            "accountkey": _EMULATOR_KEY,
            "blobendpoint": f"http://127.0.0.1:{_EMULATOR_PORT}/{_EMULATOR_ACCOUNT}",
        }
    if "accountname" not in given and (endpoint := given.get("blobendpoint")):
        # With a shared access signature the name is only in the address.
        given["accountname"] = (urlsplit(endpoint).hostname or "").partition(".")[0]
    return given


def _credentials(
    given: Mapping[str, str], environment: Mapping[str, str], *, ours: bool
) -> tuple[dict[str, Any], str]:
    def first(*names: str) -> str | None:
        return next((environment[name] for name in names if environment.get(name)), None)

    if environment.get("AZURE_SKIP_SIGNATURE", "").lower() in {"1", "true"}:
        return {"skip_signature": True}, "nobody (AZURE_SKIP_SIGNATURE is set)"
    key = first("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCESS_KEY")
    signature = first("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY")
    for name, kind, secret, source in (
        ("account_key", "access_key", given.get("accountkey"), "CONNECTION_STRING"),
        ("sas_key", "sas_token", given.get("sharedaccesssignature"), "CONNECTION_STRING"),
        ("account_key", "access_key", key if ours else None, "KEY"),
        ("sas_key", "sas_token", signature if ours else None, "SAS_TOKEN"),
    ):
        if secret:
            value = secret.removeprefix("?")
            if kind == "access_key" and not _is_base64(value):
                raise InvalidInput(
                    f"AZURE_STORAGE_{source} holds no key of a storage account",
                    why="A key is a text in base64, of 88 characters.",
                    hint="Copy it again: az storage account keys list --account-name NAME",
                )
            return {name: value, "credential_type": kind}, f"AZURE_STORAGE_{source}"
    tenant, identity = first("AZURE_TENANT_ID"), first("AZURE_CLIENT_ID")
    person = {"tenant_id": tenant, "client_id": identity}
    if tenant and identity and (password := first("AZURE_CLIENT_SECRET")):
        found = {**person, "client_secret": password, "credential_type": "client_secret"}
        return found, "AZURE_CLIENT_SECRET"
    if tenant and identity and (file := first("AZURE_FEDERATED_TOKEN_FILE")):
        found = {**person, "federated_token_file": file, "credential_type": "workload_identity"}
        return found, "AZURE_FEDERATED_TOKEN_FILE"
    machine: dict[str, Any] = {"credential_type": "managed_identity"}
    if identity:
        machine["client_id"] = identity
    if service := first("IDENTITY_ENDPOINT", "MSI_ENDPOINT"):
        return {**machine, "msi_endpoint": service}, "the managed identity of this machine"
    if shutil.which("az") and _is_logged_in(environment):
        return {"use_azure_cli": True, "credential_type": "azure_cli"}, "the Azure CLI"
    return machine, "the managed identity of this machine"


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return True


def _is_logged_in(environment: Mapping[str, str]) -> bool:
    folder = environment.get("AZURE_CONFIG_DIR") or os.path.expanduser("~/.azure")
    return os.path.exists(os.path.join(folder, "azureProfile.json"))


def _is_azures(endpoint: str) -> bool:
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    return host in _LOOPBACK or (parts.scheme == "https" and host.endswith(_AZURES))


def _with_account(endpoint: str, account: str, url: str) -> str:
    if not re.fullmatch(r"https?://[^/?#@\s]+(/[a-z0-9]*)?/?", endpoint):
        raise InvalidInput(
            "not the address of a server of Azure's kind",
            hint="Write for example ?account=NAME&endpoint=http://127.0.0.1:10000.",
            about=url,
        )
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if parts.path.strip("/") or host.partition(".")[0] == account:
        return endpoint.rstrip("/")
    return f"{endpoint.rstrip('/')}/{account}"  # as emulators have it: no name before the host


def _describe(failure: Failure, settings: _Settings) -> ThenceError | None:
    what, about = failure.what, failure.key
    if _is_about_tokens(failure.raw):
        return Denied(
            what,
            why=f"No token for Azure could be had: the credentials are from {settings.source}.",
            hint="Set AZURE_STORAGE_CONNECTION_STRING or AZURE_STORAGE_KEY, or run `az login`.",
            about=about,
        )
    if failure.status is None and "dns error" in failure.raw and settings.endpoint is None:
        return StorageError(
            what,
            why=f"There is no storage account {settings.account!r}, or this computer is offline: "
            f"the name {settings.account}.blob.core.windows.net cannot be found.",
            hint="Check ?account= in the URL, or AZURE_STORAGE_ACCOUNT.",
            about=about,
            transient=failure.reached,
        )
    if in_batch := _DELETED_IN_BATCH.search(failure.raw):  # has a status of its own
        failure = failure._replace(status=int(in_batch[2]), message=in_batch[1])
    if failure.code == "BlobNotFound" or (in_batch and failure.status == 404):
        return no_object(failure.key, failure.url)
    creates = failure.action.startswith("create")
    if failure.code in _TAKEN_CODES | (_KEPT_CODES if creates else frozenset()):
        return taken(failure.key)
    if failure.code in _KEPT_CODES or (in_batch and "immutable" in failure.message):
        return Denied(
            what,
            why="A policy of the container forbids to change or delete its objects.",
            hint="Ask the owner of the container: a project needs to delete objects now and then.",
            about=about,
        )
    if failure.code in _KEY_CODES:
        return Denied(
            what,
            why=f"Azure does not accept the credentials, or not any more: they are from "
            f"{settings.source}.",
            hint="Check that they belong to the account "
            f"{settings.account!r} and have not expired, and that the clock of this computer is "
            "right.",
            about=about,
        )
    if failure.code == "KeyBasedAuthenticationNotPermitted":
        return Denied(
            what,
            why=f"The account {settings.account!r} does not allow keys.",
            hint="Unset AZURE_STORAGE_KEY and run `az login`, or use a service principal.",
            about=about,
        )
    if failure.code == "AuthorizationFailure":
        return Denied(
            what,
            why=f"Azure turned the request away: the credentials, from {settings.source}, do not "
            "fit, or the firewall of the account keeps this computer out.",
            hint=f"Check that they belong to the account {settings.account!r}, and ask its owner "
            "which networks may reach it.",
            about=about,
        )
    if failure.code in _RIGHT_CODES or (in_batch and failure.status == 403):
        return Denied(
            what,
            why="The credentials are valid but have no right to this: they are from "
            f"{settings.source}.",
            hint="Ask the owner for the role Storage Blob Data Contributor on the container, or "
            "for a shared access signature with the rights to read, add, create, write, delete "
            "and list.",
            about=about,
        )
    if failure.status == 409:
        # Only the codes above say that there is an object; all others are about something else.
        return StorageError(
            what,
            why=failure.said,
            hint="Wait until it is done, and repeat the command.",
            about=about,
            transient=failure.code in {"PendingCopyOperation", "ContainerBeingDeleted"},
        )
    return None


def _is_about_tokens(raw: str) -> bool:
    return bool(re.search(r"token request|identity|az login|azure cli", raw, re.IGNORECASE))
