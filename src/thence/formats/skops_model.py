"""Fitted estimators of scikit-learn, saved with skops: data only, no code runs on loading."""

import io
import json
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thence.errors import Denied, InvalidInput
from thence.formats.base import (
    CompareContext,
    Dumped,
    DumpedFile,
    Outcome,
    Trust,
    Unreadable,
    missing_extra,
    with_suffix,
)
from thence.formats.media import sniff
from thence.formats.model_comparison import compare_models
from thence.model.records import Kind

__all__ = ["Skops", "is_trusted"]

_EPOCH = (1980, 1, 1, 0, 0, 0)

# What skops itself does not trust though it holds data only. Each is named: whole modules would let
# in whatever they import. A crafted tree can still make scikit-learn read beyond its arrays when it
# predicts, so "trusted" means "runs no code of the file's", not "cannot crash".
_TRUSTED = re.compile(
    r"""
      numpy\.(dtype|mean|median|ndarray|float16|float32|float64|int8|int16|int32|int64|bool_?
        |uint8|uint16|uint32|uint64|str_)
    | numpy\.(core|_core)\.multiarray\.(_reconstruct|scalar)
    | scipy\.sparse\._(csr\.csr|csc\.csc|coo\.coo)_(matrix|array)
    | scipy\.interpolate\.(_bsplines\.BSpline|_interpolate\.interp1d)
    | sklearn\._loss\.(loss|_loss|link)\.(Cy)?[A-Z][A-Za-z]+
    | sklearn\.calibration\.(_CalibratedClassifier|_SigmoidCalibration|_TemperatureScaling)
    | sklearn\.cluster\._bisect_k_means\._BisectingTree
    | sklearn\.cluster\._kmeans\._kmeans_single_(lloyd|elkan)
    | sklearn\.ensemble\._hist_gradient_boosting\.predictor\.TreePredictor
    | sklearn\.ensemble\._hist_gradient_boosting\.binning\._BinMapper
    | sklearn\.feature_selection\._univariate_selection\.(f_classif|f_regression|f_oneway|chi2
        |r_regression)
    | sklearn\.feature_selection\._mutual_info\.mutual_info_(classif|regression)
    | sklearn\.gaussian_process\._gpc\._BinaryGaussianProcessClassifierLaplace
    | sklearn\.gaussian_process\.kernels\.(ConstantKernel|Product|Sum|RBF|Matern|WhiteKernel
        |RationalQuadratic|DotProduct|ExpSineSquared|Exponentiation|CompoundKernel
        |Hyperparameter)
    | sklearn\.metrics\._dist_metrics\.[A-Z][A-Za-z]+(Distance|Distance32|Distance64)
    | sklearn\.metrics\._scorer\._(Scorer|PassthroughScorer)
    | sklearn\.model_selection\._split\.[A-Z][A-Za-z]+
    | sklearn\.neighbors\._(kd_tree\.KDTree|ball_tree\.BallTree)(32|64)?
    | sklearn\.neural_network\._stochastic_optimizers\.(Adam|SGD)Optimizer
    | sklearn\.tree\._tree\.Tree
    | sklearn\.utils\._bunch\.Bunch
    """,
    re.VERBOSE,
)


class Skops:
    """Saves estimators and pipelines of scikit-learn, loads and compares `.skops` files.

    A file holds data and the names of types. It is loaded only if all types are known parts of
    scikit-learn, NumPy and SciPy, or named in `trusted`.

    The same model saved twice gives the same bytes: the times and the memory addresses that skops
    writes are replaced. The metadata has `class`, `hyperparameters`, `sklearn`, `n_features_in`,
    `feature_names_in`, `classes` and whether it is fitted.

    Models are compared as `thence.formats.model_comparison` says.
    """

    name = "skops"
    media_type = "application/x-skops"
    kind = Kind.MODEL

    def matches(self, name: str, head: bytes) -> bool:
        """By media type."""
        return sniff(name, head).media_type == self.media_type

    def saves(self, obj: Any) -> bool:
        """Estimators of scikit-learn, and those of others that derive from its base."""
        module = sys.modules.get("sklearn.base")
        return module is not None and isinstance(obj, module.BaseEstimator)

    def save(self, obj: Any, stem: str) -> Dumped:
        """As a skops file.

        Raises:
            InvalidInput: It holds something that skops does not write.
            MissingExtra: skops is not installed.
        """
        skops = _skops()
        try:
            data = _canonical(skops.dumps(obj))
            types = sorted(map(str, skops.get_untrusted_types(data=data)))
        except Exception as error:  # skops lets whatever the estimator raises through
            raise InvalidInput(
                f"cannot be saved safely: {type(obj).__qualname__}",
                why=f"skops does not write it: {error}",
                hint="Pass allow_pickle=True to pickle it.",
            ) from error
        # skops writes the name of a lambda or a local function, and cannot find it when it loads
        if unnamed := [name for name in types if "<" in name]:
            raise InvalidInput(
                f"cannot be saved safely: {type(obj).__qualname__} holds {unnamed[0]}",
                why="A function is kept by its name, and this one cannot be found by it.",
                hint="Define the function at the top of a module.",
            )
        untrusted = [name for name in types if not is_trusted(name)]
        file_name = with_suffix(stem, ".skops")
        metadata: dict[str, Any] = {
            "format": self.name,
            "file": file_name,
            "python_type": "sklearn.BaseEstimator",
            **describe(obj),
        }
        if untrusted:
            metadata["untrusted_types"] = untrusted
        return Dumped((DumpedFile(file_name, data),), self.kind, metadata)

    def load(self, path: Path, metadata: Mapping[str, Any], trust: Trust) -> Any:
        """The estimator.

        Raises:
            Denied: It holds types that are not trusted.
            MissingExtra: skops is not installed.
        """
        skops = _skops()
        try:
            data = path.read_bytes()
            types = [str(name) for name in skops.get_untrusted_types(data=data)]
        except Exception as error:  # a damaged file makes skops fail in many ways
            raise Unreadable(path, f"not readable as a skops file: {error}") from error
        refused = sorted(t for t in types if not is_trusted(t) and t not in trust.types)
        if refused:
            raise Denied(
                f"{path.name} holds types that are not trusted: {', '.join(refused)}",
                why="Loading makes objects of these types, and what they do then is not known.",
                hint=f"If you trust them, pass trusted={refused!r}.",
            )
        try:
            return skops.loads(data, trusted=types)
        except Exception as error:  # as above; versions of scikit-learn differ, too
            raise Unreadable(path, f"not loadable: {type(error).__name__}: {error}") from error

    def compare(self, original: Path, reproduced: Path, context: CompareContext) -> Outcome:
        """By fitted parameters and predictions."""
        _check_zip(original)
        _check_zip(reproduced)
        return compare_models(self.name, original, reproduced, context, trusted=_TRUSTED.pattern)


