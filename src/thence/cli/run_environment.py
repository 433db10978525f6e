"""The parts of a run's page about its code and its environment."""

from typing import TYPE_CHECKING

from thence.cli import human
from thence.cli.output import Output
from thence.cli.page import fields, pairs, section, text_of
from thence.model.records import RunSealed

if TYPE_CHECKING:
    from thence.execution.capture.environment import Environment
    from thence.index.views import RunDetail
    from thence.project import Project

__all__ = ["environment_of", "show_code", "show_environment"]

_SHOWN_FILES = 20
_SHOWN_PACKAGES = 30


def show_code(output: Output, project: "Project", sealed: RunSealed) -> None:
    """The commit, and what differs from it."""
    code = sealed.code
    if code.commit is None and not code.untracked:
        return
    diff = None if code.diff is None else text_of(project, code.diff)
    changed = (
        []
        if diff is None
        else [part.split(" b/")[-1] for part in diff.splitlines() if part.startswith("diff --git ")]
    )
    section(output, "code")
    state = "with uncommitted changes" if code.dirty else "nothing uncommitted"
    branch = f" on {code.branch}" if code.branch else ""
    bundle = None if code.bundle is None else "kept, with what no remote has"
    fields(
        output,
        [
            ("commit", None if code.commit is None else f"{code.commit}{branch}, {state}"),
            ("remote", code.remote),
            ("changed", ", ".join(changed[:_SHOWN_FILES])),
            ("untracked", ", ".join(code.untracked[:_SHOWN_FILES])),
            *(("submodule", one) for one in code.submodules),
            ("snapshot", None if code.snapshot is None else f"commit {code.snapshot}"),
            ("bundle", bundle),
        ],
    )


def environment_of(project: "Project", run: "RunDetail") -> "Environment | None":
    """What was installed and used; None where it is not there."""
    from thence.execution.capture.environment import Environment
    from thence.model import codec

    if run.sealed is None or run.sealed.environment is None:
        return None
    text = text_of(project, run.sealed.environment)
    return None if text is None else codec.decode(text.encode(), Environment)


def show_environment(output: Output, environment: "Environment") -> None:
    """Python, packages, system."""
    section(output, "environment")
    used = [f"{one.name} {one.version}" for one in environment.used]
    required = len(environment.distributions) - len(used)
    listed = ", ".join(used[:_SHOWN_PACKAGES])
    if (more := len(used) - _SHOWN_PACKAGES) > 0:
        listed += f" and {more} more"
    system = environment.system
    fields(
        output,
        [
            *(
                ("python", f"{one.implementation} {one.version}, {one.executable}")
                for one in environment.interpreters
            ),
            ("packages used", listed),
            ("with them", human.count(required, "required package") if required else None),
            ("kept whole", ", ".join(sorted({one.package for one in environment.kept}))),
            ("system", ", ".join(filter(None, (system.distribution, system.libc)))),
            ("its packages", human.count(len(system.packages), "package")),
            ("BLAS", ", ".join(system.blas)),
            ("accelerators", ", ".join(system.accelerators)),
            ("threads", pairs(system.threads)),
            *(("problem", text) for text in environment.problems),
        ],
    )
