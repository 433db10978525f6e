import json
import math
import shlex
from typing import Any

import pytest

from thence.execution.capture.metrics import is_metrics_file, read_metrics
from thence.execution.capture.params import (
    is_config_file,
    parse_value,
    read_argv,
    read_config,
)
from thence.execution.capture.secrets import Redactor
from thence.model import codec


def from_command(command: str) -> dict[str, Any]:
    params = read_argv(shlex.split(command), Redactor(b"k"))
    assert all(param.origin == "argv" for param in params.values())
    return {name: param.value for name, param in params.items()}


@pytest.mark.parametrize(
    ("command", "params"),
    [
        ("python train.py --lr 0.1 --epochs=5 -n 5", {"lr": 0.1, "epochs": 5, "n": 5}),
        ("python -m pkg.train --lr 1e-3 --amp", {"lr": 0.001, "amp": True}),
        ("/venv/bin/python3.11 -u -X dev -W ignore t.py --a b", {"a": "b"}),
        ("python -c 'print(1)' --x 1", {"x": 1}),
        ("python train.py", {}),
        ("python", {}),
        ("python train.py data.csv out/ --verbose", {"verbose": True}),
        ("python t.py model.depth=3 +opt=adam ++x.y=null ~gone", {
            "model.depth": 3, "opt": "adam", "x.y": None}),
        ("python t.py --t -0.5 --s -- pos", {"t": -0.5, "s": True}),
        ("python t.py --layers 64 32 16 --name a b", {"layers": [64, 32, 16], "name": "a"}),
        ("python t.py --tag a --tag b", {"tag": ["a", "b"]}),
        ("python t.py --flag model.lr=1", {"flag": True, "model.lr": 1}),
        ("python t.py --ids=[1,2] --s=007 --u=https://h/?a=b", {
            "ids": [1, 2], "s": "007", "u": "https://h/?a=b"}),
        ("sort -k2 -r --field-separator=, data.csv", {"k": 2, "r": True, "field-separator": ","}),
        ("Rscript fit.R --alpha 0.5", {"alpha": 0.5}),
        ("uv run python train.py --lr 1", {"lr": 1}),
        ("torchrun --nproc 2 train.py --lr 1", {"nproc": 2, "lr": 1}),
        ("python t.py data/date=2024/x.csv - --", {}),
    ],
)  # fmt: skip
def test_parameters_of_a_command(command: str, params: dict[str, Any]) -> None:
    assert from_command(command) == params


def test_a_secret_parameter_is_a_placeholder() -> None:
    redactor = Redactor(b"k")
    params = read_argv(["python", "t.py", "--api-key", "hunter2-x", "--lr", "1"], redactor)
    assert params["api-key"].value == redactor.placeholder("hunter2-x")
    assert params["lr"].value == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5), ("-5", -5), ("+5", 5), ("0", 0), ("007", "007"), ("1.", 1.0), (".5", 0.5),
        ("1e5", 1e5), ("1_000", "1_000"), ("True", True), ("FALSE", False), ("None", None),
        ("", ""), ("inf", math.inf), ("1.2.3", "1.2.3"), ("9" * 5000, "9" * 5000),
        ("[1, [2]]", "[1, [2]]"), ("[a", "[a"), ("yes", "yes"), ("1e400", math.inf),
    ],
)  # fmt: skip
def test_values_have_the_type_that_was_meant(text: str, value: Any) -> None:
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def read(path: str, text: str) -> dict[str, Any]:
    found = read_config(path, text.encode(), Redactor(b"k"))
    assert found.problem is None
    assert all(param.origin == path for param in found.params.values())
    codec.encode(found.params)  # whatever is read can be kept
    return {name: param.value for name, param in found.params.items()}


YAML = """\
lr: 1e-3
model: {depth: 3, layers: [64, 32]}
on: 2024-01-02
stages: [{name: a}, {name: b}]
path: !include other.yaml
obj: !!python/object:x.Y {a: 1}
2: two
empty:
"""


def test_yaml() -> None:
    assert read("c/a.yaml", YAML) == {
        "lr": 0.001, "model.depth": 3, "model.layers": [64, 32], "True": "2024-01-02",
        "stages.0.name": "a", "stages.1.name": "b", "path": "other.yaml", "obj.a": 1, "2": "two",
        "empty": None,
    }  # fmt: skip


