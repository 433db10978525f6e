"""thence and its peers: how each keeps a file or folder, says what changed, and gives it back.

Each has a folder of its own, made anew for each workload, and its defaults; where one has none, or
they would not be comparable, `note` says what was chosen.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from bench.measured import Command
from bench.peers import peer


class Contender:
    """One tool with a store of its own below `root`; `work` is where the entry is that it keeps."""

    name: ClassVar[str]
    version_words: ClassVar[tuple[str, ...]] = ("--version",)
    own_tree: ClassVar[bool] = True  # else it keeps what is anywhere, and never writes there
    is_python: ClassVar[bool] = False
    note: ClassVar[str] = ""

    def __init__(self, root: Path, work: Path, entry: str, environment: Mapping[str, str]) -> None:
        self.root = root
        self.work = work
        self.entry = entry
        self.environment = environment
        self.out = root / "out"

    @classmethod
    def program(cls) -> str:
        """The path of it."""
        return peer(cls.name)

    @classmethod
    def version(cls, environment: Mapping[str, str]) -> str:
        """What it says of itself, in one line."""
        said = subprocess.run(
            [cls.program(), *cls.version_words],
            env=dict(environment), capture_output=True, text=True, check=True,
        )  # fmt: skip
        return said.stdout.strip().splitlines()[0]

    def prepare(self) -> None:
        """Make an empty store; not measured."""

    def save(self, number: int) -> list[Command]:
        """Keep the entry as it is now, as the version of this number."""
        raise NotImplementedError

    def status(self) -> list[Command] | None:
        """Say what changed; None where there is no such thing."""
        return None

    def restore(self, number: int) -> list[Command]:
        """Give back a version; `emptied` was called before."""
        raise NotImplementedError

    @property
    def given_back(self) -> Path:
        """Where the entry is after `restore`."""
        return (self.work if self.own_tree else self.out) / self.entry

    def stores(self) -> list[Path]:
        """The folders that hold what is kept; caches that can be made again are not among them."""
        raise NotImplementedError

    def at_work(self, *words: str) -> Command:
        """The program with these words, in the folder of the entry."""
        return Command([self.program(), *words], self.work)

    def do(self, *words: str, program: str | None = None) -> None:
        """Carry out what is not measured."""
        subprocess.run(
            [program or self.program(), *words],
            cwd=self.work, env=dict(self.environment), check=True, capture_output=True,
        )  # fmt: skip


class Thence(Contender):
    name = "thence"
    is_python = True
    note = "as installed; `.thence/store` is counted, its index and caches are not"

    @classmethod
    def program(cls) -> str:
        return sys.executable

    version_words = ("-m", "thence", "--version")

    def prepare(self) -> None:
        self.do("-m", "thence", "-q", "init")

    def save(self, number: int) -> list[Command]:
        return [self.at_work("-m", "thence", "-q", "save", self.entry)]

    def status(self) -> list[Command]:
        return [self.at_work("-m", "thence", "status")]

    def restore(self, number: int) -> list[Command]:
        ref = f"{self.entry}@v{number}"
        return [self.at_work("-m", "thence", "-q", "get", ref, str(self.given_back))]

    @property
    def given_back(self) -> Path:
        return self.out / self.entry

    def stores(self) -> list[Path]:
        return [self.work / ".thence" / "store"]


class Dvc(Contender):
    name = "dvc"
    is_python = True
    note = (
        "`dvc add`, `dvc status`, `dvc checkout` in a Git repository; its small files in Git are "
        "not committed; analytics and the look for updates are off"
    )

    def prepare(self) -> None:
        self.do("init", "-q", program="git")
        self.do("init", "-q")
        self.do("config", "core.check_update", "false")

    def save(self, number: int) -> list[Command]:
        return [self.at_work("add", "-q", self.entry)]

    def status(self) -> list[Command]:
        return [self.at_work("status")]

    def restore(self, number: int) -> list[Command]:
        return [self.at_work("checkout", "-q", f"{self.entry}.dvc")]

    def stores(self) -> list[Path]:
        return [self.work / ".dvc" / "cache"]


class Borg(Contender):
    name = "borg"
    own_tree = False
    is_python = True
    note = "repository without encryption (`-e none`), its usual compression (lz4)"

    def prepare(self) -> None:
        self.do("init", "-e", "none", str(self.root / "repo"))

    def save(self, number: int) -> list[Command]:
        return [self.at_work("create", f"{self.root / 'repo'}::v{number}", self.entry)]

    def restore(self, number: int) -> list[Command]:
        words = [self.program(), "extract", f"{self.root / 'repo'}::v{number}"]
        return [Command(words, self.out)]

    def stores(self) -> list[Path]:
        return [self.root / "repo"]


class Restic(Contender):
    name = "restic"
    version_words = ("version",)
    own_tree = False
    note = "it cannot but encrypt; its usual compression (zstd, `auto`)"

    def prepare(self) -> None:
        self.do("init", "-q", "-r", str(self.root / "repo"))

    def save(self, number: int) -> list[Command]:
        return [self.at_work("backup", "-q", "-r", str(self.root / "repo"), self.entry)]

    def restore(self, number: int) -> list[Command]:
        repo = str(self.root / "repo")
        return [self.at_work("restore", "-q", "-r", repo, "latest", "--target", str(self.out))]

    def stores(self) -> list[Path]:
        return [self.root / "repo"]


class Git(Contender):
    name = "git"
    note = "`git add` and `git commit`; `gc.auto` is 0, as its work would go on in the background"

    @classmethod
    def program(cls) -> str:
        return peer("git")

    def prepare(self) -> None:
        self.do("init", "-q")
        for key, value in (("user.name", "a"), ("user.email", "a@example.org"), ("gc.auto", "0")):
            self.do("config", key, value)

    def save(self, number: int) -> list[Command]:
        # A commit of nothing is refused; for the second look at the same files adding is enough.
        commit = self.at_work("commit", "-q", "--allow-empty", "-m", f"v{number}")
        return [self.at_work("add", self.entry), commit]

    def status(self) -> list[Command]:
        return [self.at_work("status")]

    def restore(self, number: int) -> list[Command]:
        return [self.at_work("checkout", "-q", "--", self.entry)]

    def stores(self) -> list[Path]:
        return [self.work / ".git"]


class GitLfs(Git):
    name = "git-lfs"
    note = "as git, with all files filtered by `lfs`"

    @classmethod
    def version(cls, environment: Mapping[str, str]) -> str:
        said = subprocess.run(
            [peer("git-lfs"), "version"], capture_output=True, text=True, check=True
        )
        return said.stdout.split()[0]

    def prepare(self) -> None:
        super().prepare()
        self.do("lfs", "install", "--local")
        attributes = f"{self.entry} filter=lfs -text\n{self.entry}/** filter=lfs -text\n"
        (self.work / ".gitattributes").write_text(attributes)
        self.do("add", ".gitattributes")
        self.do("commit", "-qm", "attributes")


class Oxen(Contender):
    name = "oxen"
    is_python = True
    note = "`add` and `commit`, `restore` through its Python package"

    @classmethod
    def version(cls, environment: Mapping[str, str]) -> str:
        told = "from importlib.metadata import version; print('oxenai', version('oxenai'))"
        said = subprocess.run(
            [cls.program(), "-c", told], env=dict(environment), capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        return said.stdout.strip()

    def _python(self, text: str) -> Command:
        return self.at_work("-c", f"import oxen\nrepo = oxen.Repo('.')\n{text}")

    def prepare(self) -> None:
        self.do("-c", "import oxen; oxen.user.config_user('a', 'a@example.org')")
        self.do("-c", "import oxen; oxen.init('.')")

    def save(self, number: int) -> list[Command]:
        return [self._python(f"repo.add({self.entry!r})\nrepo.commit('v{number}')")]

    def status(self) -> list[Command]:
        return [self._python("repo.status()")]

    def restore(self, number: int) -> list[Command]:
        return [self._python(f"repo.restore({self.entry!r})")]

    def stores(self) -> list[Path]:
        return [self.work / ".oxen"]


class Copy(Contender):
    name = "cp"
    own_tree = False
    note = "`cp -r`: what keeping costs without any of it"

    @classmethod
    def program(cls) -> str:
        return "cp"

    def save(self, number: int) -> list[Command]:
        target = self.root / "repo" / str(number)
        target.mkdir(parents=True)
        return [self.at_work("-r", self.entry, str(target))]

    def restore(self, number: int) -> list[Command]:
        source = self.root / "repo" / str(number) / self.entry
        return [self.at_work("-r", str(source), str(self.out))]

    def stores(self) -> list[Path]:
        return [self.root / "repo"]


def environment_of(home: Path, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What all of them run with: a home of their own, nobody asked, nothing called over the net."""
    kept = {key: base[key] for key in ("PATH", "LANG", "TMPDIR", "PYTHONPATH") if key in base}
    return {
        **kept,
        "HOME": str(home),
        "NO_COLOR": "1",
        "GIT_CONFIG_NOSYSTEM": "1",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(home / "dvc"),
        "BORG_BASE_DIR": str(home / "borg"),
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        "RESTIC_PASSWORD": "bench",
        "RESTIC_CACHE_DIR": str(home / "restic"),
    }


CONTENDERS: dict[str, type[Contender]] = {
    one.name: one for one in (Thence, Dvc, Borg, Restic, Git, GitLfs, Oxen, Copy)
}
