import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.cluster import Birch
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from thence.errors import Denied, InvalidInput
from thence.formats.base import CompareContext, Tolerance
from thence.formats.registry import compare, dump, load, load_file
from thence.formats.skops_model import is_trusted
from thence.model.records import Comparison, Grade, Kind

HERE = Path(sys.executable)
ROWS = np.random.RandomState(1).normal(size=(60, 3))
LABELS = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int)
FRAME = pd.DataFrame(ROWS, columns=["age", "income", "score"])


def _keep(folder: Path, obj: Any, name: str = "m") -> tuple[Path, dict[str, Any]]:
    dumped = dump(obj, name=name)
    path = folder / dumped.files[0].name
    path.write_bytes(dumped.files[0].data)
    return path, dumped.metadata


def _compare(original: Path, reproduced: Path, **context: Any) -> Comparison:
    return compare(original, reproduced, original.name, CompareContext(**context))


def test_the_metadata_of_a_model() -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=200))
    model.fit(FRAME, np.where(LABELS, "yes", "no"))
    dumped = dump(model, name="team/churn")
    found = dumped.metadata
    assert dumped.kind is Kind.MODEL
    assert dumped.files[0].name == "churn.skops"
    assert found["class"] == "sklearn.pipeline.Pipeline"
    assert found["n_features_in"] == 3
    assert found["feature_names_in"] == ["age", "income", "score"]
    assert found["classes"] == ["no", "yes"]
    assert found["fitted"] is True
    hyperparameters = found["hyperparameters"]
    assert hyperparameters["logisticregression__C"] == 0.5
    assert hyperparameters["logisticregression__max_iter"] == 200
    assert "0x" not in str(hyperparameters)
    assert dump(Ridge(), name="r").metadata["fitted"] is False


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(3, random_state=0),
        HistGradientBoostingClassifier(max_iter=3, random_state=0),
        KNeighborsClassifier(3),
        SVC(),
        MLPClassifier((3,), max_iter=2000, tol=1, random_state=0),
        GaussianProcessClassifier(),
        make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), LogisticRegression()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_models_come_back_and_need_no_trust(tmp_path: Path, model: Any) -> None:
    model.fit(np.abs(ROWS), LABELS)
    _, metadata = _keep(tmp_path, model)
    assert "untrusted_types" not in metadata
    back = load(tmp_path, metadata)
    assert type(back) is type(model)
    assert (back.predict(np.abs(ROWS)) == model.predict(np.abs(ROWS))).all()


def test_the_same_model_trained_elsewhere_is_the_same_bytes(tmp_path: Path) -> None:
    """Neither addresses nor the time of day are in a saved model."""
    script = (
        "import sys, numpy as np\n"
        "from sklearn.ensemble import RandomForestClassifier\n"
        "from thence.formats.registry import dump\n"
        "X = np.random.RandomState(1).normal(size=(60, 3)); y = (X[:, 0] > 0).astype(int)\n"
        "m = RandomForestClassifier(3, random_state=0).fit(X, y)\n"
        "sys.stdout.buffer.write(dump(m, name='m').files[0].data)\n"
    )
    one, other = (
        subprocess.run([HERE, "-c", script], capture_output=True, check=True).stdout
        for _ in range(2)
    )
    assert one == other
    with zipfile.ZipFile(_write(tmp_path / "m.skops", one)) as archive:
        assert max(member.date_time[0] for member in archive.infolist()) == 1980


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


class Doubler(FunctionTransformer):  # type: ignore[misc]
    """A type that nobody but this test knows."""


def test_types_that_are_not_trusted_are_named_and_can_be_trusted(tmp_path: Path) -> None:
    path, metadata = _keep(tmp_path, Doubler().fit(ROWS))
    name = f"{Doubler.__module__}.Doubler"
    assert metadata["untrusted_types"] == [name]
    with pytest.raises(Denied) as caught:
        load(tmp_path, metadata)
    assert name in caught.value.what
    assert f"trusted=['{name}']" in caught.value.hint
    with pytest.raises(Denied):
        load_file(path)
    assert isinstance(load(tmp_path, metadata, trusted=[name]), Doubler)


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "numpy.testing._private.utils.runstring",
        "numpy.f2py.compile",
        "numpy.load",
        "sklearn.tree._tree.Tree.evil",
        "xsklearn.tree._tree.Tree",
        "sklearn.utils._testing.assert_run_python_script_without_output",
        "sklearn.calibration.partial",
        "sklearn.datasets.load_svmlight_file",
        "scipy.sparse.load_npz",
        "",
    ],
)
def test_what_could_run_code_is_not_trusted(name: str) -> None:
    assert not is_trusted(name)


