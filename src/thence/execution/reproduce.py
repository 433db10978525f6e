"""Reproducing a run: restore, rebuild, run again under the same sensor, compare, say how well."""

import contextlib
import logging
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from thence.errors import (
    AlreadyExists,
    DataDamaged,
    Denied,
    InvalidInput,
    NotFound,
    StorageError,
)
from thence.execution.capture.environment import Environment
from thence.execution.capture.host import capture_host, host_deviations
from thence.execution.capture.secrets import Redactor
from thence.execution.giving import resolve_run
from thence.execution.judging import Evidence, Result, compare_results, conclude, results_of
from thence.execution.lending import Lent, lend, remade
from thence.execution.outside import preserved
from thence.execution.rebuild import Rebuilt, rebuild_environment
from thence.execution.replaying import Replaying
from thence.execution.rerunning import Executed, execute
from thence.execution.restore import (
    Restored,
    check_elsewhere,
    restore_elsewhere,
    restore_files,
)
from thence.execution.settings import FILE_NAME, ResultSettings, parse_settings
from thence.execution.site import Site
from thence.execution.staging import set_stage
from thence.execution.surroundings import Surroundings
from thence.execution.view import Scene
from thence.execution.wanted import known_secrets, wanted_secrets
from thence.execution.watch import Watch
from thence.formats.base import CompareContext
from thence.model import codec
from thence.model.ids import Digest
from thence.model.paths import path_from_text
from thence.model.records import (
    Comparison,
    FileRole,
    FileUse,
    Finding,
    Isolation,
    RunSealed,
    RunStatus,
    Verdict,
    decode_lines,
)
from thence.store.failures import failures_of
from thence.vault import tree
from thence.vault.checkout import check_out, digest_of_file
from thence.vault.logs import run_log

__all__ = ["reproduce"]

_log = logging.getLogger(__name__)
Progress = Callable[[str], None]

_NAMED_AT_MOST = 10
_HOW = {RunStatus.DIED: "died", RunStatus.INTERRUPTED: "was interrupted"}


