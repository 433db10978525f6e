"""Writes down what is in two model files and what they predict.

This source is run by the interpreter of another environment, over standard input: it uses nothing
but Python, NumPy, and what the models themselves need. It decides nothing; what it wrote is
compared by `thence.formats.model_comparison`.
"""

from __future__ import annotations

import copyreg
import hashlib
import json
import math
import re
import sys
import types
from typing import Any, Iterator  # noqa: UP035 - older interpreters run this, too

__all__ = ["PREDICTIONS"]

PREDICTIONS = "()"
"""Begins the name of an array that is a prediction; what follows is the method."""

_ROWS = 1000
_METHODS = ("predict", "predict_proba", "decision_function", "transform")
_NAMED = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, type)


class Inventory:
    """Takes an object apart by the protocol that pickle uses, into plain values and arrays.

    What is shared between two places is written at both, so that objects that are equal look equal
    whether or not they share their parts.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, Any] = {}
        self.opaque: list[str] = []
        self._inside: dict[int, str] = {}

    def take(self, value: Any, where: str = "") -> Any:
        """The value as JSON, with arrays put aside under their path."""
        import numpy as np

        kind = type(value)
        if value is None or kind in {bool, int, str}:
            return value
        if kind is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, (bytes, bytearray)):
            return {"bytes": hashlib.sha256(value).hexdigest(), "size": len(value)}
        if isinstance(value, (*_NAMED, np.ufunc)):
            return {"named": _full_name(value)}
        if isinstance(value, np.generic) and value.dtype.kind not in "OV":
            # pickle's state of a NumPy scalar is None; only its value tells it from another
            return {"scalar": self._array(np.asarray(value), where)}
        if kind is np.ndarray and not value.dtype.hasobject:
            return self._array(value, where)
        if id(value) in self._inside:
            return {"contains itself": self._inside[id(value)]}
        self._inside[id(value)] = where
        try:
            return self._compound(value, where)
        finally:
            del self._inside[id(value)]

    def _array(self, array: Any, where: str) -> Any:
        while where in self.arrays:  # {"a.b": …, "a": {"b": …}} have the same path
            where += "'"
        self.arrays[where] = array
        return {"array": where}

    def _compound(self, value: Any, where: str) -> Any:
        import numpy as np

        kind = type(value)
        if kind is np.ndarray:
            items = [self.take(v, f"{where}[{i}]") for i, v in enumerate(value.ravel().tolist())]
            return {"shape": list(value.shape), "dtype": str(value.dtype), "items": items}
        if kind is list or kind is tuple:
            items = [self.take(v, f"{where}[{i}]") for i, v in enumerate(value)]
            return items if kind is list else {"tuple": items}
        if kind is set or kind is frozenset:
            ordered = sorted(value, key=lambda v: (type(v).__name__, repr(v)))
            return {"set": [self.take(v, f"{where}{{{i}}}") for i, v in enumerate(ordered)]}
        return self._mapping(value, where) if kind is dict else self._reduced(value, where)

    def _mapping(self, value: dict[Any, Any], where: str) -> Any:
        if all(type(key) is str for key in value):
            return {"dict": {k: self.take(v, f"{where}.{k}") for k, v in value.items()}}
        return {
            "pairs": [
                [self.take(k, f"{where}<{i}>"), self.take(v, f"{where}[{i}]")]
                for i, (k, v) in enumerate(value.items())
            ]
        }

    def _reduced(self, value: Any, where: str) -> Any:
        kind = type(value)
        try:
            reducer = copyreg.dispatch_table.get(kind)
            parts = reducer(value) if reducer else value.__reduce_ex__(4)
        except Exception:
            self.opaque.append(f"{where or 'the model'} ({_full_name(kind)})")
            return {"opaque": _full_name(kind)}
        if isinstance(parts, str):
            return {"named": parts}
        function, arguments, state, items, pairs = (*parts, None, None, None)[:5]
        out: dict[str, Any] = {"class": _full_name(kind), "by": _full_name(function)}
        out["arguments"] = [self.take(v, f"{where}({i})") for i, v in enumerate(arguments)]
        if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
            out["slots"] = self._attributes(state[1], where)
            state = state[0]
        if isinstance(state, dict) and all(type(key) is str for key in state):
            # the paths of attributes are as people write them: coef_
            out["attributes"] = self._attributes(state, where)
        elif state is not None:
            out["state"] = self.take(state, f"{where}.state")
        if items is not None:
            out["items"] = [self.take(v, f"{where}[{i}]") for i, v in enumerate(items)]
        if pairs is not None:
            out["pairs"] = self._mapping(dict(pairs), where)
        return out

    def _attributes(self, attributes: dict[str, Any], where: str) -> Any:
        prefix = f"{where}." if where else ""
        return {k: self.take(v, prefix + k) for k, v in attributes.items()}


def _full_name(value: Any) -> str:
    module = getattr(value, "__module__", None) or ""
    owner = getattr(value, "__self__", None)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", type(value).__name__)
    if owner is not None and not isinstance(owner, types.ModuleType):
        name = f"{_full_name(type(owner))}.{name}"
    return f"{module}.{name}"


def load(kind: str, path: str, trusted: str | None) -> Any:
    """The model in a file."""
    if kind == "skops":
        import skops.io

        in_file = [str(name) for name in skops.io.get_untrusted_types(file=path)]
        if trusted is not None:
            refused = [t for t in in_file if not re.fullmatch(trusted, t, re.VERBOSE)]
            if refused:
                raise TypeError(f"types that are not trusted: {', '.join(refused)}")
        return skops.io.load(path, trusted=in_file)
    try:
        import joblib
    except ImportError:
        import pickle

        with open(path, "rb") as file:
            return pickle.load(file)  # noqa: S301 - this process is here for it
    return joblib.load(path)  # reads plain pickles too


def rows_for(model: Any, inputs: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """Candidates for what the model can predict on, best first: what they are, and the rows."""
    names = _attribute(model, "feature_names_in_")
    count = _attribute(model, "n_features_in_")
    for name, path in inputs.items():
        frame = _read(name, path)
        if frame is None or not len(frame):
            continue
        label = f"{len(frame)} rows of {name}"
        if names is not None:
            if all(column in frame.columns for column in names):
                yield label, frame[list(names)]
        elif count is not None:
            numeric = frame.select_dtypes("number")
            # one more than needed is mostly the target; any rows do, as both models get the same
            if numeric.shape[1] in {count, count + 1}:
                yield label, numeric.iloc[:, :count].to_numpy()
        else:
            for column in frame.select_dtypes(["object", "string"]).columns:
                yield label, frame[column].fillna("").astype(str)
    if count is None:
        texts = [
            "",
            "the quick brown fox jumps over the lazy dog",
            "lorem ipsum dolor",
            "42 yes no",
        ]
        yield "made-up texts", texts
        return
    made_up = _made_up(int(count))
    label = f"{len(made_up)} made-up rows"
    if names is not None:
        try:
            import pandas as pd
        except ImportError:
            pass
        else:
            yield label, pd.DataFrame(made_up, columns=list(names))
    yield label, made_up


def _made_up(count: int) -> Any:
    """Rows of all magnitudes, so that some fall on each side of what a model splits at."""
    import numpy as np

    random = np.random.RandomState(0)
    blocks = [random.normal(size=(100, count)) * scale for scale in (0.1, 1, 10, 100, 1000)]
    blocks += [np.abs(blocks[1]), np.abs(blocks[2]), np.zeros((1, count)), np.ones((1, count))]
    return np.concatenate(blocks)


def _attribute(model: Any, name: str) -> Any:
    try:
        return getattr(model, name)
    except Exception:
        return None


def _read(name: str, path: str) -> Any:
    """The first rows of a table; None for everything else."""
    lower = name.lower()
    try:
        import pandas as pd

        if lower.endswith((".csv", ".tsv", ".csv.gz", ".tsv.gz")):
            separator = "\t" if ".tsv" in lower else ","
            if lower.endswith(".gz"):
                return pd.read_csv(path, nrows=_ROWS, sep=separator, compression="gzip")
            return pd.read_csv(path, nrows=_ROWS, sep=separator, compression=None)
        if lower.endswith((".parquet", ".pq")):
            return pd.read_parquet(path).head(_ROWS)
    except Exception:
        return None
    return None


def predict(model: Any, rows: Any) -> dict[str, Any]:
    """What each method gives, under the method's name; empty where none works on these rows."""
    found = {}
    for method in _METHODS:
        call = _attribute(model, method)
        if call is not None:
            result = _call(call, rows)
            if result is not None:
                found[method] = result
    return found


