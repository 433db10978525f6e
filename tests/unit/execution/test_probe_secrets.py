import base64
import json
import random
import string
import time

import pytest
import yaml

from thence.execution.capture import secret_names, secrets
from thence.execution.capture.placeholders import PLACEHOLDER, match, restore
from thence.execution.capture.secret_names import split_words
from thence.execution.capture.secrets import Redactor, Stream
from thence.model.records import Withheld

KEY = b"the private key of a project"

# Every secret here is made up; the shapes are those of the services.
ALNUM = "aB3dE5fG7hI9jK1lM2nO4pQ6rS8tU0vW"
SECRETS = [
    ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
    ("AWS_SESSION_TOKEN", "FwoGZXIvYXdzEBYaDH" + ALNUM),
    ("WANDB_API_KEY", "a" * 40),
    ("COMET_API_KEY", ALNUM[:25]),
    ("DB_URL", "postgresql://u:pw123@h/db"),
    ("SQLALCHEMY_DATABASE_URI", "mysql+pymysql://root:s3cr3t!@db.internal:3306/app"),
    ("MONGO", "mongodb+srv://me:Passw0rd@cluster0.example.net/?retryWrites=true"),
    ("REDIS_URL", "redis://:p4ssw0rd@cache:6379/0"),
    ("hf", "hf_" + "aB3" * 12),
    ("OPENAI", "sk-" + "Ab12" * 8),
    ("x", "sk-proj-" + ALNUM + "_" + ALNUM),
    ("y", "sk-ant-api03-" + ALNUM + "-" + ALNUM),
    ("password", "hunter2"),
    ("db.password", "correct horse battery staple 9"),
    ("passphrase", "correct horse battery staple"),
    ("PGPASSWORD", "20241231"),
    ("smtpPass", "abc123def"),
    ("clientSecret", "x9y8z7w6"),
    ("client-secret", "x9y8z7w6"),
    ("API-Key", "0123456789abcdef0123456789abcdef"),
    ("apiKey", "0123456789abcdef"),
    ("openaiApiKey", "0123456789abcdef"),
    ("blob", "Zm9vYmFyQmF6UXV4MTIzNDU2Nzg5MEFCQ0RFRkdISUpLTE1O"),
    ("positional", "x7Kq2mZ9pL4vT8wR1nB6cY3sH5jD0fGa"),
    ("url", "https://x.blob.example/y?sv=1&sig=abcdEFGH1234%3D"),
    ("url2", "https://maps.example/api?key=AIza" + "Sy0-_" * 7),
    ("s3url", "https://b.s3.example/k?X-Amz-Signature=0123456789abcdef0123456789abcdef"),
    ("GITHUB_TOKEN", "ghp_" + "a1B2" * 9),
    ("fine", "github_pat_" + "a1B2" * 20),
    ("GITHUB_PAT", "0123456789abcdef0123"),
    ("SLACK", "xoxb-123456789012-abcdef"),
    ("hook", "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"),
    ("AZURE_STORAGE_CONNECTION_STRING", "DefaultEndpointsProtocol=https;AccountKey=" + "A" * 44),
    ("AZURE_STORAGE_KEY", ALNUM + "=="),
    ("odbc", "Driver={SQL};Server=h;Uid=me;Pwd=s3cr3t;"),
    ("libpq", "host=db user=me password=s3cr3t dbname=x"),
    ("jwt", "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeKKF2"),
    ("auth_token", "abc123def"),
    ("netrc_passwd", "s3cret"),
    ("gitlab", "glpat-" + "x1Y2z3W4v5U6t7S8r9Q0"),
    ("google", "AIzaSyA-1234567890abcdefghijklmnopqrstu"),
    ("goog", "ya29.a0AfH6SMBx1234567890abcdef"),
    ("stripe", "sk_live_" + ALNUM),
    ("npm", "npm_" + "aB1" * 12),
    ("pypi", "pypi-AgEIcHlwaS5vcmc" + ALNUM * 2),
    ("DATABRICKS_TOKEN", "dapi0123456789abcdef0123456789abcdef"),
    ("sendgrid", "SG." + "aB1" * 7 + "." + "cD2" * 14),
    ("nvidia", "nvapi-" + ALNUM),
    ("vault", "hvs." + ALNUM),
    ("key", "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAK\n-----END RSA PRIVATE KEY-----"),
    ("header", "Authorization: Bearer " + ALNUM),
    ("header2", "Authorization: Basic dXNlcjpwYXNz"),
    ("tg", "123456789:AAabcdefghijklmnopqrstuvwxyz0123456"),
    ("SNOWFLAKE_PASSWORD", "Tr0ub4dor&3"),
    ("MLFLOW_TRACKING_PASSWORD", "gurkensalat"),
    ("SESSION_COOKIE", "k=v; id=0123456789"),
    ("KAGGLE_KEY2_SECRET", "0123456789abcdef"),
    ("SECRET_KEY", "django-insecure-#1x"),
    ("FERNET_KEY", "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE="),
    ("SENTRY_DSN", "https://0123456789abcdef@o1.ingest.example/1"),
    ("azure_client", "abc8Q~" + "aB1~-_." * 4 + "xyz0"),
    ("vault_secret_id", "0123-4567"),
    ("privateKey", "MIIEvQIBADANBgkqhkiG9w0"),
]  # fmt: skip

