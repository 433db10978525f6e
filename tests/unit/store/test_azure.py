"""Which account, endpoint and credentials a store in Azure uses, and what it makes of refusals."""

import base64
from pathlib import Path

import pytest

from azurite import Azurite
from thence.errors import AlreadyExists, Denied, InvalidInput, NotFound, StorageError
from thence.store.azure import _describe, _settings, open_azure
from thence.store.service_failures import Failure

pytest.importorskip("obstore")

_KEY = base64.b64encode(b"k" * 64).decode()
_OTHER = base64.b64encode(b"o" * 64).decode()
_URL = "az://container"
_CONNECTION = (
    f"DefaultEndpointsProtocol=https;AccountName=acme;AccountKey={_KEY};"
    "EndpointSuffix=core.windows.net"
)
_PRINCIPAL = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c"}


@pytest.mark.parametrize(
    ("environment", "kind", "secret"),
    [
        ({"AZURE_STORAGE_CONNECTION_STRING": _CONNECTION}, "access_key", _KEY),
        (
            {
                "AZURE_STORAGE_CONNECTION_STRING": "BlobEndpoint=https://acme.blob.core.windows.net"
                ";SharedAccessSignature=sv=1&sig=x%3D"
            },
            "sas_token",
            "sv=1&sig=x%3D",
        ),
        ({"AZURE_STORAGE_ACCOUNT": "acme", "AZURE_STORAGE_KEY": _KEY}, "access_key", _KEY),
        (
            {"AZURE_STORAGE_ACCOUNT_NAME": "acme", "AZURE_STORAGE_ACCOUNT_KEY": _KEY},
            "access_key",
            _KEY,
        ),
        (
            {"AZURE_STORAGE_ACCOUNT": "acme", "AZURE_STORAGE_SAS_TOKEN": "?sv=1"},
            "sas_token",
            "sv=1",
        ),
        (
            {"AZURE_STORAGE_ACCOUNT": "acme", "AZURE_CLIENT_SECRET": "5ecret", **_PRINCIPAL},
            "client_secret",
            "5ecret",
        ),
        (
            {"AZURE_STORAGE_ACCOUNT": "acme", "AZURE_FEDERATED_TOKEN_FILE": "/f", **_PRINCIPAL},
            "workload_identity",
            "/f",
        ),
        (
            {"AZURE_STORAGE_ACCOUNT": "acme", "IDENTITY_ENDPOINT": "http://i"},
            "managed_identity",
            "http://i",
        ),
    ],
)
def test_credentials(environment: dict[str, str], kind: str, secret: str) -> None:
    found = _settings({}, environment, _URL)
    assert found.account == "acme"
    assert found.config["credential_type"] == kind
    assert secret in found.config.values()
    assert secret not in repr(found)
    assert secret not in found.source


def test_an_emulator_by_its_connection_string() -> None:
    environment = {"AZURE_STORAGE_CONNECTION_STRING": "UseDevelopmentStorage=true"}
    found = _settings({}, environment, _URL)
    assert found.account == "devstoreaccount1"
    assert found.endpoint == "http://127.0.0.1:10000/devstoreaccount1"


def test_a_cloud_of_another_country() -> None:
    text = f"AccountName=acme;AccountKey={_KEY};EndpointSuffix=core.chinacloudapi.cn"
    found = _settings({}, {"AZURE_STORAGE_CONNECTION_STRING": text}, _URL)
    assert found.endpoint == "https://acme.blob.core.chinacloudapi.cn"


def test_the_key_of_one_account_is_not_used_for_another() -> None:
    environment = {"AZURE_STORAGE_CONNECTION_STRING": _CONNECTION, "AZURE_STORAGE_KEY": _OTHER}
    found = _settings({"account": "other"}, environment, _URL)
    assert not {_KEY, _OTHER} & set(found.config.values())
    assert found.endpoint is None


def test_what_can_be_stolen_is_sent_to_azure_only() -> None:
    options = {"endpoint": "https://elsewhere.example.org"}
    account = {"AZURE_STORAGE_ACCOUNT": "acme"}
    with pytest.raises(Denied):
        _settings(options, {**account, "AZURE_STORAGE_SAS_TOKEN": "sv=1"}, _URL)
    with pytest.raises(Denied):
        _settings(options, {**account, "AZURE_CLIENT_SECRET": "s", **_PRINCIPAL}, _URL)
    found = _settings(options, {**account, "AZURE_STORAGE_KEY": _KEY}, _URL)
    assert found.endpoint == "https://elsewhere.example.org/acme"


