"""Files that are written under a name of their own before they get the one they are meant for.

A process that is killed leaves them where they are, in a folder of the user's. So their names say
what they are: no save keeps them, and the next time something is written there they are removed.
"""

import os
import re
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["is_leftover", "sweep", "temporary_name"]

_NAME = re.compile(r"\.thence-(\d+)-[0-9a-f]{12}(-\d+)?")
# Another machine may be writing to the same folder, and its processes are not known here.
_STALE_S = 3600


def temporary_name() -> str:
    """A name that no file has; with `-` and a number behind it, more of them."""
    return f".thence-{os.getpid()}-{os.urandom(6).hex()}"


def is_leftover(name: str) -> bool:
    """Whether a name is one of those."""
    return name.startswith(".thence-") and _NAME.fullmatch(name) is not None


def sweep(folder: Path) -> None:
    """Remove what processes that died an hour ago left in a folder, as far as it may be done."""
    with suppress(OSError), os.scandir(folder) as entries:
        left = [entry for entry in entries if is_leftover(entry.name)]
        for entry in left:
            match = _NAME.fullmatch(entry.name)
            assert match is not None
            old = entry.stat(follow_symlinks=False).st_mtime < time.time() - _STALE_S
            if old and not _is_running(int(match.group(1))):
                os.unlink(entry.path)


def _is_running(pid: int) -> bool:
    import psutil  # 25 ms, for what next to no folder has

    return psutil.pid_exists(pid)
