"""What of its accelerators a machine uses, as the driver of NVIDIA tells it."""

import contextlib
import os
import shutil
import subprocess
from typing import Any, NamedTuple, Self

__all__ = ["Accelerators", "Load"]

_DEVICE = "/dev/nvidiactl"
_QUERY = ("--query-gpu=memory.used,utilization.gpu", "--format=csv,noheader,nounits")
# It takes some 50 ms of processor time.
_COMMAND_INTERVAL_S = 20.0
_COMMAND_TIMEOUT_S = 10


class Load(NamedTuple):
    """All accelerators that can be seen: whoever uses them.

    Attributes:
        utilization: Their mean, 0 to 1.
    """

    memory_bytes: int
    utilization: float


class Accelerators:
    """Asks the library of the driver (package `nvidia-ml-py`), or else `nvidia-smi`.

    Where there is no such device neither is looked for.
    """

    def __init__(self, library: Any = None, command: str | None = None) -> None:
        self._library = library
        self._command = command
        self._last: Load | None = None
        self._ask_at = 0.0
        self._devices: list[Any] = []
        if library is not None:
            count = library.nvmlDeviceGetCount()
            self._devices = [library.nvmlDeviceGetHandleByIndex(index) for index in range(count)]

    @classmethod
    def find(cls) -> Self:
        """Those of this machine."""
        if not os.path.exists(_DEVICE):
            return cls()
        try:
            import pynvml

            pynvml.nvmlInit()
            return cls(library=pynvml)
        except Exception:
            # Not installed, or not for this driver.
            return cls(command=shutil.which("nvidia-smi"))

    def look(self, now: float) -> Load | None:
        """Their load now; None where there are none, or they do not tell."""
        if self._library is not None:
            return self._from_library()
        if self._command is not None and now >= self._ask_at:
            self._ask_at = now + _COMMAND_INTERVAL_S
            self._last = _from_command(self._command)
        return self._last

    def close(self) -> None:
        """Let go of the library."""
        if self._library is not None:
            with contextlib.suppress(Exception):
                self._library.nvmlShutdown()

    def _from_library(self) -> Load | None:
        try:
            used = [self._library.nvmlDeviceGetMemoryInfo(one).used for one in self._devices]
            rates = [self._library.nvmlDeviceGetUtilizationRates(one).gpu for one in self._devices]
        except Exception:  # what a driver raises is of its library
            return None
        return Load(sum(map(int, used)), sum(rates) / len(rates) / 100) if rates else None


def _from_command(command: str) -> Load | None:
    try:
        done = subprocess.run(
            [command, *_QUERY],
            capture_output=True,
            text=True,
            check=True,
            timeout=_COMMAND_TIMEOUT_S,
        )
        rows = [list(map(float, line.split(","))) for line in done.stdout.splitlines() if line]
        used = sum(int(row[0]) << 20 for row in rows)
        return Load(used, sum(row[1] for row in rows) / len(rows) / 100) if rows else None
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
