"""Types whose objects may be asked for their text: to ask runs no code of the program's own."""

from __future__ import annotations

__all__ = ["is_known"]

_KNOWN = {
    *("datetime", "decimal", "fractions", "ipaddress", "numpy", "pandas", "pathlib", "uuid"),
    "zoneinfo",
}


def is_known(kind: type, *others: str) -> bool:
    """Whether it is of the standard library, NumPy or pandas, or of one of these packages."""
    module = type.__getattribute__(kind, "__module__")
    name = module.partition(".")[0] if type(module) is str else ""
    return name in _KNOWN or name in others
