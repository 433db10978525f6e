"""Parameters of a run, read from its command line and from the configuration files it opened.

Where several give one name, `--param` of `thence run` wins, then what the program's own parser made
of the command line (see `arguments`), then the command line as it is read here, then what the
program logged, then the file that was read last, then the defaults of the program's parser.
"""

import configparser
import json
import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any, NamedTuple

from thence.execution.capture.secret_files import is_secret_file
from thence.execution.capture.secrets import Redactor
from thence.model.records import Param

__all__ = [
    "FoundParams",
    "is_config_file",
    "is_record_of_params",
    "parse_value",
    "read_argv",
    "read_config",
    "read_words",
]

CONFIG_LIMIT_BYTES = 64 << 10
CONFIG_LIMIT_SCALARS = 300

_LIST_LIMIT = 32
_ROWS_LIMIT = 10
_CONFIG_ENDINGS = (".yaml", ".yml", ".toml", ".json", ".ini", ".cfg")
_NOT_PARAMETERS = {
    *("package.json", "package-lock.json", "tsconfig.json", "pyproject.toml", "poetry.lock"),
    *("setup.cfg", "tox.ini", "pytest.ini", "mypy.ini", "uv.toml", "ruff.toml", "environment.yml"),
    *("environment.yaml", "vocab.json", "tokenizer.json", "thence.toml", "project.json"),
    *("docker-compose.yml", "docker-compose.yaml", ".pre-commit-config.yaml", "matplotlibrc.json"),
}
_PYTHON = re.compile(r"(python|pypy)(\d+(\.\d+)*)?t?(\.exe)?")
_PYTHON_OPTIONS_WITH_VALUE = {"-X", "-W", "--check-hash-based-pycs"}
_NUMBER = re.compile(r"[-+]?(\d[\d_]*(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_INTEGER = re.compile(r"[-+]?(0|[1-9]\d*)")
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "+inf": math.inf}
_OVERRIDE = re.compile(r"\+{0,2}(?P<name>[A-Za-z_][\w.@-]*)=(?P<value>.*)", re.DOTALL)
_SHORT_WITH_NUMBER = re.compile(r"-(?P<name>[A-Za-z])(?P<value>\d+(\.\d+)?)")


class FoundParams(NamedTuple):
    """Parameters by name.

    Attributes:
        problem: Why a file could not be read, one sentence; None where it could.
    """

    params: dict[str, Param]
    problem: str | None = None


def parse_value(text: str) -> Any:
    """A value as it was meant: integer, float, boolean, None, list, or text.

    >>> [parse_value(t) for t in ("5", "1e-3", "True", "null", "007", "[1, 2]", "adam")]
    [5, 0.001, True, None, '007', [1, 2], 'adam']
    """
    lowered = text.strip().lower()
    if lowered in {"true", "false"}:
        return lowered == "true"
    if lowered in {"null", "none", "~"}:
        return None
    if lowered in _NON_FINITE:
        return _NON_FINITE[lowered]
    if _INTEGER.fullmatch(lowered):
        # Python refuses to read integers of more than 4,300 digits.
        return int(lowered) if len(lowered) < 100 else text
    if _NUMBER.fullmatch(lowered) and not re.fullmatch(r"[-+]?0\d+", lowered):
        return float(lowered) if "_" not in lowered else text
    if lowered.startswith("[") and lowered.endswith("]"):
        return _parse_list(text)
    return text


