"""Python entry points of libraries that open files by themselves, without an audit event.

Where the kernel watches, none of this is needed.
"""

from __future__ import annotations

import os

from . import wrapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Protocol

    from .imports import Imports
    from .observation import Observation

    class Guard(Protocol):
        """What is needed of `child.Watcher`."""

        active: bool

        def guarded(self, function: Callable[[Any], None], argument: Any) -> None:
            """Call it where what it opens is not an event."""

        def tell(self, action: str, path: str, target: str = "", detail: str = "") -> None:
            """Report an event."""


__all__ = ["NATIVES", "Natives", "start"]

_PART = "files"
_FOLDER_LIMIT = 20_000

# Readers and writers that open files without Python's help: module -> (what, position of the path,
# its keyword, how). `mode` looks at the argument after the path; `sql` at quoted paths in it;
# `database` may be opened to be read only.
NATIVES = {
    "pyarrow": (
        ("memory_map", 0, "path", "mode"),
        ("OSFile", 0, "path", "mode"),
        ("input_stream", 0, "source", "read"),
        ("output_stream", 0, "source", "write"),
    ),
    "pyarrow.csv": (
        ("read_csv", 0, "input_file", "read"),
        ("open_csv", 0, "input_file", "read"),
        ("write_csv", 1, "output_file", "write"),
    ),
    "pyarrow.json": (("read_json", 0, "input_file", "read"),),
    "pyarrow.orc": (
        ("read_table", 0, "source", "read"),
        ("ORCFile.__init__", 1, "source", "read"),
        ("write_table", 1, "where", "write"),
    ),
    "pyarrow.ipc": (
        ("open_file", 0, "source", "read"),
        ("open_stream", 0, "source", "read"),
        ("new_file", 0, "sink", "write"),
        ("new_stream", 0, "sink", "write"),
    ),
    "pyarrow.feather": (
        ("read_table", 0, "source", "read"),
        ("read_feather", 0, "source", "read"),
        ("write_feather", 1, "dest", "write"),
    ),
    "pyarrow.parquet.core": (
        ("ParquetFile.__init__", 1, "source", "read"),
        ("ParquetDataset.__init__", 1, "path_or_paths", "read"),
        ("read_table", 0, "source", "read"),
        ("read_metadata", 0, "where", "read"),
        ("read_schema", 0, "where", "read"),
        ("ParquetWriter.__init__", 1, "where", "write"),
        ("write_table", 1, "where", "write"),
        ("write_to_dataset", 1, "root_path", "folder"),
    ),
    "pyarrow.dataset": (
        ("dataset", 0, "source", "read"),
        ("parquet_dataset", 0, "metadata_path", "read"),
        ("write_dataset", 1, "base_dir", "folder"),
    ),
    "polars": (
        *(
            (f"{verb}_{kind}", 0, "source", "read")
            for verb in ("read", "scan")
            for kind in ("csv", "parquet", "ipc", "ndjson", "avro", "excel", "json", "delta")
        ),
        ("read_ipc_stream", 0, "source", "read"),
        ("read_csv_batched", 0, "source", "read"),
        ("read_parquet_schema", 0, "source", "read"),
        ("sql", 0, "query", "sql"),
        ("SQLContext.execute", 1, "query", "sql"),
        *(
            (f"DataFrame.write_{kind}", 1, "file", "write")
            for kind in ("csv", "parquet", "ipc", "ipc_stream", "ndjson", "avro", "json")
        ),
        *(
            (f"LazyFrame.sink_{kind}", 1, "path", "write")
            for kind in ("csv", "parquet", "ipc", "ndjson")
        ),
    ),
    "duckdb": (
        ("connect", 0, "database", "database"),
        ("read_csv", 0, "path_or_buffer", "read"),
        ("read_csv_auto", 0, "path_or_buffer", "read"),
        ("read_parquet", 0, "file_glob", "read"),
        ("read_json", 0, "path_or_buffer", "read"),
        ("from_csv_auto", 0, "path_or_buffer", "read"),
        ("from_parquet", 0, "file_glob", "read"),
        ("sql", 0, "query", "sql"),
        ("query", 0, "query", "sql"),
        ("execute", 0, "query", "sql"),
        *(
            (f"DuckDBPyConnection.{verb}", 1, "query", "sql")
            for verb in ("execute", "sql", "query")
        ),
        *(
            (f"DuckDBPyConnection.{verb}", 1, keyword, "read")
            for verb, keyword in (
                ("read_csv", "path_or_buffer"),
                ("read_parquet", "file_glob"),
                ("read_json", "path_or_buffer"),
                ("from_csv_auto", "path_or_buffer"),
                ("from_parquet", "file_glob"),
            )
        ),
        *(
            (f"DuckDBPyRelation.{verb}", 1, "file_name", "write")
            for verb in ("write_csv", "to_csv", "write_parquet", "to_parquet")
        ),
    ),
    "netCDF4": (("Dataset", 0, "filename", "mode"),),
    "soundfile": (("SoundFile.__init__", 1, "file", "mode"),),
    "lxml.etree": (("parse", 0, "source", "read"),),
    "h5py": (("File.__init__", 1, "name", "mode"),),
    "tables": (("open_file", 0, "filename", "mode"),),
    "torch": (
        ("load", 0, "f", "read"),
        ("save", 1, "f", "write"),
        ("from_file", 0, "filename", "read"),
        ("UntypedStorage.from_file", 0, "filename", "read"),
    ),
    "torch.jit._script": (("RecursiveScriptModule.save", 1, "f", "write"),),
    "torch.jit": (("load", 0, "f", "read"), ("save", 1, "f", "write")),
    "onnxruntime": (("InferenceSession.__init__", 1, "path_or_bytes", "read"),),
    "xgboost": (
        ("DMatrix.__init__", 1, "data", "read"),
        ("DMatrix.save_binary", 1, "fname", "write"),
        ("Booster.load_model", 1, "fname", "read"),
        ("Booster.save_model", 1, "fname", "write"),
        ("XGBModel.load_model", 1, "fname", "read"),
        ("XGBModel.save_model", 1, "fname", "write"),
    ),
    "lightgbm": (
        ("Dataset.__init__", 1, "data", "read"),
        ("Dataset.save_binary", 1, "filename", "write"),
        ("Booster.__init__", 3, "model_file", "read"),
        ("Booster.save_model", 1, "filename", "write"),
    ),
    "catboost": (
        ("Pool.__init__", 1, "data", "read"),
        ("CatBoost.load_model", 1, "fname", "read"),
        ("CatBoost.save_model", 1, "fname", "write"),
    ),
    "cv2": (
        ("imread", 0, "filename", "read"),
        ("imwrite", 0, "filename", "write"),
        ("VideoCapture", 0, "filename", "read"),
        ("VideoWriter", 0, "filename", "write"),
    ),
    "safetensors": (("safe_open", 0, "filename", "read"),),
    "safetensors.torch": (
        ("load_file", 0, "filename", "read"),
        ("save_file", 1, "filename", "write"),
    ),
    "safetensors.numpy": (
        ("load_file", 0, "filename", "read"),
        ("save_file", 1, "filename", "write"),
    ),
}

