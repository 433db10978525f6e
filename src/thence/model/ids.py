"""Identifiers: each its own type, parsed once at the edge."""

import re
from functools import total_ordering
from hashlib import sha256
from typing import Self

from thence.errors import InvalidInput

__all__ = ["Digest", "RunId"]

_HEX = re.compile(r"[0-9a-f]+")


@total_ordering
class Digest:
    """An algorithm-tagged hash of bytes; today always SHA-256.

    >>> Digest.of(b"").short
    'sha256:e3b0c44298fc'
    >>> Digest.parse(str(Digest.of(b"x"))) == Digest.of(b"x")
    True
    """

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        if len(raw) != 32:
            raise InvalidInput(f"a SHA-256 digest has 32 bytes, not {len(raw)}")
        self.raw = raw

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview) -> Self:
        """The digest of these bytes."""
        return cls(sha256(data).digest())

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """Parse 64 hexadecimal digits.

        Raises:
            InvalidInput: They are not that.
        """
        if len(text) != 64 or not _HEX.fullmatch(text):
            raise InvalidInput(
                f"not a SHA-256 digest: {text!r}", why="Wanted 64 lower-case hexadecimal digits."
            )
        return cls(bytes.fromhex(text))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `sha256:<64 hexadecimal digits>`.

        Raises:
            InvalidInput: It is not that.
        """
        algorithm, _, digits = text.partition(":")
        if algorithm != "sha256":
            raise InvalidInput(
                f"not a digest: {text!r}", why="A digest is written sha256:<64 hex digits>."
            )
        return cls.from_hex(digits)

    @property
    def hex(self) -> str:
        """The 64 digits, as `sha256sum` prints them."""
        return self.raw.hex()

    @property
    def short(self) -> str:
        """For people: the algorithm and 12 digits."""
        return f"sha256:{self.raw.hex()[:12]}"

    def __str__(self) -> str:
        return f"sha256:{self.raw.hex()}"

    def __repr__(self) -> str:
        return f"Digest({self.short})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Digest) and self.raw == other.raw

    def __lt__(self, other: "Digest") -> bool:
        return self.raw < other.raw

    def __hash__(self) -> int:
        return hash(self.raw)


class RunId(str):
    """The identity of a run: 20 hexadecimal digits, random, so that short prefixes are unique."""

    __slots__ = ()

    LENGTH = 20

    def __new__(cls, text: str) -> Self:
        """Check and wrap.

        Raises:
            InvalidInput: It is not 20 hexadecimal digits.
        """
        if len(text) != cls.LENGTH or not _HEX.fullmatch(text):
            raise InvalidInput(
                f"not a run id: {text!r}", why=f"Wanted {cls.LENGTH} lower-case hex digits."
            )
        return super().__new__(cls, text)

    @classmethod
    def from_bytes(cls, entropy: bytes) -> Self:
        """Make an id out of at least 10 random bytes."""
        return cls(entropy[: cls.LENGTH // 2].hex())

    @property
    def short(self) -> str:
        """For people: eight digits, with the prefix that makes it a ref."""
        return f"run:{self[:8]}"
