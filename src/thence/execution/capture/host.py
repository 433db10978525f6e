"""The machine of a run."""

import os
import platform
import sys
from pathlib import Path

import psutil

from thence.model.records import Host

__all__ = ["capture_host", "host_deviations"]


def capture_host() -> Host:
    """Name, system, processor and memory of this machine; about 1 ms."""
    return Host(
        name=platform.node(),
        system=platform.system(),
        release=platform.release(),
        machine=platform.machine(),
        cpu=_processor(),
        cpus=os.cpu_count() or 0,
        memory_bytes=psutil.virtual_memory().total,
        distribution=_distribution(),
    )


def _processor() -> str:
    # platform.processor() is empty on most Linux systems and starts a program on others.
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key.strip() in {"model name", "Model", "cpu model", "Processor"}:
                    return value.strip()
    except OSError:
        pass
    return "" if sys.platform == "linux" else platform.processor()


def _distribution() -> str:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def host_deviations(then: Host, now: Host) -> list[str]:
    """In what this machine is not the one of then, sentences for people."""
    pairs = (
        ("processor", then.cpu or then.machine, now.cpu or now.machine),
        ("operating system", _system(then), _system(now)),
    )
    return [
        f"{what}: {after}; originally {before}" for what, before, after in pairs if before != after
    ]


def _system(host: Host) -> str:
    return host.distribution or f"{host.system} {host.release}"
