"""Secrets that can be told by their shape alone, wherever they stand in a text."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from thence.execution.capture.secret_names import is_harmless

__all__ = ["Span", "find_shapes"]


class Span(NamedTuple):
    """A secret in a text: `text[start:end]`."""

    start: int
    end: int
    name: str


class _Shape(NamedTuple):
    """A regular expression, run only where one of its markers is in the text.

    Looking for a fixed text runs at gigabytes a second, an alternation of expressions at twenty
    megabytes. Where the expression has a group `v`, only that is secret.
    """

    name: str
    markers: tuple[str, ...]
    pattern: re.Pattern[str]


def _shape(name: str, markers: str, pattern: str, flags: int = 0) -> _Shape:
    return _Shape(name, tuple(markers.split(" ")), re.compile(pattern, flags))


_B = r"(?<![A-Za-z0-9])"
_E = r"(?![A-Za-z0-9])"
# A placeholder that stands there already is not replaced again.
_NEWLINE = r"(?:[\s\"']|\\[rn])"
_NOT_YET = r"(?!<secret:)"

_SHAPES = (
    # Whole blocks, and broken off ones whose lines are nothing but base64: the mere mention of the
    # first line in a text is no key.
    _shape("private key", "PRIVATE", r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
           rf"{_NEWLINE}*(?:[A-Z][\w-]{{1,30}}: [^\r\n\\]{{0,100}}{_NEWLINE}+){{0,6}}"
        r"(?=[^-]{0,200}?[A-Za-z0-9+/]{5})"
           r"(?:[A-Za-z0-9+/=\s\\\"',]{1,65536}-----END [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
           rf"|(?:[ \t\"']*[A-Za-z0-9+/=]{{16,}}[ \t\"',]*(?:{_NEWLINE}+|\Z))+)"),
    _shape("AWS access key", "AKIA ASIA", rf"{_B}A[KS]IA[0-9A-Z]{{16}}{_E}"),
    _shape("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
           rf"{_B}(?:gh[pousr]_[A-Za-z0-9]{{36,255}}|github_pat_[A-Za-z0-9_]{{22,255}}){_E}"),
    _shape("Hugging Face token", "hf_ api_org_", rf"{_B}(?:hf|api_org)_[A-Za-z0-9]{{30,}}{_E}"),
    _shape("API key", "sk-", rf"{_B}sk-(?=[\w-]*\d)(?=[\w-]*[A-Z])(?=[\w-]*[A-Za-z0-9]{{16}})"
           r"[A-Za-z0-9_-]{20,}"),
    _shape("API key", "sk_live_ rk_live_ sk_test_ rk_test_",
           rf"{_B}[rs]k_(?:live|test)_[A-Za-z0-9]{{16,}}{_E}"),
    _shape("Slack token", "xox xapp-", rf"{_B}(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{{10,}}"),
    _shape("Slack webhook", "hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows)/"
           r"(?P<v>[A-Za-z0-9_/]{20,})"),
    _shape("GitLab token", "glpat- gldt- glrt- glptt- glft- glcbt-",
           rf"{_B}gl(?:pat|dt|rt|ptt|ft|cbt)-[\w-]{{20,}}"),
    _shape("Google API key", "AIza", rf"{_B}AIza[\w-]{{35}}(?![\w-])"),
    _shape("Google token", "ya29. GOCSPX-", rf"{_B}(?:ya29\.[\w-]{{20,}}|GOCSPX-[\w-]{{20,}})"),
    _shape("JSON web token", "eyJ", rf"{_B}eyJ[\w-]{{8,}}\.[\w-]{{8,}}\.[\w-]{{8,}}"),
    _shape("package index token", "pypi- npm_",
           rf"{_B}(?:pypi-[A-Za-z0-9_-]{{50,}}|npm_[A-Za-z0-9]{{36}}{_E})"),
    _shape("Databricks token", "dapi", rf"{_B}dapi[0-9a-f]{{32}}(?:-\d)?{_E}"),
    _shape("SendGrid key", "SG.", rf"{_B}SG\.[\w-]{{16,32}}\.[\w-]{{32,64}}"),
    _shape("service token",
           "dop_v1_ dckr_pat_ nvapi- r8_ gsk_ pplx- xai- hvs. hvb. lsv2_ pcsk_ glsa_ shpat_ ntn_ "
           "lin_api_ sbp_ tvly- KGAT_ pscale_tkn_ ATATT3 HRKU- fm2_ dp.pt. wandb_v1_ sntrys_",
           rf"{_B}(?:dop_v1_|dckr_pat_|nvapi-|r8_|gsk_|pplx-|xai-|hv[sb]\.|lsv2_(?:pt|sk)_|pcsk_"
           r"|glsa_|shpat_|ntn_|lin_api_|sbp_|tvly-(?:dev-)?|KGAT_|pscale_tkn_|ATATT3|HRKU-|fm2_"
           r"|dp\.pt\.|wandb_v1_|sntrys_)(?=[\w=-]*\d)[\w=-]{20,}"),
    _shape("age key", "AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    _shape("Azure client secret", "8Q~", rf"{_B}[\w~.-]{{3}}8Q~[\w~.-]{{31,34}}"),
    _shape("Telegram token", ":AA", r"(?<!\d)\d{8,10}:AA[\w-]{33}(?![\w-])"),
    _shape("password in a URL", "://",
           rf"://[^\s/:@\"'<>?#]{{0,200}}:(?P<v>{_NOT_YET}[^\s/@\"'<>]{{1,256}})@(?=[\w.\[{{$%-])"),
    _shape("token in a URL", "://",
           r"://(?P<v>(?=[\w.-]*\d)[\w.-]{20,256})(?::x-oauth-basic)?@(?=\w)"),
    _shape("signature in a URL", "sig= ignature= oken= key= Key= KEY= assword= ecret= jwt= JWT=",
           r"[?&;](?:sig|signature|x-amz-signature|x-amz-security-token|x-goog-signature|"
           r"(?:access_?|auth_?|api_?|id_?|refresh_?|private_?)?token|api_?key|subscription-key|"
           rf"password|client_secret|secret|jwt)=(?P<v>{_NOT_YET}[^&\s\"'<>#;\\)]{{6,}})",
           re.IGNORECASE),
    _shape("signature in a URL", "?key= &key=",
           rf"[?&]key=(?P<v>{_NOT_YET}(?=[\w-]*\d)[\w-]{{20,}})"),
    _shape("signature in a URL", "Policy=", rf"[?&]Policy=(?P<v>{_NOT_YET}eyJ[\w~-]{{20,}})"),
    _shape("signature in a URL", "Key-Pair-Id=",
           rf"[?&]Key-Pair-Id=(?P<v>{_NOT_YET}[A-Z0-9]{{8,}})"),
    _shape("connection string", "AccountKey= SharedAccessKey= SharedAccessSignature=",
           r"(?:AccountKey|SharedAccessKey|SharedAccessSignature)="
           rf"(?P<v>{_NOT_YET}[A-Za-z0-9+/=%&]{{16,}})"),
    _shape("connection string", "assword= Pwd= PWD= pwd= PASSWORD=",
           rf";\s*(?:password|pwd)\s*=\s*(?P<v>{_NOT_YET}[^;\s\"']{{1,256}})", re.IGNORECASE),
    _shape("connection string", "password=",
           r"(?:host|user|dbname|port)=\S{1,200} (?:\w+=\S{1,200} ){0,8}?"
           rf"password=(?P<v>{_NOT_YET}[^\s\"',]{{1,256}})"),
    _shape("authorization header", "earer BEARER",
           rf"\bBearer\s+(?P<v>{_NOT_YET}(?=[^\s]*\d)[A-Za-z0-9._~+/-]{{20,}}=*)", re.IGNORECASE),
    _shape("authorization header", "uthorization UTHORIZATION",
           r"\bAuthorization[\"']?\s*[:=]\s*[\"']?(?:Basic|Token|ApiKey|Digest)\s+"
           rf"(?P<v>{_NOT_YET}[A-Za-z0-9._~+/-]{{8,}}=*)", re.IGNORECASE),
)  # fmt: skip


def find_shapes(text: str) -> Iterator[Span]:
    """Every secret that its shape gives away; the spans may overlap."""
    for shape in _SHAPES:
        if any(marker in text for marker in shape.markers):
            for match in shape.pattern.finditer(text):
                start, end = match.span("v" if "v" in shape.pattern.groupindex else 0)
                if end > start and not is_harmless(text[start:end]):
                    yield Span(start, end, shape.name)
