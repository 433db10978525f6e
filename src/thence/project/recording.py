"""The part of the facade for notebooks, and for what runs were seen and heard to do."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from thence.execution.site import Site
from thence.index import runs as run_questions
from thence.index.views import RunDetail
from thence.model.observed import Observed, decode_observed
from thence.model.records import MetricPoint

if TYPE_CHECKING:
    from thence.execution.record import Sensor
    from thence.execution.wanted import Wanted

__all__ = ["Recording"]


class Recording:
    """What a project can do with notebooks and with what was observed.

    Attributes:
        site: The parts of the project.
    """

    site: Site

    def execute_notebook(
        self,
        path: str,
        params: Sequence[tuple[str, str]] = (),
        *,
        kernel: str | None = None,
        output: str | None = None,
        name: str | None = None,
        experiment: str | None = None,
        note: str | None = None,
        tags: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        sensor: "Sensor" = "auto",
        keep_remote: bool = False,
        progress: Callable[[int, int], None] = lambda number, total: None,
    ) -> RunDetail:
        """Execute a notebook under capture, and seal the run.

        Args:
            path: Of the notebook, which stays as it is.
            params: Names and texts for its cell of parameters, read as YAML.
            kernel: Name of a kernelspec, where it is not to be that of the notebook.
            output: Where the executed notebook is also written.
            name: What to call the run.
            experiment: The group of runs that it belongs to.
            note: Why it is done.
            tags: Of the run.
            options: Parameters of the run that are none of the notebook.
            sensor: How to watch.
            keep_remote: Keep what its cells fetch over HTTP, for reproducing it without the
                network.
            progress: Is told of each cell that begins: its number, and how many there are.

        Raises:
            MissingExtra: What executes notebooks is not installed.
            NotFound: There is no such notebook or kernel.
            DataDamaged: It is no notebook.
            InvalidInput: It cannot be given these parameters.
            Denied: The store may not be written to.
            StorageError: The store failed; what was recorded waits for `recover`.
        """
        from thence.execution import following, record
        from thence.execution.notebook import NotebookRequest
        from thence.execution.notebook_run import execute_notebook

        given = record.RunOptions(
            name, experiment, note, tags or {}, options or {}, keep_remote=keep_remote
        )
        request = NotebookRequest(path, tuple(params), kernel, output)
        run = execute_notebook(self.site, request, given, sensor=sensor, progress=progress)
        return following.detail(self.site, run)

    def observed(self, run: RunDetail) -> list[Observed]:
        """What a run was heard to do besides touching files; nothing before it is sealed.

        Raises:
            NotFound: The list is not in the store any more.
            DataDamaged: The list is damaged.
        """
        if run.sealed is None or run.sealed.observed is None:
            return []
        data = self.site.vault.content.read(run.sealed.observed)
        return decode_observed(data.splitlines())

    def missing_secrets(self, ref: str, given: Mapping[str, str] | None = None) -> "list[Wanted]":
        """Secrets that reproducing a run would need, and that are not known here.

        Args:
            ref: A run, or a version that a run made.
            given: Values by name, beside the environment variables of this machine.

        Raises:
            NotFound: There is no such run.
        """
        from thence.execution.wanted import missing_secrets

        return missing_secrets(self.site, ref, given)

    def metric_series(self, run: RunDetail, name: str) -> list[MetricPoint]:
        """The points of a metric of a run, in the order in which they were logged.

        Raises:
            NotFound: It has no such metric, or its series is not there any more.
        """
        return run_questions.series(self.site.index, run.run, name)