def test_toml_json_and_ini() -> None:
    assert read("a.toml", "[m]\nx = 1\nwhen = 2024-01-02\n") == {"m.x": 1, "m.when": "2024-01-02"}
    assert read("a.json", '{"m": {"x": 1.5, "y": [true, null]}}') == {
        "m.x": 1.5,
        "m.y": [True, None],
    }
    assert read("a.ini", "[M]\nX = 1\nflag\nname = %d\n") == {
        "M.X": 1,
        "M.flag": None,
        "M.name": "%d",
    }


def test_secrets_in_configuration_are_placeholders() -> None:
    redactor = Redactor(b"k")
    found = read_config("a.yaml", b"db: {password: gurken1}\nlr: 1\n", redactor)
    assert found.params["db.password"].value == redactor.placeholder("gurken1")
    assert found.params["lr"].value == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (".env", "A=1"),
        ("secrets.yaml", "a: 1"),
        ("pyproject.toml", "[a]\nb=1"),
        ("metrics.json", '{"a": 1}'),
        ("data.json", json.dumps([{"a": 1}])),
        ("data.json", json.dumps({f"k{i}": i for i in range(301)})),
        ("data.json", json.dumps({"values": list(range(1000))})),
        ("data.json", json.dumps({"rows": [{"a": 1}] * 11})),
        ("big.yaml", "a: " + "x" * (64 << 10)),
        ("a.yaml", "just text"),
        ("a.yaml", ""),
        ("a.txt", "a: 1"),
    ],
)
def test_what_is_no_configuration_has_no_parameters(path: str, text: str) -> None:
    assert read(path, text) == {}


def test_a_long_configuration_counts_up_to_a_bound() -> None:
    text = "long: " + str(list(range(100))) + "\n" + "".join(f"k{i}: {i}\n" for i in range(400))
    assert len(read("a.yaml", text)) == 300


def test_aliases_that_multiply_are_bounded() -> None:
    lines = ["a0: &a0 [1, [2]]"] + [
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)
    ]
    assert len(read("a.yaml", "\n".join(lines))) == 300


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("a.yaml", b"a: [1"),
        ("a.json", b"{"),
        ("a.toml", b"a ="),
        ("a.ini", b"x"),
        ("b.yaml", b"\xff"),
    ],
)
def test_a_malformed_file_is_a_problem(path: str, data: bytes) -> None:
    found = read_config(path, data, Redactor(b"k"))
    assert found.params == {}
    assert found.problem is not None
    assert found.problem.startswith(f"no parameters were read from {path}: ")


def test_config_files_by_name() -> None:
    assert is_config_file("conf/train.YAML")
    assert not is_config_file("package-lock.json")


# --- metrics -------------------------------------------------------------------------------------


def test_numbers_are_metrics_and_nothing_else_is() -> None:
    text = (
        '\ufeff{"auc": 1, "val": {"loss": 0.5, "by": {"x": -1e3}}, "ok": true, "l": [1], "s": "2",\
        "inf": -Infinity, "huge": 1'
        + "0" * 400
        + "}"
    )
    metrics, problem = read_metrics("m", text.encode())
    assert problem is None
    assert metrics == {"auc": 1.0, "val.loss": 0.5, "val.by.x": -1000.0, "inf": -math.inf}
    assert all(type(value) is float for value in metrics.values())


def test_nan_is_a_metric() -> None:
    assert math.isnan(read_metrics("m", b'{"loss": NaN}').metrics["loss"])


@pytest.mark.parametrize("data", [b"{", b"[1]", b"\xff", b"", b"[" * 100_000, b"1" * 5_000_000])
def test_malformed_metrics_are_a_problem(data: bytes) -> None:
    metrics, problem = read_metrics("out/metrics.json", data)
    assert metrics == {}
    assert problem is not None
    assert "out/metrics.json" in problem


def test_metrics_files_by_name() -> None:
    assert is_metrics_file("out/Metrics.json")
    assert is_metrics_file("val.metrics.json")
    assert not is_metrics_file("metrics.csv")
