"""Recognising files: by their first bytes where these say it, else by their name."""

import re
from typing import NamedTuple

from thence.formats.base import Sniffed
from thence.model.records import Kind

__all__ = ["HEAD_BYTES", "base_name", "sniff", "suffix_of"]

HEAD_BYTES = 8192
"""How much of a file's beginning `sniff` makes use of."""

_D, _M, _F, _T = Kind.DATASET, Kind.MODEL, Kind.FIGURE, Kind.DOCUMENT
_C, _S, _X, _E = Kind.CONFIG, Kind.CODE, Kind.FILE, Kind.ENVIRONMENT

PARQUET = Sniffed(_D, "application/vnd.apache.parquet")
ARROW = Sniffed(_D, "application/vnd.apache.arrow.file")
PICKLE = Sniffed(_M, "application/x-python-pickle")
NPZ = Sniffed(_D, "application/x-npz")
EVENTS = Sniffed(Kind.METRICS, "application/x-tfevents")
GZIP = "application/gzip"


class _Magic(NamedTuple):
    offset: int
    magic: bytes
    sniffed: Sniffed


_MAGIC = tuple(
    _Magic(offset, magic, Sniffed(kind, media_type))
    for offset, magic, kind, media_type in (
        (0, b"PAR1", _D, PARQUET.media_type),
        (0, b"PARE", _D, PARQUET.media_type),
        (0, b"ARROW1", _D, ARROW.media_type),
        (0, b"FEA1", _D, "application/x-feather-v1"),
        (0, b"\x93NUMPY", _D, "application/x-npy"),
        (0, b"\x89HDF\r\n\x1a\n", _D, "application/x-hdf5"),
        (0, b"CDF\x01", _D, "application/x-netcdf"),
        (0, b"CDF\x02", _D, "application/x-netcdf"),
        (0, b"CDF\x05", _D, "application/x-netcdf"),
        (0, b"SQLite format 3\x00", _D, "application/vnd.sqlite3"),
        (8, b"DUCK", _D, "application/vnd.duckdb"),
        (0, b"Obj\x01", _D, "application/avro"),
        (0, b"ORC", _D, "application/x-orc"),
        (0, b"\x89PNG\r\n\x1a\n", _F, "image/png"),
        (0, b"\xff\xd8\xff", _F, "image/jpeg"),
        (0, b"GIF87a", _F, "image/gif"),
        (0, b"GIF89a", _F, "image/gif"),
        (0, b"II*\x00", _F, "image/tiff"),
        (0, b"MM\x00*", _F, "image/tiff"),
        (0, b"%!PS", _F, "application/postscript"),
        (0, b"%PDF-", _T, "application/pdf"),
        (0, b"CBM1", _M, "application/x-catboost"),
        (0, b"tree\nversion=", _M, "application/x-lightgbm"),
        (0, b"fLaC", _D, "audio/flac"),
        (0, b"OggS", _D, "audio/ogg"),
        (0, b"ID3", _D, "audio/mpeg"),
        (4, b"ftyp", _D, "video/mp4"),
        (0, b"\x1a\x45\xdf\xa3", _D, "video/x-matroska"),
    )
)
_RIFF = {
    b"WEBP": Sniffed(_F, "image/webp"),
    b"WAVE": Sniffed(_D, "audio/wav"),
    b"AVI ": Sniffed(_D, "video/x-msvideo"),
}
_COMPRESSED = (
    (b"\x1f\x8b", GZIP),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"\xfd7zXZ\x00", "application/x-xz"),
    (b"BZh", "application/x-bzip2"),
)
_COMPRESSED_SUFFIXES = (".gz", ".zst", ".xz", ".bz2")