def test_a_crafted_file_that_names_a_function_is_denied(tmp_path: Path) -> None:
    path, _ = _keep(tmp_path, FunctionTransformer(np.log1p).fit(ROWS))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = members["schema.json"].decode()
    assert '"log1p"' in schema
    evil = schema.replace('"log1p"', '"system"')
    node = json.loads(evil)["content"]["content"]["func"]
    evil = evil.replace(f'"__module__": "{node["__module__"]}"', '"__module__": "os"')
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, evil if name == "schema.json" else data)
    with pytest.raises(Denied, match=r"os\.system"):
        load_file(path)


def test_what_skops_does_not_write_is_refused() -> None:
    model = FunctionTransformer(lambda x: x).fit(ROWS)
    with pytest.raises(InvalidInput, match="<lambda>"):
        dump(model, name="m")
    birch = Birch(n_clusters=2).fit(ROWS)
    with pytest.raises(InvalidInput) as caught:
        dump(birch, name="m")
    assert "allow_pickle=True" in caught.value.hint
    assert dump(birch, name="m", allow_pickle=True).files[0].name == "m.pkl"


def test_a_model_written_by_skops_itself_is_equivalent(tmp_path: Path) -> None:
    path, _ = _keep(tmp_path, LogisticRegression().fit(FRAME, LABELS))
    other = tmp_path / "other.skops"
    skops.io.dump(LogisticRegression().fit(FRAME, LABELS), other)
    outcome = _compare(path, other)
    assert outcome.grade is Grade.EQUIVALENT
    assert outcome.detail == "same parameters, same predictions on 702 made-up rows"
    FRAME.assign(y=LABELS).to_csv(tmp_path / "train.csv", index=False)
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    inputs = {"a/notes.csv": tmp_path / "notes.csv", "b/train.csv": tmp_path / "train.csv"}
    outcome = _compare(path, other, inputs=inputs)
    assert outcome.detail == "same parameters, same predictions on 60 rows of b/train.csv"


def test_a_parameter_that_differs_makes_models_different(tmp_path: Path) -> None:
    one, other = (LogisticRegression().fit(ROWS, LABELS) for _ in range(2))
    before = float(other.coef_[0, 1])
    other.coef_[0, 1] += 1e-9
    path, _ = _keep(tmp_path, one, "a")
    second, _ = _keep(tmp_path, other, "b")
    outcome = _compare(path, second)
    assert outcome.grade is Grade.DIFFERENT
    assert outcome.detail.startswith(f"parameters: coef_[0, 1]: {before!r} -> ")
    assert "predictions on 702 made-up rows" in outcome.detail
    loose = _compare(path, second, tolerance=Tolerance(absolute=1e-4))
    assert loose.grade is Grade.WITHIN_TOLERANCE
    other.set_params(max_iter=101)
    second, _ = _keep(tmp_path, other, "b")
    strict = _compare(path, second, tolerance=Tolerance(absolute=1e-4))
    assert strict.grade is Grade.DIFFERENT
    assert "max_iter: 100 -> 101" in strict.detail


def test_pickles_are_opened_only_by_the_reproduced_environment(tmp_path: Path) -> None:
    marker = tmp_path / "exploded"

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (marker,))

    one = _write(tmp_path / "a.pkl", pickle.dumps(Bomb()))
    other = _write(tmp_path / "b.pkl", pickle.dumps([Bomb()]))
    outcome = _compare(one, other)
    assert outcome.grade is Grade.UNCHECKED
    assert "reproduced environment" in outcome.detail
    for name in (one, other):
        with pytest.raises(Denied, match="is a pickle"):
            load_file(name)
    assert not marker.exists()


def test_pickle_and_joblib_of_one_model_are_equivalent(tmp_path: Path) -> None:
    model = RandomForestClassifier(3, random_state=0).fit(FRAME, LABELS)
    one = _write(tmp_path / "a.pkl", pickle.dumps(model))
    joblib.dump(model, tmp_path / "b.joblib", compress=3)
    outcome = _compare(one, tmp_path / "b.joblib", python=HERE)
    assert outcome.grade is Grade.EQUIVALENT
    model.estimators_[1].tree_.value[0, 0, 0] += 1e-9
    joblib.dump(model, tmp_path / "b.joblib")
    outcome = _compare(tmp_path / "b.joblib", one, python=HERE)
    assert outcome.grade is Grade.DIFFERENT
    assert "estimators_[1].tree_" in outcome.detail


