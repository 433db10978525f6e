"""Images: figures of matplotlib and images of Pillow, compared by what they show."""

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thence.errors import InvalidInput
from thence.formats.base import (
    CompareContext,
    Dumped,
    DumpedFile,
    Outcome,
    Tolerance,
    Trust,
    Unreadable,
    missing_extra,
    with_suffix,
)
from thence.formats.media import sniff
from thence.formats.tally import Tally
from thence.model.records import Kind

__all__ = ["Image"]

_DPI = 150
_ORIENTATION = 0x0112
_SHOWN_BY = ("transparency", "icc_profile", "gamma", "duration", "loop")
"""Parts of an image's header that change what one sees."""


class Image:
    """Saves figures and images as PNG, loads and compares every image that Pillow reads.

    A saved figure is a picture at 150 dots per inch; it loads as an image of Pillow.

    Compared: size, mode, number of frames, every pixel, and what in the header changes how it is
    shown (orientation, colour profile, transparency, timing). Other metadata and compression are
    `equivalent`. `Tolerance.absolute` is in steps of a channel; the relative tolerance has no
    meaning for pixels and is not used.
    """

    name = "image"
    media_type = "image/png"
    kind = Kind.FIGURE

    def matches(self, name: str, head: bytes) -> bool:
        """Raster images."""
        media_type = sniff(name, head).media_type
        return media_type.startswith("image/") and media_type != "image/svg+xml"

    def saves(self, obj: Any) -> bool:
        """Figures of matplotlib, images of Pillow."""
        return _is_figure(obj) or _is_image(obj)

    def save(self, obj: Any, stem: str) -> Dumped:
        """As PNG, without the version of the writer in it.

        Raises:
            InvalidInput: PNG has not the mode of the image.
        """
        buffer = io.BytesIO()
        if _is_figure(obj):
            obj.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
            python_type = "matplotlib.Figure"
        else:
            try:
                obj.save(buffer, format="PNG")
            except OSError as error:
                raise InvalidInput(
                    f"cannot be saved as PNG: an image of mode {obj.mode}",
                    why=str(error),
                    hint="Convert it first: image.convert('RGB')",
                ) from error
            python_type = "PIL.Image"
        file_name = with_suffix(stem, ".png")
        metadata = {"format": self.name, "file": file_name, "python_type": python_type}
        return Dumped((DumpedFile(file_name, buffer.getvalue()),), self.kind, metadata)

    def load(self, path: Path, metadata: Mapping[str, Any], trust: Trust) -> Any:
        """An image of Pillow, read whole.

        Raises:
            MissingExtra: Pillow is not installed.
        """
        image = _open(path)
        try:
            image.load()
        except (OSError, ValueError, SyntaxError) as error:
            raise Unreadable(path, f"not readable as an image: {error}") from error
        return image

    def compare(self, original: Path, reproduced: Path, context: CompareContext) -> Outcome:
        """Pixel by pixel, frame by frame.

        Raises:
            MissingExtra: Pillow is not installed.
        """
        # relative differences of a colour channel mean nothing: 1 of 2 is not 50 %
        tally = Tally(self.name, Tolerance(absolute=context.tolerance.absolute))
        with _open(original) as first, _open(reproduced) as second:
            if first.size != second.size:
                tally.differs(f"size: {_size(first)} -> {_size(second)}")
            elif first.mode != second.mode:
                tally.differs(f"mode: {first.mode} -> {second.mode}")
            else:
                _compare_frames(tally, (original, first), (reproduced, second))
        return tally.outcome("same pixels, written differently")


def _is_figure(obj: Any) -> bool:
    module = sys.modules.get("matplotlib.figure")
    return module is not None and isinstance(obj, module.Figure)


def _is_image(obj: Any) -> bool:
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(obj, module.Image)


def _open(path: Path) -> Any:
    try:
        import PIL.Image
    except ImportError as error:
        raise missing_extra("Pillow", "images", "to read images") from error
    try:
        return PIL.Image.open(io.BytesIO(path.read_bytes()))
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise Unreadable(path, f"not readable as an image: {type(error).__name__}") from error


def _size(image: Any) -> str:
    return f"{image.width}x{image.height}"


def _compare_frames(tally: Tally, original: tuple[Path, Any], reproduced: tuple[Path, Any]) -> None:
    counts = [getattr(image, "n_frames", 1) for _, image in (original, reproduced)]
    if counts[0] != counts[1]:
        tally.differs(f"frames: {counts[0]} -> {counts[1]}")
        return
    for frame in range(counts[0]):
        where = f"frame {frame}, " if counts[0] > 1 else ""
        first, second = (_frame(path, image, frame) for path, image in (original, reproduced))
        for key in (*_SHOWN_BY, "orientation"):
            if first[1][key] != second[1][key]:
                tally.differs(f"{where}{key} differs")
        _compare_pixels(tally, where, first[0], second[0])


def _frame(path: Path, image: Any, number: int) -> tuple[Any, dict[str, Any]]:
    """The pixels, shape (height, width, channels), and what else decides how they are shown."""
    import numpy as np

    try:
        if number or getattr(image, "n_frames", 1) > 1:
            image.seek(number)
        image.load()
        # the numbers in a palette image are places in its palette, not colours
        seen = image.convert("RGBA") if image.mode in {"P", "PA"} else image
        pixels = np.asarray(seen)
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise Unreadable(path, f"not readable as an image: {error}") from error
    shown = {key: image.info.get(key) for key in _SHOWN_BY}
    if image.mode in {"P", "PA"}:
        shown["transparency"] = None  # is in the pixels now
    shown["orientation"] = image.getexif().get(_ORIENTATION)
    return pixels.reshape(*pixels.shape[:2], -1), shown


def _compare_pixels(tally: Tally, where: str, original: Any, reproduced: Any) -> None:
    import numpy as np

    if original.shape != reproduced.shape or original.dtype != reproduced.dtype:
        tally.differs(f"{where}channels: {original.shape[2]} -> {reproduced.shape[2]}")
        return
    if original.dtype == bool:
        original, reproduced = original.astype(np.uint8), reproduced.astype(np.uint8)
    unequal = (original != reproduced).any(axis=2)
    if not unequal.any():
        return
    off = np.abs(original.astype(np.float64) - reproduced.astype(np.float64)).max(axis=2)
    beyond = unequal & ~(off <= tally.tolerance.absolute)
    within = unequal & ~beyond
    for group, report in ((beyond, "differs"), (within, "deviates")):
        if not group.any():
            continue
        y, x = np.unravel_index(int(np.where(group, off, -1.0).argmax()), off.shape)
        if report == "differs":
            y, x = np.argwhere(group)[0]
        one, other = (tuple(image[y, x].tolist()) for image in (original, reproduced))
        place, times = f"{where}pixel x={x}, y={y}", int(group.sum())
        if report == "differs":
            tally.differs(f"{place}: {one} -> {other}", times=times)
        else:
            tally.deviates(place, one, other, float(off[y, x]), times=times)
