from pathlib import Path

import matplotlib as mpl
import PIL.Image
import PIL.PngImagePlugin
import pytest
from matplotlib.figure import Figure

from thence.errors import InvalidInput
from thence.formats.base import CompareContext, Tolerance
from thence.formats.image import Image
from thence.formats.registry import compare, dump, load, load_file
from thence.model.records import Comparison, Grade, Kind


def _figure(height: float = 1.0) -> Figure:
    with mpl.rc_context({"backend": "agg"}):
        figure = Figure(figsize=(2, 1))
        figure.subplots().plot([0, 1, height])
    return figure


def _compare(tmp_path: Path, name: str, tolerance: float = 0.0) -> Comparison:
    context = CompareContext(tolerance=Tolerance(absolute=tolerance, relative=0.9))
    return compare(tmp_path / "a", tmp_path / "b", name, context)


def test_a_figure_is_a_picture_with_no_date_or_version_in_it(tmp_path: Path) -> None:
    dumped = dump(_figure(), name="plots/roc")
    assert dumped.files[0].name == "roc.png"
    assert dumped.kind is Kind.FIGURE
    assert dumped == dump(_figure(), name="plots/roc")
    assert b"Matplotlib" not in dumped.files[0].data
    (tmp_path / "roc.png").write_bytes(dumped.files[0].data)
    assert load(tmp_path, dumped.metadata).size == (300, 150)
    assert dump(_figure(), name="roc.png").files[0].name == "roc.png"


def test_another_curve_is_different(tmp_path: Path) -> None:
    for name, height in (("a", 1.0), ("b", 1.1)):
        (tmp_path / name).write_bytes(dump(_figure(height), name="x").files[0].data)
    outcome = _compare(tmp_path, "x.png")
    assert outcome.grade is Grade.DIFFERENT
    assert "pixel x=" in outcome.detail


def test_metadata_and_compression_do_not_matter(tmp_path: Path) -> None:
    image = PIL.Image.linear_gradient("L").convert("RGB")
    notes = PIL.PngImagePlugin.PngInfo()
    notes.add_text("Creation Time", "today")
    image.save(tmp_path / "a", "PNG")
    image.save(tmp_path / "b", "PNG", pnginfo=notes, compress_level=1)
    assert _compare(tmp_path, "x.png").grade is Grade.EQUIVALENT


def test_a_pixel_may_deviate_by_steps_of_a_channel_only(tmp_path: Path) -> None:
    image = PIL.Image.new("RGB", (4, 4), (100, 100, 100))
    image.save(tmp_path / "a", "PNG")
    image.putpixel((1, 2), (100, 102, 100))
    image.save(tmp_path / "b", "PNG")
    outcome = _compare(tmp_path, "x.png")
    assert outcome.grade is Grade.DIFFERENT
    assert outcome.detail == "pixel x=1, y=2: (100, 100, 100) -> (100, 102, 100)"
    within = _compare(tmp_path, "x.png", 2)
    assert within.grade is Grade.WITHIN_TOLERANCE
    assert _compare(tmp_path, "x.png", 1.9).grade is Grade.DIFFERENT


def test_orientation_and_profile_count(tmp_path: Path) -> None:
    image = PIL.Image.new("RGB", (4, 4), (100, 0, 0))
    turned = PIL.Image.Exif()
    turned[0x0112] = 6
    image.save(tmp_path / "a", "JPEG")
    image.save(tmp_path / "b", "JPEG", exif=turned)
    assert _compare(tmp_path, "x.jpg").detail == "orientation differs"
    image.save(tmp_path / "b", "JPEG", icc_profile=b"profile")
    assert _compare(tmp_path, "x.jpg").detail == "icc_profile differs"
    image.save(tmp_path / "b", "JPEG", comment=b"hello")
    assert _compare(tmp_path, "x.jpg").grade is Grade.EQUIVALENT


def test_every_frame_of_an_animation_counts(tmp_path: Path) -> None:
    frames = [PIL.Image.new("RGB", (4, 4), (n * 40, 0, 0)) for n in range(3)]
    frames[0].save(tmp_path / "a", "GIF", save_all=True, append_images=frames[1:], duration=100)
    frames[2].putpixel((0, 0), (0, 255, 0))
    frames[0].save(tmp_path / "b", "GIF", save_all=True, append_images=frames[1:], duration=100)
    outcome = _compare(tmp_path, "x.gif")
    assert outcome.grade is Grade.DIFFERENT
    assert outcome.detail.startswith("frame 2, pixel x=0, y=0")
    frames[0].save(tmp_path / "b", "GIF", save_all=True, append_images=frames[1:2], duration=100)
    assert _compare(tmp_path, "x.gif").detail == "frames: 3 -> 2"


def test_a_mode_that_png_has_not_is_refused() -> None:
    with pytest.raises(InvalidInput, match="mode CMYK"):
        Image().save(PIL.Image.new("CMYK", (2, 2)), "x")


def test_a_broken_image_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    with pytest.raises(InvalidInput, match="not readable as an image"):
        load_file(tmp_path / "x.png")
