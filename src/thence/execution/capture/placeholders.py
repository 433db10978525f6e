"""Placeholders: what stands in the place of a secret, and how it is given back.

A secret is replaced by `<secret:16 hex digits>`, a keyed hash of the very characters that stood
there. Equal secrets stay visibly equal within a project; without the project's private key the
hash tells nothing. Because each spelling of a value (quoted for a URL, escaped for JSON) has a
placeholder of its own, giving the values back restores every byte.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote, quote_plus

from thence.execution.capture.secret_names import is_harmless
from thence.execution.capture.secret_shapes import find_shapes

__all__ = [
    "PLACEHOLDER",
    "is_worth_learning",
    "match",
    "placeholder_of",
    "restore",
    "short_key",
    "spellings_of",
]

PLACEHOLDER = re.compile(r"<secret:[0-9a-f]{16}>")
MIN_LEARNT_LENGTH = 6


def match(key: bytes, candidates: Mapping[str, str]) -> dict[str, str]:
    """What placeholders stand for, as far as the candidates tell.

    Args:
        key: The private key of the project in which the placeholders were made.
        candidates: Values by name, such as the environment variables of this machine.

    Returns:
        Placeholder -> the very characters that it replaced, for each value, each spelling of it,
        and the secret parts of addresses and connection strings.
    """
    short = short_key(key)
    found: dict[str, str] = {}
    for value in candidates.values():
        for spelling in _all_spellings(value):
            found.setdefault(placeholder_of(short, spelling), spelling)
    return found


def restore(text: str, values: Mapping[str, str]) -> str:
    """The text with known placeholders replaced by what they stand for; others stay."""
    return PLACEHOLDER.sub(lambda found: values.get(found.group(), found.group()), text)


def short_key(key: bytes) -> bytes:
    """A key of any length as one that the hash takes."""
    return hashlib.blake2b(key, digest_size=32).digest()


def placeholder_of(key: bytes, value: str) -> str:
    """The placeholder of a value under a `short_key`."""
    data = value.encode("utf-8", "surrogatepass")
    return f"<secret:{hashlib.blake2b(data, key=key, digest_size=8).hexdigest()}>"


def is_worth_learning(value: str) -> bool:
    """Whether a secret can be replaced wherever it appears without spoiling all texts."""
    return (
        len(value) >= MIN_LEARNT_LENGTH
        and not is_harmless(value)
        and not value.isspace()
        # Else the placeholders themselves would be replaced.
        and value not in "<secret:"
        and not PLACEHOLDER.search(value)
    )


def _all_spellings(value: str) -> list[str]:
    parts = [value[span.start : span.end] for span in find_shapes(value)]
    return [spelling for part in (value, *parts) for spelling in spellings_of(part)]


def spellings_of(value: str) -> list[str]:
    """A value as it looks in addresses, JSON, YAML, shell, HTML, Python and base64."""
    raw = value.encode("utf-8", "surrogatepass")
    spellings = [
        value,
        value.strip(),
        quote(raw, safe=""),
        quote(raw),
        quote_plus(raw),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        value.replace("'", "''"),
        value.replace("'", "'\\''"),
        html.escape(value),
        repr(value)[1:-1],
    ]
    if "\n" in value:
        spellings += [line for line in value.splitlines() if len(line) >= 16]
        spellings.append(value.replace("\n", "\r\n"))
    if len(raw) >= 8:
        spellings += _in_base64(raw)
    return list(dict.fromkeys(spellings))


def _in_base64(raw: bytes) -> Iterator[str]:
    """The characters that a value gives inside any base64 text, at each of three alignments."""
    for offset, first in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(b"\0" * offset + raw).decode()
        core = encoded[first : (offset + len(raw)) * 8 // 6]
        yield core
        yield core.translate(str.maketrans("+/", "-_"))
