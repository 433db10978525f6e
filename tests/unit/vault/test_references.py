"""What records refer to, and that no digest in a record was forgotten."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from thence.errors import DataDamaged
from thence.model import codec, records
from thence.model.ids import Digest, RunId
from thence.model.names import ArtifactName
from thence.model.records import (
    ArtifactEdit,
    Code,
    Entry,
    FileRole,
    FileUse,
    Host,
    Kind,
    Record,
    RunSealed,
    RunStatus,
    SensorReport,
    Tombstone,
    Version,
    VersionEdit,
    encode_lines,
)
from thence.vault import tree
from thence.vault.references import (
    FIELDS,
    Root,
    RootKind,
    digests_in,
    references,
    roots_of,
)
from thence.vault.tree import TreeEntry

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def digest(text: str) -> Digest:
    return Digest.of(text.encode())


def version(**fields: Any) -> Version:
    return Version(
        artifact=ArtifactName("a"),
        kind=Kind.FILE,
        tree=digest("tree"),
        size=1,
        files=1,
        created=NOW,
        author="Ada",
        **fields,
    )


def sealed(**fields: Any) -> RunSealed:
    return RunSealed(
        run=RunId("0" * 20),
        command=("x",),
        root="/",
        cwd="",
        started=NOW,
        ended=NOW,
        status=RunStatus.FINISHED,
        author="Ada",
        host=Host(name="h", system="Linux", release="6", machine="x86_64"),
        sensor=SensorReport(name="seccomp", completeness="kernel-complete"),
        **fields,
    )


def leaves(shape: msgspec.inspect.Type) -> Iterator[msgspec.inspect.Type]:
    """The types that a type is made of, structs not opened."""
    if isinstance(shape, msgspec.inspect.UnionType):
        for one in shape.types:
            yield from leaves(one)
    elif isinstance(shape, msgspec.inspect.TupleType):
        for one in shape.item_types:
            yield from leaves(one)
    elif isinstance(
        shape,
        msgspec.inspect.VarTupleType
        | msgspec.inspect.ListType
        | msgspec.inspect.SetType
        | msgspec.inspect.FrozenSetType,
    ):
        yield from leaves(shape.item_type)
    elif isinstance(shape, msgspec.inspect.DictType):
        yield from leaves(shape.key_type)
        yield from leaves(shape.value_type)
    else:
        yield shape


def is_digest(shape: msgspec.inspect.Type) -> bool:
    return isinstance(shape, msgspec.inspect.CustomType) and shape.cls is Digest


def all_structs() -> list[type[msgspec.Struct]]:
    """All record types and everything that lies in one; file uses lie in contents."""
    found: dict[type[msgspec.Struct], None] = {}
    pending: list[type[msgspec.Struct]] = [*records._RECORDS.values(), FileUse]
    while pending:
        struct = pending.pop()
        if struct in found:
            continue
        found[struct] = None
        for field in shape_of(struct).fields:
            pending += [
                leaf.cls
                for leaf in leaves(field.type)
                if isinstance(leaf, msgspec.inspect.StructType)
            ]
    return list(found)


def shape_of(struct: type[msgspec.Struct]) -> msgspec.inspect.StructType:
    shape = msgspec.inspect.type_info(struct)
    assert isinstance(shape, msgspec.inspect.StructType)
    return shape


def test_every_field_that_holds_digests_is_in_the_table() -> None:
    for struct in all_structs():
        fields = {
            field.name
            for field in shape_of(struct).fields
            if any(is_digest(leaf) for leaf in leaves(field.type))
        }
        assert fields == set(FIELDS.get(struct, {})), f"say what the digests of {struct} are"
    assert set(records._RECORDS.values()) <= set(FIELDS)


def test_no_field_for_content_holds_more_than_one() -> None:
    for struct, kinds in FIELDS.items():
        for field in shape_of(struct).fields:
            if kinds.get(field.name) is not None:
                assert not isinstance(field.type, msgspec.inspect.VarTupleType), field.name


def test_every_struct_inside_of_a_record_is_walked() -> None:
    """Only the code of a run holds digests of its own; `references` opens no other."""
    inside = set(all_structs()) - set(records._RECORDS.values()) - {FileUse}
    assert {struct for struct in inside if FIELDS.get(struct)} == {Code}
    opened = {
        struct
        for struct in records._RECORDS.values()
        for field in shape_of(struct).fields
        for leaf in leaves(field.type)
        if isinstance(leaf, msgspec.inspect.StructType) and leaf.cls is Code
    }
    assert opened == {RunSealed}


def test_references_of_versions_and_edits() -> None:
    assert list(references(version(sources=(digest("other"),)))) == [
        Root(digest("tree"), RootKind.TREE)
    ]
    assert set(references(version(card=digest("card"), profile=digest("profile")))) == {
        Root(digest("tree"), RootKind.TREE),
        Root(digest("card"), RootKind.CONTENT),
        Root(digest("profile"), RootKind.CONTENT),
    }
    assert list(references(VersionEdit(version=digest("v"), card=digest("card")))) == [
        Root(digest("card"), RootKind.CONTENT)
    ]
    assert list(references(ArtifactEdit(artifact=ArtifactName("a"), card=digest("card")))) == [
        Root(digest("card"), RootKind.CONTENT)
    ]
    assert list(references(Tombstone(version=digest("v"), reason="r"))) == []


def test_references_of_a_run() -> None:
    names = ("series", "environment", "stdout", "stderr")
    record = sealed(
        files=digest("files"),
        code=Code(diff=digest("diff")),
        uses=(digest("used"),),
        makes=(digest("made"),),
        **{name: digest(name) for name in names},
    )
    assert set(references(record)) == {
        Root(digest("files"), RootKind.FILES),
        Root(digest("diff"), RootKind.CONTENT),
        *(Root(digest(name), RootKind.CONTENT) for name in names),
    }


def entry(name: str, record: Record | None, **fields: Any) -> Entry:
    """As it would be read, with fields in the record that this version does not know."""
    plain = {**json.loads(codec.encode(version())), **fields}
    return Entry(id=name, at=NOW, by="Ada", record=record, record_bytes=codec.encode(plain))


def test_entries_that_a_newer_version_wrote_are_named() -> None:
    entries = [
        entry("known", version()),
        entry("newer field", version(), thumbnail=str(digest("thumbnail"))),
        entry("known again", version()),
        entry("newer type", None, type="hologram"),
    ]
    found = roots_of(entries)
    assert found.roots == (Root(digest("tree"), RootKind.TREE),)
    assert found.unknown == ("newer field", "newer type")


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_the_digests_in_a_tree_and_in_a_list_of_uses(size: int) -> None:
    wanted = [digest(str(n)).raw for n in range(20)]
    entries = [TreeEntry(f"f{n:02}\u2028é", n, Digest(raw)) for n, raw in enumerate(wanted)]
    assert list(digests_in(RootKind.TREE, pieces(tree.encode(entries), size))) == wanted
    uses = [
        FileUse(path=f"f{n}", role=FileRole.INPUT, digest=Digest(raw), version=digest("v"))
        for n, raw in enumerate(wanted)
    ]
    uses.insert(3, FileUse(path="secret", role=FileRole.INPUT, why_not_kept="secret"))
    assert list(digests_in(RootKind.FILES, pieces(encode_lines(uses), size))) == wanted
    assert list(digests_in(RootKind.CONTENT, pieces(encode_lines(uses), size))) == []


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (RootKind.TREE, b"no json"),
        (RootKind.TREE, b'["a",1,"","00"]'),
        (RootKind.TREE, b'["a",1,"","' + b"zz" * 32 + b'"]'),
        (RootKind.TREE, b"[" * 100_000),
        (RootKind.FILES, b'{"digest":"md5:00"}'),
        (RootKind.FILES, b'{"digest":7}'),
        (RootKind.FILES, b"\xff"),
    ],
)
def test_what_is_no_list_is_damage(kind: RootKind, line: bytes) -> None:
    with pytest.raises(DataDamaged, match="cannot be read"):
        list(digests_in(kind, [line + b"\n"]))


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    endless = iter(lambda: b"x" * 100_000, b"")
    with pytest.raises(DataDamaged, match="no end"):
        list(digests_in(RootKind.TREE, endless))
