"""The grammar of names and refs.

::

    ref       = artifact [ "@" selector ] [ ":" path ]
              | "run:" ( hex prefix | "last" ) [ ":" path ]
    artifact  = segment { "/" segment }
    selector  = "latest" | "v" number | "~" number | "local." number
              | "sha256:" hex prefix | alias

`name` alone is the latest version; `name@~1` is the one before it; `name@sha256:ab12` is the
version whose content digest begins so. In Python, text that begins with `./`, `../` or `/` is a
path, not a ref; `is_path` tells.
"""

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from urllib.parse import quote

from thence.errors import InvalidInput

__all__ = [
    "Alias",
    "ArtifactName",
    "Ref",
    "RunRef",
    "Selector",
    "SelectorKind",
    "VersionRef",
    "is_path",
    "parse_ref",
]

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f@:\\\ud800-\udfff]")
_ALIAS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?")
_RESERVED = re.compile(r"(latest|local\.\d+|v\d+)", re.IGNORECASE)
_MIN_PREFIX = 4
_MAX_NAME = 400
_MAX_ALIAS = 100
_MAX_DIGITS = 10
# Stores hold 240 characters in a segment of a key and 1,000 in all; an alias and a number follow.
_MAX_KEY_SEGMENT = 200
_MAX_KEY = 800


class ArtifactName(str):
    """The name of an artifact: segments joined by `/`, Unicode NFC.

    Two names that differ only by case (or by another Unicode folding) are the same `key`, and a
    project refuses to hold both.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> "ArtifactName":
        """Check and normalise.

        Raises:
            InvalidInput: With the position of the first character that is wrong.
        """
        if bad := _FORBIDDEN.search(text):
            raise InvalidInput(
                f"not a name: {text!r}",
                why=f"{bad.group()!r} cannot be in the name of an artifact.",
                hint="Give a name of your own: --as NAME.",
                text=text,
                position=bad.start(),
            )
        position = 0
        for segment in text.split("/"):
            if segment in {"", ".", ".."} or segment != segment.strip():
                raise InvalidInput(
                    f"not a name: {text!r}",
                    why="The parts between slashes cannot be empty, '.' or '..', "
                    "nor begin or end with a space.",
                    hint="Write a path as ./path; write a name without a leading or trailing '/'.",
                    text=text,
                    position=position,
                )
            position += len(segment) + 1
        name = unicodedata.normalize("NFC", text)
        if len(name) > _MAX_NAME:
            raise InvalidInput(
                f"name too long: {len(name)} characters", why=f"At most {_MAX_NAME} are allowed."
            )
        return super().__new__(cls, name)

    @classmethod
    def from_path(cls, path: str) -> "ArtifactName":
        """The name for a relative path: what a name cannot hold is percent-encoded.

        Two paths get one name only if they differ by nothing but Unicode normalisation. A path
        whose name would be too long keeps its beginning, and a digest stands for the rest.

        >>> ArtifactName.from_path("out/a@b.csv")
        'out/a%40b.csv'
        """
        name = unicodedata.normalize("NFC", "/".join(map(_encode_part, path.split("/"))))
        return cls(_shorten(name, _MAX_NAME, name))

    @property
    def key(self) -> str:
        """Where its logs lie: case-folded, each segment percent-encoded; safe in any store.

        What would be too long for a store keeps its beginning, and a digest stands for the rest.
        """
        folded = unicodedata.normalize("NFC", self.casefold())
        segments = (
            _shorten(_quote_segment(segment), _MAX_KEY_SEGMENT, segment)
            for segment in folded.split("/")
        )
        return _shorten("/".join(segments), _MAX_KEY, folded)


def _shorten(text: str, limit: int, source: str) -> str:
    """The text, or its beginning and a digest of its source; `%~` comes from no encoding."""
    if len(text) <= limit:
        return text
    digits = sha256(source.encode()).hexdigest()[:32]
    return f"{text[: limit - len(digits) - 2]}%~{digits}"


def _encode_part(part: str) -> str:
    """A part of a path as a segment of a name."""
    if part in {"", ".", ".."}:
        return part.replace(".", "%2E") or "%"
    core = part.strip()
    start = part.index(core)
    return "".join(
        quote(c.encode("utf-8", "surrogateescape"), safe="")
        if c == "%" or _FORBIDDEN.match(c) or not start <= i < start + len(core)
        else c
        for i, c in enumerate(part)
    )


def _quote_segment(segment: str) -> str:
    quoted = quote(segment, safe=" !#$&'()+,;=[]{}").replace(" ", "%20")
    # A key segment never begins with a dot (hidden files), never ends with one (Windows and Azure
    # drop it), and never begins with '@' (reserved for logs).
    if quoted.endswith("."):
        quoted = f"{quoted[:-1]}%2E"
    return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted


class Alias(str):
    """A movable name of a version: `champion`, `production`.

    Two aliases of an artifact that differ only by case are the same `key`, and so the same alias.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> "Alias":
        """Check and wrap.

        Raises:
            InvalidInput: It is not an alias, or it is a reserved word.
        """
        good = _ALIAS.match(text)
        if good is None or good.end() != len(text):
            raise InvalidInput(
                f"not an alias: {text!r}",
                why="An alias has letters, digits, '.', '_' and '-', begins with no mark, "
                "and ends with no '.'.",
                text=text,
                position=good.end() if good else 0,
            )
        if len(text) > _MAX_ALIAS:
            raise InvalidInput(
                f"alias too long: {len(text)} characters",
                why=f"At most {_MAX_ALIAS} are allowed.",
                text=text,
                position=_MAX_ALIAS,
            )
        if _RESERVED.fullmatch(text):
            raise InvalidInput(
                f"the alias {text!r} is reserved",
                why="latest, v1, v2 … and local.1 … already mean a version.",
                hint="Choose another word.",
                text=text,
                position=0,
            )
        return super().__new__(cls, text)

    @property
    def key(self) -> str:
        """How its log is called: in lower case, as it is ASCII."""
        return self.lower()


