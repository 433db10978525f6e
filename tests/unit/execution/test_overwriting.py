import pytest

from thence.errors import Conflict
from workshop import Workshop


def test_a_file_of_a_version_is_overwritten_and_one_of_none_is_not(workshop: Workshop) -> None:
    path = workshop.write("a.txt", "first")
    workshop.project.save_paths([path], name="a")
    path.write_text("second")
    workshop.project.save_paths([path], name="a")
    workshop.project.get("a@v1", path)
    assert path.read_text() == "first"
    workshop.write("elsewhere/b.txt", "third")
    workshop.project.save_paths([workshop.root / "elsewhere"], name="other")
    path.write_text("third")
    workshop.project.get("a@v2", path)
    assert path.read_text() == "second"


def test_bytes_that_only_wait_to_be_collected_count_as_lost(workshop: Workshop) -> None:
    path = workshop.write("a.txt", "first")
    workshop.project.save_paths([path], name="a")
    path.write_text("second")
    workshop.project.save_paths([path], name="a")
    workshop.project.remove(workshop.project.plan_removal(["a@v2"]), reason="wrong")
    with pytest.raises(Conflict, match="would be lost"):
        workshop.project.get("a@v1", path)
    assert path.read_text() == "second"
    workshop.project.get("a@v1", path, force=True)
    assert path.read_text() == "first"


def test_bytes_of_a_save_that_was_cut_count_as_lost(workshop: Workshop) -> None:
    path = workshop.write("a.txt", "first")
    workshop.project.save_paths([path], name="a")
    path.write_text("unfinished")
    with workshop.project.site.vault.writer() as writer:
        writer.put_bytes(b"unfinished")
    with pytest.raises(Conflict, match="would be lost"):
        workshop.project.get("a@v1", path)
