"""The grammar of URLs of stores in buckets."""

import pytest

from thence.errors import InvalidInput
from thence.store.url import StoreUrl, parse_store_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket", StoreUrl("s3", "bucket", "", {})),
        ("S3://bucket/", StoreUrl("s3", "bucket", "", {})),
        ("s3://bucket/team-a/x/", StoreUrl("s3", "bucket", "team-a/x", {})),
        ("s3://bucket/a%2Bb", StoreUrl("s3", "bucket", "a+b", {})),
        (
            "s3://b.u-c/x?endpoint=http://127.0.0.1:8333/&region=eu-west-1&profile=a%20b",
            StoreUrl(
                "s3",
                "b.u-c",
                "x",
                {"endpoint": "http://127.0.0.1:8333", "region": "eu-west-1", "profile": "a b"},
            ),
        ),
        ("gs://bucket/x?project=p", StoreUrl("gs", "bucket", "x", {"project": "p"})),
        ("gcs://bucket", StoreUrl("gs", "bucket", "", {})),
        ("az://container/x?account=me", StoreUrl("az", "container", "x", {"account": "me"})),
        ("azure://container", StoreUrl("az", "container", "", {})),
        (
            "abfss://container@account1.dfs.core.windows.net/x/y",
            StoreUrl("az", "container", "x/y", {"account": "account1"}),
        ),
    ],
)
def test_urls(text: str, expected: StoreUrl) -> None:
    parsed = parse_store_url(text)
    assert parsed == expected
    assert parse_store_url(str(parsed)) == expected


def test_one_store_has_one_text() -> None:
    texts = [
        "s3://bucket/a?region=r&endpoint=https://e",
        "S3://bucket/a/?endpoint=https%3A%2F%2Fe/&region=r",
    ]
    assert {str(parse_store_url(text)) for text in texts} == {
        "s3://bucket/a?endpoint=https://e&region=r"
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("s3://", "name of a bucket"),
        ("s3:///prefix", "name of a bucket"),
        ("s3://b", "name of a bucket"),
        ("s3://bu cket", "name of a bucket"),
        ("s3://bucket/a b", "plain segments"),
        ("s3://bucket/a/../b", "plain segments"),
        ("s3://bucket/a//b", "plain segments"),
        ("s3://bucket#x", "meaning of its own"),
        ("s3://bucket?acount=x", "addressing, endpoint, profile, region"),
        ("gs://bucket?region=x", "endpoint, project"),
        ("az://bucket?region=x", "account, endpoint"),
        ("s3://bucket?region=", "is empty"),
        ("s3://bucket?region=a&region=b", "is given twice"),
        ("file:///x", "not the URL of a store in a bucket"),
    ],
)
def test_what_is_no_url_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_store_url(text)
    assert says in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "s3://AKIA:hunter2@bucket/x",
        "s3://hunter2@bucket/x",
        "s3://bucket?secret_access_key=hunter2",
        "s3://bucket?endpoint=https://me:hunter2@host",
        "gs://hunter2:@bucket",
        "az://container?sig=hunter2",
        "az://container?account_key=hunter2&account=me",
    ],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_store_url(text)
    assert "hunter2" not in f"{caught.value} {caught.value!r} {caught.value.to_dict()}"
    assert "credentials" in str(caught.value).lower()
    assert any(word in caught.value.hint for word in ("AWS_", "GOOGLE_", "AZURE_"))