class SelectorKind(StrEnum):
    """How a version of an artifact is chosen."""

    LATEST = "latest"
    NUMBER = "number"
    BACK = "back"
    LOCAL = "local"
    DIGEST = "digest"
    ALIAS = "alias"


@dataclass(frozen=True)
class Selector:
    """What stands after the `@`."""

    kind: SelectorKind = SelectorKind.LATEST
    number: int = 0
    text: str = ""

    def __str__(self) -> str:
        match self.kind:
            case SelectorKind.LATEST:
                return ""
            case SelectorKind.NUMBER:
                return f"v{self.number}"
            case SelectorKind.BACK:
                return f"~{self.number}"
            case SelectorKind.LOCAL:
                return f"local.{self.number}"
            case SelectorKind.DIGEST:
                return f"sha256:{self.text}"
            case SelectorKind.ALIAS:
                return self.text


@dataclass(frozen=True)
class VersionRef:
    """A version of an artifact, or a file in it."""

    artifact: ArtifactName
    selector: Selector = Selector()
    path: str | None = None

    def __str__(self) -> str:
        selector = str(self.selector)
        if self.artifact == "run" and not selector and self.path is not None:
            selector = "latest"  # run:path would be a run
        return "".join(
            (
                self.artifact,
                f"@{selector}" if selector else "",
                f":{self.path}" if self.path is not None else "",
            )
        )


@dataclass(frozen=True)
class RunRef:
    """A run, or one of its outputs by path. `prefix` is None for `run:last`."""

    prefix: str | None
    path: str | None = None

    def __str__(self) -> str:
        tail = f":{self.path}" if self.path is not None else ""
        return f"run:{self.prefix or 'last'}{tail}"


Ref = VersionRef | RunRef


def is_path(text: str) -> bool:
    """True where Python's `load` and `save` take the text as a path instead of a ref."""
    return text in {".", "..", "~"} or text.startswith(("./", "../", "/", "~/"))