def reproduce(
    site: Site,
    ref: str,
    *,
    keep: Path | None = None,
    secrets: Mapping[str, str] | None = None,
    strict: bool = False,
    progress: Progress = lambda text: None,
) -> Verdict:
    """Run a run again in an empty folder and compare its results; the verdict is kept with it.

    Args:
        site: Where the run is recorded.
        ref: A run, or a version that a run made.
        keep: An empty folder to work in and leave; otherwise a temporary one, removed at the end.
        secrets: Values for what was withheld, by name, beside this machine's environment variables.
        strict: Let the command see nothing of this machine but its system and what is given back.
        progress: Is told what is being done.

    Raises:
        NotFound: There is no such run, or its record is not in the store.
        InvalidInput: The run is not sealed yet.
        AlreadyExists: `keep` is not empty.
        DataDamaged: The record of the run is damaged.
        Interrupted: The command was stopped; there is no verdict.
        StorageError: The disk is full; or `strict` was asked for, and cannot be had here.
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
        verdict = _Reproduction(
            site, run.sealed, base, secrets or {}, progress, strict=strict
        ).verdict()
    finally:
        if keep is None:
            shutil.rmtree(base, ignore_errors=True)
    try:
        site.ingest(site.vault.append(run_log(run.run), verdict, by=site.author))
    except (Denied, StorageError) as error:
        # Who may only read can still see for himself; the work is done and the answer is known.
        _log.warning("the verdict is not kept in the project: %s", error)
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


class _Reproduction:
    def __init__(
        self,
        site: Site,
        sealed: RunSealed,
        base: Path,
        secrets: Mapping[str, str],
        progress: Progress,
        *,
        strict: bool,
    ) -> None:
        self._strict = strict
        self._site = site
        self._sealed = sealed
        self._base = base
        self._progress = progress
        self._content = site.vault.content
        self._started = site.clock()
        self._environment = self._read_environment()
        self._host = capture_host()
        self._watch = Watch(sealed.root, (base, site.local / "cache"))
        self._seen: Scene | None = None
        self._secrets, others = known_secrets(site, sealed, secrets)
        self._missing: list[str] = []
        self._deviations = [
            f"the secret {name} is not the value that the run had" for name in others
        ]
        self._redactor = Redactor(site.secret_key(), known=secrets)
        self._redactor.scrub_environment(os.environ)

    def verdict(self) -> Verdict:
        sealed = self._sealed
        uses = self._uses()
        self._remote = Replaying(
            sealed,
            uses,
            self._content,
            self._base / "remote",
            secrets=self._secrets.by_placeholder,
        )
        restored = restore_files(
            sealed,
            uses,
            self._content,
            self._base,
            secrets=self._secrets.by_placeholder,
            progress=self._progress,
        )
        wrong = check_elsewhere(restored.elsewhere, self._digest_here)
        rebuilt = self._rebuild()
        self._lay_over(restored, rebuilt)
        self._missing += [
            str(one)
            for one in wanted_secrets(sealed, uses)
            if self._secrets.find(one.name, one.placeholder) is None
        ]
        self._deviations += host_deviations(sealed.host, self._host)
        lent = self._lend(uses, restored)
        scene = self._scene(uses, restored, rebuilt, wrong)
        with self._preserved(uses) as written:
            executed = execute(
                self._surroundings(restored, rebuilt, scene),
                remote=self._remote,
                watch=self._watch,
                progress=self._progress,
            )
        self._deviations += executed.deviations
        self._missing += executed.missing
        compared = executed.ended is not None
        results = self._compare(uses, restored, rebuilt, lent, written) if compared else ()
        # Also what was only listed or looked for can make a difference, so all of it counts.
        self._missing += [*wrong.values(), *restored.missing.values(), *self._doubts()]
        if compared:
            self._missing += self._remote.missing()
            self._deviations += self._remote.deviations()
        return self._conclude(executed, results)

    def _conclude(self, executed: Executed, results: tuple[Comparison, ...]) -> Verdict:
        sealed = self._sealed
        outside = tuple(self._watch.outside)
        obstacles = []
        if not sealed.rerunnable:
            obstacles.append("it was recorded from a prompt or notebook, which no command repeats")
        if executed.problem is not None:
            obstacles.append(executed.problem)
        if outside:
            more = f" and {len(outside) - 1} more" if len(outside) > 1 else ""
            obstacles.append(f"the command used the original folder: {outside[0]}{more}")
        peers = self._remote.peers
        for address in (one for one in self._watch.connections if one not in peers):
            self._deviations.append(f"connected to {address}; what came from there is not checked")
        reproduced_code = executed.ended.exit_code if executed.ended else None
        unknown = [f"{path}, which it looked for, is not of the run" for path in self._watch.hidden]
        finding, reasons = conclude(
            Evidence(
                results,
                tuple(obstacles),
                (*self._missing, *unknown),
                (sealed.exit_code, reproduced_code),
            )
        )
        if finding not in {Finding.REPRODUCED, Finding.WITHIN_TOLERANCE} and executed.ended:
            said = executed.last_words
            reasons = (*reasons, *([f"it said: {said}"] if said else []))
        # What it says of the program's output and files must not carry a secret into the store.
        scrub = self._redactor.scrub_text
        return Verdict(
            run=sealed.run,
            finding=finding,
            results=tuple(
                msgspec.structs.replace(one, detail=scrub(one.detail)) for one in results
            ),
            started=self._started,
            ended=self._site.clock(),
            author=self._site.author,
            host=self._host,
            reasons=tuple(map(scrub, reasons)),
            deviations=tuple(map(scrub, dict.fromkeys(self._deviations))),
            missing=tuple(map(scrub, dict.fromkeys(self._missing))),
            opened_outside=outside[:_NAMED_AT_MOST],
            hidden=tuple(self._watch.hidden)[:_NAMED_AT_MOST],
            isolation=Isolation.FOLDER if self._seen is None else Isolation.NAMESPACE,
            is_strict=self._strict,
            exit_code=reproduced_code,
            original_exit_code=sealed.exit_code,
            sensor=executed.ended.report if executed.ended else None,
        )

    def _doubts(self) -> Iterator[str]:
        """What was not recorded of the run; where something differs, this may be why."""
        sealed = self._sealed
        if sealed.status in {RunStatus.DIED, RunStatus.INTERRUPTED}:
            yield f"the end of the original, which {_HOW[sealed.status]}"
        if sealed.ordinal > 1:
            yield f"the files as they were after run {sealed.ordinal} of its program"
        if sealed.stdin == "pipe":
            yield "what came through the pipe that was its standard input"

    def _digest_here(self, path: Path, use: FileUse) -> Digest:
        if not use.redacted:
            return digest_of_file(path)
        with failures_of(f"read {path}"):
            data = path.read_bytes()
        return Digest.of(self._redactor.scrub_config(str(path), data) or data)

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

    def _surroundings(
        self, restored: Restored, rebuilt: Rebuilt, scene: Scene | None = None
    ) -> Surroundings:
        return Surroundings(
            self._sealed,
            self._environment,
            restored,
            rebuilt,
            self._secrets,
            self._base,
            self._site.local / "cache" / "home",
            scene,
        )

    def _scene(
        self, uses: list[FileUse], restored: Restored, rebuilt: Rebuilt, wrong: dict[str, str]
    ) -> Scene | None:
        """What the command is to see; what is given to it is taken from `wrong`."""
        elsewhere = restored.elsewhere
        given = restore_elsewhere(
            [elsewhere[path] for path in (elsewhere if self._strict else wrong)],
            self._content,
            self._base / "elsewhere",
            secrets=self._secrets.by_placeholder,
        )
        caches = self._site.local / "cache" / "home"
        with failures_of(f"make {caches}"):
            caches.mkdir(parents=True, exist_ok=True)
        stage = set_stage(
            self._sealed,
            uses,
            restored,
            rebuilt,
            self._environment,
            base=self._base,
            visible=[caches],
            given=given,
            strict=self._strict,
        )
        if stage.scene is None:
            if self._strict:
                raise StorageError(
                    "a strict reproduction is not possible here",
                    why=stage.why,
                    hint="Leave out --strict, or use another machine.",
                )
            self._deviations.append(
                f"it ran in a plain folder, not at the original path: {stage.why}"
            )
            return None
        for path in given:
            wrong.pop(path, None)
        prefixes = [one.prefix for one in self._environment.interpreters if one.prefix]
        self._watch.enter(stage.scene, prefixes)
        self._seen = stage.scene
        return stage.scene

    # Comparing

    def _compare(
        self,
        uses: list[FileUse],
        restored: Restored,
        rebuilt: Rebuilt,
        lent: Lent | None,
        written: Mapping[Path, Path],
    ) -> tuple[Comparison, ...]:
        settings = self._settings(uses)
        results = [
            one._replace(reproduced=self._outside(one.reproduced, restored, written))
            if one.path.startswith("/")
            else one
            for one in results_of(uses, settings, restored.root)
        ]
        if lent is not None:
            results += self._saved_results(lent)
        inputs = {
            use.path: restored.root / use.path
            for use in uses
            if use.role is FileRole.INPUT and not use.path.startswith("/")
        }
        context = CompareContext(
            inputs=inputs,
            python=rebuilt.python,
            root=restored.root,
            # A model is opened with what the command was given, and with no more.
            environment=self._surroundings(restored, rebuilt).variables(),
        )
        graded = compare_results(
            results,
            self._content,
            originals=self._base / "original",
            settings=settings,
            context=context,
            secrets=self._secrets.by_placeholder,
            progress=self._progress,
        )
        return tuple(graded)

    def _preserved(
        self, uses: list[FileUse]
    ) -> contextlib.AbstractContextManager[dict[Path, Path]]:
        """Look after files on this machine at the paths that the run wrote to."""
        if self._seen is not None:  # there the command cannot write
            return contextlib.nullcontext({})
        original = Path(self._sealed.root)
        vault = self._site.vault

        def digest_of(path: Path, facts: os.stat_result) -> Digest | None:
            found = vault.stats.find(path, facts)
            return found if found is not None and found.raw in vault.directory else None

        outputs = (
            original / path_from_text(use.path, percent=use.percent)
            for use in uses
            if use.role is FileRole.OUTPUT
        )
        return preserved(outputs, self._base / "outside", self._content, digest_of=digest_of)

    def _outside(self, path: Path, restored: Restored, written: Mapping[Path, Path]) -> Path:
        """Where the new file for an absolute path is: written there, or beside the root."""
        if self._seen is not None:
            return Path(self._seen.real(str(path)))
        fallback = self._base / "outside" / "not-written" / path.name
        return written.get(path) or restored.beside.get(str(path), fallback)

    def _saved_results(self, lent: Lent) -> Iterator[Result]:
        """What the program saved as versions, from inside."""
        again = remade(lent, self._base / "live")
        several = Counter(version.artifact for version in lent.made)
        for number, version in enumerate(lent.made):
            folder = self._base / "saved" / str(number)
            saves = again.get(version.artifact, [])
            check_out(saves.pop(0) if saves else (), lent.site.vault.content, folder)
            name = version.ref if several[version.artifact] > 1 else version.artifact
            for entry in tree.decode(self._content.read(version.tree)):
                path = f"{name}:{entry.path}"
                yield Result(path, entry.digest, folder / entry.path)