LOOKALIKES = [
    ("max_tokens", "512"), ("use_cls_token", "true"), ("num_memory_tokens", "16"),
    ("tokenizer", "bert-base-uncased"), ("pad_token_id", "0"), ("PATH", "/usr/bin:/bin"),
    ("commit", "a" * 40), ("sha256", "0123456789abcdef" * 4), ("lr", "0.001"),
    ("author", "jane"), ("monkey", "x"), ("primary_key", "id"), ("OMP_NUM_THREADS", "4"),
    ("PYTHONPATH", "/home/u/proj/src"),
    ("data_path", "/data/very/long/path/with/many/segments/x.parquet"), ("sort_key", "date"),
    ("model", "microsoft/deberta-v3-large"), ("new_tokens", "40"),
    ("LS_COLORS", "rs=0:di=01;34:ln=01;36"), ("run_id", "3f2c9d1e-7c52-4f3b-9a1e-0c7d5a2b9f10"),
    ("eos_token", "</s>"), ("pad_token", "[PAD]"), ("mask_token", "<mask>"),
    ("bos_token", "begin-of-text"), ("token_pattern", r"(?u)\b\w\w+\b"), ("token_type", "word"),
    ("sep_token", "<|endoftext|>"), ("token", "international"), ("tokens", "[1, 2, 3]"),
    ("use_auth_token", "True"), ("auth_method", "ldap-over-tls"), ("auth", "none"),
    ("password_file", "/run/pw"), ("TOKEN_PATH", "/var/run/token"), ("secret_name", "prod/db"),
    ("GOOGLE_APPLICATION_CREDENTIALS", "/home/me/key.json"), ("PWD", "/home/me/project-42"),
    ("OLDPWD", "/home/me"), ("SSH_AUTH_SOCK", "/tmp/ssh-XXXXabcd1234/agent.42"),
    ("api_key", "${OPENAI_API_KEY}"), ("api_key", "{{ secrets.key }}"), ("api_key", "$KEY"),
    ("password", "null"), ("password", ""), ("api_key", "<your key>"), ("token", "***"),
    ("password", "os.environ['PW']"), ("DNA", "ACGT" * 30),
    ("protein_seq", "MKTAYIAKQRQISFVKSHFSRQ" * 3),
    ("class", "DebertaV2ForSequenceClassificationWithPoolingHead"),
    ("target", "sklearn.ensemble._forest.RandomForestClassifier2"),
    ("_target_", "torchvision.models.resnet.ResNet50WeightsIMAGENET1KV2"),
    ("model", "Qwen/Qwen2-VL-72B-Instruct-GPTQ-Int4"),
    ("ckpt", "epoch=12-step=4000-val_loss=0.1234.ckpt"),
    ("model", "mistralai/Mixtral-8x7B-Instruct-v0.1"),
    ("name", "vit_base_patch16_224_in21k_ft_in1k"),
    ("integrity", "sha512-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
    ("cid", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKMzKC"),
    ("uuid", "123E4567-E89B-12D3-A456-426614174000"), ("n_pass", "12"),
    ("high_pass", "cutoff-250Hz"),
    ("forward_pass", "checkpointed"), ("group_key", "customer_id"), ("key", "value12345"),
    ("cache_key", "train-2024-01"), ("partition_key", "2024-01-01"),
    ("public_key", "ssh-ed25519 AAAA"),
    ("key_dim", "64"), ("passenger_count", "3"), ("compass", "north-west"), ("file_pat", "*.csv"),
    ("patience", "10"), ("patch_size", "16"), ("pattern", "a+b"), ("connection_timeout", "30.0"),
    ("secretary", "jane doe"), ("authors", "A, B"), ("tokenize", "white space"),
    ("seed", "20240101"),
    ("phone", "+4915112345678"), ("numbers", "3.14159265358979323846264338327950288"),
    ("date", "2024-01-01T00:00:00.000000Z"), ("layers", "conv-3-64-relu-conv-3-64-relu-pool-2"),
    ("flags", "--xla_gpu_deterministic_ops=true"), ("url", "https://host:8080/path/to@x"),
    ("url", "https://huggingface.co/datasets/x/resolve/main/a.parquet?download=true"),
    ("git", "git@github.com:org/repo.git"), ("git", "ssh://git@host/x.git"),
    ("task", "task-sk-learn-classification-of-large-things"), ("smiles_hash", ALNUM),
    ("token", "train.py"), ("password", "PASSWORD"), ("label", "Password must have 8 characters"),
    ("stop_token", "observation"), ("image_token", "image_placeholder"),
    ("publicKeyToken", "1fc8b3b9a1e18e3b"), ("SERVER_AUTH", "1.3.6.1.5.5.7.3.1"),
    ("pat", r"((http|ftp)s?://|www.)[0-9]+"), ("session-token", "s3.session-token"),
    ("token_str", "carpenter"), ("Token.String", "#AB0909"), ("password", "password"),
    ("uri", "postgresql://user:pass@host/db"), ("url", "s3://{access_key}:{secret_key}@b/k"),
    ("text", "give the '-----BEGIN RSA PRIVATE KEY-----' and\n '-----END RSA PRIVATE KEY-----'"),
    ("column", "user_password_reset_requested_at"), ("tz", "America/Argentina/ComodRivadavia"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), SECRETS)
def test_secrets_are_found_by_name_shape_or_randomness(name: str, value: str) -> None:
    scrubbed = Redactor(KEY).scrub_value(name, value, "argv")
    assert PLACEHOLDER.findall(scrubbed)
    assert restore(scrubbed, match(KEY, {"x": value})) == value


@pytest.mark.parametrize(("name", "value"), LOOKALIKES)
def test_look_alikes_stay_as_they_are(name: str, value: str) -> None:
    assert Redactor(KEY).scrub_value(name, value, "argv") == value


def test_words_of_names() -> None:
    assert split_words("myHTTPServerKey") == ["my", "http", "server", "key"]
    assert split_words("optim.lr-decay_2") == ["optim", "lr", "decay", "2"]
    assert secret_names.is_secret("", "x7Kq2mZ9pL4vT8wR1nB6cY3sH5jD0fGa") == "randomness"


def test_placeholders_show_equality_and_nothing_else() -> None:
    one, other = Redactor(KEY), Redactor(b"another project")
    assert one.placeholder("hunter2") == Redactor(KEY).placeholder("hunter2")
    assert one.placeholder("hunter2") != one.placeholder("hunter3")
    assert one.placeholder("hunter2") != other.placeholder("hunter2")
    assert PLACEHOLDER.findall(one.placeholder("x")) == [one.placeholder("x")]


# --- learnt values -------------------------------------------------------------------------------

VALUE = "p'ä&ss w/rd\"\\+1"


@pytest.mark.parametrize(
    "text",
    [
        VALUE,
        json.dumps({"a": VALUE}),
        json.dumps({"a": VALUE}, ensure_ascii=False),
        yaml.safe_dump({"a": VALUE}, allow_unicode=True),
        "https://h/?q=p%27%C3%A4%26ss%20w%2Frd%22%5C%2B1",
        "https://h/?q=p%27%C3%A4%26ss+w%2Frd%22%5C%2B1",
        repr([VALUE]),
        "Basic " + base64.b64encode(f"user:{VALUE}".encode()).decode(),
        "Basic " + base64.b64encode(f"me:{VALUE}".encode()).decode(),
        "Basic " + base64.b64encode(f"you:{VALUE}!".encode()).decode(),
    ],
)
def test_a_learnt_secret_is_found_in_each_spelling_and_given_back(text: str) -> None:
    redactor = Redactor(KEY, known={"PW": VALUE})
    scrubbed = redactor.scrub_text(f"<<{text}>>")
    assert len(PLACEHOLDER.findall(scrubbed)) == 1
    assert restore(scrubbed, match(KEY, {"PW": VALUE})) == f"<<{text}>>"


def test_words_that_everybody_knows_and_short_values_are_not_learnt() -> None:
    redactor = Redactor(KEY, known={"a": "postgres", "b": "abc", "c": "secret", "d": "<secret"})
    text = "postgres abc secret <secret:0123456789abcdef>"
    assert redactor.scrub_text(text) == text
    assert [item.name for item in redactor.withheld] == ["a", "b", "c", "d"]


def test_the_password_in_an_address_is_learnt_for_itself() -> None:
    redactor = Redactor(KEY)
    redactor.scrub_environment({"DATABASE_URL": "postgresql://me:gurken-salat@h/db"})
    assert "gurken-salat" not in redactor.scrub_text("connecting with gurken-salat")


def test_binary_content_is_searched_for_learnt_secrets() -> None:
    redactor = Redactor(KEY, known={"PW": "hunter2-hunter2"})
    assert redactor.contains(b"\x00\xffhunter2-hunter2\x00") == "PW"
    assert redactor.contains("hunter2-hunter2".encode("utf-16-le")) == "PW"
    assert redactor.contains(b"\x00hunter2") is None


def test_bytes_that_are_no_text_keep_every_byte() -> None:
    redactor = Redactor(KEY, known={"PW": "hunter2-hunter2"})
    noise = bytes(range(256))
    scrubbed = redactor.scrub_bytes(noise + b"hunter2-hunter2" + noise)
    assert scrubbed.startswith(noise)
    assert scrubbed.endswith(noise)
    assert b"hunter2" not in scrubbed


# --- command and environment ---------------------------------------------------------------------


def test_a_command_keeps_everything_but_its_secrets() -> None:
    redactor = Redactor(KEY)
    argv = [
        "python", "train.py", "--lr", "0.1", "--api-key", "hunter2-x", "--password=gurken",
        "db.password=geheim1", "+trainer.max_tokens=5", "-H", "Authorization: Bearer " + ALNUM,
        "https://me:pa55word@h/x", "--use_auth_token", "data.csv", "--verbose", "-k", "v",
        "--token", "--other",
    ]  # fmt: skip
    scrubbed, withheld = redactor.scrub_argv(argv)
    text = " ".join(scrubbed)
    for value in ("hunter2-x", "gurken", "geheim1", ALNUM, "pa55word"):
        assert value not in text
    assert scrubbed[:5] == ("python", "train.py", "--lr", "0.1", "--api-key")
    assert scrubbed[6] == f"--password={redactor.placeholder('gurken')}"
    assert scrubbed[8:10] == ("+trainer.max_tokens=5", "-H")
    assert scrubbed[11] == f"https://me:{redactor.placeholder('pa55word')}@h/x"
    assert scrubbed[12:] == tuple(argv[12:])
    assert {item.name for item in withheld} >= {"api-key", "password", "db.password"}
    assert all(item.where == "argv" and str(item.placeholder) in text for item in withheld)
    assert redactor.scrub_text("failed: gurken") != "failed: gurken"
    assert " ".join(argv) == restore(
        text,
        match(
            KEY,
            {
                str(i): a
                for i, a in enumerate(["hunter2-x", "gurken", "geheim1", ALNUM, "pa55word"])
            },
        ),
    )


def test_the_environment_is_kept_by_an_allow_list() -> None:
    redactor = Redactor(KEY, allow=["MYAPP_*"])
    result = redactor.scrub_environment(
        {
            "PYTHONHASHSEED": "0", "LC_ALL": "C", "OMP_NUM_THREADS": "2", "HOME": "/root",
            "MYAPP_MODE": "fast", "MYAPP_TOKEN": "0123456789ab",
            "AWS_SECRET_ACCESS_KEY": "gurkensalat",
        }
    )  # fmt: skip
    assert result.allowed == {
        "LC_ALL": "C", "MYAPP_MODE": "fast", "OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "0",
        "MYAPP_TOKEN": redactor.placeholder("0123456789ab"),
    }  # fmt: skip
    assert result.omitted == ("AWS_SECRET_ACCESS_KEY", "HOME")
    assert [item.name for item in result.withheld] == ["AWS_SECRET_ACCESS_KEY", "MYAPP_TOKEN"]
    assert "gurkensalat" not in redactor.scrub_text("key is gurkensalat.")


def test_files_that_are_not_kept_are_noted() -> None:
    redactor = Redactor(KEY)
    redactor.note_file("/p/.env")
    assert redactor.withheld == (Withheld(name=".env", where="/p/.env", placeholder=None),)


# --- configuration and code ----------------------------------------------------------------------

IMAGE = base64.b64encode(random.Random(1).randbytes(3000)).decode()
CONFIGS = {
    "a.yaml": """\
# password: oldpw123
db:
  host: h   # where
  password: gurken1   # the password
  port: 5432
api_key: "quoted-key-1"
inline: {token: 'abcdef123', max_tokens: 5}
passwords:
  - listed-pw-1
  - 'listed-pw-2'
private_key: |
  some-lines-of-key-1
  more-lines-of-key-2
sep_token: <sep>
lr: 1e-3
""",
    "a.toml": """\
[db]
password = "gurken1"
api_key = 'quoted-key-1'
max_tokens = 512
keys = ["a", "b"]
api_keys = ["listed-pw-1", "listed-pw-2"]
""",
    "a.ini": "[db]\r\nhost = h\r\npassword = gurken1\r\n; api_key: quoted-key-1\r\n",
    "a.json": '{"db": {"password": "gur\\"ken1", "port": 1}, "pad_token": "<pad>",\n'
    ' "apiKey":"quoted-key-1", "secrets": ["listed-pw-1"]}',
    "a.py": """\
import os
API_KEY = "quoted-key-1"
password: str = 'gurken1'
token = os.environ["TOKEN"]
connect(user="me", password="listed-pw-1", port=5432)
settings = {"secret": "listed-pw-2", "token_pattern": r"\\w+"}
os.environ["HF_TOKEN"] = "hf-token-9"
tokenizer = load("bert-base-uncased")
password = getpass()
if token == "something": pass
""",
    "a.sh": "export API_KEY=quoted-key-1\nPASSWORD='gurken1'\ncurl --token listed-pw-1 $URL\n"
    "python train.py --max-tokens 512 --tokenizer bert\necho $PASSWORD\n",
    "a.R": 'password <- "gurken1"\nSys.setenv(API_KEY = "quoted-key-1")\nkey <- "a"\n',
    "Dockerfile": "FROM x\nENV API_KEY=quoted-key-1\nENV DB_PASSWORD gurken1\n",
    "a.ipynb": json.dumps(
        {
            "cells": [
                {"source": ['api_key = "quoted-key-1"\n', "password='gurken1'\n"]},
                {"outputs": [{"data": {"image/png": IMAGE}}]},
            ]
        }
    ),
}  # fmt: skip
PLANTED = [
    "gurken1", 'gur\\"ken1', "quoted-key-1", "listed-pw-1", "listed-pw-2", "oldpw123", "abcdef123",
    "some-lines-of-key-1", "more-lines-of-key-2", "hf-token-9",
]  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_only_the_secret_values_of_a_file_are_replaced(name: str) -> None:
    text = CONFIGS[name]
    redactor = Redactor(KEY)
    scrubbed = redactor.scrub_config(name, text.encode())
    assert scrubbed is not None
    expected = text
    for value in PLANTED:
        expected = expected.replace(value, redactor.placeholder(value))
    assert scrubbed.decode() == expected
    again = restore(scrubbed.decode(), match(KEY, {v: v for v in PLANTED}))
    assert again == text
    assert all(item.where == name for item in redactor.withheld)
    for value in PLANTED:
        if value in text:
            assert value not in redactor.scrub_text(f"seen {value} again")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "tokenizer: bert\npad_token: '[PAD]'\nmax_tokens: 512\nkey: a b\n"),
        ("a.yaml", "password: ${DB_PASSWORD}\napi_key: null\nauth: none\n"),
        ("README.md", "Token budget\n\nPassword: required\nThe secret is in the sauce: butter.\n"),
        ("a.py", "def f(password: Optional[str] = None, api_key=API_KEY):\n    token = next(it)\n"),
        ("a.py", 'df = df[["token", "label"]]\ndf["password"].isna()\nx = d["api_key"]\n'),
        ("a.py", 'parser.add_argument("--token", type=str, help="the token to use")\n'),
        ("a.csv", "user,password\nme,gurken1\npassword: gurken1\n"),
        ("vocab.json", '{"token": "hello", "tokens": ["a", "b"], "key": "value"}'),
        ("a.json", json.dumps({"features": [random.Random(2).random() for _ in range(500)]})),
        ("a.toml", '[x]\nauthors = ["me <me@example.com>"]\nkeywords = ["secret", "tokens"]\n'),
    ],
)  # fmt: skip
def test_files_without_secrets_are_left_alone(name: str, text: str) -> None:
    assert Redactor(KEY).scrub_config(name, text.encode()) is None