def test_an_address_kept_by_a_vectoriser_is_not_a_difference(tmp_path: Path) -> None:
    texts = ["one two", "two three", "three four five"]
    model = TfidfVectorizer(stop_words=["one"]).fit(texts)
    one = _write(tmp_path / "a.pkl", pickle.dumps(model))
    model._stop_words_id = 12345
    other = _write(tmp_path / "b.pkl", pickle.dumps(model))
    assert _compare(one, other, python=HERE).grade is Grade.EQUIVALENT
    words = model.vocabulary_
    words["two"], words["three"] = words["three"], words["two"]
    other = _write(tmp_path / "b.pkl", pickle.dumps(model))
    assert _compare(one, other, python=HERE).grade is Grade.DIFFERENT


def test_columns_of_text_are_predicted_on_recorded_inputs(tmp_path: Path) -> None:
    frame = FRAME.assign(city=["Berlin", "Paris", "Rome"] * 20)
    transform = ColumnTransformer([("c", OneHotEncoder(), ["city"])], remainder="passthrough")
    model = make_pipeline(transform, LogisticRegression()).fit(frame, LABELS)
    frame.to_parquet(tmp_path / "x.parquet")
    one = _write(tmp_path / "a.pkl", pickle.dumps(model, protocol=4))
    other = _write(tmp_path / "b.pkl", pickle.dumps(model, protocol=5))
    outcome = _compare(one, other, python=HERE, inputs={"x.parquet": tmp_path / "x.parquet"})
    assert outcome.detail == "same parameters, same predictions on 60 rows of x.parquet"


def test_a_model_that_is_cut_short_is_no_exception(tmp_path: Path) -> None:
    model = LogisticRegression().fit(ROWS, LABELS)
    path, _ = _keep(tmp_path, model)
    cut = _write(tmp_path / "cut.skops", path.read_bytes()[:-200])
    assert _compare(path, cut).grade is Grade.DIFFERENT
    assert _compare(cut, path).grade is Grade.UNCHECKED
    pickled = _write(tmp_path / "a.pkl", pickle.dumps(model))
    short = _write(tmp_path / "b.pkl", pickle.dumps(model)[:-100])
    outcome = _compare(pickled, short, python=HERE)
    assert outcome.grade is Grade.DIFFERENT
    assert "not loadable" in outcome.detail


def test_a_class_that_the_environment_has_not_is_unchecked(tmp_path: Path) -> None:
    data = pickle.dumps(Doubler().fit(ROWS), protocol=4)
    lost = data.replace(Doubler.__module__.encode(), b"x" * len(Doubler.__module__))
    one = _write(tmp_path / "a.pkl", lost)
    other = _write(tmp_path / "b.pkl", lost + b" ")
    outcome = _compare(one, other, python=HERE)
    assert outcome.grade is Grade.UNCHECKED
    assert "No module named" in outcome.detail


def test_the_projects_own_classes_are_found_below_its_root(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "class Rule:\n"
        "    def __init__(self, limit): self.limit = limit\n"
        "    def predict(self, X): return [sum(row) > self.limit for row in X]\n"
    )
    script = (
        "import pickle, sys, shop\npickle.dump(shop.Rule(float(sys.argv[1])), sys.stdout.buffer)"
    )
    for name, limit in (("a.pkl", "0.5"), ("b.pkl", "0.6")):
        done = subprocess.run(
            [HERE, "-c", script, limit], cwd=tmp_path, capture_output=True, check=True
        )
        _write(tmp_path / name, done.stdout)
    outcome = _compare(tmp_path / "a.pkl", tmp_path / "b.pkl", python=HERE, root=tmp_path)
    assert outcome.grade is Grade.DIFFERENT
    assert "limit: 0.5 -> 0.6" in outcome.detail


def test_an_interpreter_that_is_not_there_or_too_slow_is_unchecked(tmp_path: Path) -> None:
    one = _write(tmp_path / "a.pkl", pickle.dumps(1))
    other = _write(tmp_path / "b.pkl", pickle.dumps(2))
    outcome = _compare(one, other, python=tmp_path / "none")
    assert outcome.grade is Grade.UNCHECKED
    assert "did not start" in outcome.detail
    outcome = _compare(one, other, python=HERE, timeout_s=0.01)
    assert "took longer" in outcome.detail