# Closed types whose methods open files: module -> type -> (method, keyword, how).
_METHODS = {
    "pyarrow.fs": {
        "LocalFileSystem": (
            ("open_input_file", "path", "read"),
            ("open_input_stream", "path", "read"),
            ("open_output_stream", "path", "write"),
            ("open_append_stream", "path", "update"),
        )
    }
}


def start(observation: Observation) -> None:
    """Wrap them in this process."""
    Natives(observation.watcher, observation.imports)


class Natives:
    """Wraps them: those that are imported at once, the others when they are.

    Existing wrappers only pass on while the watcher is inactive.
    """

    def __init__(self, watcher: Guard, imports: Imports) -> None:
        self._watcher = watcher
        for name in NATIVES:
            imports.when(name, self.wrap)
        for name in _METHODS:
            imports.when(name, self._wrap_methods)

    def wrap(self, module: Any) -> None:
        """Put wrappers around the entry points of a module; one that cannot be wrapped is left."""
        for what, position, keyword, how in NATIVES[module.__name__]:
            owner = module
            *parents, leaf = what.split(".")
            try:
                for parent in parents:
                    owner = getattr(owner, parent)
                self._put(owner, leaf, (position, keyword, how))
            except (AttributeError, TypeError):
                continue  # another version of the library, or a type that is closed

    def _put(self, owner: Any, leaf: str, place: tuple[int, str, str]) -> None:
        def around(inner: Any) -> Any:
            return self._wrapper(inner, *place)

        original = getattr(owner, leaf)
        if isinstance(original, type) and not wrapping.is_wrapped(original, _PART):
            position, keyword, how = place
            new = self._wrapper(original.__new__, position + 1, keyword, how)
            body = {"__new__": wrapping.like(new, original.__new__, _PART, raw=new)}
            try:
                # A compiled type opens its file in __new__ and lets nobody replace that.
                made = wrapping.stand_in(original, body, _PART)
            except TypeError:
                pass  # it cannot have subclasses: it is called all the same
            else:
                wrapping.put(owner, leaf, made)
                return
        wrapping.wrap(owner, leaf, around, _PART)

    def _wrap_methods(self, module: Any) -> None:
        for name, methods in _METHODS[module.__name__].items():
            original = getattr(module, name)
            if wrapping.is_wrapped(original, _PART):
                continue
            body = {}
            for method, keyword, how in methods:
                inner = getattr(original, method, None)
                if inner is not None:
                    made = self._wrapper(inner, 1, keyword, how)
                    body[method] = wrapping.like(made, inner, _PART)
            wrapping.put(module, name, wrapping.stand_in(original, body, _PART))

    def _wrapper(self, original: Any, position: int, keyword: str, how: str) -> Any:
        def wrapper(*args: Any, **named: Any) -> Any:
            if not self._watcher.active:
                return original(*args, **named)
            value = named.get(keyword, args[position] if len(args) > position else None)
            name = "read_only" if how == "database" else "mode"
            mode = named.get(name, args[position + 1] if len(args) > position + 1 else None)
            before = self._before(value, how, mode)
            try:
                return original(*args, **named)
            finally:
                if how == "folder":
                    self._watcher.guarded(lambda _: self._new_files(value, before), None)

        return wrapper

    def _before(self, value: Any, how: str, mode: Any) -> list[str]:
        paths: list[str] = []
        if value is not None:
            self._watcher.guarded(lambda _: paths.extend(self._native(value, how, mode)), None)
        return paths

    def _native(self, value: Any, how: str, mode: Any) -> list[str]:
        if how == "sql":
            for path, action in _paths_in_sql(str(value)):
                self._watcher.tell(action, path)
            return []
        action = {"write": "truncate", "folder": "truncate", "update": "update"}.get(how, "read")
        if how == "mode":
            action = _by_mode(mode if isinstance(mode, str) else "r")
        elif how == "database":
            action = "read" if mode else "update"
            if str(value).startswith(":"):  # in memory
                return []
        paths = list(_expand(value))
        for path in paths:
            self._watcher.tell(action, path)
        return paths

    def _new_files(self, value: Any, before: list[str]) -> None:
        known = set(before)
        for path in _expand(value):
            if path not in known:
                self._watcher.tell("truncate", path, "", "created")