def _call(method: Any, rows: Any) -> Any:
    import numpy as np

    try:
        result = method(rows)
        result = np.asarray(result.toarray() if hasattr(result, "toarray") else result)
    except Exception:
        return None
    return result.astype(str) if result.dtype.hasobject else result


def main(request_path: str) -> None:
    """Write `a.json`, `a.npz`, `b.json`, `b.npz` for the two models of a request."""
    import numpy as np

    with open(request_path, encoding="utf-8") as file:
        request = json.load(file)
    sys.setrecursionlimit(20_000)
    if request["root"]:
        sys.path.insert(0, request["root"])
    label, rows = "", None
    for side, path in (("a", request["models"][0]), ("b", request["models"][1])):
        inventory = Inventory()
        arrays: dict[str, Any] = {}
        try:
            model = load(request["kind"], path, request["trusted"])
            answer = {"state": inventory.take(model), "opaque": inventory.opaque}
            predictions: dict[str, Any] = {}
            if rows is None:
                for candidate in rows_for(model, request["inputs"]):
                    label, rows = candidate
                    predictions = predict(model, rows)
                    if predictions:
                        break
            else:
                predictions = predict(model, rows)
            answer["rows"] = label
            arrays = dict(inventory.arrays)
            arrays.update({PREDICTIONS + name: found for name, found in predictions.items()})
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        base = f"{request['folder']}/{side}"
        numbered: dict[str, Any] = {f"a{i}": array for i, array in enumerate(arrays.values())}
        np.savez(f"{base}.npz", names=np.array(json.dumps(list(arrays))), **numbered)
        with open(f"{base}.json", "w", encoding="utf-8") as file:
            json.dump(answer, file)


if __name__ == "__main__":
    main(sys.argv[1])
