"""The cache of whole files that folders link to: what it gives is what was asked for."""

import errno
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from thence.errors import StorageError
from thence.model.ids import Digest
from thence.vault import plainfiles
from thence.vault.checkout import check_out, digest_of_file
from thence.vault.plainfiles import LinkKind, PlainFiles
from thence.vault.restorer import Links
from thence.vault.tree import TreeEntry
from thence.vault.vault import Vault

DATA = b"some data"


class Linker:
    """Links to contents; counts how often the bytes of one were written and read again."""

    def __init__(self, folder: Path, *, limit_bytes: int = 10**9) -> None:
        self.folder = folder
        self.made = 0
        self.read = 0
        self.after_reading: Callable[[], None] = lambda: None
        now = count(10**18, 10**9)
        self.files = PlainFiles(
            folder / "cache",
            digest_of=self._digest_of,
            limit_bytes=limit_bytes,
            clock_ns=lambda: next(now),
        )

    def _digest_of(self, path: Path) -> Digest:
        self.read += 1
        found = digest_of_file(path)
        self.after_reading()
        return found

    def link(self, name: str, data: bytes = DATA, *, executable: bool = False) -> Path:
        def make(path: Path) -> None:
            self.made += 1
            path.write_bytes(data)

        path = self.folder / name
        done = self.files.link(
            Digest.of(data), str(path), make, executable=executable, kind=LinkKind.HARD
        )
        assert done
        return path

    def kept(self) -> set[Digest]:
        return {Digest.from_hex(path.name) for path in self.files._folder.glob("??/*")}


@pytest.fixture
def linker(tmp_path: Path) -> Linker:
    return Linker(tmp_path)


def test_links_to_one_content_are_one_read_only_file(linker: Linker) -> None:
    first, second = linker.link("first"), linker.link("second")
    assert first.read_bytes() == DATA
    assert first.samefile(second)
    assert first.stat().st_mode & 0o777 == 0o444
    assert (linker.made, linker.read) == (1, 0)


def test_a_program_is_a_file_of_its_own(linker: Linker) -> None:
    plain, program = linker.link("plain"), linker.link("program", executable=True)
    assert not plain.samefile(program)
    assert plain.stat().st_mode & 0o777 == 0o444
    assert program.stat().st_mode & 0o777 == 0o555


@pytest.mark.parametrize("keep_times", [False, True])
def test_a_file_changed_through_a_link_is_never_given_again(
    linker: Linker, keep_times: bool
) -> None:
    first = linker.link("first")
    times = first.stat()
    first.chmod(0o644)
    first.write_bytes(DATA.upper())
    if keep_times:
        os.utime(first, ns=(times.st_atime_ns, times.st_mtime_ns))
    second = linker.link("second")
    assert second.read_bytes() == DATA
    assert not first.samefile(second)
    assert first.read_bytes() == DATA.upper()


def test_a_file_changed_while_it_is_read_is_not_given(linker: Linker) -> None:
    first = linker.link("first")
    os.utime(first)  # so that it is read again

    def write() -> None:
        linker.after_reading = lambda: None
        first.chmod(0o644)
        with first.open("r+b") as file:
            file.write(DATA.upper())

    linker.after_reading = write
    assert linker.link("second").read_bytes() == DATA
    assert linker.link("third").read_bytes() == DATA


def test_a_file_that_only_lost_a_link_is_read_once_and_stays(linker: Linker) -> None:
    linker.link("first").unlink()
    linker.link("second")
    assert (linker.made, linker.read) == (1, 1)
    linker.link("third")
    assert linker.read == 1


def test_a_file_that_cannot_be_made_leaves_nothing(linker: Linker) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(DATA[:2])
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(StorageError, match="disk is full"):
        linker.files.link(
            Digest.of(DATA), str(linker.folder / "a"), fail, executable=False, kind=LinkKind.HARD
        )
    assert not [path for path in linker.folder.rglob("*") if path.is_file()]


