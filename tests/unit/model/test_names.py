"""Names and refs: every rule, and where an error points."""

from hashlib import sha256

import pytest

from thence.errors import InvalidInput
from thence.model.names import (
    Alias,
    ArtifactName,
    Ref,
    RunRef,
    Selector,
    SelectorKind,
    VersionRef,
    is_path,
    parse_ref,
)
from thence.store.base import check_key


@pytest.mark.parametrize("text", ["a", "raw/2024/sales.csv", "Ünï", "数/売上", "a b", "a%b", "v3"])
def test_good_names_stay_as_they_are(text: str) -> None:
    assert ArtifactName(text) == text


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("/a", 0),
        ("a/", 2),
        ("a//b", 2),
        ("./a", 0),
        ("a/../b", 2),
        ("a/.", 2),
        (" a", 0),
        ("a/b ", 2),
        ("a/\u3000b", 2),
        ("a@b", 1),
        ("a:b", 1),
        ("a\\b", 1),
        ("ab\0", 2),
        ("a\nb", 1),
        ("a\x7f", 1),
        ("a\x85", 1),
        ("ab\udce9", 2),
    ],
)
def test_bad_names_are_refused_with_the_position(text: str, position: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        ArtifactName(text)
    assert (caught.value.text, caught.value.position) == (text, position)


def test_the_length_is_that_of_the_normalised_name() -> None:
    assert len(ArtifactName("x" * 400)) == 400
    with pytest.raises(InvalidInput):
        ArtifactName("x" * 401)
    grows = "\u0958" * 400  # NFC makes two characters of each
    with pytest.raises(InvalidInput):
        ArtifactName(grows)
    shrinks = "e\u0301" * 400
    assert len(ArtifactName(shrinks)) == 400


def test_names_that_fold_alike_share_a_key() -> None:
    assert ArtifactName("Data").key == ArtifactName("data").key == "data"
    assert ArtifactName("Straße").key == ArtifactName("STRASSE").key
    nfc, nfd = ArtifactName("caf\u00e9"), ArtifactName("cafe\u0301")
    assert nfc == nfd
    assert nfc.key == nfd.key == ArtifactName("CAFÉ").key == "caf%C3%A9"


def test_keys_are_pinned() -> None:
    """Where logs lie is part of the format."""
    assert ArtifactName("a b/.hidden/x%y*z~").key == "a%20b/%2Ehidden/x%25y%2Az~"
    assert ArtifactName("#$&'()+,;=[]{}!").key == "#$&'()+,;=[]{}!"
    long = "数" * 30
    digits = sha256(long.encode()).hexdigest()[:32]
    assert ArtifactName(long).key == ("%E6%95%B0" * 30)[:166] + "%~" + digits
    assert digits == "2f6733e2b6f6a2073a79f8b0536b2167"


@pytest.mark.parametrize("alias", ["champion", "a" * 100])
@pytest.mark.parametrize(
    "name", ["数" * 400, "a/" * 199 + "a", "é/" * 199 + "é", "\U0001f600" * 400, "." * 3 + "x"]
)
def test_keys_of_long_names_fit_into_any_store(name: str, alias: str) -> None:
    key = ArtifactName(name).key
    check_key(f"refs/artifacts/{key}/@edits/0000000001")
    check_key(f"refs/aliases/{key}/@{Alias(alias)}/0000000001")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("a.", "a%2E"),
        ("a./b..", "a%2E/b.%2E"),
        ("...", "%2E.%2E"),
        (".a.", "%2Ea%2E"),
        ("a.b", "a.b"),
    ],
)
def test_no_segment_of_a_key_begins_or_ends_with_a_dot(name: str, key: str) -> None:
    assert ArtifactName(name).key == key


def test_long_names_that_begin_alike_have_different_keys() -> None:
    names = ["数" * 60 + "1", "数" * 60 + "2", "数" * 59, "数" * 60]
    assert len({ArtifactName(name).key for name in names}) == len(names)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("out/a.csv", "out/a.csv"),
        ("a@b:c\\d", "a%40b%3Ac%5Cd"),
        ("100%.txt", "100%25.txt"),
        (" a ", "%20a%20"),
        ("a/ /b", "a/%20/b"),
        ("../a/./b", "%2E%2E/a/%2E/b"),
        ("a//b", "a/%/b"),
        ("caf\udce9", "caf%E9"),
        ("a\nb", "a%0Ab"),
    ],
)
def test_a_path_gives_a_name(path: str, name: str) -> None:
    assert ArtifactName.from_path(path) == name