_ZIPPED = {
    "npz": NPZ,
    "xlsx": Sniffed(_D, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    "docx": Sniffed(_T, "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    "pptx": Sniffed(
        _T, "application/vnd.openxmlformats-officedocument.presentationml.presentation"
    ),
    "ods": Sniffed(_D, "application/vnd.oasis.opendocument.spreadsheet"),
    "odt": Sniffed(_T, "application/vnd.oasis.opendocument.text"),
    "epub": Sniffed(_T, "application/epub+zip"),
    "skops": Sniffed(_M, "application/x-skops"),
    "pt": Sniffed(_M, "application/x-pytorch"),
    "pth": Sniffed(_M, "application/x-pytorch"),
    "pt2": Sniffed(_M, "application/x-pytorch-export"),
    "ckpt": Sniffed(_M, "application/x-pytorch"),
    "keras": Sniffed(_M, "application/x-keras"),
    "whl": Sniffed(_E, "application/x-wheel"),
}
_NAMED_BINARIES = {
    "onnx": Sniffed(_M, "application/x-onnx"),
    "ubj": Sniffed(_M, "application/x-xgboost"),
    "safetensors": Sniffed(_M, "application/x-safetensors"),
    "tflite": Sniffed(_M, "application/x-tflite"),
    "gguf": Sniffed(_M, "application/x-gguf"),
    "mlmodel": Sniffed(_M, "application/x-coreml"),
    "bmp": Sniffed(_F, "image/bmp"),
    "xls": Sniffed(_D, "application/vnd.ms-excel"),
    "sav": Sniffed(_D, "application/x-spss"),
    "dta": Sniffed(_D, "application/x-stata"),
    "sas7bdat": Sniffed(_D, "application/x-sas"),
    "rds": Sniffed(_D, "application/x-r-data"),
    "rdata": Sniffed(_D, "application/x-r-data"),
    "mat": Sniffed(_D, "application/x-matlab-data"),
    "mp3": Sniffed(_D, "audio/mpeg"),
    "pt": _ZIPPED["pt"],
    "pth": _ZIPPED["pth"],
}
_NEED_MAGIC = {
    "parquet": PARQUET,
    "pq": PARQUET,
    "feather": ARROW,
    "arrow": ARROW,
    "ipc": ARROW,
    "npy": Sniffed(_D, "application/x-npy"),
    "h5": Sniffed(_D, "application/x-hdf5"),
    "hdf5": Sniffed(_D, "application/x-hdf5"),
    "nc": Sniffed(_D, "application/x-netcdf"),
    "sqlite": Sniffed(_D, "application/vnd.sqlite3"),
    "sqlite3": Sniffed(_D, "application/vnd.sqlite3"),
    "db": Sniffed(_D, "application/vnd.sqlite3"),
    "duckdb": Sniffed(_D, "application/vnd.duckdb"),
    "avro": Sniffed(_D, "application/avro"),
    "orc": Sniffed(_D, "application/x-orc"),
    "png": Sniffed(_F, "image/png"),
    "jpg": Sniffed(_F, "image/jpeg"),
    "jpeg": Sniffed(_F, "image/jpeg"),
    "gif": Sniffed(_F, "image/gif"),
    "webp": Sniffed(_F, "image/webp"),
    "tif": Sniffed(_F, "image/tiff"),
    "tiff": Sniffed(_F, "image/tiff"),
    "pdf": Sniffed(_T, "application/pdf"),
    "cbm": Sniffed(_M, "application/x-catboost"),
    "wav": Sniffed(_D, "audio/wav"),
    "flac": Sniffed(_D, "audio/flac"),
    "mp4": Sniffed(_D, "video/mp4"),
    "pkl": PICKLE,
    "pickle": PICKLE,
    "joblib": PICKLE,
    **_ZIPPED,
}
_TEXTS = {
    "csv": Sniffed(_D, "text/csv"),
    "tsv": Sniffed(_D, "text/tab-separated-values"),
    "tab": Sniffed(_D, "text/tab-separated-values"),
    "json": Sniffed(_D, "application/json"),
    "geojson": Sniffed(_D, "application/geo+json"),
    "jsonl": Sniffed(_D, "application/jsonl"),
    "ndjson": Sniffed(_D, "application/jsonl"),
    "xml": Sniffed(_D, "application/xml"),
    "arff": Sniffed(_D, "text/x-arff"),
    "pmml": Sniffed(_M, "application/x-pmml"),
    "svg": Sniffed(_F, "image/svg+xml"),
    "eps": Sniffed(_F, "application/postscript"),
    "md": Sniffed(_T, "text/markdown"),
    "markdown": Sniffed(_T, "text/markdown"),
    "rst": Sniffed(_T, "text/x-rst"),
    "txt": Sniffed(_T, "text/plain"),
    "tex": Sniffed(_T, "text/x-tex"),
    "bib": Sniffed(_T, "text/x-bibtex"),
    "html": Sniffed(_T, "text/html"),
    "htm": Sniffed(_T, "text/html"),
    "rtf": Sniffed(_T, "text/rtf"),
    "log": Sniffed(_X, "text/plain"),
    "yaml": Sniffed(_C, "application/yaml"),
    "yml": Sniffed(_C, "application/yaml"),
    "toml": Sniffed(_C, "application/toml"),
    "ini": Sniffed(_C, "text/x-ini"),
    "cfg": Sniffed(_C, "text/x-ini"),
    "conf": Sniffed(_C, "text/x-ini"),
    "properties": Sniffed(_C, "text/x-ini"),
    "env": Sniffed(_C, "text/x-ini"),
    "py": Sniffed(_S, "text/x-python"),
    "pyi": Sniffed(_S, "text/x-python"),
    "pyx": Sniffed(_S, "text/x-cython"),
    "ipynb": Sniffed(_S, "application/x-ipynb+json"),
    "r": Sniffed(_S, "text/x-r"),
    "rmd": Sniffed(_S, "text/x-r-markdown"),
    "qmd": Sniffed(_S, "text/x-quarto"),
    "jl": Sniffed(_S, "text/x-julia"),
    "sql": Sniffed(_S, "text/x-sql"),
    "sh": Sniffed(_S, "text/x-shellscript"),
    "bash": Sniffed(_S, "text/x-shellscript"),
    "js": Sniffed(_S, "text/javascript"),
    "ts": Sniffed(_S, "text/x-typescript"),
    "c": Sniffed(_S, "text/x-c"),
    "h": Sniffed(_S, "text/x-c"),
    "cpp": Sniffed(_S, "text/x-c++"),
    "rs": Sniffed(_S, "text/x-rust"),
    "go": Sniffed(_S, "text/x-go"),
    "java": Sniffed(_S, "text/x-java"),
    "scala": Sniffed(_S, "text/x-scala"),
    "m": Sniffed(_S, "text/x-matlab"),
    "stan": Sniffed(_S, "text/x-stan"),
    "smk": Sniffed(_S, "text/x-snakemake"),
}
_WHOLE_NAMES = {
    "makefile": Sniffed(_S, "text/x-makefile"),
    "dockerfile": Sniffed(_S, "text/x-dockerfile"),
    "snakefile": Sniffed(_S, "text/x-snakemake"),
    "readme": Sniffed(_T, "text/plain"),
    "license": Sniffed(_T, "text/plain"),
    "changelog": Sniffed(_T, "text/plain"),
    ".env": _TEXTS["env"],
    "poetry.lock": Sniffed(_E, "application/toml"),
    "uv.lock": Sniffed(_E, "application/toml"),
    "pipfile.lock": Sniffed(_E, "application/json"),
    "environment.yml": Sniffed(_E, "application/yaml"),
    "environment.yaml": Sniffed(_E, "application/yaml"),
    "conda-lock.yml": Sniffed(_E, "application/yaml"),
}
_REQUIREMENTS = re.compile(r"requirements([._-].*)?\.txt|pylock(\..+)?\.toml")
_METRICS = re.compile(r"(.*[._-])?metrics\.(json|yaml|yml|toml)")
_CONFIG = re.compile(r"(.*[._-])?(config|settings|params|hyperparameters)\.json")
_EVENTS = re.compile(r"(.*\.)?tfevents\..*")
_BOOSTER = re.compile(rb'\s*\{\s*"(learner|trees|oblivious_trees)"\s*:')
_PICKLED_DATA = re.compile(rb"c?(pandas|polars)[._a-z]*\.(core|frame|dataframe|series)")


def base_name(path: str) -> str:
    """The last segment of a path, whichever slashes it is written with."""
    return re.split(r"[/\\]", path)[-1]


def suffix_of(name: str) -> str:
    """The last suffix, in small letters and without the point; empty where there is none."""
    stem, point, suffix = base_name(name).rpartition(".")
    return suffix.lower() if point and stem else ""


def sniff(name: str, head: bytes) -> Sniffed:
    """What a file is, by its first bytes and then by its name.

    A binary format is believed when the bytes say so, whatever the name. The name decides between
    those that begin alike (zip containers, texts), and everything when `head` is empty. A file
    whose name claims a format that the bytes deny is only a file.

    Args:
        name: The file's name, with or without folders.
        head: Its first bytes, `HEAD_BYTES` of them are enough.

    >>> sniff("table", b"PAR1...").kind, sniff("out/metrics.json", b"{}").kind
    (<Kind.DATASET: 'dataset'>, <Kind.METRICS: 'metrics'>)
    """
    base = base_name(name)
    suffix = suffix_of(base)
    if not head:
        return _by_name(base) or Sniffed(_X, "application/octet-stream")
    return (
        _by_content(base, suffix, head)
        or (_by_name_of_text(base) if _is_text(head) else None)
        or _fallback(base, suffix, head)
    )


def _by_content(base: str, suffix: str, head: bytes) -> Sniffed | None:
    for entry in _MAGIC:
        if head.startswith(entry.magic, entry.offset):
            if entry.sniffed.media_type == "application/x-hdf5" and suffix == "keras":
                return _ZIPPED["keras"]
            if entry.magic in {b"ORC", b"ID3", b"ftyp"} and _is_text(head):
                continue  # three letters that a text may well begin with
            return entry.sniffed
    if head[:4] == b"RIFF" and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if head[:4] in {b"PK\x03\x04", b"PK\x05\x06"}:
        return _zip(suffix, head)
    for magic, media_type in _COMPRESSED:
        if head.startswith(magic):
            return _compressed(base, media_type)
    if _is_pickle(suffix, head):
        kind = _D if _PICKLED_DATA.search(head[:256]) else _M
        return Sniffed(kind, PICKLE.media_type)
    if len(head) > 10 and head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 1 << 27:
        return _NAMED_BINARIES["safetensors"]
    # The first record of an event file, after its length and that one's checksum, is a time.
    if _EVENTS.fullmatch(base) and head[12:13] == b"\x09":
        return EVENTS
    if head[:1] == b"\x80" and suffix in {"pt", "pth", "ckpt"}:
        return _ZIPPED["pt"]
    return _markup(base, suffix, head)


def _markup(base: str, suffix: str, head: bytes) -> Sniffed | None:
    start = head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<?xml", b"<svg", b"<!doctype svg")) and b"<svg" in head.lower():
        return _TEXTS["svg"]
    if start.startswith((b"<!doctype html", b"<html")):
        return _TEXTS["html"]
    if start.startswith(b"<?xml") and b"<pmml" in head.lower():
        return _TEXTS["pmml"]
    if suffix == "json" and _BOOSTER.match(head):
        return Sniffed(_M, "application/json")
    if start.startswith(b"#!") and suffix not in _TEXTS:
        interpreter = start.partition(b"\n")[0]
        return _TEXTS["py" if b"python" in interpreter else "sh"]
    return None


def _zip(suffix: str, head: bytes) -> Sniffed:
    if suffix in _ZIPPED:
        return _ZIPPED[suffix]
    length = int.from_bytes(head[26:28], "little")
    first = head[30 : 30 + length]
    if first.endswith(b".npy"):
        return NPZ
    if first.endswith(b"/data.pkl"):
        return _ZIPPED["pt"]
    for folder, name in ((b"xl/", "xlsx"), (b"word/", "docx"), (b"ppt/", "pptx")):
        if folder in head:
            return _ZIPPED[name]
    return Sniffed(_X, "application/zip")


def _compressed(base: str, media_type: str) -> Sniffed:
    for suffix in _COMPRESSED_SUFFIXES:
        if base.lower().endswith(suffix):
            inner = _by_name(base[: -len(suffix)])
            return Sniffed(inner.kind if inner else _X, media_type)
    # joblib compresses with zlib or gzip and keeps its own suffix
    named = _by_name(base)
    return Sniffed(named.kind, media_type) if named else Sniffed(_X, media_type)


def _is_pickle(suffix: str, head: bytes) -> bool:
    named = _NEED_MAGIC.get(suffix) == PICKLE
    if len(head) < 2 or head[0] != 0x80 or not 2 <= head[1] <= 5:
        # protocols 0 and 1 have no magic; joblib with zlib begins with 0x78
        return named and head[:1] in {b"(", b"c", b"]", b"}", b"\x78"}
    return named or (head[1] >= 4 and head[2:3] == b"\x95") or head[2:3] in {b"c", b"}", b"]", b"("}


def _is_text(head: bytes) -> bool:
    if b"\x00" in head:
        return head.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        # the head may end in the middle of a character
        head[: max(len(head) - 3, 1)].decode()
    except UnicodeDecodeError as error:
        if error.start >= len(head) - 6:
            return True
        controls = sum(byte < 9 or 13 < byte < 27 for byte in head)
        return controls == 0
    return True


def _by_name(base: str) -> Sniffed | None:
    suffix = suffix_of(base)
    if _EVENTS.fullmatch(base):
        return EVENTS
    named = _by_name_of_text(base) or _NEED_MAGIC.get(suffix) or _NAMED_BINARIES.get(suffix)
    if named is None:
        for compressed, (_, media_type) in zip(_COMPRESSED_SUFFIXES, _COMPRESSED, strict=False):
            if base.lower().endswith(compressed):
                return _compressed(base, media_type)
    return named


def _by_name_of_text(base: str) -> Sniffed | None:
    lower = base.lower()
    if lower in _WHOLE_NAMES:
        return _WHOLE_NAMES[lower]
    suffix = suffix_of(base)
    if _METRICS.fullmatch(lower):
        return Sniffed(Kind.METRICS, _TEXTS[suffix].media_type)
    if _CONFIG.fullmatch(lower):
        return Sniffed(_C, "application/json")
    if _REQUIREMENTS.fullmatch(lower):
        return Sniffed(_E, "application/toml" if suffix == "toml" else "text/plain")
    return _TEXTS.get(suffix)


def _fallback(base: str, suffix: str, head: bytes) -> Sniffed:
    if _is_text(head):
        return Sniffed(_X, "text/plain")
    if suffix in {"txt", "csv", "tsv", "json"}:  # in an encoding that is not UTF-8
        return _TEXTS[suffix]
    return _NAMED_BINARIES.get(suffix) or Sniffed(_X, "application/octet-stream")
