"""Forty secrets that a run meets are nowhere in the project; forty look-alikes are all there.

The secrets have the shapes of real ones and are put together here from pieces, so that no scanner
stumbles over this file; each is met in one place only, and each in a place of its own.
"""

import base64
import contextlib
import hashlib
import json
import sqlite3
import string
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import pytest

from patience import PATIENCE_S
from thence.execution.supervisor import probe
from thence.index.views import RunDetail
from thence.model.ids import Digest
from thence.model.records import RunStatus
from thence.vault.pack import BlockKind, entries_of, parse_pack_key, read_directory
from workshop import KILL_THE_RECORDER, Workshop, environment, seal_of

needs_kernel_sensor = pytest.mark.skipif(
    probe() is not None, reason=f"no kernel-level sensor: {probe()}"
)

_MIXED = string.ascii_letters + string.digits


def chance(seed: str, length: int, alphabet: str = _MIXED) -> str:
    """Characters that look drawn by chance, and are the same each time."""
    data = b"".join(hashlib.sha512(f"{seed}{n}".encode()).digest() for n in range(8))
    text = "".join(alphabet[byte % len(alphabet)] for byte in data[:length])
    return text if length < 8 else text[:-2] + "a7"


def pem(seed: str) -> str:
    lines = "\n".join(chance(f"{seed}{n}", 64) for n in range(6))
    kind = "RSA PRIV" + "ATE KEY"
    return f"-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----"


HEX = string.hexdigits[:16]
UPPER = string.ascii_uppercase + string.digits

ARGV = {
    "api key": "q1" + chance("argv", 22),
    "password in an address": "Pw" + chance("dsn", 10),
    "setting": "Tr0ub4" + chance("hydra", 8),
    "bearer header": chance("bearer", 40),
}
ENVIRONMENT = {
    "AWS_SECRET_ACCESS_KEY": chance("aws", 40),
    "AWS_ACCESS_KEY_ID": "AK" + "IA" + chance("akia", 14, UPPER) + "Q7",
    "GITHUB_TOKEN": "gh" + "p_" + chance("github", 36),
    "WANDB_API_KEY": chance("wandb", 40, HEX),
    "ANTHROPIC_API_KEY": "sk-" + "ant-api03-" + chance("anthropic", 60),
    "AZURE_STORAGE_KEY": chance("azure", 86) + "==",
    "APP_SETTINGS_BLOB": chance("entropy", 48),
}
FILES = {
    "conf.yaml": "y" + chance("yaml", 19),
    "conf.toml": "t" + chance("toml", 15) + '"x',
    "conf.json": "gl" + "pat-" + chance("gitlab", 20),
    "conf.ini": "i-" + chance("ini", 18),
    ".env": "e" + chance("dotenv", 20),
    ".netrc": "n" + chance("netrc", 12),
    ".aws/credentials": chance("profile", 40),
    "service-account.json": pem("gcp"),
    "comment": "gh" + "o_" + chance("comment", 36),
    "docstring": "npm" + "_" + chance("npm", 36),
    "default": "d" + chance("default", 17),
}
SAID = {  # by the program, and by nothing else
    "slack": "xox" + "b-" + chance("slack", 12, string.digits) + "-" + chance("slack2", 24),
    "json web token": "ey" + "J" + ".".join(chance(f"jwt{n}", 30) for n in range(3)),
    "private key": pem("said"),
    "pair": "p" + chance("pair", 21),
    "shown dictionary": "s" + chance("dict", 15),
    "stripe": "sk_" + "live_" + chance("stripe", 24),
    "basic": base64.b64encode(f"ada:{chance('basic', 12)}".encode()).decode(),
    "signature of S3": chance("amz", 64, HEX),
    "signature of Azure": chance("sas", 40) + "%3D",
    "token in an address": "hf" + "_" + chance("hf", 34),
    "logged password": "l" + chance("log", 15),
    "logged address": "m" + chance("logged", 15),
    "sent header": chance("sent", 32),
    "sent query": chance("query", 28),
    "argument of a query": "py" + "pi-" + chance("pypi", 60),
}
LETTERS = string.ascii_lowercase
HEARD = {  # from inside the program: no name and no shape beside most of them
    "place of a query": "horse2" + chance("place", 9, LETTERS),
    "literal of a query": "stable3" + chance("literal", 9, LETTERS),
    "answer of OAuth": chance("oauth", 40),
    "answer of a cloud": chance("imds", 60),
    "place to go on": chance("location", 30, HEX),
    "signed policy": "eyJ" + chance("policy", 60),
    "key of a policy": chance("pair", 14, UPPER),
    "word of a child": "battery4" + chance("child", 9, LETTERS),
}
NOTEBOOK = {
    "assigned": "sk-" + "proj-" + chance("openai", 40),
    "magic": "w" + chance("magic", 23),
    "shown": "AI" + "za" + chance("google", 35),
}
GIT = {
    "remote": "gh" + "s_" + chance("remote", 36),
    "diff": "c" + chance("changed", 18),
    "removed": "r" + chance("removed", 18),
}
PLANTED = {
    f"{place}: {name}": value
    for place, secrets in (
        ("argv", ARGV), ("environment", ENVIRONMENT), ("file", FILES), ("said", SAID),
        ("heard", HEARD), ("notebook", NOTEBOOK), ("git", GIT),
    )
    for name, value in secrets.items()
}  # fmt: skip

