"""The ledger, mostly under real programs."""

import os
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from thence.errors import NotFound, StorageError
from thence.execution import supervisor
from thence.execution.capture.files import FileLedger
from thence.execution.capture.keeper import Keeper, Kept
from thence.execution.capture.states import FileState, Ledger
from thence.execution.events import Action, FileEvent
from thence.execution.launch import launch
from thence.model.ids import Digest

REASON = supervisor.probe()
needs_kernel_sensor = pytest.mark.skipif(
    REASON is not None, reason=f"no kernel-level sensor: {REASON}"
)


class Project:
    """A folder in which commands are run under a ledger."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self.root.mkdir()
        self.spool = folder / "spool"
        self.options: dict[str, Any] = {"home": folder / "home"}

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.root / name).write_text(text)

    def ledger(self) -> FileLedger:
        return FileLedger(self.root, cwd=self.root, spool=self.spool, **self.options).open()

    def run(self, *command: str) -> Ledger:
        ledger = self.ledger()
        ended = launch(
            command, cwd=self.root, env=os.environ, on_event=ledger.on_event, soon=ledger
        )
        assert ended.problems == ()
        self.exit_code = ended.exit_code
        return ledger.finish()

    def shell(self, script: str) -> Ledger:
        return self.run("sh", "-c", script)

    def python(self, code: str) -> Ledger:
        return self.run(sys.executable, "-c", code)

    def names(self, found: tuple[Any, ...]) -> set[str]:
        return {os.path.relpath(item.path, self.root) for item in found}


def content(states: tuple[FileState, ...], name: str) -> bytes | None:
    (state,) = [state for state in states if state.path.name == name]
    return None if state.kept is None else state.kept.read_bytes()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path.resolve())
    project.write(a="a\n", b="b\n", c="c\n")
    return project


@needs_kernel_sensor
class TestWhatPrograms:
    def test_read_becomes_input_and_write_becomes_output(self, project: Project) -> None:
        ledger = project.shell("cat a > out")
        assert project.names(ledger.reads) == {"a"}
        assert project.names(ledger.outputs) == {"out"}
        assert content(ledger.reads, "a") == b"a\n"
        assert not ledger.overwritten
        assert not ledger.removed

    @pytest.mark.parametrize(
        "script",
        [
            "sort -o a a b",
            "cat a b > t; mv t a",
            "sed -i s/a/z/ a",
            f"{sys.executable} -c \"s = open('a').read(); open('a', 'w').write(s * 2)\"",
        ],
    )
    def test_an_input_that_is_overwritten_is_all_three(self, project: Project, script: str) -> None:
        ledger = project.shell(script)
        assert "a" in project.names(ledger.reads)
        assert content(ledger.reads, "a") == b"a\n"
        assert content(ledger.overwritten, "a") == b"a\n"
        assert "a" in project.names(ledger.outputs)
        assert "a" not in {s.path.name for s in ledger.reads if s.changed_during_run}

    @pytest.mark.parametrize("script", ["echo new > a", "cp b a", "dd if=b of=a status=none"])
    def test_what_is_only_overwritten_is_no_input(self, project: Project, script: str) -> None:
        ledger = project.shell(script)
        assert "a" not in project.names(ledger.reads)
        assert content(ledger.overwritten, "a") == b"a\n"
        assert "a" in project.names(ledger.outputs)

    @pytest.mark.parametrize(
        "script",
        [
            "echo more >> a",
            "printf x | dd of=a conv=notrunc status=none",
            f"{sys.executable} -c \"f = open('a', 'r+'); f.write('x')\"",
            f"{sys.executable} -c \"import os; os.truncate('a', 1)\"",
        ],
    )
    def test_what_is_changed_in_place_is_an_input(self, project: Project, script: str) -> None:
        ledger = project.shell(script)
        assert content(ledger.reads, "a") == b"a\n"
        assert content(ledger.overwritten, "a") == b"a\n"
        assert "a" in project.names(ledger.outputs)

    def test_reading_what_was_written_is_no_input(self, project: Project) -> None:
        ledger = project.shell("cat a > t; cat t > out")
        assert project.names(ledger.reads) == {"a"}
        assert project.names(ledger.outputs) == {"t", "out"}

    def test_temporary_files_vanish(self, project: Project) -> None:
        ledger = project.shell("cat a > t; cat t; rm t; echo > u; mv u v; rm v")
        assert project.names(ledger.outputs) == set()
        assert not ledger.removed

    def test_a_temporary_name_becomes_the_final_one(self, project: Project) -> None:
        ledger = project.shell("echo x > .out.tmp; mv .out.tmp out; ln out out2; ln -s out out3")
        assert project.names(ledger.outputs) == {"out", "out2", "out3"}
        assert not ledger.reads

    def test_what_is_removed_is_kept(self, project: Project) -> None:
        ledger = project.shell("rm a")
        assert content(ledger.removed, "a") == b"a\n"
        assert not ledger.outputs
        assert not ledger.reads

    def test_what_is_moved_is_input_removed_and_output(self, project: Project) -> None:
        ledger = project.shell("mv a x")
        assert content(ledger.reads, "a") == b"a\n"
        assert content(ledger.removed, "a") == b"a\n"
        assert project.names(ledger.outputs) == {"x"}

    def test_removed_and_made_again_is_overwritten(self, project: Project) -> None:
        ledger = project.shell("rm a; echo new > a")
        assert content(ledger.overwritten, "a") == b"a\n"
        assert project.names(ledger.outputs) == {"a"}
        assert not ledger.removed

    def test_two_files_that_change_places(self, project: Project) -> None:
        ledger = project.python(
            "import ctypes\nassert ctypes.CDLL(None).renameat2(-100, b'a', -100, b'b', 2) == 0"
        )
        assert content(ledger.overwritten, "a") == b"a\n"
        assert content(ledger.overwritten, "b") == b"b\n"
        assert project.names(ledger.outputs) == {"a", "b"}

    def test_a_rename_that_fails_changes_nothing(self, project: Project) -> None:
        (project.root / "folder").mkdir()
        ledger = project.python(
            "import os\n"
            "for old, new in (('no', 'x'), ('a', 'no/x'), ('a', 'folder')):\n"
            "    try: os.rename(old, new)\n"
            "    except OSError: pass\n"
            "open('a')\n"
        )
        assert project.names(ledger.reads) == {"a"}
        assert not ledger.outputs
        assert not ledger.removed

    def test_a_folder_that_is_renamed_takes_its_files_along(self, project: Project) -> None:
        (project.root / "old").mkdir()
        project.write(**{"old/x": "x"})
        ledger = project.shell("echo > old/new; mv old moved; mkdir t; echo > t/y; mv t out")
        assert project.names(ledger.outputs) == {"moved/x", "moved/new", "out/y"}
        assert project.names(ledger.removed) == {"old/x"}
        assert ledger.removed[0].why_not_kept == "moved"

    def test_opened_for_writing_and_left_alone_is_only_read(self, project: Project) -> None:
        ledger = project.python("open('a', 'r+').read()")
        assert project.names(ledger.reads) == {"a"}
        assert not ledger.outputs
        assert not ledger.overwritten

    def test_a_database_that_is_only_asked(self, project: Project) -> None:
        with sqlite3.connect(project.root / "db") as db:
            db.execute("create table t (x)")
        db.close()
        ledger = project.python(
            "import sqlite3\nsqlite3.connect('db').execute('select * from t').fetchall()"
        )
        assert project.names(ledger.reads) == {"db"}
        assert not ledger.outputs

    def test_a_database_that_is_changed(self, project: Project) -> None:
        with sqlite3.connect(project.root / "db") as db:
            db.execute("create table t (x)")
        db.close()
        before = (project.root / "db").read_bytes()
        ledger = project.python(
            "import sqlite3\nd = sqlite3.connect('db')\nd.execute('insert into t values (1)')\n"
            "d.commit()\nd.close()"
        )
        assert content(ledger.reads, "db") == content(ledger.overwritten, "db") == before
        assert project.names(ledger.outputs) == {"db"}  # and not its journal, which came and went

    def test_a_mapped_file_that_is_changed(self, project: Project) -> None:
        ledger = project.python(
            "import mmap\nf = open('a', 'r+')\nm = mmap.mmap(f.fileno(), 0)\nm[0] = 65\nm.flush()"
        )
        assert content(ledger.reads, "a") == b"a\n"
        assert project.names(ledger.outputs) == {"a"}

    def test_lock_files_that_stay_are_outputs_not_inputs(self, project: Project) -> None:
        ledger = project.python("import os\nos.open('lock', os.O_RDONLY | os.O_CREAT)")
        assert project.names(ledger.outputs) == {"lock"}
        assert not ledger.absent

    def test_what_was_looked_for_and_is_not_there(self, project: Project) -> None:
        ledger = project.shell("cat no1; cat no2; echo > no2; cat /no3; cat no/4")
        assert ledger.absent == (f"{project.root}/no1", f"{project.root}/no/4")

    def test_files_outside_are_inputs_with_their_path(
        self, project: Project, tmp_path: Path
    ) -> None:
        outside = tmp_path / "data.csv"
        outside.write_text("1\n")
        ledger = project.shell(f"cat {outside}; cat /etc/passwd; echo > {tmp_path}/result")
        assert {state.path for state in ledger.reads} == {outside}
        assert {output.path for output in ledger.outputs} == {tmp_path / "result"}

    def test_modules_count_by_their_source(self, project: Project) -> None:
        project.write(mine="", **{"mine.py": "x = 1\n"})
        for _ in range(2):  # the second time Python opens nothing but the bytecode
            ledger = project.python("import sys; sys.path.insert(0, '.'); import mine")
            assert "mine.py" in project.names(ledger.reads)
            assert not ledger.outputs
            assert ledger.ignored["__pycache__"] >= 1
            project.spool = project.spool.with_name("spool2")

    def test_environment_libraries_and_programs(self, project: Project) -> None:
        ledger = project.python("import json, ctypes, numpy")
        assert any(path.endswith(".pyc") and "/json/" in path for path in ledger.environment)
        assert any("/numpy/" in path for path in ledger.environment)
        assert any("/libc.so" in path for path in ledger.libraries)
        assert ledger.executed[0] == sys.executable
        assert not ledger.reads

    def test_a_script_is_input_and_program(self, project: Project) -> None:
        project.write(tool="#!/bin/sh\ncat a\n")
        (project.root / "tool").chmod(0o755)
        ledger = project.run("./tool")
        assert project.names(ledger.reads) == {"tool", "a"}
        (tool,) = [state for state in ledger.reads if state.path.name == "tool"]
        assert tool.executable
        assert str(project.root / "tool") in ledger.executed

    def test_special_files_are_not_read(self, project: Project) -> None:
        os.mkfifo(project.root / "pipe")
        ledger = project.shell("echo x > pipe & cat pipe; ls . > /dev/null; cat < /dev/null")
        assert not ledger.reads
        assert not ledger.outputs

    def test_links_inside_and_to_the_project(self, project: Project, tmp_path: Path) -> None:
        (project.root / "link").symlink_to("a")
        (tmp_path / "door").symlink_to(project.root)
        ledger = project.shell(f"cat link; cat {tmp_path}/door/b")
        assert project.names(ledger.reads) == {"link", "b"}
        assert content(ledger.reads, "link") == b"a\n"

    def test_names_that_are_not_utf8(self, project: Project) -> None:
        name = os.fsdecode(b'\xff\n"')
        (project.root / name).write_text("x")
        command = [
            sys.executable,
            "-c",
            "import sys; open(sys.argv[1]); open(sys.argv[1] + '2', 'w')",
        ]
        ledger = project.run(*command, name)
        assert project.names(ledger.reads) == {name}
        assert project.names(ledger.outputs) == {name + "2"}
        assert FileLedger.replay(project.spool).finish() == ledger

    def test_workers(self, project: Project) -> None:
        ledger = project.python(
            "import multiprocessing as m\n"
            "def work(n): open(f'o{n}', 'w').write(open('abc'[n]).read())\n"
            "m.get_context('fork').Pool(3).map(work, range(3))\n"
        )
        assert project.names(ledger.reads) == {"a", "b", "c"}
        assert project.names(ledger.outputs) == {"o0", "o1", "o2"}

    def test_five_thousand_small_files(self, project: Project) -> None:
        (project.root / "many").mkdir()
        for n in range(5000):
            (project.root / f"many/{n}").write_text(str(n))
        ledger = project.python("for n in range(5000): open(f'many/{n}').close()")
        assert len(ledger.reads) == 5000
        assert content(ledger.reads, "4999") == b"4999"

    def test_a_run_that_was_cut_off_is_read_from_its_notes(self, project: Project) -> None:
        ledger = project.shell(
            "cat a; echo >> b; rm c; cat no; echo > new; cat /etc/passwd; ./no-program"
        )
        with (project.spool / "files.jsonl").open("ab") as notes:
            notes.write(b'{"note": "read", "file": {"pa')  # killed while it wrote
        assert FileLedger.replay(project.spool).finish() == ledger


def read(path: Path | str) -> FileEvent:
    return FileEvent(Action.READ, str(path))


def test_what_the_store_has_is_not_copied(project: Project) -> None:
    digest = Digest.of(b"a\n")
    asked: list[tuple[str, int]] = []

    def known(path: str, status: os.stat_result) -> Digest | None:
        asked.append((path, status.st_size))
        return digest

    project.options["known"] = known
    ledger = project.ledger()
    ledger.on_event(read(project.root / "a"))
    ledger.on_event(FileEvent(Action.TRUNCATE, str(project.root / "b")))
    (project.root / "b").write_text("other")
    result = ledger.finish()
    assert [(s.digest, s.kept) for s in (*result.reads, *result.overwritten)] == [
        (digest, None)
    ] * 2
    assert asked == [(str(project.root / "a"), 2), (str(project.root / "b"), 2)]
    assert not list((project.spool / "kept").iterdir())


def test_secrets_are_noted_and_never_kept(project: Project) -> None:
    project.write(**{".env": "KEY=hunter2\n"})
    project.options["protect"] = lambda path: path.endswith("/.env")
    ledger = project.ledger()
    ledger.on_event(read(project.root / ".env"))
    ledger.on_event(FileEvent(Action.TRUNCATE, str(project.root / ".env")))
    (project.root / ".env").write_text("KEY=hunter3\n")
    result = ledger.finish()
    assert [state.why_not_kept for state in result.reads] == ["secret"]
    assert result.overwritten[0].kept is None
    assert result.outputs[0].secret
    for file in project.spool.rglob("*"):
        assert file.is_dir() or b"hunter" not in file.read_bytes()


def test_secrets_in_code_do_not_reach_the_spool(project: Project) -> None:
    project.write(**{"train.py": "KEY = 'hunter2'\n", "data.csv": "hunter2\n", "clean.py": "x\n"})
    project.options["redact"] = lambda _path, data: (
        data.replace(b"hunter2", b"<secret>") if b"hunter2" in data else None
    )
    ledger = project.ledger()
    for name in ("train.py", "data.csv", "clean.py"):
        ledger.on_event(read(project.root / name))
    result = ledger.finish()
    assert content(result.reads, "train.py") == b"KEY = '<secret>'\n"
    assert content(result.reads, "data.csv") == b"hunter2\n"  # data is data
    assert [state.redacted for state in result.reads] == [True, False, False]


def test_a_redactor_that_fails_leaves_nothing_behind(project: Project) -> None:
    project.write(**{"train.py": "KEY = 'hunter2'\n"})

    def fail(_path: Path, _data: bytes) -> bytes:
        raise RuntimeError("broken")

    project.options["redact"] = fail
    ledger = project.ledger()
    ledger.on_event(read(project.root / "train.py"))
    result = ledger.finish()
    assert result.reads[0].why_not_kept == "failed"
    assert "broken" in result.problems[0]
    assert not list((project.spool / "kept").iterdir())


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (lambda path: None, False),
        (lambda path: path.write_text("other"), True),
        (lambda path: path.unlink(), True),
        (lambda path: path.chmod(0o600), False),
    ],
)
def test_a_file_that_somebody_else_changes(
    project: Project, change: Callable[[Path], None], changed: bool
) -> None:
    ledger = project.ledger()
    ledger.on_event(read(project.root / "a"))
    change(project.root / "a")
    result = ledger.finish()
    assert result.reads[0].changed_during_run is changed
    assert content(result.reads, "a") == b"a\n"


def test_a_large_file_without_room_is_looked_at_again_at_the_end(project: Project) -> None:
    project.options |= {"keep_limit_bytes": 10, "spare_bytes": 1 << 60}
    project.write(big1="x" * 11, big2="x" * 11, big3="x" * 11)
    ledger = project.ledger()
    for name in ("big1", "big2", "big3"):
        ledger.on_event(read(project.root / name))
    project.write(big2="y" * 11)
    ledger.on_event(FileEvent(Action.TRUNCATE, str(project.root / "big3")))
    project.write(big3="z")
    big1, big2, big3 = ledger.finish().reads
    assert big1.is_deferred
    assert not big1.changed_during_run
    assert (big2.why_not_kept, big2.changed_during_run) == ("changed", True)
    # What the run itself is about to destroy is kept whatever its size.
    assert big3.kept is not None
    assert big3.kept.read_bytes() == b"x" * 11


def test_a_large_file_is_copied_beside_the_run(project: Project) -> None:
    project.options["keep_limit_bytes"] = 10
    project.write(big1="x" * 11, big2="x" * 11)
    ledger = project.ledger()
    ledger.on_event(read(project.root / "big1"))
    ledger.on_event(read(project.root / "big2"))
    # The event waits for the copy: the program writes only when that is whole.
    ledger.on_event(FileEvent(Action.WRITE, str(project.root / "big2")))
    project.write(big2="y" * 12)
    result = ledger.finish()
    assert content(result.reads, "big1") == b"x" * 11
    assert content(result.reads, "big2") == b"x" * 11
    assert content(result.overwritten, "big2") == b"x" * 11
    assert not any(state.changed_during_run for state in result.reads)
    replayed = FileLedger.replay(project.spool).finish()
    assert [(s.path, s.kept) for s in replayed.reads] == [(s.path, s.kept) for s in result.reads]


def test_a_neighbour_changes_a_large_file_before_it_is_copied(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.options["keep_limit_bytes"] = 10
    project.write(big="x" * 11)
    may_copy = threading.Event()
    keep = Keeper.keep

    def keep_late(self: Keeper, path: str, *, number: int | None = None) -> Kept:
        may_copy.wait(10)
        return keep(self, path, number=number)

    monkeypatch.setattr(Keeper, "keep", keep_late)
    monkeypatch.setattr(Keeper, "clone", lambda *_args, **_names: None)
    ledger = project.ledger()
    ledger.on_event(read(project.root / "big"))
    project.write(big="y" * 11)
    may_copy.set()
    (state,) = ledger.finish().reads
    assert content((state,), "big") == b"y" * 11
    assert state.changed_during_run


def test_small_files_share_one_file_of_the_spool(project: Project) -> None:
    for n in range(100):
        (project.root / f"{n:03}.bin").write_bytes(b"%d" % n * n)
    ledger = project.ledger()
    for n in range(100):
        ledger.on_event(read(project.root / f"{n:03}.bin"))
    result = ledger.finish()
    copies = [state.kept for state in FileLedger.replay(project.spool).finish().reads]
    assert copies == [state.kept for state in result.reads]
    assert [copy.read_bytes() for copy in copies if copy] == [b"%d" % n * n for n in range(100)]
    assert len({copy.path for copy in copies if copy}) == 1


def test_a_pack_that_was_cut_is_told(project: Project) -> None:
    ledger = project.ledger()
    ledger.on_event(read(project.root / "a"))
    (state,) = ledger.finish().reads
    assert state.kept is not None
    os.truncate(state.kept.path, 1)
    with pytest.raises(OSError, match="cut off"):
        state.kept.read_bytes()


def test_two_names_of_one_file_share_a_copy(project: Project) -> None:
    os.link(project.root / "a", project.root / "z")
    ledger = project.ledger()
    ledger.on_event(read(project.root / "a"))
    ledger.on_event(read(project.root / "z"))
    first, second = ledger.finish().reads
    assert first.kept == second.kept
    assert first.path != second.path


@pytest.fixture
def open_folder() -> Iterator[Path]:
    # Not below tmp_path, which no other user may enter.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder).resolve()


def test_a_file_without_permission_is_noted(project: Project, open_folder: Path) -> None:
    (open_folder / "x").write_text("x")
    (open_folder / "x").chmod(0)
    ledger = project.ledger()
    is_root = os.getuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        ledger.on_event(read(open_folder / "x"))
    finally:
        if is_root:
            os.seteuid(0)
    (state,) = ledger.finish().reads
    assert (state.why_not_kept, state.kept) == ("unreadable", None)


def test_connections_are_listed_once_and_datagrams_counted(project: Project) -> None:
    ledger = project.ledger()
    for _ in range(2):
        ledger.on_event(FileEvent(Action.CONNECT, "10.0.0.1:443", detail="tcp"))
    ledger.on_event(FileEvent(Action.CONNECT, "10.0.0.2:53", detail="udp"))
    result = ledger.finish()
    assert result.connections == ("10.0.0.1:443",)
    assert result.ignored == {"udp connection": 1}


def test_absent_files_are_bounded(project: Project) -> None:
    ledger = project.ledger()
    for n in range(1500):
        ledger.on_event(read(project.root / f"no{n}"))
    assert len(ledger.finish().absent) == 1000


def test_noise_is_counted_by_rule(project: Project) -> None:
    home = Path(project.options["home"])
    ledger = project.ledger()
    for path in (
        project.root / ".git/HEAD",
        project.root / ".thence/x",
        home / ".cache/pip/x",
        home / ".config/x",
        home / ".bashrc",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        ledger.on_event(read(path))
    result = ledger.finish()
    assert result.ignored == {".git": 1, ".thence": 1, "~/.cache": 1, "~/.config": 1, "~/.*": 1}
    assert not result.reads


def test_a_spool_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        FileLedger(tmp_path, cwd=tmp_path, spool=tmp_path / "file/spool").open()


def test_no_notes_to_replay(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        FileLedger.replay(tmp_path)
    (tmp_path / "files.jsonl").write_text("{")
    with pytest.raises(NotFound):
        FileLedger.replay(tmp_path)
