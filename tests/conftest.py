"""What tests of whole projects share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import azurite as azurite_server
import fake_gcs as fake_gcs_server
import moto_s3 as moto_server
import rclone_s3 as rclone_server
import seaweed as seaweed_server
from fault_tally import faults, pytest_addoption, pytest_terminal_summary
from thence.execution import staging
from workshop import Workshop

# How long a machine takes says nothing about the code: it may be doing other things.
settings.register_profile("thence", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("thence")

__all__ = ["NewWorkshop", "faults", "pytest_addoption", "pytest_terminal_summary"]

NewWorkshop = Callable[[], Workshop]


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    """A fresh project."""
    made = Workshop(tmp_path / "project")
    yield made
    made.project.site.index.close()


@pytest.fixture
def in_a_plain_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the system permits no namespaces."""
    monkeypatch.setattr(staging, "reason_against", lambda _: "No namespaces are permitted here.")


@pytest.fixture(scope="module")
def module_workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A fresh project that the tests of a module share."""
    made = Workshop(tmp_path_factory.mktemp("shared") / "project")
    yield made
    made.project.site.index.close()


@pytest.fixture(scope="session")
def fake_gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fake_gcs_server.FakeGcs]:
    """An emulator of Google Cloud Storage."""
    if reason := fake_gcs_server.available():
        pytest.skip(reason)
    with fake_gcs_server.fake_gcs(tmp_path_factory.mktemp("fake-gcs")) as server:
        yield server


@pytest.fixture(scope="session")
def seaweed() -> Iterator[seaweed_server.S3Server]:
    """SeaweedFS, with a bucket named `thence`."""
    if reason := seaweed_server.available():
        pytest.skip(reason)
    with seaweed_server.seaweed() as server:
        yield server


@pytest.fixture(scope="session")
def moto_s3() -> Iterator[seaweed_server.S3Server]:
    """moto as an S3 service, with a bucket named `thence`."""
    if reason := moto_server.available():
        pytest.skip(reason)
    with moto_server.moto_s3() as server:
        yield server


@pytest.fixture(scope="session")
def rclone_s3() -> Iterator[seaweed_server.S3Server]:
    """`rclone serve s3`, which ignores preconditions, with a bucket named `thence`."""
    if reason := rclone_server.available():
        pytest.skip(reason)
    with rclone_server.rclone_s3() as server:
        yield server


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[azurite_server.Azurite]:
    """An emulator of Azure Blob Storage."""
    if reason := azurite_server.available():
        pytest.skip(reason)
    with azurite_server.azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server