LOOK_ALIKES = {
    "commit": chance("commit", 40, HEX), "sha256": chance("sha256", 64, HEX),
    "run_id": chance("mlflow", 32, HEX), "uuid": "3f2c9d1e-7c52-4f3b-9a1e-0c7d5a2b9f10",
    "max_tokens": "512000000", "pad_token_id": "50256", "use_cls_token": "true",
    "num_memory_tokens": "16", "eos_token": "<|endoftext|>", "pad_token": "[PAD]",
    "token_pattern": "white-space-and-hyphens", "tokens_per_second": "18234.5671",
    "total_tokens": "123456789012", "tokenizer": "microsoft/deberta-v3-large",
    "mask_token": "<mask>", "key_dim": "64", "primary_key": "customer_id_2024",
    "sort_key": "2024-01-01T00:00", "cache_key": "train-2024-01-v3",
    "key": "datasets/v3/year=2024/month=01/part-00017-8f14e45f.snappy.parquet",
    "data_path": "/data/very/long/path/with/many/segments/train_2024_v3.parquet",
    "doi": "10.1038/s41586-021-03819-2", "phone": "+4915112345678",
    "class_name": "DebertaV2ForSequenceClassificationWithPoolingHead",
    "target": "sklearn.ensemble._forest.RandomForestClassifier",
    "checkpoint": "epoch=12-step=4000-val_loss=0.1234-lr=3e-05-bs=64.ckpt",
    "layers": "conv-3-64-relu-conv-3-64-relu-pool-2-fc-4096-softmax",
    "sequence": "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQ",
    "dna": "ACGTTGCA" * 8, "smiles": "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "author": "jane.doe@example.org", "auth_method": "ldap-over-tls",
    "password_policy": "at-least-12-characters", "secret_name": "prod/db/reader",
    "url": "https://huggingface.co/datasets/x/resolve/main/a-00000-of-00012.parquet?download=true",
    "s3": "s3://bucket-123/prefix/0123abcd/model.safetensors", "seed": "20240101",
    "image": "ghcr.io/org/image@sha256:" + chance("image", 64, HEX),
    "ckpt_file": "vit_base_patch16_224.augreg2_in21k_ft_in1k.safetensors",
    "passenger_count": "31415926",
}  # fmt: skip