def is_trusted(type_name: str) -> bool:
    """Whether a type is a plain part of scikit-learn, NumPy or SciPy.

    >>> is_trusted("sklearn.tree._tree.Tree"), is_trusted("numpy.testing.runstring")
    (True, False)
    """
    return _TRUSTED.fullmatch(type_name) is not None


def describe(estimator: Any) -> dict[str, Any]:
    """What the metadata of a version says of an estimator."""
    import sklearn
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    kind = type(estimator)
    found: dict[str, Any] = {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "sklearn": sklearn.__version__,
        "hyperparameters": _hyperparameters(estimator),
    }
    try:
        check_is_fitted(estimator)
        found["fitted"] = True
    except (NotFittedError, TypeError):
        found["fitted"] = False
    for attribute in ("n_features_in_", "feature_names_in_", "classes_"):
        try:
            value = getattr(estimator, attribute)
        except Exception:  # noqa: S112 - a property of an unfitted pipeline may raise anything
            continue
        if value is not None:
            found[attribute.rstrip("_")] = _simple(value)
    return found


def _hyperparameters(estimator: Any) -> dict[str, Any]:
    """All parameters, nested ones under `step__name`; estimators in it are their own parameters."""
    found = {}
    for name, value in estimator.get_params(deep=True).items():
        if hasattr(value, "get_params"):
            found[name] = f"{type(value).__module__}.{type(value).__qualname__}"
        else:
            found[name] = _simple(value)
    return found


def _simple(value: Any) -> Any:
    """The value as JSON has it; what JSON has not, by name and without its memory address."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(key): _simple(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_simple(item) for item in value]
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return _simple(value.tolist())
    if hasattr(value, "get_params"):
        return f"{type(value).__module__}.{type(value).__qualname__}"
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _skops() -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise missing_extra("skops", "sklearn", "for models of scikit-learn") from error
    return skops.io


def _canonical(data: bytes) -> bytes:
    """The same skops file without what changes from one writing to the next.

    skops numbers objects by their addresses, names the files of arrays by them, and writes the
    time of day into the archive. Here both are numbered by the order of their appearance.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        schema = json.loads(archive.read("schema.json"))
        numbers: dict[int, int] = {}
        files: dict[str, str] = {}
        members = set(archive.namelist())
        _renumber(schema, members, numbers, files)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as target:
            for old, new in files.items():
                target.writestr(zipfile.ZipInfo(new, _EPOCH), archive.read(old))
            text = json.dumps(schema, indent=2)
            target.writestr(zipfile.ZipInfo("schema.json", _EPOCH), text)
    return buffer.getvalue()


def _renumber(node: Any, members: set[str], numbers: dict[int, int], files: dict[str, str]) -> None:
    if isinstance(node, list):
        for item in node:
            _renumber(item, members, numbers, files)
    elif isinstance(node, dict):
        for key, value in node.items():
            # a dictionary of the user's may have these keys, too: then the values are nodes
            if key == "__id__" and isinstance(value, int):
                node[key] = numbers.setdefault(value, len(numbers) + 1)
            elif key == "file" and isinstance(value, str) and value in members:
                suffix = value.rpartition(".")[2]
                node[key] = files.setdefault(value, f"{len(files) + 1}.{suffix}")
            else:
                _renumber(value, members, numbers, files)


def _check_zip(path: Path) -> None:
    """A damaged file is told from a model that cannot be loaded here."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
            json.loads(archive.read("schema.json"))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise Unreadable(path, f"not readable as a skops file: {error}") from error
    if broken:
        raise Unreadable(path, f"not readable as a skops file: {broken} is damaged")
