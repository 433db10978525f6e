"""Whether a named value is a secret: by its name, and by how random it looks.

Everything here is judged against two lists in the tests: values that must be found, and
look-alikes from machine learning (`max_tokens`, `pad_token`, digests, class names, sequences) that
must stay as they are, because a replaced parameter is a broken record.
"""

import itertools
import math
import re
from collections import Counter
from functools import lru_cache

__all__ = ["is_harmless", "is_secret", "names_a_secret", "split_words"]

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NO_WORD = re.compile(r"[^A-Za-z0-9]+")

_PASSWORDS = {"password", "passwords", "passwd", "passphrase", "passcode", "pwd", "pgpassword"}
_ALWAYS = _PASSWORDS | {
    *("secret", "secrets", "apikey", "apikeys", "apitoken", "authtoken", "accesstoken", "dsn"),
    *("credential", "credentials", "cred", "creds", "cookie", "authorization", "bearer"),
    *("accesskey", "secretkey", "privatekey", "clientsecret", "connectionstring", "connstr"),
}
_BEFORE_KEY = {
    *("api", "access", "secret", "private", "account", "encryption", "signing", "sas"),
    *("subscription", "ssh", "auth", "master", "license", "licence", "service", "app"),
    *("fernet", "session", "deploy", "registration", "gpg", "pgp", "hmac", "aes", "rsa"),
    *("openai", "anthropic", "wandb", "stripe", "sendgrid", "mailgun", "gemini", "admin"),
}
_NOT_BEFORE_TOKEN = {
    *("eos", "bos", "pad", "unk", "cls", "sep", "mask", "special", "image", "start", "end", "stop"),
    *("decoder", "encoder", "begin", "prefix", "suffix", "next", "last", "first", "num", "max"),
    *("min", "n", "per", "by", "new", "audio", "video", "text", "class", "word", "sub", "padding"),
    *(
        "each",
        "any",
        "no",
        "number",
        "of",
        "prompt",
        "output",
        "input",
        "bad",
        "forced",
        "register",
    ),
    *("sentence", "separator", "unknown", "eod", "eot", "fim", "think", "memory", "lang", "null"),
}
_NOT_BEFORE_PASS = {
    *("low", "high", "band", "forward", "backward", "single", "multi", "first", "second", "n"),
    *(
        "num",
        "max",
        "min",
        "one",
        "two",
        "by",
        "compiler",
        "optimizer",
        "per",
        "all",
        "must",
        "did",
    ),
}
_BEFORE_PAT = {"github", "gitlab", "azure", "ado", "devops", "databricks", "git", "gh", "airtable"}
_OF_A_SWITCH = {
    "use",
    "has",
    "is",
    "show",
    "no",
    "with",
    "check",
    "allow",
    "hide",
    "enable",
    "skip",
}
_REFERENCES = {
    *("name", "names", "path", "file", "filename", "dir", "folder", "arn", "url", "uri", "env"),
    *("var", "variable", "type", "kind", "length", "len", "size", "count", "enabled", "required"),
    *("expiry", "expires", "expiration", "ttl", "timeout", "format", "policy", "regex", "pattern"),
    *("field", "column", "col", "prefix", "suffix", "header", "version", "provider", "manager"),
    *(
        "store",
        "backend",
        "method",
        "mode",
        "sock",
        "socket",
        "user",
        "username",
        "class",
        "helper",
    ),
    *("scope", "scopes", "endpoint", "host", "region", "service", "strategy", "limit", "index"),
    *("required", "optional", "plugin", "module", "dim", "level", "hash", "min", "max", "rounds"),
}
"""A name that ends in one of these speaks about a secret and does not hold it."""