SOURCE = f'''
"""Reads and writes.

The registry takes {FILES["docstring"]} for now.
"""
import configparser, json, os, sqlite3, subprocess, sys, threading, tomllib, urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
import yaml
import thence

# it used to be {FILES["comment"]}
def connect(host="db", password="{FILES["default"]}"):
    return host

said = json.loads(os.environ["HIDDEN"][::-1])
looks = yaml.safe_load(open("look.yaml"))
yaml.safe_load(open("conf.yaml"))
tomllib.load(open("conf.toml", "rb"))
json.load(open("conf.json"))
configparser.ConfigParser().read("conf.ini")
for name in (".env", ".netrc", ".aws/credentials", "service-account.json", "book.ipynb"):
    open(name).read()

print("posting with", said["slack"])
print("session", said["json web token"])
print(f"api_key={{said['pair']}} retries=3")
print("configuration:", {{"user": "ada", "password": said["shown dictionary"], "rows": 3}})
print("charging by", said["stripe"], file=sys.stderr)
print(said["private key"], file=sys.stderr)
print("> Authorization: Basic", said["basic"], file=sys.stderr)
print("GET https://b.s3.example.org/k?X-Amz-Expires=60&X-Amz-Signature=" + said["signature of S3"])
print("GET https://a.blob.example.org/c/x?sv=2024&sig=" + said["signature of Azure"])
print("cloning https://user:" + said["token in an address"] + "@huggingface.co/org/model")
for name, value in looks.items():
    print(f"look {{name}}={{value}} .")
thence.log(db_password=said["logged password"],
           urls=["postgresql://ada:" + said["logged address"] + "@db/x"])
thence.log(**{{f"look_{{name}}": value for name, value in looks.items()}})

ANSWERS = {{
    "/token": {{"access_token": said["answer of OAuth"], "expires_in": 3599}},
    "/role": {{"Code": "Success", "Token": "t", "SecretAccessKey": said["answer of a cloud"]}},
}}
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(302 if self.path == "/moved" else 200)
        if self.path == "/moved":
            self.send_header("Location", "/rows?n=4&jwt=" + said["place to go on"])
        self.end_headers()
        self.wfile.write(json.dumps(ANSWERS.get(self.path, "ok")).encode())
    def log_message(self, *_):
        pass

server = HTTPServer(("127.0.0.1", 0), Answer)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{{server.server_port}}/rows?access_token={{said['sent query']}}&n=3"
header = {{"Authorization": "Bearer " + said["sent header"]}}
urllib.request.urlopen(urllib.request.Request(address, headers=header)).read()
policy, pair = said["signed policy"], said["key of a policy"]
signed = f"/rows?n=5&Policy={{policy}}&Signature=s&Key-Pair-Id={{pair}}"
for path in ("/token", "/role", "/moved", signed):
    urllib.request.urlopen(f"http://127.0.0.1:{{server.server_port}}{{path}}").read()
server.shutdown()
database = sqlite3.connect(":memory:")
database.execute("create table t (a, api_key)")
database.execute("insert into t values (?, ?)", [said["argument of a query"], 1])
database.execute("select * from t where a = ?", [said["argument of a query"]]).fetchall()
database.execute(
    f"select a from t where a <> ? and api_key = ? or api_key = '{{said['literal of a query']}}'",
    ["the author", said["place of a query"]],
).fetchall()
parse = "import argparse; argparse.ArgumentParser().parse_known_args()"
subprocess.run(
    [sys.executable, "-c", parse, "--password", said["word of a child"], "-p", "8080"], check=True
)

with open("result.json", "w") as file:
    json.dump({{"key": os.environ["WANDB_API_KEY"], "argv": sys.argv[1:], "looks": looks}}, file)
'''


