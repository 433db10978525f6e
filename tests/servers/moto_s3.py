"""moto: a second opinion on S3. It checks no signatures and knows no rights."""

import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seaweed import Identity, S3Server
from serving import answers, free_port, running

OWNER = Identity("thence-owner", "owner-secret-0123456789")


def available() -> str | None:
    """Why it cannot be started here, or None."""
    if importlib.util.find_spec("moto") is None:
        return "moto is not installed: pip install 'moto[server]'"
    return None


@contextmanager
def moto_s3() -> Iterator[S3Server]:
    """A fresh service with a bucket named `thence`, in a process and in memory."""
    port = free_port()
    server = S3Server(f"http://127.0.0.1:{port}", OWNER)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (
        tempfile.TemporaryDirectory(prefix="moto-") as folder,
        running(
            command,
            ready=lambda: answers(port) and server.works(),
            log=Path(folder) / "log",
        ),
    ):
        server.make_bucket("thence")
        yield server
