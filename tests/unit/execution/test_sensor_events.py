import os

import pytest

from thence.execution.events import Action, absolute, open_action


@pytest.mark.parametrize(
    ("flags", "action", "detail"),
    [
        (os.O_RDONLY, Action.READ, ""),
        (os.O_RDONLY | os.O_CREAT, Action.READ, "create"),
        (os.O_WRONLY | os.O_CREAT | os.O_TRUNC, Action.TRUNCATE, "create"),
        (os.O_WRONLY | os.O_APPEND, Action.WRITE, "append"),
        (os.O_RDWR, Action.UPDATE, ""),
        (os.O_RDWR | os.O_CREAT | os.O_EXCL, Action.UPDATE, "create exclusive"),
        (os.O_RDWR | os.O_TRUNC, Action.TRUNCATE, ""),
    ],
)
def test_flags_tell_what_is_about_to_happen(flags: int, action: Action, detail: str) -> None:
    assert open_action(flags) == (action, detail)


@pytest.mark.parametrize(
    ("path", "base", "expected"),
    [
        (b"/a/b", b"", "/a/b"),
        (b"b", b"/a", "/a/b"),
        (b"../c", b"/a/b", "/a/c"),
        (b"./c", b"/a", "/a/c"),
        (b"//a//b/", b"", "/a/b"),
        (b"/a/.hidden", b"", "/a/.hidden"),
        (b"\xff", b"/a", "/a/\udcff"),
    ],
)
def test_paths_are_absolute_and_normal(path: bytes, base: bytes, expected: str) -> None:
    assert absolute(path, base) == expected
    assert os.fsencode(expected).endswith(path.rsplit(b"/", 1)[-1])