def plant(workshop: Workshop, *, before: str = "", after: str = "") -> list[str]:
    """The project; gives the command."""
    at = workshop
    image = base64.b64encode(hashlib.sha512(b"picture").digest() * 40).decode()
    at.write("settings.py", f'PASSWORD = "{GIT["removed"]}"\nDEPTH = 3\n')
    at.git("init", "-q")
    at.git("add", "settings.py")
    at.git("commit", "-qm", "first")
    at.git("remote", "add", "origin", f"https://ada:{GIT['remote']}@git.example.org/x.git")
    at.write("settings.py", f'PASSWORD = "{GIT["diff"]}"\nDEPTH = 4\n')
    at.write("look.yaml", "".join(f"{k}: {json.dumps(v)}\n" for k, v in LOOK_ALIKES.items()))
    at.write("conf.yaml", f"db:\n  host: h\n  password: {FILES['conf.yaml']}\n  rows: 3\n")
    at.write("conf.toml", f"[api]\nsecret_key = '{FILES['conf.toml']}'\n")
    at.write("conf.json", json.dumps({"client": {"secret": FILES["conf.json"]}}))
    at.write("conf.ini", f"[smtp]\nuser = ada\npassword = {FILES['conf.ini']}\n")
    at.write(".env", f"export SERVICE_TOKEN={FILES['.env']}\n")
    at.write(".netrc", f"machine h login ada password {FILES['.netrc']}\n")
    at.write(
        ".aws/credentials",
        f"[default]\naws_secret_access_key = {FILES['.aws/credentials']}\n",
    )
    at.write(
        "service-account.json",
        json.dumps({"type": "service_account", "private_key": FILES["service-account.json"]}),
    )
    cells = [
        ([f'openai.api_key = "{NOTEBOOK["assigned"]}"\n', "depth = 3"], []),
        ([f"%env WANDB_API_KEY={NOTEBOOK['magic']}"], []),
        (
            ["show()"],
            [
                {"output_type": "stream", "name": "stdout",
                 "text": [f"key {NOTEBOOK['shown']}\n"]},
                {"output_type": "display_data", "metadata": {}, "data": {"image/png": image}},
            ],
        ),
    ]  # fmt: skip
    at.write(
        "book.ipynb",
        json.dumps(
            {
                "cells": [
                    {"cell_type": "code", "source": source, "outputs": outputs, "metadata": {}}
                    for source, outputs in cells
                ],
                "metadata": {},
                "nbformat": 4,
                "nbformat_minor": 5,
            },
            indent=1,
        ),
    )
    at.write("script.py", before + SOURCE + after)
    return [
        *(sys.executable, "script.py", "--api-key", ARGV["api key"]),
        f"--db=postgresql://ada:{ARGV['password in an address']}@db/x",
        f"db.password={ARGV['setting']}",
        *("-H", f"Authorization: Bearer {ARGV['bearer header']}"),
        *(f"look.{name}={value}" for name, value in LOOK_ALIKES.items()),
    ]


VARIABLES = {**ENVIRONMENT, "HIDDEN": json.dumps({**SAID, **HEARD})[::-1]}


def stored(workshop: Workshop) -> Iterator[tuple[str, bytes]]:
    """All bytes in `.thence`, as they lie there and as they are read."""
    local = workshop.project.site.local
    for path in local.rglob("*"):
        if path.is_file() and path.name != "secret.key":
            yield str(path.relative_to(local)), path.read_bytes()
        if path.suffix in {".db", ".sqlite"} or path.name.startswith("index"):
            with contextlib.suppress(sqlite3.DatabaseError), sqlite3.connect(path) as database:
                yield f"{path.name} as SQL", "\n".join(database.iterdump()).encode()
    vault = workshop.project.site.vault
    for info in vault.store.list("packs/"):
        pack = parse_pack_key(info.key)
        assert pack is not None
        for entry in entries_of(read_directory(vault.store, pack)):
            if entry.kind in {BlockKind.WHOLE, BlockKind.RECIPE}:
                digest = Digest(entry.id)
                yield str(digest), vault.content.read(digest)
    for log, _ in vault.logs.all():
        for line in vault.logs.records(log):
            yield f"{log} {line.id}", line.record_bytes


