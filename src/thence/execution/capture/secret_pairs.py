"""Names and values in the text of configuration and code, with the places of the values.

Values are found where they stand, so that one can be replaced without touching any other byte; no
file is parsed and written again.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Pair", "find_pairs"]


class Pair(NamedTuple):
    """A value in a text, `text[start:end]`, and the name that it belongs to."""

    name: str
    start: int
    end: int


_CODE = (".py", ".pyi", ".r", ".rmd", ".qmd", ".jl", ".js", ".ts", ".scala", ".java", ".go", ".rs")
_JSON = (".json", ".jsonl", ".ipynb", ".json5")
_PROSE = (".md", ".rst", ".txt", ".adoc", ".tex", ".org", ".log")
_DATA = (".csv", ".tsv", ".psv", ".fasta", ".fa", ".fastq", ".vcf", ".svg", ".geojson")
_YAML = (".yaml", ".yml")

# Only names that could matter: everything else is decided by this one scan. The look-behind makes
# the scan linear on long runs of letters (sequences, base64).
_NAME = (
    r"(?<![\w.-])(?P<name>[\w.-]{0,60}?(?:pass|pwd|secret|token|key|auth|cred|cookie|dsn|bearer|pat"
    r"|conn|sas|pin|webhook)[\w.-]{0,40})"
)
_QUOTED = re.compile(
    _NAME
    + r"""(?:\\?["'])?\s{0,8}[\])]?\s{0,8}
    (?::\s{0,8}[A-Za-z][\w.\[\]| ]{0,40}=|:=|=|:|<-|=>)\s{0,8}(?:\(\s{0,8})?[rbfuRBFU]{0,2}
    (?P<quote>\\?["'])(?P<value>(?:(?!(?P=quote)|\n)(?:\\.|.)){1,4096}?)(?P=quote)""",
    re.VERBOSE | re.IGNORECASE,
)
_LIST = re.compile(
    _NAME + r"""(?:\\?["'])?\s{0,8}[:=]\s{0,8}\[(?P<value>[^\]\[{}]{1,8192})\]""",
    re.VERBOSE | re.IGNORECASE,
)
_ITEM = re.compile(r"""\\?(["'])(?P<value>[^"'\n]{1,4096}?)\\?\1""")
_OPTION = re.compile(
    r"(?<![\w-])--?(?P<name>[A-Za-z][\w-]{1,60})(?:=|[ \t]+)"
    r"(?P<value>[^\s\"'`\\;|&<>$-][^\s\"'`\\;|&<>]*)"
)
_LINE = re.compile(
    r"^[ \t]*(?:[#;][ \t]*)?(?:-[ \t]+)*(?:export[ \t]+|set[ \t]+|setenv[ \t]+|ENV[ \t]+)?[\"']?"
    + _NAME
    + r"[\"']?[ \t]*(?P<sign>=|:|[ \t])[ \t]*(?P<value>[^\s\"'#=|>\[{&*!][^\n]*?)(?:[ \t]+#[^\n]*)?"
    r"[ \t]*\r?$",
    re.MULTILINE | re.IGNORECASE,
)
_BLOCK = re.compile(
    r"^(?P<indent>[ \t]*)(?:-[ \t]+)*[\"']?" + _NAME + r"[\"']?[ \t]*:[ \t]*"
    r"(?:[|>][+-]?\d?[ \t]*)?\r?\n(?P<value>(?:(?P=indent)(?:[ \t]+|-[ \t])[^\n]+\n?){1,200})",
    re.MULTILINE | re.IGNORECASE,
)
_BLOCK_LINE = re.compile(
    r"^[ \t]*(?:-[ \t]+)?[\"']?(?P<value>[^\n]*?)[\"']?[ \t]*\r?$", re.MULTILINE
)
_MAPPING = re.compile(r"[\w.-]+[\"']?:(\s|$)")


def find_pairs(path: str, text: str) -> Iterator[Pair]:
    """The named values of a text whose names may be those of secrets; they may overlap.

    Args:
        path: Its ending says which forms are looked for.
        text: The whole text.
    """
    name = path.rpartition("/")[2].lower()
    if name.endswith(_DATA):
        return
    for match in _QUOTED.finditer(text):
        yield _pair(match)
    for match in _LIST.finditer(text):
        base = match.start("value")
        for item in _ITEM.finditer(match["value"]):
            yield Pair(match["name"], base + item.start("value"), base + item.end("value"))
    if name.endswith(_JSON):
        return
    if not name.endswith(_CODE):
        for match in _LINE.finditer(text):
            if _is_assignment(name, match["sign"], match["value"]):
                yield _pair(match)
    for match in _OPTION.finditer(text):
        yield _pair(match)
    if name.endswith(_YAML):
        for match in _BLOCK.finditer(text):
            base = match.start("value")
            for line in _BLOCK_LINE.finditer(match["value"]):
                if line["value"] and not _MAPPING.match(line["value"]):
                    yield Pair(match["name"], base + line.start("value"), base + line.end("value"))


def _is_assignment(file: str, sign: str, value: str) -> bool:
    if file.endswith(_PROSE):
        # `Password: required` is a sentence, `password: hunter2` is not.
        return bool(sign.strip()) and " " not in value and any(map(str.isdigit, value))
    # `key value` is a form of shells and servers; elsewhere it is prose.
    return bool(sign.strip()) or (" " not in value and not file.endswith((*_YAML, ".toml", ".ini")))


def _pair(match: re.Match[str]) -> Pair:
    return Pair(match["name"], *match.span("value"))
