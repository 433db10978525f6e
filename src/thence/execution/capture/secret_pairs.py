"""Names and values in the text of configuration and code, with the places of the values.

Values are found where they stand, so that one can be replaced without touching any other byte; no
file is parsed and written again.

The search begins at the few words that names of secrets are made of. An expression that looks for
whole names at every place was tried: it reads 2 MB a second, this 30.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from thence.execution.capture.secret_names import names_a_secret

__all__ = ["Pair", "find_pairs"]


class Pair(NamedTuple):
    """A value in a text, `text[start:end]`, and the name that it belongs to."""

    name: str
    start: int
    end: int


_CODE = (".py", ".pyi", ".r", ".rmd", ".qmd", ".jl", ".js", ".ts", ".scala", ".java", ".go", ".rs")
_PROSE = (".md", ".rst", ".txt", ".adoc", ".tex", ".org", ".log")
_DATA = (".csv", ".tsv", ".psv", ".fasta", ".fa", ".fastq", ".vcf", ".svg", ".geojson")
_JSON = (".json", ".jsonl", ".ipynb", ".json5")
_YAML = (".yaml", ".yml")

_SEEDS = (
    *("pass", "pwd", "secret", "token", "key", "auth", "cred", "cookie", "dsn", "bearer", "pat"),
    *("conn", "webhook", "_pw"),
)
_MAX_BEFORE, _MAX_AFTER = 60, 40
_REST_OF_NAME = re.compile(r"[\w.-]{0,41}")
_IN_NAME = re.compile(r"[\w.-]")
_CAPITALS = re.compile(r"[A-Z]+")

_QUOTED = re.compile(
    r"""(?:\\?["'])?\s{0,8}[\])]?\s{0,8}
    (?::\s{0,8}[A-Za-z][\w.\[\]| ]{0,40}=|:=|=|:|<-|=>)\s{0,8}[rbfuRBFU]{0,2}
    (?P<quote>\\?["'])(?P<value>(?:(?!(?P=quote)|\n)(?:\\.|.)){1,4096}?)(?P=quote)""",
    re.VERBOSE,
)
_LIST = re.compile(r"""(?:\\?["'])?\s{0,8}[:=]\s{0,8}\[(?P<value>[^\]\[{}]{1,8192})\]""")
_ITEM = re.compile(r"""\\?(["'])(?P<value>[^"'\n]{1,4096}?)\\?\1""")
_OPTION = re.compile(r"(?:=|[ \t]+)(?P<value>[^\s\"'`\\;|&<>$-][^\s\"'`\\;|&<>]*)")
_INLINE = re.compile(r"=(?P<value>[^\s\"'`\\,;&|<>(){}\[\]]{6,4096})")
_SET_BEFORE = re.compile(r"(?:%env|%set_env|!?[ \t]*export)[ \t]+\Z")
_SET = re.compile(r"(?:[ \t]*=[ \t]*|[ \t]+)(?P<value>[^\s\"'`\\]+)")
_LINE_BEFORE = re.compile(
    r"[ \t]*(?:[#;][ \t]*)?(?:-[ \t]+)*(?:(?:export|set|setenv|ENV)[ \t]+)?[\"']?"
)
_LINE = re.compile(
    r"[\"']?[ \t]*(?P<sign>=|:|[ \t])[ \t]*(?P<value>[^\s\"'#=|>\[{&*!(][^\n]*?)(?:[ \t]+#[^\n]*)?"
    r"[ \t]*\r?(?=\n|\Z)"
)
_BLOCK = re.compile(r"[\"']?[ \t]*:[ \t]*(?:[|>][+-]?\d?[ \t]*)?\r?\n")
_BLOCK_LINE = re.compile(
    r"(?P<indent>[ \t]*)(?P<dash>-[ \t]+)?[\"']?(?P<value>[^\r\n]*?)[\"']?[ \t]*\r?(?=\n|\Z)"
)
_MAPPING = re.compile(r"[\w.-]+[\"']?:(\s|$)")
_MAX_BLOCK_LINES = 200


def find_pairs(path: str, text: str) -> Iterator[Pair]:
    """The values in a text whose names are those of secrets; they may overlap.

    Args:
        path: Its ending says which forms are looked for.
        text: The whole text.
    """
    file = path.rpartition("/")[2].lower()
    if file.endswith(_DATA):
        return
    for start, end in _find_names(text):
        name = text[start:end]
        quoted = _QUOTED.match(text, end)
        if quoted:
            yield Pair(name, *quoted.span("value"))
            continue
        listed = _LIST.match(text, end)
        if listed:
            base = listed.start("value")
            for item in _ITEM.finditer(listed["value"]):
                yield Pair(name, base + item.start("value"), base + item.end("value"))
        elif name.startswith("-"):
            yield from _option(file, text, name, end)
        elif file.endswith(".ipynb"):
            yield from _setting(text, start, end)
        elif not file.endswith((*_JSON, *_CODE)):
            found = list(_line(file, text, start, end))
            yield from found or (_inline(text, name, end) if file.endswith(".log") else ())


def _find_names(text: str) -> Iterator[tuple[int, int]]:
    """Where names of secrets stand, each once."""
    lowered = text.lower()
    if len(lowered) != len(text):  # some letters become two
        lowered = _CAPITALS.sub(lambda found: found.group().lower(), text)
    seen = set()
    for seed in _SEEDS:
        place = lowered.find(seed)
        while place >= 0:
            rest = _REST_OF_NAME.match(text, place)
            assert rest is not None
            start, end = _start_of_name(text, place), rest.end()
            # Longer ones are no names but sequences and base64.
            if place - start <= _MAX_BEFORE and end - place <= _MAX_AFTER and start not in seen:
                seen.add(start)
                if names_a_secret(text[start:end]):
                    yield start, end
            place = lowered.find(seed, end)


def _start_of_name(text: str, place: int) -> int:
    start = place
    while start > 0 and place - start <= _MAX_BEFORE and _IN_NAME.match(text, start - 1):
        start -= 1
    return start


def _option(file: str, text: str, name: str, end: int) -> Iterator[Pair]:
    """`--api-key X` and `--api-key=X` in scripts and documents."""
    found = _OPTION.match(text, end)
    if found and (not file.endswith((*_CODE, *_PROSE)) or any(map(str.isdigit, found["value"]))):
        yield Pair(name.lstrip("-"), *found.span("value"))


def _setting(text: str, start: int, end: int) -> Iterator[Pair]:
    """`%env NAME=value` and `!export NAME=value` in the cells of a notebook."""
    found = _SET.match(text, end)
    if found and _SET_BEFORE.search(text, max(0, start - 20), start):
        yield Pair(text[start:end], *found.span("value"))


def _inline(text: str, name: str, end: int) -> Iterator[Pair]:
    """`… name=value …` anywhere in a line that a program printed."""
    found = _INLINE.match(text, end)
    if found and any(map(str.isdigit, found["value"])):
        yield Pair(name, *found.span("value"))


def _line(file: str, text: str, start: int, end: int) -> Iterator[Pair]:
    """`name: value` and `name = value` on a line of their own, and YAML blocks below a name."""
    line_start = text.rfind("\n", 0, start) + 1
    if start - line_start > 200 or not _LINE_BEFORE.fullmatch(text, line_start, start):
        return
    name = text[start:end]
    found = _LINE.match(text, end)
    if found:
        if _is_assignment(file, found["sign"], found["value"]):
            yield Pair(name, *found.span("value"))
    elif file.endswith(_YAML) and (head := _BLOCK.match(text, end)):
        yield from _block(text, name, start - line_start, head.end())


def _block(text: str, name: str, indent: int, place: int) -> Iterator[Pair]:
    for _ in range(_MAX_BLOCK_LINES):
        line = _BLOCK_LINE.match(text, place)
        if line is None:
            return
        depth = len(line["indent"])
        if line["value"] and depth <= indent and not (line["dash"] and depth == indent):
            return
        if line["value"] and not _MAPPING.match(line["value"]):
            yield Pair(name, *line.span("value"))
        place = line.end() + 1
        if place >= len(text):
            return


def _is_assignment(file: str, sign: str, value: str) -> bool:
    if file.endswith(_PROSE):
        # `Password: required` is a sentence, `password: hunter2` is not.
        return bool(sign.strip()) and " " not in value and any(map(str.isdigit, value))
    # `key value` is a form of shells and servers; elsewhere it is prose.
    return bool(sign.strip()) or (" " not in value and not file.endswith((*_YAML, ".toml", ".ini")))