def test_what_cannot_be_understood() -> None:
    with pytest.raises(InvalidInput, match="account=NAME"):
        _settings({}, {}, _URL)
    with pytest.raises(InvalidInput):
        _settings({"account": "Not An Account"}, {}, _URL)
    with pytest.raises(InvalidInput) as caught:
        _settings({"account": "acme"}, {"AZURE_STORAGE_KEY": "not a key!"}, _URL)
    assert "not a key!" not in str(caught.value)
    with pytest.raises(InvalidInput):
        _settings({"account": "acme", "endpoint": "ftp://x"}, {"AZURE_STORAGE_KEY": _KEY}, _URL)


def test_an_authority_of_ones_own_is_trusted(tmp_path: Path) -> None:
    environment = {
        "AZURE_STORAGE_CONNECTION_STRING": _CONNECTION,
        "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
    }
    with pytest.raises(NotFound, match="cannot read the certificates"):
        open_azure("container", "", {}, _URL, environment=environment)
    (tmp_path / "ca.pem").write_text("not a certificate")
    store = open_azure("container", "", {}, _URL, environment=environment)
    with pytest.raises(InvalidInput, match=r"cannot use .*: its settings are refused"):
        store.get("a")


def _failure(action: str, status: int | None, code: str, raw: str = "") -> Failure:
    return Failure(
        action=f"{action} 'a'",
        key="a",
        url=_URL,
        bucket="container",
        writes=action in {"create", "write", "delete"},
        reached=True,
        status=status,
        code=code,
        message="",
        raw=raw,
    )


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (_failure("create", 409, "BlobAlreadyExists"), AlreadyExists),
        (_failure("create", 412, "ConditionNotMet"), AlreadyExists),
        (_failure("create", 409, "BlobImmutableDueToPolicy"), AlreadyExists),
        (_failure("write", 409, "BlobImmutableDueToPolicy"), Denied),
        (_failure("create", 409, "AccountBeingCreated"), StorageError),
        (_failure("read", 409, "BlobArchived"), StorageError),
        (_failure("read", 403, "AuthenticationFailed"), Denied),
        (_failure("read", 401, "InvalidAuthenticationInfo"), Denied),
        (_failure("read", 403, "AuthorizationPermissionMismatch"), Denied),
        (_failure("read", 403, "AuthorizationFailure"), Denied),
        (_failure("read", 403, "KeyBasedAuthenticationNotPermitted"), Denied),
        (_failure("read", None, "", "error performing token request"), Denied),
        (
            _failure("delete", None, "", "Bulk delete request failed for key a: gone (code: 404)"),
            NotFound,
        ),
        (
            _failure("delete", None, "", "Bulk delete request failed for key a: no (code: 403)"),
            Denied,
        ),
    ],
)
def test_refusals(failure: Failure, kind: type[Exception]) -> None:
    settings = _settings({}, {"AZURE_STORAGE_CONNECTION_STRING": _CONNECTION}, _URL)
    error = _describe(failure, settings)
    assert error is not None
    assert type(error) is kind
    assert _KEY not in str(error)
    if isinstance(error, Denied | StorageError):
        assert error.why
        assert error.hint


def test_a_wrong_key_and_a_missing_container(azurite: Azurite) -> None:
    options = {"account": azurite.account, "endpoint": azurite.endpoint}
    wrong = {"AZURE_STORAGE_KEY": _OTHER}
    with pytest.raises(Denied, match="AZURE_STORAGE_KEY") as caught:
        open_azure("nowhere", "", options, _URL, environment=wrong).get("a")
    assert _OTHER not in str(caught.value)
    right = {"AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string}
    store = open_azure("nowhere", "", {}, _URL, environment=right)
    for call in (
        lambda: store.get("a"),
        lambda: store.head("a"),
        lambda: list(store.list()),
        lambda: store.create("a", [b"1"]),
        lambda: store.get_range("a", -3, 3),
    ):
        with pytest.raises(StorageError, match="nowhere"):
            call()
