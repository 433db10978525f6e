"""PostgreSQL: a database of its own, for one module of tests."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from serving import answers, free_port, running

_USERS = ("postgres", "nobody")


class Postgres(NamedTuple):
    """A service on loopback, and on a socket."""

    port: int
    folder: Path

    @property
    def url(self) -> str:
        """Over TCP."""
        return f"postgresql://tester@127.0.0.1:{self.port}/postgres"


def _program(name: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def _as_user() -> list[str] | None:
    """What to put before a command, since it does not run as root; None where nothing helps."""
    if os.geteuid() != 0:
        return []
    names = [user.pw_name for user in pwd.getpwall()]
    user = next((name for name in _USERS if name in names), None)
    setpriv = shutil.which("setpriv")
    if user is None or setpriv is None:
        return None
    entry = pwd.getpwnam(user)
    return [setpriv, f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]


def available() -> str | None:
    """Why it cannot be started here, or None."""
    if _program("initdb") is None or _program("postgres") is None:
        return "PostgreSQL is not installed: apt-get install postgresql"
    if _as_user() is None:
        return "PostgreSQL does not run as root, and setpriv is not here"
    prefix = _as_user() or []
    tried = subprocess.run(
        [*prefix, _program("initdb") or "", "--version"], capture_output=True, check=False
    )
    return None if tried.returncode == 0 else f"initdb does not run here: {tried.stderr[:200]!r}"


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A fresh service; all it holds is thrown away at the end."""
    prefix = _as_user() or []
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        data = folder / "data"
        folder.chmod(0o777)
        env = {"LC_ALL": "C", "HOME": name, "TZ": "UTC"}
        subprocess.run(
            [*prefix, _program("initdb") or "", "-D", str(data), "-U", "tester", "-A", "trust",
             "--no-sync", "-E", "UTF8", "--locale=C"],
            check=True, capture_output=True, env={**os.environ, **env}, cwd=name, timeout=120,
        )  # fmt: skip
        port = free_port()
        command = [
            *prefix, _program("postgres") or "", "-D", str(data), "-p", str(port),
            "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={name}",
            "-c", "fsync=off", "-c", "max_connections=20", "-c", "shared_buffers=16MB",
        ]  # fmt: skip
        with running(command, ready=lambda: answers(port), log=folder / "log", env=env):
            yield Postgres(port, folder)
