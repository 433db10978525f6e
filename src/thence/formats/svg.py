"""SVG figures, compared without dates and with ids by the order in which they appear."""

import re
from pathlib import Path

from thence.formats.base import CompareContext, Outcome, Unreadable
from thence.formats.media import sniff
from thence.formats.tally import Tally, show
from thence.model.records import Kind

__all__ = ["SVG"]

_METADATA = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)
_ID = re.compile(r"""\bid=(["'])(.*?)\1""")
_USE = re.compile(r"""(\bid=["']|url\(#|href=["']#)([^"')]+)""")


class SVG:
    """Compares drawings: metadata, comments and the spelling of ids are `equivalent`.

    Matplotlib salts its ids and notes the date, so that equal figures are different bytes.
    """

    name = "svg"
    media_type = "image/svg+xml"
    kind = Kind.FIGURE

    def matches(self, name: str, head: bytes) -> bool:
        """By media type."""
        return sniff(name, head).media_type == self.media_type

    def compare(self, original: Path, reproduced: Path, context: CompareContext) -> Outcome:
        """Line by line, after ids are numbered and metadata is gone."""
        tally = Tally(self.name, context.tolerance)
        first, second = _normal(original), _normal(reproduced)
        for one, other in zip(first, second, strict=False):
            if one != other:
                tally.differs(f"{show(one.strip())} -> {show(other.strip())}")
        if len(first) != len(second):
            tally.differs(f"{len(first)} -> {len(second)} lines")
        return tally.outcome("same drawing, other metadata or ids")


def _normal(path: Path) -> list[str]:
    try:
        text = _METADATA.sub("", path.read_text("utf-8"))
    except ValueError as error:
        raise Unreadable(path, f"not readable as SVG: {error}") from error
    if "<svg" not in text:
        raise Unreadable(path, "not readable as SVG: there is no drawing in it")
    numbers: dict[str, str] = {}
    for match in _ID.finditer(text):
        numbers.setdefault(match[2], f"id{len(numbers)}")
    text = _USE.sub(lambda match: match[1] + numbers.get(match[2], match[2]), text)
    return [line for line in text.splitlines() if line.strip()]