def test_a_binary_file_is_no_configuration() -> None:
    assert Redactor(KEY).scrub_config("a.yaml", b"\0password: gurken1") is None


@pytest.mark.parametrize(
    "text",
    [
        "A" * 2_000_000,
        "ACGT" * 500_000,
        "key" * 600_000,
        "token-" * 300_000,
        '"' + "\\" * 500_000,
        "password:" * 200_000,
        "://a:" * 300_000,
        "eyJ" * 600_000,
        "x=" * 800_000,
        "secret: [" * 100_000,
        "-----BEGIN PRIVATE KEY" * 50_000,
        "  secret:\n" * 100_000,
    ],
    ids=lambda text: text[:12],
)
def test_no_text_makes_scrubbing_slow(text: str) -> None:
    redactor = Redactor(KEY, known={str(i): f"learnt-secret-{i:04}" for i in range(20)})
    started = time.process_time()
    redactor.scrub_config("a.yaml", text.encode())
    assert time.process_time() - started < 5


# --- streams -------------------------------------------------------------------------------------


def test_a_stream_gives_lines_and_holds_the_rest() -> None:
    stream = Stream(Redactor(KEY, known={"t": "hunter2-hunter2"}))
    assert stream.feed(b"epoch 1\nepo") == b"epoch 1\n"
    assert stream.feed(b"ch 2\rloss") == b"epoch 2\r"
    assert stream.flush() == b"loss"
    assert stream.flush() == b""


