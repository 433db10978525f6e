"""Addresses as they may be kept."""

import re

__all__ = ["without_credentials"]

_USER_INFO = re.compile(r"(?<=://)[^/\s?#]*@")


def without_credentials(url: str) -> str:
    """The address without user name and password.

    The user name of an SSH address (`git@host:path`, `ssh://git@host/path`) stays: it is part of
    the address and no secret.

    >>> without_credentials("https://me:token@example.com/a.git")
    'https://example.com/a.git'
    >>> without_credentials("ssh://git@example.com/a.git")
    'ssh://git@example.com/a.git'
    """

    def strip(match: re.Match[str]) -> str:
        scheme = url[: match.start()].rpartition("+")[2].lower()
        is_name_only = ":" not in match.group()
        return match.group() if scheme == "ssh://" and is_name_only else ""

    return _USER_INFO.sub(strip, url)
