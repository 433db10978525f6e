"""What every format must do. Plug-ins subclass a contract and supply examples."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from thence.errors import MissingExtra
from thence.formats.base import (
    CompareContext,
    Comparer,
    Dumped,
    Format,
    Loader,
    Outcome,
    Saver,
    Trust,
    Unreadable,
)
from thence.formats.media import HEAD_BYTES
from thence.model import codec
from thence.model.records import Grade

__all__ = ["FormatContract", "SaverContract"]


class FormatContract:
    """Tests of a format that recognises and compares its files.

    A subclass overrides `make`, `samples` and `near_misses`, and `write` where the format does not
    save. `SaverContract` has the tests of those that do.
    """

    context = CompareContext()

    def make(self) -> Format:
        """The format under test."""
        raise NotImplementedError

    def samples(self) -> Sequence[Any]:
        """Objects that the format saves, or what `write` makes its files of."""
        raise NotImplementedError

    def near_misses(self) -> Sequence[tuple[Any, Any]]:
        """Pairs that differ as little as can be, made without the comparison's own code."""
        raise NotImplementedError

    def write(self, obj: Any, folder: Path) -> Path:
        """Save an object into a folder; the path of its file."""
        return self._write(obj, folder)[0]

    def test_it_says_what_it_is(self) -> None:
        """Name, media type and kind are there, and the name is one word."""
        known = self.make()
        assert isinstance(known, Format)
        assert known.name.isidentifier()
        assert "/" in known.media_type

    def test_it_recognises_its_own_files(self, tmp_path: Path) -> None:
        """The format matches what it wrote."""
        known = self.make()
        for number, sample in enumerate(self.samples()):
            path = self.write(sample, tmp_path / str(number))
            assert known.matches(path.name, path.read_bytes()[:HEAD_BYTES])

    def test_a_file_is_never_different_from_itself(self, tmp_path: Path) -> None:
        """Comparing a file with itself finds nothing, NaN and all."""
        known = self.make()
        if not isinstance(known, Comparer):
            pytest.skip(f"{known.name} is compared by its bytes")
        for number, sample in enumerate(self.samples()):
            path = self.write(sample, tmp_path / str(number))
            outcome = self._compare(path, path)
            assert outcome.grade is Grade.EQUIVALENT, outcome.detail

    def test_near_misses_are_different(self, tmp_path: Path) -> None:
        """What differs in the least is different, in both directions, and the detail says where."""
        known = self.make()
        if not isinstance(known, Comparer):
            pytest.skip(f"{known.name} is compared by its bytes")
        for number, (one, other) in enumerate(self.near_misses()):
            first = self.write(one, tmp_path / f"{number}a")
            second = self.write(other, tmp_path / f"{number}b")
            for pair in ((first, second), (second, first)):
                outcome = self._compare(*pair)
                assert outcome.grade is Grade.DIFFERENT, f"pair {number}: {outcome}"
                assert outcome.detail

    def test_a_damaged_file_is_unreadable(self, tmp_path: Path) -> None:
        """A file that was cut short raises `Unreadable`, or is different; nothing else."""
        known = self.make()
        if not isinstance(known, Comparer):
            pytest.skip(f"{known.name} is compared by its bytes")
        path = self.write(self.samples()[0], tmp_path / "whole")
        cut = tmp_path / "cut" / path.name
        cut.parent.mkdir()
        cut.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        blamed, grade = cut, Grade.DIFFERENT
        try:
            grade = self._compare(path, cut).grade
        except Unreadable as error:
            blamed = error.path
        assert grade in {Grade.DIFFERENT, Grade.UNCHECKED}
        assert blamed == cut

    def _compare(self, original: Path, reproduced: Path) -> Outcome:
        known = self.make()
        assert isinstance(known, Comparer)
        try:
            return known.compare(original, reproduced, self.context)
        except MissingExtra as error:
            pytest.skip(error.what)

    def _write(self, obj: Any, folder: Path) -> tuple[Path, Dumped]:
        known = self.make()
        assert isinstance(known, Saver)
        dumped = known.save(obj, "sample")
        folder.mkdir(parents=True)
        for file in dumped.files:
            (folder / file.name).write_bytes(file.data)
        return folder / dumped.files[0].name, dumped


class SaverContract(FormatContract):
    """Tests of a format that saves and loads, too.

    A subclass overrides `same` where `==` does not say whether two objects are the same.
    """

    trust = Trust()

    def same(self, original: Any, loaded: Any) -> bool:
        """Whether what was loaded is what was saved."""
        return type(original) is type(loaded) and bool(original == loaded)

    def test_what_it_saves_comes_back(self, tmp_path: Path) -> None:
        """Save and load give the same object."""
        known = self.make()
        assert isinstance(known, Saver)
        assert isinstance(known, Loader)
        for number, sample in enumerate(self.samples()):
            assert known.saves(sample)
            path, dumped = self._write(sample, tmp_path / str(number))
            loaded = known.load(path, dumped.metadata, self.trust)
            assert self.same(sample, loaded), f"sample {number} came back as {loaded!r}"

    def test_its_metadata_fits_in_a_record(self) -> None:
        """Metadata is canonical JSON and names the format and the file."""
        known = self.make()
        assert isinstance(known, Saver)
        for sample in self.samples():
            dumped = known.save(sample, "sample")
            assert codec.decode(codec.encode(dumped.metadata), dict) == dumped.metadata
            assert dumped.metadata["format"] == known.name
            assert dumped.metadata["file"] == dumped.files[0].name

    def test_saving_twice_gives_the_same_bytes(self) -> None:
        """Bytes are a function of the object: no times, no addresses."""
        known = self.make()
        assert isinstance(known, Saver)
        for sample in self.samples():
            assert known.save(sample, "a").files[0].data == known.save(sample, "a").files[0].data