@pytest.mark.parametrize("newline", [b"\n", b" "])
def test_a_secret_on_any_chunk_border_is_found(newline: bytes) -> None:
    secret = b"hunter2-hunter2"
    data = newline.join([b"x" * 30_000 + secret + b"y" * 40_000] * 4)
    for size in (1000, 4096, 30_007, 65_536, 100_000):
        stream = Stream(Redactor(KEY, known={"t": secret.decode()}))
        out = b"".join(stream.feed(data[i : i + size]) for i in range(0, len(data), size))
        out += stream.flush()
        placeholder = Redactor(KEY).placeholder(secret.decode()).encode()
        assert out == data.replace(secret, placeholder)


def test_secrets_of_several_lines_are_found_in_a_stream() -> None:
    block = "-----BEGIN PRIVATE KEY-----\nMIIEow\nvQIBAA\n-----END PRIVATE KEY-----"
    for known in ({}, {"short": "ab\ncd\nefgh"}):
        stream = Stream(Redactor(KEY, known=known))
        lines = f"start\n{block}\nab\ncd\nefgh\nend\n".encode().splitlines(keepends=True)
        out = b"".join(stream.feed(line) for line in lines) + stream.flush()
        assert b"MIIE" not in out
        assert b"vQIB" not in out
        assert (b"ab\ncd\nefgh" in out) is not bool(known)
        assert out.startswith(b"start\n<secret:")
        assert out.endswith(b"end\n")


def test_scrubbing_a_long_log_is_fast() -> None:
    rng = random.Random(3)
    known = {str(i): "".join(rng.choices(string.ascii_letters, k=20)) for i in range(10)}
    stream = Stream(Redactor(KEY, known=known))
    line = b"2024-01-01 00:00:00 INFO step=100 loss=0.12345 lr=0.001 https://h/x key=a\n" * 800
    started = time.process_time()
    for _ in range(100):
        assert stream.feed(line) == line
    assert time.process_time() - started < 10
    assert secrets.Stream.LINE_LIMIT == 64 << 10
