"""Where many ids lie, asked at once by who gives content back."""

from collections.abc import Iterable

from thence.vault.directory import Directory
from thence.vault.pack import ENTRY, ENTRY_SIZE, BlockKind, Codec, DirectoryEntry
from thence.vault.segment import Location, Segment

__all__ = ["places"]

# To pass by an entry takes a sixtieth of the time that a search takes (0.3 us and 18 us, measured).
_SCAN = 40
_KINDS = {kind.value: kind for kind in BlockKind}
_CODECS = {codec.value: codec for codec in Codec}


def places(directory: Directory, ids: Iterable[bytes]) -> dict[bytes, Location]:
    """The ids that are known here and where they lie; numpy would take longer to be imported.

    Args:
        directory: What is known.
        ids: What is wanted.
    """
    left = set(ids)
    found: dict[bytes, Location] = {}
    for segment in directory.segments():
        if not left:
            break
        if segment.count <= _SCAN * len(left):
            _scan(segment, left, found)
        else:
            for wanted in left:
                if where := segment.find(wanted):
                    found[wanted] = where
        left.difference_update(found)
    return found


def _scan(segment: Segment, wanted: set[bytes], found: dict[bytes, Location]) -> None:
    data = segment.data
    unpack, make = ENTRY.unpack_from, DirectoryEntry._make
    for at in range(len(data) - segment.count * ENTRY_SIZE, len(data), ENTRY_SIZE):
        key = data[at : at + 32]
        if key not in wanted or key in found:
            continue
        number = int.from_bytes(data[at + 58 : at + 62], "little")
        *fields, kind, codec = unpack(data, at)
        if number < len(segment.packs) and kind in _KINDS and codec in _CODECS:
            entry = make((*fields, _KINDS[kind], _CODECS[codec]))
            found[key] = Location(segment.packs[number], entry)
