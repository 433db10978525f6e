"""Azurite, the emulator of Azure Blob Storage, which `make test` installs with npm."""

import base64
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import serving

_PROGRAM = (
    Path(__file__).resolve().parents[2] / ".venv/npm/node_modules/azurite/dist/src/blob/main.js"
)


class Azurite:
    """A running emulator, with one account.

    Args:
        port: Its port of loopback.
        account: Name of the account.
        key: Key of the account.
    """

    def __init__(self, port: int, account: str, key: str) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.account = account
        self.key = key

    @property
    def environment(self) -> dict[str, str]:
        """What people set who use that account."""
        return {"AZURE_STORAGE_ACCOUNT": self.account, "AZURE_STORAGE_KEY": self.key}

    @property
    def connection_string(self) -> str:
        """The same in one text, as the portal of Azure shows it."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={self.account};AccountKey={self.key};"
            f"BlobEndpoint={self.endpoint}/{self.account};"
        )

    def make_container(self, name: str) -> None:
        import hashlib
        import hmac
        import urllib.request
        from datetime import UTC, datetime

        # Shared Key, https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
        when = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        signed = (
            f"PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{when}\nx-ms-version:2021-12-02\n"
            f"/{self.account}/{self.account}/{name}\nrestype:container"
        )
        mac = hmac.new(base64.b64decode(self.key), signed.encode(), hashlib.sha256).digest()
        request = urllib.request.Request(
            f"{self.endpoint}/{self.account}/{name}?restype=container",
            method="PUT",
            headers={
                "x-ms-date": when,
                "x-ms-version": "2021-12-02",
                "Authorization": f"SharedKey {self.account}:{base64.b64encode(mac).decode()}",
            },
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()

    def url(self, container: str, prefix: str = "") -> str:
        """The URL of a store there."""
        path = f"/{prefix}" if prefix else ""
        return f"az://{container}{path}?account={self.account}&endpoint={self.endpoint}"


def available() -> str | None:
    """Why it cannot run here; None if it can."""
    if shutil.which("node") is None:
        return "Azurite needs node, which is not installed"
    if not _PROGRAM.exists():
        return "Azurite is not installed: make azurite"
    return None


@contextmanager
def azurite(folder: Path) -> Iterator[Azurite]:
    """A server that keeps all in memory; its log is in the folder."""
    port = serving.free_port()
    account, key = "testaccount", base64.b64encode(secrets.token_bytes(64)).decode()
    command = [shutil.which("node") or "node", str(_PROGRAM)]
    command += ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"]
    # Clients are ahead of it in versions of the protocol; and it would report to its makers.
    command += ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    with serving.running(
        command,
        ready=lambda: serving.answers(port),
        log=folder / "azurite.log",
        env={"AZURITE_ACCOUNTS": f"{account}:{key}"},
    ):
        yield Azurite(port, account, key)