def test_what_was_not_used_for_longest_goes_and_what_is_linked_stays(tmp_path: Path) -> None:
    linker = Linker(tmp_path, limit_bytes=25)
    contents = [bytes([number]) * 10 for number in range(4)]
    for number, data in enumerate(contents):
        linker.link(str(number), data)
    linker.files.make_room()
    assert linker.kept() == set(map(Digest.of, contents))
    linker.link("again", contents[0])
    for name in ("0", "again", "1", "2"):
        (tmp_path / name).unlink()
    linker.files.make_room()
    # 1 was used before 2 and 0; 3 still has its link.
    assert linker.kept() == {Digest.of(contents[at]) for at in (0, 2, 3)}


def test_a_file_that_goes_meanwhile_is_made_again(linker: Linker) -> None:
    linker.link("first").unlink()
    (kept,) = linker.files._folder.glob("??/*")
    read = linker.files._digest_of

    def read_and_lose(path: Path) -> Digest:
        digest = read(path)
        kept.unlink()
        return digest

    linker.files._digest_of = read_and_lose
    assert linker.link("second").read_bytes() == DATA
    assert linker.made == 2


def test_the_kind_of_link_is_found_by_making_one(linker: Linker, tmp_path: Path) -> None:
    folder = tmp_path / "is" / "not" / "there"
    assert linker.files.kind_for(folder, LinkKind.HARD) is LinkKind.HARD
    assert linker.files.kind_for(folder, None) in set(LinkKind)
    assert list(tmp_path.iterdir()) == [tmp_path / "cache"]
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("wanted", [None, LinkKind.HARD, LinkKind.REFLINK])
def test_no_kind_of_link_is_a_clear_error(
    linker: Linker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: LinkKind | None
) -> None:
    monkeypatch.setattr(plainfiles, "_make", lambda *args, **options: False)
    with pytest.raises(StorageError, match="cannot be links") as caught:
        linker.files.kind_for(tmp_path, wanted)
    assert "has no" in str(caught.value.why)
    assert "--link" in str(caught.value.hint)


@pytest.fixture
def links(linker: Linker) -> Links:
    return Links(linker.files, LinkKind.HARD)


def _entries(vault: Vault, contents: dict[str, bytes]) -> list[TreeEntry]:
    with vault.writer() as writer:
        return [
            TreeEntry(path, len(data), writer.put_bytes(data).digest)
            for path, data in contents.items()
        ]


def test_a_folder_of_links(
    vault: Vault, links: Links, tmp_path: Path, random_bytes: Callable[[int], bytes]
) -> None:
    contents = {"a": b"small", "b/c": b"small", "b/d": random_bytes(1_000_000), "empty": b""}
    entries = _entries(vault, contents)
    for name in ("one", "two"):
        told: list[tuple[int, int, int | None]] = []
        done = check_out(
            entries,
            vault.content,
            tmp_path / name,
            links=links,
            progress=lambda files, size, total=None, told=told: told.append((files, size, total)),
        )
        assert done.linked is LinkKind.HARD
        assert {path: (tmp_path / name / path).read_bytes() for path in contents} == contents
        assert told[-1] == (4, 1_000_010, 1_000_010)
    assert (tmp_path / "one/a").samefile(tmp_path / "two/b/c")
    assert not (tmp_path / "one/empty").samefile(tmp_path / "two/empty")


def test_a_linked_file_is_replaced_and_not_written_through(
    vault: Vault, links: Links, tmp_path: Path
) -> None:
    old, new = _entries(vault, {"a": b"old"}), _entries(vault, {"a": b"new"})
    check_out(old, vault.content, tmp_path / "one", links=links)
    check_out(old, vault.content, tmp_path / "two", links=links)
    check_out(new, vault.content, tmp_path / "one", before=old)
    program = [entry._replace(executable=True) for entry in old]
    check_out(program, vault.content, tmp_path / "two", before=old)
    check_out(old, vault.content, tmp_path / "three", links=links)
    assert (tmp_path / "one/a").read_bytes() == b"new"
    assert (tmp_path / "two/a").stat().st_mode & 0o100
    assert (tmp_path / "three/a").read_bytes() == b"old"
    assert (tmp_path / "three/a").stat().st_mode & 0o777 == 0o444
