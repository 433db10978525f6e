import re
import string

from hypothesis import assume, given
from hypothesis import strategies as st

from thence.execution.capture.placeholders import is_worth_learning, match, restore
from thence.execution.capture.secrets import Redactor, Stream

KEY = b"key"
HEX = set("0123456789abcdef")

# The end of a placeholder and the text behind it may look like a value that begins so, and its
# beginning likewise (`>12345` in `<secret:…>12345`): nothing is told by that.
LIKE_A_BORDER = re.compile(r"^[0-9a-f]*>|<[secrt]*:?[0-9a-f]*$")

secrets = st.text(st.characters(exclude_categories=["Cs"]), min_size=6, max_size=60).filter(
    lambda value: (
        is_worth_learning(value) and not set(value) <= HEX and not LIKE_A_BORDER.search(value)
    )
)
# A planted value is looked for in what was around it too, so its pieces appear there on purpose.
surroundings = st.text(string.printable + "äß€😀\u2028", max_size=200)


@given(secrets, surroundings, surroundings, st.data())
def test_a_planted_value_never_survives(
    value: str, before: str, after: str, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(value)))
    text = before + value[:cut] + value + value[cut:] + value + after
    redactor = Redactor(KEY, known={"x": value})
    scrubbed = redactor.scrub_text(text)
    assert value not in scrubbed
    assert value.encode() not in redactor.scrub_bytes(text.encode())
    assert redactor.contains(b"\xff\x00" + text.encode()) == "x"


@given(secrets, st.lists(st.one_of(st.just(None), surroundings), max_size=6), st.data())
def test_a_planted_value_never_survives_a_stream(
    value: str, pieces: list[str | None], data: st.DataObject
) -> None:
    content = "".join(value if piece is None else piece for piece in pieces).encode()
    stream = Stream(Redactor(KEY, known={"x": value}))
    out = b""
    while content:
        size = data.draw(st.integers(1, len(content)))
        out += stream.feed(content[:size])
        content = content[size:]
    out += stream.flush()
    assert value.encode() not in out


@given(secrets, surroundings, surroundings)
def test_scrubbed_text_is_given_back_byte_for_byte(value: str, before: str, after: str) -> None:
    redactor = Redactor(KEY, known={"x": value})
    assume("<secret:" not in before + after)
    plain = Redactor(KEY)
    # Where a shape alone is found in the surroundings, only its owner could give it back.
    assume(not plain.find(before + value + after))
    text = before + value + after
    assert restore(redactor.scrub_text(text), match(KEY, {"x": value})) == text


@given(st.lists(secrets, min_size=1, max_size=4), st.binary(max_size=300))
def test_bytes_without_secrets_are_unchanged(values: list[str], data: bytes) -> None:
    redactor = Redactor(KEY, known={str(i): value for i, value in enumerate(values)})
    text = data.decode("utf-8", "surrogateescape")
    assume(not redactor.find(text))
    assert redactor.scrub_bytes(data) == data
    stream = Stream(redactor)
    assert stream.feed(data) + stream.flush() == data


@given(
    st.sampled_from(["password", "api_key", "clientSecret", "DB-PASSWORD"]),
    st.text(string.ascii_letters + string.digits + "-_.!?$", min_size=8, max_size=40).filter(
        lambda value: value[0].isalnum() and any(map(str.isdigit, value)) and not value.isdigit()
    ),
    st.sampled_from(
        [
            ("a.yaml", "a: 1\n{n}: {v}\nb: 2\n"),
            ("a.yaml", "a:\n  - {n}: '{v}'  # note\n"),
            ("a.json", '{{"a": {{"{n}": "{v}"}}, "b": 2}}'),
            ("a.toml", '[a]\n"{n}" = "{v}"\nb = 2\n'),
            ("a.ini", "[a]\n{n} = {v}\nb = 2\n"),
            ("a.py", "connect(1, {n}='{v}', b=2)\n"),
            ("a.ipynb", '{{"source": ["{n} = \\"{v}\\"\\n"]}}'),
            ("a.sh", "export {n}={v}\nb=2\n"),
        ]
    ),
)
def test_the_value_of_a_secret_name_never_survives_in_a_file(
    name: str, value: str, form: tuple[str, str]
) -> None:
    path, template = form
    redactor = Redactor(KEY)
    assume(redactor.scrub_value(name, value, "x") != value)  # `x.py` and the like are no secrets
    text = template.format(n=name, v=value)
    assume(text.count(value) == 1)
    scrubbed = Redactor(KEY).scrub_config(path, text.encode())
    assert scrubbed is not None
    assert value not in scrubbed.decode()
    left, _, right = text.partition(value)
    assert scrubbed.decode().startswith(left)
    assert scrubbed.decode().endswith(right)