def _by_mode(mode: str) -> str:
    # Not as of open(): h5py's `a` reads and writes, and so does every mode but these.
    if mode.startswith(("w", "x")):
        return "truncate"
    return "read" if mode.startswith("r") and "+" not in mode else "update"


def _expand(value: Any) -> Iterator[str]:
    """The files that a path, a pattern, a folder or a list of these stands for."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _expand(item)
        return
    if not isinstance(value, (str, bytes, os.PathLike)):
        return
    text = os.fsdecode(value).removeprefix("file://")
    if "://" in text or not text:
        return
    full = os.path.abspath(text)
    if "?" in text and not os.path.exists(full):
        # XGBoost: data.svm?format=libsvm
        without = full.partition("?")[0]
        full = without if os.path.isfile(without) else full
    if os.path.isdir(full):
        count = 0
        for parent, folders, names in os.walk(full):
            folders.sort()
            for name in sorted(names):
                yield os.path.join(parent, name)
                count += 1
                if count >= _FOLDER_LIMIT:
                    return
    elif not os.path.exists(full) and any(mark in full for mark in "*?["):
        import glob

        yield from sorted(glob.glob(full, recursive=True))
    else:
        yield full


def _paths_in_sql(query: str) -> Iterator[tuple[str, str]]:
    import re

    for found in re.finditer(r"(\bto\s+)?'([^'\n]+)'", query, re.IGNORECASE):
        for path in _expand(found[2]):
            if found[1]:
                yield path, "truncate"
            elif os.path.isfile(path):
                yield path, "read"
