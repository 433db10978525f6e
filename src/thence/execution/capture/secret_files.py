"""Files whose whole content is secret: they are named in the record of a run and never kept."""

import os
import re

__all__ = ["is_secret_file"]

_EXAMPLE = re.compile(
    r"[._-](example|sample|template|dist|defaults?|schema)s?(?=\.|$)", re.IGNORECASE
)
_NAMES = re.compile(
    r"""
    \.env(rc)? | \.env[._-].+ | .+\.env
    | \.netrc | _netrc | \.pgpass | pgpass\.conf | \.my\.cnf | \.pypirc | \.npmrc | \.yarnrc\.yml
    | \.git-credentials | \.boto | \.s3cfg | \.dockercfg | \.htpasswd | \.vault[-_]token
    | \.databrickscfg | \.mylogin\.cnf | kubeconfig(\..+)? | .+\.kubeconfig
    | id_(rsa|dsa|ecdsa|ed25519)(_sk)?(_[\w-]+)?
    | .+\.(ppk|p12|pfx|jks|keystore|kdbx|gpg-key)
    | (aws[_-])?credentials(\.(json|ya?ml|toml|ini|csv|txt))?
    | (client[_-]?secrets?|service[_-]?account)([._-].*)?\.json
    | application_default_credentials\.json
    | \.?secrets?(\.[\w-]+)*\.(ya?ml|toml|json|ini|env|txt|cfg|conf|properties)
    | streamlit[_-]secrets\.toml
    """,
    re.VERBOSE | re.IGNORECASE,
)
_FOLDERS = re.compile(
    r"""
    /(\.ssh|\.gnupg|\.aws|\.azure|\.kube|\.docker|\.password-store|\.config/gcloud
      |\.config/gh|\.config/rclone|\.config/snowflake|\.snowflake|\.databricks
      |\.oci|\.vault|\.config/op|\.local/share/keyrings)/
    | /run/secrets/ | /var/run/secrets/
    | /\.kaggle/kaggle\.json$ | /\.config/kaggle/kaggle\.json$ | ^kaggle\.json$ | /kaggle\.json$
    | /\.cache/huggingface/(token|stored_tokens)$ | /\.huggingface/token$
    | /\.streamlit/secrets\.toml$ | /\.git/config$ | /etc/(g?shadow-?|krb5\.keytab)$
    """,
    re.VERBOSE | re.IGNORECASE,
)
_MAY_BE_A_KEY = (".pem", ".key")
_PRIVATE = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY")
_PUBLIC = re.compile(rb"-----BEGIN (CERTIFICATE|PUBLIC KEY|TRUSTED CERTIFICATE|X509|DH PARAM)")
_SOURCE_CODE = (".py", ".pyc", ".pyi", ".ipynb", ".r", ".sh", ".so", ".md", ".rst")


def is_secret_file(path: str) -> bool:
    """Whether a file is one that holds nothing but secrets.

    By its name and place: `.env` (not `.env.example`), `~/.aws`, `~/.ssh`, `.netrc`,
    `credentials.json` … A `.pem` or `.key` file that can be read is looked into: certificates and
    public keys are no secrets, and neither is a Keynote document or a file of map keys.

    >>> is_secret_file("/home/me/project/.env")
    True
    >>> is_secret_file("/home/me/project/.env.example")
    False
    """
    plain = path.replace(os.sep, "/")
    name = plain.rpartition("/")[2]
    if name.lower().endswith(_SOURCE_CODE):
        return False
    if _FOLDERS.search(plain):
        return not _is_harmless_in_folder(name)
    if name.lower().endswith(_MAY_BE_A_KEY):
        return _holds_a_key(path)
    return bool(_NAMES.fullmatch(name)) and not _EXAMPLE.search(name)


def _is_harmless_in_folder(name: str) -> bool:
    return name.endswith(".pub") or name in {"known_hosts", "known_hosts.old"}


def _holds_a_key(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            head = file.read(64 << 10)
    except OSError:
        return True  # it cannot be looked into: what the name says counts
    if _PRIVATE.search(head):
        return True
    if _PUBLIC.search(head):
        return False
    # DER keys begin with an ASN.1 sequence; anything else named .key that is binary and long
    # (a Keynote document is a zip file) is data.
    if head.startswith(b"PK"):
        return False
    return path.endswith(".key") and len(head) <= 16 << 10
