"""Reading and running the pages of the documentation.

A block of a page is `console` (lines after `$ ` are run by bash, the lines below them are what they
print), `python` (run as a script), or any other (not run). A comment right above a block changes
what becomes of it::

    <!-- file: train.py -->         the block is the content of this file
    <!-- not run: it needs … -->    it is not run; there must be a reason
    <!-- exit status: 7 -->         the last command of the block ends with this

In the lines that a command prints, `…` stands for any text, and alone for any number of lines.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 240

_FENCE = re.compile(r"^(?P<fence>`{3,})(?P<language>[\w-]*)\s*$")
_COMMENT = re.compile(r"^<!--\s*(?P<key>file|not run|exit status):\s*(?P<value>.+?)\s*-->$")


class Block(NamedTuple):
    """A fenced block of a page; `marks` are the comments right above it."""

    page: Path
    line: int
    language: str
    text: str
    marks: dict[str, str]

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


class Command(NamedTuple):
    """A command of a console block, and what the page says it prints, if it says so."""

    line: str
    printed: str | None


def pages() -> list[Path]:
    """All Markdown files that people read."""
    folders = ("docs", "design", "changes", "examples")
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for folder in folders:
        found += sorted((ROOT / folder).rglob("*.md"))
    return [path for path in found if path.is_file()]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = []
    marks: dict[str, str] = {}
    opened: re.Match[str] | None = None
    begin, lines = 0, list[str]()
    for number, line in enumerate(page.read_text("utf-8").splitlines(), start=1):
        if opened is not None:
            if line.rstrip() == opened["fence"]:
                text = "\n".join(lines) + "\n"
                found.append(Block(page, begin, opened["language"], text, marks))
                opened, marks = None, {}
            else:
                lines.append(line)
        elif comment := _COMMENT.match(line):
            marks = {**marks, comment["key"]: comment["value"]}
        elif fence := _FENCE.match(line):
            opened, begin, lines = fence, number, []
        elif line.strip():
            marks = {}
    assert opened is None, f"{page}: a block is not closed"
    return found


def commands(block: Block) -> list[Command]:
    """The commands of a console block."""
    found: list[Command] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:], None))
        else:
            assert found, f"{block.where}: does not begin with a command"
            last = found[-1]
            found[-1] = last._replace(printed=f"{last.printed or ''}{line}\n")
    return found


class Session:
    """A folder in which the blocks of one page are run, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._cwd = folder
        self._note = folder.with_name(folder.name + ".cwd")

    def run(self, block: Block) -> None:
        """Run a block; an assertion fails where it does not do what the page says."""
        if "file" in block.marks:
            path = self.folder / block.marks["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, "utf-8")
        elif "not run" in block.marks:
            return
        elif block.language == "console":
            listed = commands(block)
            for command in listed:
                expected = block.marks.get("exit status", "0") if command is listed[-1] else "0"
                self._command(block, command, int(expected))
        elif block.language == "python":
            done = self._call([sys.executable, "-c", block.text])
            assert done.returncode == 0, f"{block.where}\n{done.stdout}"

    def _command(self, block: Block, command: Command, expected: int) -> None:
        script = f'{command.line}\nstatus=$?; pwd -P > "{self._note}"; exit $status'
        done = self._call(["bash", "-c", script])
        if self._note.exists():
            self._cwd = Path(self._note.read_text().strip())
        told = f"{block.where}: {command.line}\n{done.stdout}"
        assert done.returncode == expected, f"exit status {done.returncode}\n{told}"
        if command.printed is not None:
            assert fits(command.printed, done.stdout), f"{told}\nthe page says\n{command.printed}"

    def _call(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        variables = {
            key: value for key, value in os.environ.items() if not key.startswith("THENCE_")
        }
        identity = {
            f"GIT_{role}_{what}": value
            for role in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "Ada"), ("EMAIL", "ada@example.org"))
        }
        return subprocess.run(
            command,
            cwd=self._cwd,
            stdin=subprocess.DEVNULL,
            env={
                **variables,
                **identity,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "COLUMNS": "100",
                "NO_COLOR": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
                "LOGNAME": "ada",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )


def fits(expected: str, printed: str) -> bool:
    """Whether what was printed is what a page says, with `…` for what varies."""
    pattern = ""
    for line in expected.rstrip().splitlines():
        if line.strip() == "…":
            pattern += r"(?:.*\n)*?"
        else:
            parts = (re.escape(part) for part in line.rstrip().split("…"))
            pattern += ".*".join(parts) + r"[ \t]*\n"
    return re.fullmatch(pattern + r"\s*", printed.rstrip() + "\n") is not None
