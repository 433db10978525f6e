"""The part of a run's page about its files and versions."""

import posixpath
from collections.abc import Mapping
from typing import NamedTuple

from thence.cli import human
from thence.cli.output import Output
from thence.cli.page import section
from thence.cli.table import Column
from thence.index.views import RunDetail, UsedVersion
from thence.model.ids import Digest
from thence.model.records import FileRole, FileUse

__all__ = ["ref_of", "show_files", "show_versions"]

_SHOWN = 20
_MANY = 5
# Packages are in the environment.
_SECTIONS = (
    ("inputs", (FileRole.INPUT,)),
    ("fetched from elsewhere, and kept", (FileRole.REMOTE,)),
    ("outputs", (FileRole.OUTPUT,)),
    ("overwritten", (FileRole.OVERWRITTEN,)),
    ("code and configuration", (FileRole.CODE, FileRole.CONFIG, FileRole.DOCUMENT)),
)


def show_files(output: Output, run: RunDetail, files: list[FileUse]) -> None:
    """Its inputs, outputs and code, with their versions."""
    refs = {one.record: ref_of(one) for one in (*run.uses, *run.makes)}
    for title, roles in _SECTIONS:
        shown = [file for file in files if file.role in roles]
        if not shown:
            continue
        total = human.size(sum(file.size for file in shown))
        section(output, f"{title} ({len(shown):,}, {total})")
        lines = _lines(shown)
        output.table(
            [
                Column("PATH", flexible=True, middle=True),
                Column("SIZE", right=True),
                Column("VERSION", style="cyan", optional=True),
                Column("REMARK", style="dim", flexible=True, optional=True),
            ],
            [
                (one.name, human.size(one.size), _version(refs, one.version), one.remark)
                for one in lines[:_SHOWN]
            ],
        )
        if (more := sum(one.files for one in lines[_SHOWN:])) > 0:
            output.data(
                f"and {human.count(more, 'more file')}: thence show run:{run.run[:8]} --json"
            )


class _Line(NamedTuple):
    """A file, or the many of a folder that are alike."""

    name: str
    size: int
    version: Digest | None
    remark: str
    files: int = 1


def _lines(shown: list[FileUse]) -> list[_Line]:
    """A line for each file; for those that are many and one version, or of one folder, together."""
    groups: dict[tuple[str, Digest | None, str], list[FileUse]] = {}
    for file in shown:
        # A version of a thousand folders is one thing; without one, what lies together is.
        root = "/" if file.path.startswith("/") else ""
        folder = _parent(file.path) if file.version is None else root
        groups.setdefault((folder, file.version, _remark(file)), []).append(file)
    lines = []
    for (_, version, remark), files in groups.items():
        folder = _shared(files) if len(shown) > _SHOWN and len(files) >= _MANY else ""
        if folder:
            size = sum(file.size for file in files)
            name = f"{folder}/ ({len(files):,} files)"
            lines.append(_Line(name, size, version, remark, len(files)))
        else:
            lines += [_Line(file.path, file.size, version, remark) for file in files]
    return lines


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _shared(files: list[FileUse]) -> str:
    """The innermost folder that all of them lie in."""
    return posixpath.commonpath([_parent(file.path) for file in files])


def show_versions(output: Output, run: RunDetail, files: list[FileUse]) -> None:
    """Versions that the program loaded and saved itself, which are no files of the project."""
    bound = {file.version for file in files}
    for title, versions in (("loaded", run.uses), ("saved", run.makes)):
        refs = [ref_of(one) for one in versions if one.record not in bound]
        if refs:
            section(output, f"{title} by the program itself ({len(refs):,})")
            output.data("\n".join(f"  {ref}" for ref in refs))


def ref_of(used: UsedVersion) -> str:
    """What people write for a version."""
    return used.ref or used.record.short


def _version(refs: Mapping[Digest, str], version: Digest | None) -> str:
    return "" if version is None else refs.get(version, version.short)


def _remark(file: FileUse) -> str:
    remarks = []
    if file.why_not_kept:
        remarks.append(f"not kept: {file.why_not_kept}")
    if file.redacted:
        remarks.append("secrets replaced")
    if file.changed_during_run:
        remarks.append("changed during the run")
    if file.role in {FileRole.CONFIG, FileRole.DOCUMENT}:
        remarks.append(file.role.value)
    return ", ".join(remarks)