def parse_ref(text: str) -> Ref:
    """Parse what people write.

    >>> str(parse_ref("churn@champion:model.skops"))
    'churn@champion:model.skops'

    Raises:
        InvalidInput: With the position of the first character that is wrong.
    """
    if not text:
        raise InvalidInput("an empty ref", hint="Write a name such as churn or churn@v3.")
    if text.startswith("run:"):
        return _parse_run(text)
    head, at, tail = text.partition("@")
    if at:
        selector_text, path = _split_selector(tail)
    else:
        head, colon, rest = text.partition(":")
        selector_text, path = None, rest if colon else None
    try:
        artifact = ArtifactName(head)
    except InvalidInput as error:
        raise InvalidInput(
            f"not a ref: {text!r}", why=error.why, text=text, position=error.position
        ) from error
    offset = len(head) + 1
    selector = Selector() if selector_text is None else _parse_selector(text, selector_text, offset)
    if path is not None:
        _check_path(text, path)
    return VersionRef(artifact, selector, path)


def _split_selector(tail: str) -> tuple[str, str | None]:
    algorithm = "sha256:"
    if tail.startswith(algorithm):
        digits, colon, path = tail[len(algorithm) :].partition(":")
        return algorithm + digits, path if colon else None
    selector, colon, path = tail.partition(":")
    return selector, path if colon else None


def _parse_selector(text: str, selector: str, offset: int) -> Selector:
    if selector == "latest":
        return Selector()
    if selector.startswith("sha256:"):
        digits = selector[len("sha256:") :]
        start = offset + len("sha256:")
        for index, char in enumerate(digits):
            if char not in "0123456789abcdef":
                raise _bad(text, start + index, "A digest has the digits 0-9 and a-f.")
        if not _MIN_PREFIX <= len(digits) <= 64:
            raise _bad(text, start, f"Give {_MIN_PREFIX} to 64 digits of the digest.")
        return Selector(SelectorKind.DIGEST, text=digits)
    for mark, kind in (
        ("v", SelectorKind.NUMBER),
        ("~", SelectorKind.BACK),
        ("local.", SelectorKind.LOCAL),
    ):
        digits = selector.removeprefix(mark)
        if digits != selector and digits.isascii() and digits.isdigit():
            if len(digits) > _MAX_DIGITS:
                raise _bad(text, offset + len(mark), f"At most {_MAX_DIGITS} digits are allowed.")
            number = int(digits)
            if number == 0 and kind is not SelectorKind.BACK:
                raise _bad(text, offset + len(mark), "Versions are numbered from 1.")
            return Selector(kind, number=number)
    try:
        return Selector(SelectorKind.ALIAS, text=Alias(selector))
    except InvalidInput as error:
        where = offset + (error.position or 0)
        raise _bad(
            text, where, "After '@' comes v3, ~1, latest, sha256:ab12… or an alias."
        ) from error


def _parse_run(text: str) -> RunRef:
    rest = text[len("run:") :]
    name, colon, path = rest.partition(":")
    if colon:
        _check_path(text, path)
    if name == "last":
        return RunRef(None, path if colon else None)
    for index, char in enumerate(name):
        if char not in "0123456789abcdef":
            raise _bad(text, 4 + index, "A run is run:last or run: and hexadecimal digits.")
    if not 2 <= len(name) <= 20:
        raise _bad(text, 4, "Give 2 to 20 digits of the run id, or run:last.")
    return RunRef(name, path if colon else None)


def _check_path(text: str, path: str) -> None:
    start = len(text) - len(path)
    if not path:
        raise _bad(text, start, "After ':' comes a path inside the version.")
    if path.startswith("/") or any(part in {"", ".", ".."} for part in path.rstrip("/").split("/")):
        raise _bad(text, start, "The path inside a version is relative, without '.' and '..'.")


def _bad(text: str, position: int, why: str) -> InvalidInput:
    return InvalidInput(f"not a ref: {text!r}", why=why, text=text, position=position)
