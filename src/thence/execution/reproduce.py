"""Reproducing a run: restore, rebuild, run again under the same sensor, compare, say how well."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from thence.errors import AlreadyExists, DataDamaged, InvalidInput, NotFound, ThenceError
from thence.execution import live
from thence.execution.capture.environment import Environment
from thence.execution.capture.host import capture_host
from thence.execution.capture.placeholders import PLACEHOLDER, match
from thence.execution.capture.placeholders import restore as fill_in
from thence.execution.events import Action, Ended, FileEvent
from thence.execution.giving import resolve_run
from thence.execution.judging import Evidence, Result, compare_results, conclude, results_of
from thence.execution.launch import launch
from thence.execution.lending import Lent, lend, remade
from thence.execution.rebuild import Rebuilt, rebuild_environment
from thence.execution.restore import Restored, check_elsewhere, restore_files
from thence.execution.scripts import write_scripts
from thence.execution.settings import FILE_NAME, ResultSettings, parse_settings
from thence.execution.site import Site
from thence.formats.base import CompareContext
from thence.model import codec
from thence.model.records import (
    Comparison,
    FileRole,
    FileUse,
    Finding,
    Host,
    RunSealed,
    Verdict,
    decode_lines,
)
from thence.store.failures import failures_of
from thence.vault import tree
from thence.vault.checkout import check_out, digest_of_file
from thence.vault.logs import run_log

__all__ = ["reproduce"]

Progress = Callable[[str], None]

_NAMED_AT_MOST = 10


def reproduce(
    site: Site,
    ref: str,
    *,
    keep: Path | None = None,
    secrets: Mapping[str, str] | None = None,
    progress: Progress = lambda text: None,
) -> Verdict:
    """Run a run again in an empty folder and compare its results; the verdict is kept with it.

    Args:
        site: Where the run is recorded.
        ref: A run, or a version that a run made.
        keep: An empty folder to work in and leave; otherwise a temporary one, removed at the end.
        secrets: Values for what was withheld, by name, beside this machine's environment variables.
        progress: Is told what is being done.

    Raises:
        NotFound: There is no such run, or its record is not in the store.
        InvalidInput: The run is not sealed yet.
        AlreadyExists: `keep` is not empty.
        DataDamaged: The record of the run is damaged.
        StorageError: The disk is full, or the verdict cannot be written.
    """
    run = resolve_run(site, ref)
    if run.sealed is None:
        raise InvalidInput(
            f"{run.run.short} is not sealed",
            why="It is still going on, or its recorder died.",
            hint="Wait for its end, or seal it: thence runs recover",
            about=ref,
        )
    base = _make_base(keep)
    try:
        verdict = _Reproduction(site, run.sealed, base, secrets or {}, progress).verdict()
    finally:
        if keep is None:
            shutil.rmtree(base, ignore_errors=True)
    site.ingest(site.vault.append(run_log(run.run), verdict, by=site.author))
    return verdict


def _make_base(keep: Path | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="thence-reproduce-")).resolve()
    with failures_of(f"make the folder {keep}"):
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise AlreadyExists(
                f"{keep} is not empty",
                why="A reproduction starts from nothing.",
                hint="Name an empty folder, or one that does not exist.",
            )
    return keep.resolve()


class _Executed(NamedTuple):
    """What running the command again gave; `ended` is None where it did not start."""

    ended: Ended | None
    problem: str | None
    watch: "_Watch"


class _Watch:
    """Notes what a reproduction must not do, and what it looked for in vain."""

    def __init__(self, original: str, root: Path, ours: tuple[Path, ...]) -> None:
        self._original = original.rstrip("/") + "/"
        self._root = str(root) + "/"
        # A project that is reproduced where it ran has its own caches below the original root.
        self._allowed = tuple(f"{folder}/" for folder in ours)
        self.outside: dict[str, None] = {}
        self.absent: dict[str, None] = {}
        self.connections: dict[str, None] = {}

    def on_event(self, event: FileEvent) -> None:
        if event.action is Action.CONNECT:
            self.connections[event.path] = None
            return
        for path in (event.path, event.target):
            if path.startswith(self._original) and not path.startswith(self._allowed):
                self.outside[path] = None
        # Asked before the open, so what is not there now will not be read.
        is_read_here = event.action is Action.READ and event.path.startswith(self._root)
        if is_read_here and not os.path.lexists(event.path):
            self.absent[event.path[len(self._root) :]] = None


class _Reproduction:
    def __init__(
        self,
        site: Site,
        sealed: RunSealed,
        base: Path,
        secrets: Mapping[str, str],
        progress: Progress,
    ) -> None:
        self._site = site
        self._sealed = sealed
        self._base = base
        self._progress = progress
        self._content = site.vault.content
        self._started = site.clock()
        self._environment = self._read_environment()
        self._host = capture_host()
        known = match(site.secret_key(), {**os.environ, **secrets})
        given = {
            one.placeholder: secrets[one.name]
            for one in sealed.withheld
            if one.placeholder and one.name in secrets and one.placeholder not in known
        }
        self._secrets = {**known, **given}
        self._given_by_name = secrets
        self._missing: list[str] = []
        self._deviations: list[str] = []

    def verdict(self) -> Verdict:
        sealed = self._sealed
        uses = self._uses()
        restored = restore_files(
            sealed, uses, self._content, self._base, secrets=self._secrets, progress=self._progress
        )
        wrong = check_elsewhere(restored.elsewhere, digest_of_file)
        rebuilt = self._rebuild()
        self._lay_over(restored, rebuilt)
        self._note_secrets()
        self._compare_hosts()
        lent = self._lend(uses, restored)
        executed = self._execute(restored, rebuilt)
        results = self._compare(uses, restored, rebuilt, lent) if executed.ended else ()
        asked = {
            **wrong,
            **{
                path: what
                for path, what in restored.missing.items()
                if path in executed.watch.absent or path.startswith("/") or not executed.ended
            },
        }
        self._missing += asked.values()
        return self._conclude(executed, results)

    def _conclude(self, executed: _Executed, results: tuple[Comparison, ...]) -> Verdict:
        sealed = self._sealed
        outside = tuple(executed.watch.outside)
        obstacles = []
        if executed.problem is not None:
            obstacles.append(executed.problem)
        if outside:
            more = f" and {len(outside) - 1} more" if len(outside) > 1 else ""
            obstacles.append(f"the command used the original folder: {outside[0]}{more}")
        for address in executed.watch.connections:
            self._deviations.append(f"connected to {address}; what came from there is not checked")
        reproduced_code = executed.ended.exit_code if executed.ended else None
        finding, reasons = conclude(
            Evidence(
                results,
                tuple(obstacles),
                tuple(self._missing),
                (sealed.exit_code, reproduced_code),
            )
        )
        if finding not in {Finding.REPRODUCED, Finding.WITHIN_TOLERANCE} and executed.ended:
            tail = self._tail_of_error(executed.ended)
            reasons = (*reasons, *([f"it said: {tail}"] if tail else []))
        return Verdict(
            run=sealed.run,
            finding=finding,
            results=results,
            started=self._started,
            ended=self._site.clock(),
            author=self._site.author,
            host=self._host,
            reasons=reasons,
            deviations=tuple(dict.fromkeys(self._deviations)),
            missing=tuple(dict.fromkeys(self._missing)),
            opened_outside=outside[:_NAMED_AT_MOST],
            exit_code=reproduced_code,
            original_exit_code=sealed.exit_code,
            sensor=executed.ended.report if executed.ended else None,
        )

    # What it was made from

    def _uses(self) -> list[FileUse]:
        if self._sealed.files is None:
            return []
        return decode_lines(self._content.read(self._sealed.files), FileUse)

    def _settings(self, uses: list[FileUse]) -> ResultSettings:
        """What counted as a result when the run was sealed."""
        for use in uses:
            if use.path == FILE_NAME and use.digest is not None:
                try:
                    return parse_settings(self._content.read(use.digest)).results
                except InvalidInput as error:
                    self._deviations.append(f"{FILE_NAME} was not understood: {error.why}")
        return ResultSettings()

    def _read_environment(self) -> Environment:
        if self._sealed.environment is None:
            return Environment()
        return codec.decode(self._content.read(self._sealed.environment), Environment)

    def _lend(self, uses: list[FileUse], restored: Restored) -> Lent | None:
        """A project for a program that uses thence itself."""
        if not any(one.name == "thence" for one in self._environment.distributions):
            return None
        try:
            return lend(self._site, self._sealed, uses, restored.root)
        except (NotFound, DataDamaged) as error:
            self._missing.append(f"a version that the run loaded: {error.what}")
            return None

    def _rebuild(self) -> Rebuilt:
        rebuilt = rebuild_environment(
            self._environment,
            self._base / "environment",
            progress=self._progress,
            cache=self._site.local / "cache" / "environments",
        )
        self._deviations += rebuilt.deviations
        self._missing += rebuilt.missing
        return rebuilt

    def _lay_over(self, restored: Restored, rebuilt: Rebuilt) -> None:
        """Put packages that were patched by hand over the ones that were installed."""
        if rebuilt.site is None:
            return
        for place, source in restored.patched.items():
            target = rebuilt.site / place
            with failures_of(f"patch {target}"):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                shutil.copyfile(source, target)

    def _note_secrets(self) -> None:
        for one in self._sealed.withheld:
            if one.where == "environment" and not self._secret_variable(one.name, one.placeholder):
                self._missing.append(f"the secret {one.name} (an environment variable)")
            elif one.placeholder and one.where == "argv" and one.placeholder not in self._secrets:
                self._missing.append(f"the secret {one.name} (on the command line)")

    def _secret_variable(self, name: str, placeholder: str | None) -> str | None:
        return self._secrets.get(placeholder or "") or self._given_by_name.get(name)

    def _compare_hosts(self) -> None:
        then, now = self._sealed.host, self._host
        for what, before, after in (
            ("processor", then.cpu or then.machine, now.cpu or now.machine),
            ("operating system", _system(then), _system(now)),
        ):
            if before != after:
                self._deviations.append(f"{what}: {after}; originally {before}")

    # Running it again

    def _execute(self, restored: Restored, rebuilt: Rebuilt) -> _Executed:
        sealed = self._sealed
        caches = self._site.local / "cache"
        watch = _Watch(sealed.root, restored.root, (self._base, caches))
        if sealed.python is not None and rebuilt.python is None:
            return _Executed(None, "the environment could not be rebuilt", watch)
        command = [fill_in(word, self._secrets) for word in sealed.command]
        if any(PLACEHOLDER.search(word) for word in command):
            return _Executed(None, "a secret on the command line is missing", watch)
        command = [self._relocate(word, restored.root) for word in command]
        variables = self._variables(restored, rebuilt)
        command[0] = self._program(command[0], rebuilt)
        self._progress(f"running {' '.join(sealed.command)}")
        spool = self._base / "live"
        with failures_of(f"write to {self._base}"):
            spool.mkdir()
            devnull = os.open(os.devnull, os.O_WRONLY)
            try:
                with (
                    (self._base / "stdout").open("wb") as out,
                    (self._base / "stderr").open("wb") as err,
                ):
                    ended = launch(
                        command,
                        cwd=restored.root / sealed.cwd,
                        env={
                            **variables,
                            live.SPOOL_VARIABLE: str(spool),
                            live.RUN_VARIABLE: sealed.run,
                        },
                        on_event=watch.on_event,
                        stdout=_sink(out),
                        stderr=_sink(err),
                        target_fds=(devnull, devnull),
                    )
            except ThenceError as error:
                return _Executed(None, f"the command could not be started: {error.what}", watch)
            finally:
                os.close(devnull)
        self._deviations += ended.problems
        if ended.report.completeness != "kernel-complete":
            self._deviations.append(f"watched by {ended.report.name} only")
        return _Executed(ended, None, watch)

    def _relocate(self, word: str, root: Path) -> str:
        """A word of the command that names the original folder names the restored one."""
        original = self._sealed.root
        if word == original or word.startswith(original + "/"):
            return str(root) + word[len(original) :]
        return word

    def _program(self, program: str, rebuilt: Rebuilt) -> str:
        """The rebuilt environment's interpreter or script in place of the original one."""
        if rebuilt.python is None:
            return program
        name = Path(program).name
        if name.startswith("python"):
            return str(rebuilt.python)
        for folder in (self._base / "scripts", rebuilt.python.parent):
            if (folder / name).exists():
                return str(folder / name)
        return program

    def _variables(self, restored: Restored, rebuilt: Rebuilt) -> dict[str, str]:
        recorded = {
            name: fill_in(value, self._secrets)
            for name, value in self._sealed.environment_variables.items()
        }
        for one in self._sealed.withheld:
            if one.where == "environment" and (
                value := self._secret_variable(one.name, one.placeholder)
            ):
                recorded[one.name] = value
        # Of the machine, not of the work; without bytecode each run would compile every package.
        for name in ("VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE"):
            recorded.pop(name, None)
        on_path = [str(folder) for folder in restored.packages]
        # An editable install of the project itself: its folders came back with the project.
        own = f"{self._sealed.root}/"
        roots = [one for one in self._environment.import_roots if f"{one}/".startswith(own)]
        on_path += [self._relocate(one, restored.root) for one in roots]
        folders = recorded.pop("PYTHONPATH", "").split(os.pathsep)
        on_path += [self._relocate(folder, restored.root) for folder in folders if folder]
        if on_path:
            recorded["PYTHONPATH"] = os.pathsep.join(on_path)
        path = os.environ.get("PATH", os.defpath)
        if rebuilt.python is not None:
            for folder in restored.packages:
                write_scripts(folder, rebuilt.python, self._base / "scripts")
            path = f"{self._base / 'scripts'}{os.pathsep}{rebuilt.python.parent}{os.pathsep}{path}"
        return {
            **recorded,
            "PATH": path,
            "HOME": str(self._base / "home"),
            # Font caches and the like, which cost seconds to make and mean nothing.
            "XDG_CACHE_HOME": str(self._site.local / "cache" / "home"),
            "TMPDIR": str(self._make_temporary()),
        }

    def _make_temporary(self) -> Path:
        folder = self._base / "tmp"
        with failures_of(f"make {folder}"):
            folder.mkdir(exist_ok=True)
        return folder

    def _tail_of_error(self, ended: Ended) -> str:
        if ended.exit_code == self._sealed.exit_code:
            return ""
        try:
            text = (self._base / "stderr").read_bytes().decode("utf-8", "replace").strip()
        except OSError:
            return ""
        return text.splitlines()[-1][:300] if text else ""

    # Comparing

    def _compare(
        self,
        uses: list[FileUse],
        restored: Restored,
        rebuilt: Rebuilt,
        lent: Lent | None,
    ) -> tuple[Comparison, ...]:
        settings = self._settings(uses)
        results = results_of(uses, settings, restored.root)
        if lent is not None:
            results += self._saved_results(lent)
        inputs = {
            use.path: restored.root / use.path
            for use in uses
            if use.role is FileRole.INPUT and not use.path.startswith("/")
        }
        context = CompareContext(inputs=inputs, python=rebuilt.python, root=restored.root)
        graded = compare_results(
            results,
            self._content,
            originals=self._base / "original",
            settings=settings,
            context=context,
            secrets=self._secrets,
            progress=self._progress,
        )
        return tuple(graded)

    def _saved_results(self, lent: Lent) -> Iterator[Result]:
        """What the program saved as versions, from inside."""
        again = remade(lent, self._base / "live")
        for number, version in enumerate(lent.made):
            folder = self._base / "saved" / str(number)
            check_out(again.get(version.artifact, ()), lent.site.vault.content, folder)
            for entry in tree.decode(self._content.read(version.tree)):
                path = f"{version.artifact}:{entry.path}"
                yield Result(path, entry.digest, folder / entry.path)


def _system(host: Host) -> str:
    return host.distribution or f"{host.system} {host.release}"


def _sink(file: BinaryIO) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        file.write(data)

    return write