def _parse_list(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if all(_is_scalar(item) for item in value) and len(value) <= _LIST_LIMIT else text


# --- the command line ----------------------------------------------------------------------------


def read_argv(argv: Sequence[str], redactor: Redactor) -> dict[str, Param]:
    """Parameters of a command: `--lr 0.1`, `--lr=0.1`, `-n 5`, `--flag`, `model.depth=3`, `+a=b`.

    The program, the script and other arguments without a name are no parameters; neither are the
    options of the Python interpreter. An option that is given twice, or is followed by several
    numbers, has a list. Secrets are placeholders.
    """
    return read_words(redactor.scrub_argv(argv).argv)


def read_words(argv: Sequence[str]) -> dict[str, Param]:
    """The same of a command without secrets."""
    words = _arguments_of_the_program(argv)
    found: dict[str, list[Any]] = {}
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word == "--":
            continue
        override = _OVERRIDE.fullmatch(word)
        short = _SHORT_WITH_NUMBER.fullmatch(word)
        if override:
            _add(found, override["name"], parse_value(override["value"]))
        elif short:
            _add(found, short["name"], parse_value(short["value"]))
        elif word.startswith("-") and not _NUMBER.fullmatch(word) and word.strip("-"):
            name, sign, text = word.lstrip("-").partition("=")
            if sign:
                _add(found, name, parse_value(text))
            else:
                values = _values_after(words, position)
                position += len(values)
                for value in values or [True]:
                    _add(found, name, value)
    return {
        name: Param(value=values[0] if len(values) == 1 else values, origin="argv")
        for name, values in found.items()
        if name
    }


def _add(found: dict[str, list[Any]], name: str, value: Any) -> None:
    found.setdefault(name, []).append(value)


def _values_after(words: Sequence[str], position: int) -> list[Any]:
    """The value of an option: one word, or all numbers that follow (`--layers 64 32`)."""
    values: list[Any] = []
    for word in words[position:]:
        is_number = bool(_NUMBER.fullmatch(word))
        is_option = word.startswith("-") and not is_number and word != "-"
        if is_option or (values and not is_number) or _OVERRIDE.fullmatch(word):
            break
        values.append(parse_value(word))
        if not is_number:
            break
    return values


def _arguments_of_the_program(argv: Sequence[str]) -> list[str]:
    """What comes after `python train.py`, `python -m package`, or the first word of others.

    What starts Python (`uv run`, `torchrun --nproc 2`) keeps its own options as parameters.
    """
    words = list(argv[1:])
    start = next((i for i, word in enumerate(argv) if _is_python(word)), None)
    if start is None:
        return words
    rest = list(argv[start + 1 :])
    while rest:
        word = rest.pop(0)
        if word in {"-m", "-c"}:
            rest = rest[1:]
            break
        if word in _PYTHON_OPTIONS_WITH_VALUE:
            rest = rest[1:]
        elif not word.startswith("-") or word == "-":
            break
    return [*argv[1:start], *rest]


def _is_python(word: str) -> bool:
    return bool(_PYTHON.fullmatch(os.path.basename(word)))


# --- configuration files -------------------------------------------------------------------------


def is_config_file(path: str) -> bool:
    """Whether parameters are looked for in a file: by its ending, and never in secret files."""
    name = os.path.basename(path).lower()
    return (
        name.endswith(_CONFIG_ENDINGS)
        and name not in _NOT_PARAMETERS
        and not name.endswith(("metrics.json", ".lock"))
        and not is_secret_file(path)
    )


def is_record_of_params(path: str) -> bool:
    """Whether a file that a run wrote tells its parameters, as Lightning and DVCLive write it.

    >>> paths = ("logs/version_0/hparams.yaml", "dvclive/params.yaml", "out/params.yaml")
    >>> [is_record_of_params(path) for path in paths]
    [True, True, False]
    """
    folder, _, name = path.rpartition("/")
    return name == "hparams.yaml" or (name == "params.yaml" and folder.endswith("dvclive"))


def read_config(path: str, data: bytes, redactor: Redactor) -> FoundParams:
    """Parameters of a YAML, TOML, JSON or INI file, nested names joined with dots.

    A file of more than 64 KiB, and a JSON file that is data rather than configuration (a list, or
    more than 300 values), has no parameters; of other files the first 300 count. Secrets are
    placeholders.

    Args:
        path: As it is to stand in `Param.origin`.
        data: The content of the file.
        redactor: Learns the secrets in it.
    """
    if not is_config_file(path) or len(data) > CONFIG_LIMIT_BYTES:
        return FoundParams({})
    clean = redactor.scrub_config(path, data) or data
    try:
        tree = _load(path, clean.decode("utf-8-sig"))
    except (ValueError, RecursionError, configparser.Error) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return FoundParams({}, f"no parameters were read from {path}: {reason}")
    if not isinstance(tree, dict):
        return FoundParams({})
    is_json = path.lower().endswith(".json")
    scalars: dict[str, Any] = {}
    for name, value in _flatten("", tree, 0):
        if len(scalars) >= CONFIG_LIMIT_SCALARS or value is _DATA:
            if is_json:
                return FoundParams({})
            if value is _DATA:
                continue
            break
        scalars[name] = _scrub(name, value, path, redactor)
    return FoundParams({name: Param(value=v, origin=path) for name, v in scalars.items()})


_DATA = object()
"""Stands for a list that is too long to be a parameter."""


def _flatten(prefix: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > 20:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flatten(f"{prefix}.{key}" if prefix else str(key), item, depth + 1)
    elif isinstance(value, (list, tuple)):
        if all(_is_scalar(item) for item in value):
            fits = len(value) <= _LIST_LIMIT
            yield prefix, [_plain(item) for item in value] if fits else _DATA
        elif len(value) > _ROWS_LIMIT:
            yield prefix, _DATA
        else:
            for index, item in enumerate(value):
                yield from _flatten(f"{prefix}.{index}", item, depth + 1)
    else:
        yield prefix, _plain(value)


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, (Mapping, list, tuple, set))


def _plain(value: Any) -> Any:
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, str):
        # YAML 1.1 reads 1e-3 as text; everybody who writes it means a number.
        is_number = re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value)
        return float(value) if is_number else value
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def _scrub(name: str, value: Any, path: str, redactor: Redactor) -> Any:
    if isinstance(value, str):
        return redactor.scrub_value(name, value, path)
    if isinstance(value, list):
        return [_scrub(name, item, path, redactor) for item in value]
    return value


def _load(path: str, text: str) -> Any:
    ending = os.path.splitext(path)[1].lower()
    if ending == ".json":
        return json.loads(text)
    if ending == ".toml":
        return tomllib.loads(text)
    if ending in {".ini", ".cfg"}:
        return _load_ini(text)
    return _load_yaml(text)


def _load_ini(text: str) -> dict[str, dict[str, Any]]:
    parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    sections = {name: dict(parser.items(name)) for name in parser.sections()}
    if not sections and parser.defaults():
        sections = {"DEFAULT": dict(parser.defaults())}
    return {
        section: {key: None if v is None else parse_value(v) for key, v in items.items()}
        for section, items in sections.items()
    }


def _load_yaml(text: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads tags that it does not know (`!include`, `!!python/…`) as plain values."""

    def plain(loader: Any, _suffix: str, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    Loader.add_multi_constructor("", plain)
    try:
        return next(iter(yaml.load_all(text, Loader)), None)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
