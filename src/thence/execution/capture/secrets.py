"""Secrets of a run: found, learnt, and replaced by placeholders before anything is kept."""

import fnmatch
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from thence.execution.capture.placeholders import (
    PLACEHOLDER,
    is_worth_learning,
    placeholder_of,
    short_key,
    spellings_of,
)
from thence.execution.capture.secret_names import is_secret
from thence.execution.capture.secret_pairs import find_pairs
from thence.execution.capture.secret_shapes import Span, find_shapes
from thence.model.records import Withheld

__all__ = [
    "Redactor",
    "ScrubbedArgv",
    "ScrubbedEnvironment",
    "Stream",
]

_ALLOWED = (
    *("PYTHONHASHSEED", "PYTHONPATH", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONOPTIMIZE"),
    *("PYTHONWARNINGS", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONNOUSERSITE"),
    *("PYTHONCOERCECLOCALE", "PYTHONINTMAXSTRDIGITS", "PYTHONSAFEPATH", "PYTHONMALLOC"),
    *("LANG", "LANGUAGE", "LC_*", "TZ", "TERM", "COLUMNS", "NO_COLOR", "SOURCE_DATE_EPOCH"),
    *("OMP_*", "KMP_*", "GOMP_*", "MKL_*", "OPENBLAS_*", "GOTO_*", "BLIS_*", "VECLIB_*"),
    *("NUMEXPR_*", "NUMBA_*", "RAYON_NUM_THREADS", "POLARS_*", "ARROW_*", "LD_LIBRARY_PATH"),
    *("CUDA_VISIBLE_DEVICES", "CUDA_LAUNCH_BLOCKING", "CUDA_DEVICE_ORDER", "CUBLAS_*", "NCCL_*"),
    *("CUDNN_*", "TF_DETERMINISTIC_OPS", "TF_CUDNN_DETERMINISTIC", "TF_ENABLE_ONEDNN_OPTS"),
    *("TF_CPP_MIN_LOG_LEVEL", "XLA_FLAGS", "JAX_ENABLE_X64", "JAX_PLATFORMS", "PYTORCH_*"),
    *("TORCH_*", "TOKENIZERS_PARALLELISM", "TRANSFORMERS_OFFLINE", "HF_HUB_OFFLINE"),
    *(
        "KERAS_BACKEND",
        "MPLBACKEND",
        "QT_QPA_PLATFORM",
        "SDL_VIDEODRIVER",
        "JULIA_NUM_THREADS",
        "R_LIBS*",
    ),
    *("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_JOB_ID", "SLURM_NTASKS", "SLURM_PROCID"),
    *("SLURM_CPUS_PER_TASK", "SLURM_JOB_NUM_NODES", "PBS_JOBID", "LSB_JOBID", "RANK", "LOCAL_RANK"),
    *("WORLD_SIZE", "CONDA_DEFAULT_ENV", "VIRTUAL_ENV"),
)
_MARKERS = re.compile("pass|pwd|secret|token|key|auth|cred|cookie|dsn|bearer|pat|conn|hook")
_ARGUMENT = re.compile(r"(?P<name>[A-Za-z_+-][\w.+-]*)=(?P<value>.+)", re.DOTALL)


class ScrubbedArgv(NamedTuple):
    """A command without its secrets.

    Attributes:
        argv: As long as the command; secret parts are placeholders.
        withheld: What was replaced.
    """

    argv: tuple[str, ...]
    withheld: tuple[Withheld, ...]


class ScrubbedEnvironment(NamedTuple):
    """Environment variables without secrets.

    Attributes:
        allowed: The ones whose values are kept.
        omitted: Names of all others that were set, sorted.
        withheld: Those that look like secrets, whether allowed or not.
    """

    allowed: dict[str, str]
    omitted: tuple[str, ...]
    withheld: tuple[Withheld, ...]


class Redactor:
    """Replaces secrets; what it has seen once it knows wherever it appears again.

    May be used from several threads.

    Args:
        key: The project's private key; placeholders of equal values are equal under equal keys.
        known: Secrets to begin with, by name.
        allow: Further environment variables to keep, as patterns (`MYAPP_*`).
    """

    def __init__(
        self,
        key: bytes,
        *,
        known: Mapping[str, str] | None = None,
        allow: Iterable[str] = (),
    ) -> None:
        self._key = short_key(key)
        patterns = (*_ALLOWED, *allow)
        self._allowed = re.compile("|".join(map(fnmatch.translate, patterns)))
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None
        self._spellings: tuple[str, ...] = ()
        self._withheld: dict[tuple[str, str, str | None], Withheld] = {}
        self._placeholders: set[str] = set()
        for name, value in (known or {}).items():
            self.learn(name, value, "known")

    @property
    def withheld(self) -> tuple[Withheld, ...]:
        """Everything that was replaced or learnt so far, in order."""
        return tuple(self._withheld.values())

    @property
    def longest(self) -> int:
        """Characters of the longest spelling of a learnt secret."""
        return max(map(len, self._spellings), default=0)

    @property
    def has_multi_line(self) -> bool:
        """Whether a learnt secret has several lines."""
        return any("\n" in item or "\r" in item for item in self._spellings)

    def placeholder(self, value: str) -> str:
        """`<secret:16 hex digits>`: a keyed hash of the value."""
        return placeholder_of(self._key, value)

    def knows(self, placeholder: str) -> bool:
        """Whether a value with this placeholder was learnt."""
        return placeholder in self._placeholders

    def learn_environment(self, variables: Mapping[str, str]) -> None:
        """Learn the secrets among environment variables; only those that turn up are withheld."""
        with self._lock:
            before = dict(self._withheld)
        self.scrub_environment(variables)
        with self._lock:
            self._withheld = before

    def learn(self, name: str, value: str, where: str) -> str:
        """Remember a secret, so that it is replaced wherever it appears; gives its placeholder.

        Values of less than six characters, and words that everybody knows (`postgres`), are only
        noted: replaced everywhere, they would spoil the texts they stand in.
        """
        placeholder = self.placeholder(value)
        self._note(name, where, placeholder)
        self._placeholders.add(placeholder)
        parts = [value, *(value[span.start : span.end] for span in find_shapes(value))]
        new = [
            spelling
            for part in parts
            if is_worth_learning(part)
            for spelling in spellings_of(part)
            if spelling not in self._names and is_worth_learning(spelling)
        ]
        if new:
            with self._lock:
                self._names = self._names | dict.fromkeys(new, name)
                # Longest first: of two that begin at one place, the longer is replaced.
                self._spellings = tuple(sorted(self._names, key=len, reverse=True))
                self._pattern = None
        return placeholder

    def note_file(self, path: str) -> None:
        """Note that a file was opened and is not kept, because all of it is secret."""
        self._note(path.rpartition("/")[2], path, None)

    # --- text ------------------------------------------------------------------------------------

    def scrub_text(self, text: str, where: str = "output") -> str:
        """The text with placeholders for learnt secrets and for those that their shape gives away.

        Text without secrets comes back as it was.
        """
        return self._replace(text, self.find(text), where)

    def find(self, text: str) -> list[Span]:
        """Where `scrub_text` would replace something: in order, without overlap."""
        return list(_merge(self._spans(text)))

    def find_printed(self, text: str) -> list[Span]:
        """Where `scrub_printed` would replace something."""
        return list(_merge([*self._spans(text), *_named("output.log", text)]))

    def scrub_printed(self, text: str, where: str = "output") -> str:
        """As `scrub_text`, for what a program said: also what it named (`api_key=…`)."""
        return self._replace(text, self.find_printed(text), where)

    def scrub_bytes(self, data: bytes, where: str = "output") -> bytes:
        """As `scrub_text`; bytes that are not UTF-8 stay as they are."""
        text = data.decode("utf-8", "surrogateescape")
        scrubbed = self.scrub_text(text, where)
        return data if scrubbed == text else scrubbed.encode("utf-8", "surrogateescape")

    def contains(self, data: bytes | memoryview) -> str | None:
        """Name of a learnt secret that is in these bytes (UTF-8 or UTF-16), or None."""
        raw = bytes(data)
        for spelling in self._spellings:
            if spelling.encode("utf-8", "surrogateescape") in raw:
                return self._names[spelling]
            if spelling.encode("utf-16-le", "surrogatepass") in raw:
                return self._names[spelling]
        return None

    def scrub_config(self, path: str, data: bytes) -> bytes | None:
        """Configuration or code without its secrets, or None where it has none.

        Only the values are replaced, and learnt; every other byte stays. Works on text of any kind
        (YAML, TOML, JSON, INI, Python, shell, notebooks, R …).
        """
        if b"\0" in data[:4096]:
            return None
        text = data.decode("utf-8", "surrogateescape")
        spans = list(self._spans(text))
        spans += _named(path, text)
        scrubbed = self._replace(text, spans, path, learn=True)
        return None if scrubbed == text else scrubbed.encode("utf-8", "surrogateescape")

    def find_in_file(self, path: str, data: bytes) -> str | None:
        """Name of the first secret in a file, or None; nothing is learnt or noted."""
        if b"\0" in data[:4096]:
            return self.contains(data)
        text = data.decode("utf-8", "surrogateescape")
        for span in self._spans(text):
            if not PLACEHOLDER.fullmatch(text[span.start : span.end]):
                return span.name
        for span in _named(path, text):
            return span.name
        return None

    def scrub_value(self, name: str, value: str, where: str) -> str:
        """One named value: a placeholder where it is a secret, else scrubbed as text."""
        if PLACEHOLDER.fullmatch(value):
            return value
        reason = is_secret(name, value)
        shapes = list(find_shapes(value))
        if reason == "name" or (reason is not None and not shapes):
            return self.learn(name or "value", value, where)
        return self._replace(value, self._spans(value), where, learn=True, name=name)

    # --- the command and its environment ---------------------------------------------------------

    def scrub_argv(self, argv: Sequence[str], where: str = "argv") -> ScrubbedArgv:
        """A command without secrets; all that are found are learnt.

        Knows `--api-key X`, `--api-key=X`, `db.password=X`, `-H "Authorization: Bearer X"`, and
        addresses with credentials.
        """
        before = set(self._withheld)
        scrubbed: list[str] = []
        option = ""
        for argument in argv:
            scrubbed.append(self._argument(option, argument, where))
            is_option = argument.startswith("-") and "=" not in argument
            option = argument.lstrip("-") if is_option else ""
        new = tuple(item for key, item in self._withheld.items() if key not in before)
        return ScrubbedArgv(tuple(scrubbed), new)

    def _argument(self, option: str, argument: str, where: str) -> str:
        if option and not argument.startswith("--"):
            return self.scrub_value(option, argument, where)
        pair = _ARGUMENT.fullmatch(argument)
        if pair is None:
            return self.scrub_value("", argument, where)
        value = self.scrub_value(pair["name"].strip("+-"), pair["value"], where)
        return f"{pair['name']}={value}"

    def scrub_environment(self, variables: Mapping[str, str]) -> ScrubbedEnvironment:
        """Which variables may be kept; every value that looks secret is learnt, kept or not."""
        before = set(self._withheld)
        allowed: dict[str, str] = {}
        omitted: list[str] = []
        for name, value in sorted(variables.items()):
            scrubbed = self.scrub_value(name, value, "environment")
            if self._allowed.fullmatch(name):
                allowed[name] = scrubbed
            else:
                omitted.append(name)
        new = tuple(item for key, item in self._withheld.items() if key not in before)
        return ScrubbedEnvironment(allowed, tuple(omitted), new)

    # --- how -------------------------------------------------------------------------------------

    def _spans(self, text: str) -> Iterator[Span]:
        yield from find_shapes(text)
        # A search for each spelling runs at gigabytes a second; the alternation, which alone gives
        # all places in one pass, is needed only where there is something to replace.
        if any(spelling in text for spelling in self._spellings):
            pattern = self._pattern
            if pattern is None:
                with self._lock:
                    pattern = re.compile("|".join(map(re.escape, self._spellings)))
                    self._pattern = pattern
            for found in pattern.finditer(text):
                yield Span(*found.span(), self._names.get(found.group(), "secret"))

    def _replace(
        self, text: str, spans: Iterable[Span], where: str, *, learn: bool = False, name: str = ""
    ) -> str:
        parts: list[str] = []
        done = 0
        for span in _merge(spans):
            value = text[span.start : span.end]
            parts.append(text[done : span.start])
            if learn:
                parts.append(self.learn(name or span.name, value, where))
            else:
                placeholder = self.placeholder(value)
                self._note(span.name, where, placeholder)
                parts.append(placeholder)
            done = span.end
        return "".join(parts) + text[done:] if parts else text

    def _note(self, name: str, where: str, placeholder: str | None) -> None:
        key = (name, where, placeholder)
        self._withheld.setdefault(key, Withheld(name=name, where=where, placeholder=placeholder))


class Stream:
    r"""Scrubs a stream as it comes, line by line; a secret across two chunks is still found.

    What `feed` gives back is complete lines; the rest is held until it is complete, or `flush`.
    Of a line longer than 64 KiB all but its end is given back early.

    >>> stream = Stream(Redactor(b"key", known={"token": "s3cr3t-value"}))
    >>> stream.feed(b"one s3cr3t-") + stream.feed(b"value\ntwo") + stream.flush()
    b'one <secret:b120b8499298b7af>\ntwo'
    """

    LINE_LIMIT = 64 << 10
    OVERLAP = 8 << 10

    def __init__(self, redactor: Redactor, where: str = "output") -> None:
        self._redactor = redactor
        self._where = where
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Take a chunk; gives the scrubbed bytes that are certain by now."""
        self._held += data
        if b"\n" not in data and b"\r" not in data and len(self._held) < self.LINE_LIMIT:
            return b""
        text = self._held.decode("utf-8", "surrogateescape")
        end = self._end_of_certainty(text)
        spans = self._redactor.find_printed(text)
        # Never cut through a secret: what follows would not be recognised any more.
        for span in spans:
            if span.start < end < span.end:
                end = span.start
        self._held = text[end:].encode("utf-8", "surrogateescape")
        if not spans:
            return text[:end].encode("utf-8", "surrogateescape")
        return self._scrub(text[:end])

    def flush(self) -> bytes:
        """The rest; to be called once at the end."""
        rest, self._held = self._held, b""
        return self._scrub(rest.decode("utf-8", "surrogateescape"))

    def _end_of_certainty(self, text: str) -> int:
        overlap = max(self.OVERLAP, self._redactor.longest)
        end = max(text.rfind("\n"), text.rfind("\r")) + 1
        if len(text) - end > self.LINE_LIMIT:
            end = len(text) - overlap
        begin = text.rfind("-----BEGIN ", 0, end)
        if begin >= 0 and "PRIVATE KEY" in text[begin : begin + 80]:
            is_closed = text.find("-----END ", begin, end) >= 0
            if not is_closed and len(text) - begin < self.LINE_LIMIT:
                end = begin
        if self._redactor.has_multi_line:
            # A learnt secret may begin in the last lines and go on in the next chunk.
            end = min(end, max(0, len(text) - self._redactor.longest))
        return end

    def _scrub(self, text: str) -> bytes:
        return self._redactor.scrub_printed(text, self._where).encode("utf-8", "surrogateescape")


def _named(path: str, text: str) -> Iterator[Span]:
    """The values in a text that are secret by the names that they stand beside."""
    if _MARKERS.search(text.lower()):
        for name, start, end in find_pairs(path, text):
            value = text[start:end]
            if not PLACEHOLDER.search(value) and is_secret(name, value) == "name":
                yield Span(start, end, name)


def _merge(spans: Iterable[Span]) -> Iterator[Span]:
    """Spans in order without overlap; of two that do, the union under the outer one's name."""
    current: Span | None = None
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if current is None or span.start >= current.end:
            if current is not None:
                yield current
            current = span
        elif span.end > current.end:
            current = current._replace(end=span.end)
    if current is not None:
        yield current
