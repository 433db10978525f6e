"""moto: a second opinion on S3. It checks no signatures and knows no rights.

It looks whether there is an object and then puts one, and two threads of it may do that at the same
time; so here it answers one request after the other.
"""

import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seaweed import Identity, S3Server
from serving import answers, free_port, running

OWNER = Identity("thence-owner", "owner-secret-0123456789")

_PROGRAM = """
import sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
application = DomainDispatcherApplication(create_backend_app)
run_simple("127.0.0.1", int(sys.argv[1]), application, threaded=False)
"""


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
    command = [sys.executable, "-c", _PROGRAM, str(port)]
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
