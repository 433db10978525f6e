"""Listings of services that go folder by folder come out in the order of keys, and complete."""

from hypothesis import given
from hypothesis import strategies as st

from thence.store.base import ObjectInfo
from thence.store.key_order import in_order, is_key, just_before, key_before, sure_start

# Characters before and after `/`, in few and short names, so that names begin with each other.
_NAMES = st.text(alphabet="!-.0a~", min_size=1, max_size=3).filter(
    lambda name: name not in {".", ".."}
)
_KEYS = st.lists(_NAMES, min_size=1, max_size=3).map("/".join)


def by_folder(keys: set[str], begin: str = "") -> list[str]:
    """What SeaweedFS lists after `begin`: it leaves out a folder that is not after it."""
    start = begin.split("/") if begin else []
    return sorted(
        (key for key in keys if not start or _is_after(key.split("/"), start)),
        key=lambda key: key.split("/"),
    )


def _is_after(key: list[str], start: list[str]) -> bool:
    return key[: len(start)] != start and key > start


def infos(keys: list[str]) -> list[ObjectInfo]:
    return [ObjectInfo(key, 0, 0.0) for key in keys]


@given(keys=st.sets(_KEYS), after=st.one_of(st.just(""), _KEYS, _NAMES.map("{}/".format)))
def test_nothing_is_left_out_and_all_is_sorted(keys: set[str], after: str) -> None:
    listed = by_folder(keys, sure_start(after))
    found = [info.key for info in in_order(iter(infos(listed)), "")]
    assert found == sorted(listed)
    assert [key for key in found if key > after] == sorted(key for key in keys if key > after)


@given(prefix=_KEYS, rest=st.text(alphabet="!-.0a~/", max_size=4))
def test_just_before_is_before_all_that_begin_so(prefix: str, rest: str) -> None:
    begin = just_before(prefix)
    assert begin < prefix + rest
    assert begin == "" or is_key(begin)


@given(text=st.text(alphabet="!-.0a~/ \u00e4", max_size=8))
def test_key_before_is_a_key_and_not_after(text: str) -> None:
    found = key_before(text)
    assert text.startswith(found)
    assert found == "" or is_key(found)


def test_a_folder_of_plain_objects_streams() -> None:
    given_out: list[str] = []

    def listing() -> list[ObjectInfo]:
        return infos([f"log/{n:04d}" for n in range(100)])

    def watched() -> object:
        for info in listing():
            given_out.append(info.key)
            yield info

    first = next(in_order(watched(), "log/"))  # type: ignore[arg-type]
    assert first.key == "log/0000"
    assert len(given_out) == 2
