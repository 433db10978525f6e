import pytest

from thence.errors import Denied
from thence.model.ids import Digest
from workshop import Workshop


def test_who_lifts_a_file_can_save_it_again(workshop: Workshop) -> None:
    path = workshop.write("s.txt", "not secret after all")
    workshop.project.save_paths([path], name="s")
    assert workshop.thence("erase", "s@v1", "--reason", "r", "--yes").returncode == 0
    with pytest.raises(Denied, match="must not come back"):
        workshop.project.save_paths([path], name="s")
    digest = str(Digest.of(path.read_bytes()))
    assert workshop.thence("erase", "--lift", digest, "--reason", "oops").returncode == 0
    workshop.project.save_paths([path], name="s")
    assert workshop.project.history("s")[0].number == 2
