"""Answers that are credentials: what gives them out, and what they look like."""

from __future__ import annotations

import re

__all__ = ["HELD_BYTES", "gives_credentials", "is_credentials"]

HELD_BYTES = 64 << 10
"""No such answer is longer."""

# What machines of a cloud ask who they are: AWS, Azure, Google, ECS, EKS, Alibaba.
_HOSTS = {
    *("169.254.169.254", "[fd00:ec2::254]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"),
    *("metadata.google.internal", "metadata", "100.100.100.200"),
}
_NAMES = (
    rb"access_?token|refresh_?token|id_?token|client_?secret|secret_?access_?key|session_?token"
    rb"|private_?key"
)
_NAMED = re.compile(
    rb'"(?:' + _NAMES + rb')"\s*:\s*"(?:[^"\s]{16,}|-----BEGIN )'
    rb"|<(?:" + _NAMES + rb")>\s*[^<\s]{16,}"
    rb"|\A(?:[\w.-]{1,100}=[^&\s]{0,4096}&){0,10}access_token=[^&\s]{16,}",
    re.IGNORECASE,
)


def gives_credentials(url: str) -> bool:
    """Whether an address is that of a service that tells a machine its credentials."""
    host = url.partition("://")[2].partition("/")[0].partition("?")[0].lower()
    name, _, port = host.rpartition(":")
    return (name if port.isdigit() else host) in _HOSTS


def is_credentials(body: bytes) -> bool:
    """Whether the body of an answer gives a token or a key, as OAuth and clouds do.

    >>> is_credentials(b'{"access_token": "ya29-0123456789abcdef", "expires_in": 3600}')
    True
    >>> is_credentials(b'{"access_token": null, "max_tokens": 512}')
    False
    """
    return _NAMED.search(_plain(body)) is not None


def _plain(body: bytes) -> bytes:
    if not body.startswith(b"\x1f\x8b"):
        return body
    import zlib

    try:
        return zlib.decompressobj(31).decompress(body, 16 * HELD_BYTES)
    except zlib.error:
        return body