def spellings(value: str) -> set[bytes]:
    """A secret as it can be found in texts of other kinds."""
    lines = [line for line in value.splitlines() if "-----" not in line]
    raw = {*lines, value, quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1]}
    raw |= {repr(value)[1:-1], value.lower(), value.encode().hex()}
    if len(value) >= 12:
        for offset, first in ((0, 0), (1, 2), (2, 3)):
            encoded = base64.b64encode(b"\0" * offset + value.encode()).decode()
            raw.add(encoded[first : (offset + len(value)) * 8 // 6])
    found = {one.encode() for one in raw}
    return found | {one.encode("utf-16-le") for one in lines}


def leaks(workshop: Workshop) -> list[str]:
    """Where a secret can be read."""
    places = list(stored(workshop))
    assert len(places) > 10  # it did look
    assert any(b"look.yaml" in data for _, data in places)
    return [
        f"{name} in {place}"
        for name, value in PLANTED.items()
        for place, data in places
        if any(one in data for one in spellings(value))
    ]


def false_alarms(workshop: Workshop, run: RunDetail) -> list[str]:
    """Look-alikes that were replaced, and where."""
    sealed = seal_of(run)
    files = workshop.files(run)
    texts = {
        "look.yaml": workshop.read(files["look.yaml"].digest).decode(),
        "command": "\n".join(sealed.command),
        "params": "\n".join(f"{name}={one.value}" for name, one in sealed.params.items()),
    }
    if "result.json" in files and files["result.json"].digest is not None:
        texts["result.json"] = workshop.read(files["result.json"].digest).decode()
    if sealed.stdout is not None:
        texts["stdout"] = workshop.read(sealed.stdout).decode()
    expected = {
        "look.yaml": "{name}: {quoted}\n",
        "command": "look.{name}={value}",
        "params": "look_{name}={value}",
        "stdout": "look {name}={value} .\n",
        "result.json": '"{name}": {quoted}',
    }
    return [
        f"{name} in {place}"
        for name, value in LOOK_ALIKES.items()
        for place, text in texts.items()
        if expected[place].format(name=name, value=value, quoted=json.dumps(value)) not in text
    ]


def report(workshop: Workshop, run: RunDetail | None = None) -> None:
    found = leaks(workshop)
    alarms = [] if run is None else false_alarms(workshop, run)
    print(
        f"{len(PLANTED)} secrets planted, {len({one.split(' in ')[0] for one in found})} found; "
        f"{len(LOOK_ALIKES)} look-alikes, {len({one.split(' in ')[0] for one in alarms})} replaced"
    )
    assert found == [], "\n".join(found)
    assert alarms == [], "\n".join(alarms)


def check_withheld(workshop: Workshop, run: RunDetail) -> None:
    names = {one.name for one in seal_of(run).withheld}
    assert {"api-key", "WANDB_API_KEY", ".env", ".netrc", "credentials", "password"} <= names
    assert {"api_key", "token", "role"} <= names  # what was asked, and what was answered
    page = workshop.thence("show", f"run:{run.run}")
    assert page.returncode == 0, page.stderr
    for name in ("withheld", "WANDB_API_KEY", "api-key", ".env"):
        assert name in page.stdout


def test_there_are_forty_of_each() -> None:
    assert len(PLANTED) >= 40
    assert len(set(PLANTED.values())) == len(PLANTED)
    assert len(LOOK_ALIKES) == 40


def test_forty_secrets_of_a_run_are_nowhere(workshop: Workshop) -> None:
    command = plant(workshop)
    run = workshop.run(*command, variables=VARIABLES, keep_remote=True)
    assert run.status is RunStatus.FINISHED, workshop.read(seal_of(run).stderr)
    report(workshop, run)
    check_withheld(workshop, run)
    use = workshop.files(run)
    for name in (".env", ".netrc", ".aws/credentials", "service-account.json"):
        assert (use[name].why_not_kept, use[name].digest) == ("secret", None), name
    notebook = workshop.read(use["book.ipynb"].digest)
    assert json.loads(notebook)["cells"][2]["outputs"][1]["data"]["image/png"]


def test_forty_secrets_of_a_run_in_a_script_are_nowhere(workshop: Workshop) -> None:
    begin = "import thence\nrun = thence.run()\nrun.__enter__()\n"
    command = plant(workshop)
    source = SOURCE.replace("import thence\n", begin, 1)
    workshop.write("script.py", f"{source}run.__exit__(None, None, None)\n")
    with environment(**VARIABLES):
        done = subprocess.run(
            command, cwd=workshop.root, capture_output=True, check=False, timeout=PATIENCE_S
        )
    assert done.returncode == 0, done.stderr.decode()
    report(workshop, workshop.project.find_run("run:last"))


RECORDER = (
    "import sys\nfrom thence.project import Project\n"
    "Project.open().execute(sys.argv[1:], keep_remote=True)\n"
)


@needs_kernel_sensor
def test_forty_secrets_of_a_run_that_died_are_nowhere(workshop: Workshop) -> None:
    command = plant(workshop, after=KILL_THE_RECORDER)
    with environment(**VARIABLES):
        subprocess.run(
            [sys.executable, "-c", RECORDER, *command],
            cwd=workshop.root,
            capture_output=True,
            check=False,
            timeout=PATIENCE_S,
        )
    assert len(workshop.spools()) == 1
    report(workshop)
    (run,) = workshop.project.recover()
    assert run.status is RunStatus.DIED
    report(workshop)