_HARMLESS_VALUE = re.compile(
    r"""
    | true | false | yes | no | on | off | none | null | nil | nan | ~ | auto | default
    | \$\{[^}]*\}
    | (?-i:\$([A-Z_][A-Z0-9_]*|[a-z_]+)) | \$\(.*\) | \{\{.*\}\} | %\(\w+\)s | %\w+% | @\w+@
    | <[^>]*> | \{[^}]*\} | \#[0-9a-f]{3,8} | (basic|bearer|token|apikey)\s*:?
    | \d+(\.\d+){2,} | \[[A-Z_0-9]+\] | \*+ | x{3,} | \.{3}
    | [\w./-]+\.(py|ipynb|csv|tsv|json|jsonl|ya?ml|toml|txt|parquet|sh|db|html?|md|log|pkl|pt)
    | (os\.)?(environ|getenv).* | oc\.env:.* | env:\w+ | !\w+ .*
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SOFT = {"auth", "cookie", "token", "pass", "pat", "bearer", "dsn"}
_NOT_IN_KEYS = re.compile(r"[\s()\[\]{}|\\<>*]")
_STRONG_BEFORE = {
    *("api", "access", "secret", "refresh", "session", "sas", "db", "smtp", "user", "mail", "ftp"),
    *("ldap", "admin", "root", "mysql", "pg", "proxy", "basic"),
}
_IDENTIFIER = re.compile(r"[A-Za-z]+\d{0,2}([_.-][A-Za-z]+\d{0,2})+|[a-z]+([A-Z][a-z]+)+")
_TEMPLATE = re.compile(r"\{[^{}]*\}|%\([^)]*\)[sdr]|%[sdr]|[^A-Za-z0-9]")
_MAY_HAVE_BLANKS = {"passphrase", "authorization", "string", "dsn", "bearer", "cookie"}
_PROSE = re.compile(r"[A-Z][\w'()]*([ ,.:;/]+[\w'()*]+)+[.:?!]*")
_WELL_KNOWN = {
    *("pass", "pwd", "pw", "user", "foo", "bar", "test", "key", "my_password", "password1"),
    *("password", "passwd", "secret", "secrets", "default", "changeme", "postgres", "postgresql"),
    *("mysql", "redis", "airflow", "minioadmin", "minio123", "guest", "admin", "administrator"),
    *("testing", "test123", "example", "localhost", "token", "python", "public", "private"),
    *("username", "database", "production", "development", "staging", "readonly", "anonymous"),
    *("123456", "1234567", "12345678", "123456789", "qwerty", "letmein", "welcome", "master"),
    *("required", "optional", "placeholder", "number", "integer", "boolean", "object", "string"),
}
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_PATH = re.compile(r"(~|\.{1,2}|[A-Za-z]:)?[/\\](.*)")
_RANDOM_ALPHABET = re.compile(r"[A-Za-z0-9+/_=.~-]{32,512}")
_KNOWN_FORMS = re.compile(
    r"""
      [0-9a-fA-F]+ | [0-9A-F-]+ | [0-9a-f-]+             # digests, uuids, MAC addresses
    | (sha\d+|md5|blake\w+)[-:=].*                        # subresource integrity, RECORD
    | Qm[1-9A-HJ-NP-Za-km-z]{44} | baf[a-z2-7]{50,}       # IPFS
    | [ACGTUNacgtun-]+                                    # nucleotides
    """,
    re.VERBOSE,
)
_IDENTITY_WORDS = {
    *("id", "ids", "hash", "digest", "checksum", "sha", "sha1", "sha256", "md5", "commit", "etag"),
    *("fingerprint", "uuid", "guid", "cid", "integrity", "revision", "sequence", "seq", "smiles"),
    *("inchi", "version", "public", "etags", "image", "png", "svg", "path"),
}


def split_words(name: str) -> list[str]:
    """The words of a name, in lower case, whatever its style.

    >>> split_words("AWS_SECRET-accessKey.id")
    ['aws', 'secret', 'access', 'key', 'id']
    """
    spaced = _CAMEL.sub("_", name.replace("OAuth", "Oauth"))
    return [word.lower() for word in _NO_WORD.split(spaced) if word]


def is_secret(name: str, value: str) -> str | None:
    """Why a named value is taken for a secret, or None where it is not.

    The shapes of well-known keys are not looked for here, see `secret_shapes`.

    Returns:
        `name` or `randomness`.
    """
    if is_harmless(value):
        return None
    words = split_words(name)
    if words and names_a_secret(name) and _may_be_secret(words, value):
        return "name"
    if not (words and _IDENTITY_WORDS.intersection(words)) and _looks_random(value):
        return "randomness"
    return None


@lru_cache(maxsize=1 << 16)
def names_a_secret(name: str) -> bool:
    """Whether a name is that of a secret: `API_KEY`, `db.password`, not `max_tokens`."""
    words = split_words(name)
    return bool(words) and _names_a_secret(words)


def is_harmless(value: str) -> bool:
    """Whether a value cannot be a secret whatever it is called.

    References (`${KEY}`, `{key}`), blanks to be filled in (`<key>`, `***`), file names, and words
    that everybody knows: hiding `password` or `postgres` protects nothing, spoils every text that
    the word stands in, and leaves code that cannot be given back.
    """
    text = value.strip()
    return (
        not text
        or text.lower() in _WELL_KNOWN
        or bool(_HARMLESS_VALUE.fullmatch(text))
        or (("{" in text or "%" in text) and len(_TEMPLATE.sub("", text)) < 6)
    )


def _names_a_secret(words: list[str]) -> bool:
    last = words[-1]
    if last in {"value", "plain", "raw", "prod", "dev", "test", "b64"}:
        words = words[:-1] or words
        last = words[-1]
    if words[0] in _OF_A_SWITCH or "public" in words:
        return False
    if words[-2:] == ["secret", "id"]:
        return True
    if last in _REFERENCES or last in {"id", "ids"}:
        return False
    if last.isdigit() and len(words) > 1:
        return _names_a_secret(words[:-1])
    before = words[-2] if len(words) > 1 else ""
    if last in {"key", "keys"}:
        return before in _BEFORE_KEY or "secret" in words or words[-3:-1] == ["azure", "storage"]
    if last == "token":
        return before not in _NOT_BEFORE_TOKEN
    if last == "tokens":
        return before in {"api", "access", "auth", "secret", "refresh", "bearer"}
    if last == "pass":
        return before not in _NOT_BEFORE_PASS
    if last == "auth":
        return before not in {"use", "no", "require", "with", "enable", "disable"}
    if last == "pat":
        return len(words) == 1 or before in _BEFORE_PAT
    if last == "pw":
        return before in {"db", "user", "admin", "smtp", "ftp", "ldap", "root"}
    if words[-2:] in (["connection", "string"], ["conn", "string"], ["webhook", "url"]):
        return True
    return last in _ALWAYS or (bool(_ALWAYS.intersection(words)) and last not in {"length", "bits"})


def _may_be_secret(words: list[str], value: str) -> bool:
    text = value.strip()
    if _NUMBER.fullmatch(text):
        # A password may be digits; `auth_token: 512` is a setting.
        digits = text.isdigit() and len(text)
        return bool(digits) and digits >= (4 if _PASSWORDS.intersection(words) else 8)
    if _PATH.fullmatch(text) and not _looks_random(text.lstrip("/")):
        return False
    if " " in text and not _MAY_HAVE_BLANKS.intersection(words) and _PROSE.fullmatch(text):
        return False
    if set(split_words(text)) <= {*words, "your", "my", "the"}:
        return False  # `--password PASSWORD`, `api_key=api_key`
    if _IDENTIFIER.fullmatch(text) and names_a_secret(text):
        return False  # the name of another: `"key": "aws_secret_access_key"`
    # These words have other meanings (`auth: ldap`, `pass: bandpass`, a word of a text): what they
    # name must look like a key, too.
    is_soft = words[-1] in _SOFT and not _STRONG_BEFORE.intersection(words)
    has_digit = any(map(str.isdigit, text))
    is_long = (len(text) >= 6 and has_digit) or len(text) >= 16
    return not is_soft or (is_long and not (words[-1] != "cookie" and _NOT_IN_KEYS.search(text)))


def _looks_random(text: str) -> bool:
    """Whether a value is so irregular that only a generator of keys writes it."""
    if not _RANDOM_ALPHABET.fullmatch(text) or _KNOWN_FORMS.fullmatch(text):
        return False
    pieces = [piece for piece in re.split(r"[-_/.+=~]+", text) if piece]
    # Names of models, classes and files are short words between separators; keys are not.
    if sum(map(len, pieces)) < 10 * len(pieces) or sum(map(str.isdigit, text)) < 3:
        return False
    changes = sum(_kind(a) != _kind(b) for piece in pieces for a, b in itertools.pairwise(piece))
    return changes >= 0.35 * len(text) and _entropy(text) > 4.0


def _kind(character: str) -> int:
    return 0 if character.isdigit() else 1 if character.isupper() else 2


def _entropy(text: str) -> float:
    total = len(text)
    return -sum(n / total * math.log2(n / total) for n in Counter(text).values())
