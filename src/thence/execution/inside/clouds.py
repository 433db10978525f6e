"""pyarrow and polars: native code that fetches by itself; only what it is asked for is known."""

from __future__ import annotations

import os
import threading

from . import wrapping
from .addresses import key_of, scheme_of, without_secrets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .fetches import Fetches

__all__ = ["ARROW", "POLARS", "Clouds"]

# Module -> functions whose first argument names what is read.
POLARS = {
    "polars": (
        *(
            f"{verb}_{kind}"
            for verb in ("read", "scan")
            for kind in ("csv", "parquet", "ipc", "ndjson", "delta", "iceberg", "avro", "lines")
        ),
        "read_parquet_schema",
        "read_parquet_metadata",
        "read_ipc_stream",
        "read_json",
    ),
}
ARROW = {
    "pyarrow.parquet": ("read_table", "read_pandas", "read_metadata", "read_schema"),
    "pyarrow.parquet.core": ("read_table", "read_pandas", "read_metadata", "read_schema"),
    "pyarrow.dataset": ("dataset", "parquet_dataset"),
    "pyarrow.feather": ("read_table", "read_feather"),
    "pyarrow.orc": ("read_table",),
}
_METHODS = ("open_input_file", "open_input_stream")
_CLOUD = {"s3", "s3a", "gs", "gcs", "az", "azure", "abfs", "abfss", "adl", "hf", "http", "https"}
_OF_TYPE = {"s3": "s3", "gcs": "gs", "abfs": "abfs"}
_FEW = 1000
_PART = "remote"


class Clouds:
    """Notes addresses that are given to native readers; the outermost call counts.

    Args:
        fetches: Are told.
    """

    def __init__(self, fetches: Fetches) -> None:
        self._fetches = fetches
        self._inside = threading.local()

    def wrap(self, module: Any) -> None:
        """Wrap the functions of a module."""
        library = module.__name__.partition(".")[0]
        for name in (*POLARS.get(module.__name__, ()), *ARROW.get(module.__name__, ())):
            wrapping.wrap(module, name, lambda inner: self._reading(inner, library), _PART)

    def wrap_filesystems(self, module: Any) -> None:
        """Wrap the file systems of `pyarrow.fs`, whose classes are closed."""
        for name in ("S3FileSystem", "GcsFileSystem", "AzureFileSystem"):
            original = getattr(module, name, None)
            if isinstance(original, type) and not wrapping.is_wrapped(original, _PART):
                body = {one: self._opening(getattr(original, one)) for one in _METHODS}
                wrapping.put(module, name, wrapping.stand_in(original, body, _PART))

    def _reading(self, original: Any, library: str) -> Any:
        def wrapper(*args: Any, **named: Any) -> Any:
            if getattr(self._inside, "busy", False) or not self._fetches.listening:
                return original(*args, **named)
            self._inside.busy = True
            try:
                return original(*args, **named)
            finally:
                self._inside.busy = False
                wrapping.quietly(lambda: self._note(args, named, library))

        return wrapper

    def _note(self, args: tuple[Any, ...], named: dict[str, Any], library: str) -> None:
        source = (
            args[0]
            if args
            else next(
                (named[name] for name in ("source", "where", "path_or_paths") if name in named),
                None,
            )
        )
        options = named.get("storage_options")
        peer = _endpoint(options if isinstance(options, dict) else {})
        system = named.get("filesystem")
        for address in _addresses(source, system):
            # Some ask Python to fetch, and that was heard.
            if without_secrets(address) not in self._fetches.told:
                self._fetches.asked(address, library, peer=peer or _peer_of(system))

    def _opening(self, original: Any) -> Any:
        def method(system: Any, path: Any, *args: Any, **named: Any) -> Any:
            result = original(system, path, *args, **named)
            wrapping.quietly(lambda: self._opened(system, path))
            return result

        return wrapping.like(method, original, _PART)

    def _opened(self, system: Any, path: Any) -> None:
        for address in _addresses(path, system):
            self._fetches.asked(address, "pyarrow", peer=_peer_of(system))


def _addresses(source: Any, system: Any = None) -> list[str]:
    """What is asked for, with the scheme of a file system before paths of it."""
    if isinstance(source, (list, tuple)):
        return [one for item in source[:_FEW] for one in _addresses(item, system)]
    if not isinstance(source, (str, os.PathLike)):
        return []
    text = os.fspath(source)
    if not isinstance(text, str):
        return []
    if scheme_of(text) in _CLOUD:
        return [text]
    prefix = _OF_TYPE.get(str(getattr(system, "type_name", "")))
    return [f"{prefix}://{text}"] if prefix and "://" not in text else []


def _endpoint(options: dict[Any, Any]) -> str:
    """`host:port` of a server that is named by its address, or by that of this machine."""
    names = ("aws_endpoint_url", "endpoint_url", "aws_endpoint", "endpoint", "endpoint_override")
    low = {str(name).lower(): value for name, value in options.items()}
    url = next((str(low[name]) for name in names if low.get(name)), "")
    url = url or os.environ.get("AWS_ENDPOINT_URL_S3", "") or os.environ.get("AWS_ENDPOINT_URL", "")
    place = key_of(url).rpartition("://")[2].partition("/")[0]
    host, mark, port = place.rpartition(":")
    if not mark or not port.isdigit():
        return ""
    return f"127.0.0.1:{port}" if host == "localhost" else place


def _peer_of(system: Any) -> str:
    """The same of a file system, which tells its options when it is copied."""
    try:
        made = system.__reduce__()
        options = made[1][0]
    except (AttributeError, TypeError, IndexError):
        return ""
    return _endpoint(options) if isinstance(options, dict) else ""
