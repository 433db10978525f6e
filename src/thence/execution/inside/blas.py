"""The library of linear algebra that a program has loaded: its version, its kernels, its threads.

Results differ in their last digits between them. The files that were opened name the library; what
it says of itself can only be asked for inside.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .observation import Observation

__all__ = ["KIND", "start"]

KIND = "blas"
_MAPS = "/proc/self/maps"
_NAMES = ("openblas", "mkl_rt", "blis")
# Builds for NumPy and SciPy have names of their own, so that several can be loaded at once.
_FORMS = [f"{prefix}%s{suffix}" for prefix in ("", "scipy_") for suffix in ("", "64_", "_64")]
_LONGEST = 200


def start(observation: Observation) -> None:
    """Look at the end."""
    pid = os.getpid()

    def end(_: Any) -> None:
        # Not by a library that the program does without, and not once more in each fork.
        if "ctypes" in sys.modules and "numpy" in sys.modules and os.getpid() == pid:
            told.extend(_loaded())

    def tell() -> None:
        observation.watcher.guarded(end, None)
        for fields in told:
            observation.tell(KIND, **fields)
        told.clear()

    told: list[dict[str, Any]] = []
    observation.on_end(tell)


def _loaded() -> list[dict[str, Any]]:
    with open(_MAPS, "rb") as file:
        lines = [os.fsdecode(line).split(None, 5) for line in file if b".so" in line]
    paths = {words[5].strip() for words in lines if len(words) == 6}
    found = []
    for path in sorted(paths):
        name = os.path.basename(path)
        if any(one in name for one in _NAMES):
            found.append({"file": name, **_says(path)})
    return found


def _says(path: str) -> dict[str, Any]:
    import ctypes

    # What is loaded is not loaded once more.
    library = ctypes.CDLL(path, mode=getattr(os, "RTLD_NOLOAD", 0))
    version = _call(library, ctypes.c_char_p, "openblas_get_config", "bli_info_get_version_str")
    if version is None and hasattr(library, "MKL_Get_Version_String"):
        buffer = ctypes.create_string_buffer(_LONGEST)
        library.MKL_Get_Version_String(buffer, _LONGEST - 1)
        version = buffer.value
    names = ("openblas_get_num_threads", "bli_thread_get_num_threads", "MKL_Get_Max_Threads")
    return {
        "version": " ".join((version or b"").decode("ascii", "replace").split())[:_LONGEST],
        "threads": _call(library, ctypes.c_int, *names),
    }


def _call(library: Any, kind: Any, *names: str) -> Any:
    for name in names:
        for form in _FORMS:
            function = getattr(library, form % name, None)
            if function is not None:
                function.restype = kind
                return function()
    return None