def test_long_paths_give_names_too() -> None:
    one, two = (ArtifactName.from_path("folder/" * 100 + end) for end in "ab")
    assert one != two
    assert len(one) == len(two) == 400


@pytest.mark.parametrize("text", ["champion", "prod-2", "a.b_c", "1st", "v", "v1.2", "local"])
def test_good_aliases(text: str) -> None:
    assert Alias(text) == text


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("-a", 0),
        (".a", 0),
        ("a b", 1),
        ("a/b", 1),
        ("ab@", 2),
        ("ä", 0),
        ("latest", 0),
        ("Latest", 0),
        ("v3", 0),
        ("V12", 0),
        ("local.1", 0),
        ("a\n", 1),
        ("best.", 4),
        ("a..", 1),
        ("a" * 101, 100),
    ],
)
def test_bad_aliases(text: str, position: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        Alias(text)
    assert caught.value.position == position


def test_aliases_that_differ_by_case_are_one() -> None:
    assert Alias("Best").key == Alias("bEST").key == "best"
    assert Alias("Best") == "Best"


def ref(artifact: str, selector: Selector | None = None, path: str | None = None) -> VersionRef:
    return VersionRef(ArtifactName(artifact), selector or Selector(), path)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("churn", ref("churn")),
        ("a/b", ref("a/b")),
        ("churn@latest", ref("churn")),
        ("churn@v3", ref("churn", Selector(SelectorKind.NUMBER, 3))),
        ("churn@v007", ref("churn", Selector(SelectorKind.NUMBER, 7))),
        ("churn@~0", ref("churn", Selector(SelectorKind.BACK, 0))),
        ("churn@~2", ref("churn", Selector(SelectorKind.BACK, 2))),
        ("churn@local.2", ref("churn", Selector(SelectorKind.LOCAL, 2))),
        ("churn@sha256:ab12", ref("churn", Selector(SelectorKind.DIGEST, text="ab12"))),
        ("churn@sha256:ab12:a", ref("churn", Selector(SelectorKind.DIGEST, text="ab12"), "a")),
        ("churn@best", ref("churn", Selector(SelectorKind.ALIAS, text="best"))),
        ("churn:a/b.csv", ref("churn", None, "a/b.csv")),
        ("churn@v1:a:b@c", ref("churn", Selector(SelectorKind.NUMBER, 1), "a:b@c")),
        ("churn:folder/", ref("churn", None, "folder/")),
        ("run", ref("run")),
        ("run@v1:a", ref("run", Selector(SelectorKind.NUMBER, 1), "a")),
        ("run:last", RunRef(None)),
        ("run:last:out.csv", RunRef(None, "out.csv")),
        ("run:ab12", RunRef("ab12")),
        ("run:ab:x", RunRef("ab", "x")),
    ],
)
def test_refs_parse(text: str, parsed: Ref) -> None:
    assert parse_ref(text) == parsed
    assert parse_ref(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("@v1", 0),
        ("a//b@v1", 2),
        ("a@", 2),
        ("a@v0", 3),
        ("a@local.0", 8),
        ("a@v" + "9" * 5000, 3),
        ("a@v1x y", 5),
        ("a@-x", 2),
        ("a@~", 2),
        ("a@v٣", 3),
        ("a@sha256:abg1", 11),
        ("a@sha256:abc", 9),
        ("a@sha256:" + "a" * 65, 9),
        ("a@sha256:AB12", 9),
        ("a:", 2),
        ("a:/etc", 2),
        ("a@v1:../x", 5),
        ("a:b//c", 2),
        ("run:", 4),
        ("run:a", 4),
        ("run:xy", 4),
        ("run:abz", 6),
        ("run:" + "a" * 21, 4),
        ("run:last:", 9),
    ],
)
def test_bad_refs_point_at_the_first_wrong_character(text: str, position: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_ref(text)
    assert (caught.value.text, caught.value.position) == (text, position)


def test_an_empty_ref() -> None:
    with pytest.raises(InvalidInput):
        parse_ref("")


def test_a_file_of_an_artifact_named_run_can_be_written() -> None:
    assert str(ref("run", None, "last")) == "run@latest:last"
    assert parse_ref("run@latest:last") == ref("run", None, "last")


@pytest.mark.parametrize("text", [".", "..", "~", "./a", "../a", "/a", "~/a"])
def test_paths(text: str) -> None:
    assert is_path(text)


@pytest.mark.parametrize("text", ["a", "a/b", ".a", "...", "~a", "a./b", "run:last"])
def test_no_paths(text: str) -> None:
    assert not is_path(text)
