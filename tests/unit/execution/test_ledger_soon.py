"""What of a read is done before the program proceeds, and what a moment later."""

import errno
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from thence.execution import supervisor
from thence.execution.capture.files import FileLedger
from thence.execution.capture.keeper import Keeper
from thence.execution.capture.states import FileState
from thence.execution.events import Action, FileEvent
from thence.execution.launch import launch

REASON = supervisor.probe()
needs_kernel_sensor = pytest.mark.skipif(
    REASON is not None, reason=f"no kernel-level sensor: {REASON}"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path.resolve() / "project"
    root.mkdir()
    for name in ("a.bin", "b.bin", "c.bin"):
        (root / name).write_bytes(name.encode())
    return root


@pytest.fixture
def ledger(root: Path) -> Iterator[FileLedger]:
    ledger = FileLedger(root, cwd=root, spool=root.parent / "spool", home="/nowhere").open()
    yield ledger
    ledger.finish()


def read(path: Path | str) -> FileEvent:
    return FileEvent(Action.READ, str(path))


def notes(root: Path) -> bytes:
    return (root.parent / "spool/files.jsonl").read_bytes()


def bytes_of(states: tuple[FileState, ...], name: str) -> bytes | None:
    (state,) = [state for state in states if state.path.name == name]
    return None if state.kept is None else state.kept.read_bytes()


def test_bytes_are_those_of_the_moment_when_the_read_was_taken(
    root: Path, ledger: FileLedger
) -> None:
    assert ledger.take(read(root / "a.bin"))
    (root / "a.bin").write_bytes(b"changed")
    ledger.catch_up()
    found = ledger.finish()
    assert bytes_of(found.reads, "a.bin") == b"a.bin"
    assert [state.changed_during_run for state in found.reads] == [True]


@pytest.mark.parametrize("action", [Action.TRUNCATE, Action.REMOVE, Action.UPDATE])
def test_what_waits_comes_before_what_is_told_then(
    action: Action, root: Path, ledger: FileLedger
) -> None:
    assert ledger.take(read(root / "a.bin"))
    ledger.on_event(FileEvent(action, str(root / "a.bin")))
    (root / "a.bin").unlink()
    found = ledger.finish()
    assert bytes_of(found.reads, "a.bin") == b"a.bin"
    assert bytes_of(found.removed, "a.bin") == b"a.bin"


def test_what_still_waits_at_the_end_is_not_lost(root: Path, ledger: FileLedger) -> None:
    ledger.take(read(root / "a.bin"))
    ledger.take(read(os.__file__))
    found = ledger.finish()
    assert bytes_of(found.reads, "a.bin") == b"a.bin"
    assert os.path.realpath(os.__file__) in found.environment


@pytest.mark.parametrize(
    "name",
    ["train.py", "conf.yaml", ".env", "data.csv", "notes.txt", "key.pem", "id_rsa", "Makefile"],
)
def test_text_and_secrets_do_not_wait(name: str, root: Path, ledger: FileLedger) -> None:
    (root / name).write_text("x")
    assert not ledger.take(read(root / name))


def test_what_is_no_small_file_does_not_wait(root: Path, ledger: FileLedger) -> None:
    (root / "large.bin").write_bytes(bytes(1 << 20))
    os.mkfifo(root / "pipe.bin")
    for name in ("large.bin", "pipe.bin", "missing.bin"):
        assert not ledger.take(read(root / name))


def test_a_result_of_the_run_does_not_become_an_input(root: Path, ledger: FileLedger) -> None:
    ledger.on_event(FileEvent(Action.TRUNCATE, str(root / "new.bin"), detail="create"))
    (root / "new.bin").write_bytes(b"made")
    if ledger.take(read(root / "new.bin")):
        ledger.catch_up()
    else:
        ledger.on_event(read(root / "new.bin"))
    assert ledger.finish().reads == ()


def test_secret_files_of_any_name_are_never_kept(root: Path) -> None:
    ledger = FileLedger(
        root, cwd=root, spool=root.parent / "spool", protect=lambda path: path.endswith("a.bin")
    ).open()
    assert ledger.take(read(root / "a.bin"))
    (state,) = ledger.finish().reads
    assert (state.kept, state.why_not_kept) == (None, "secret")
    assert not list((root.parent / "spool/kept").iterdir())


def test_one_that_fails_takes_no_other_with_it(
    root: Path, ledger: FileLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    note_read = FileLedger._note_read

    def fail_at_first(self: FileLedger, state: FileState) -> None:
        if state.path.name == "a.bin":
            raise ValueError("a bug")
        note_read(self, state)

    monkeypatch.setattr(FileLedger, "_note_read", fail_at_first)
    for name in ("a.bin", "b.bin"):
        ledger.take(read(root / name))
    with pytest.raises(ValueError, match="a bug"):
        ledger.on_event(read(root / "c.bin"))
    assert {state.path.name for state in ledger.finish().reads} == {"b.bin", "c.bin"}


def test_a_full_disk_is_said(
    root: Path, ledger: FileLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Keeper, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Keeper, "_append", full)
    ledger.take(read(root / "a.bin"))
    (state,) = ledger.finish().reads
    assert (state.kept, state.why_not_kept) == (None, "no-space")


@needs_kernel_sensor
def test_what_waits_is_noted_while_the_program_does_something_else(
    root: Path, ledger: FileLedger
) -> None:
    # It goes on when the notes have its read: without that it ends with 1 after a while.
    script = (
        "import pathlib, time\n"
        "pathlib.Path('a.bin').read_bytes()\n"
        "until = time.monotonic() + 30\n"
        "while not pathlib.Path('go').exists():\n"
        "    assert time.monotonic() < until\n"
        "    time.sleep(0.01)\n"
    )
    ended = threading.Event()

    def let_go() -> None:
        while b"/a.bin" not in notes(root):
            if ended.wait(0.01):
                return
        (root / "go").touch()

    thread = threading.Thread(target=let_go)
    thread.start()
    done = launch(
        [sys.executable, "-I", "-c", script],
        cwd=root,
        env=os.environ,
        on_event=ledger.on_event,
        soon=ledger,
        sensor="seccomp",
    )
    ended.set()
    thread.join()
    assert done.exit_code == 0
