"""Questions about the index itself."""

from thence.index.connection import SCHEMA_VERSION
from thence.index.database import Index
from thence.index.views import IndexStatus, Problem

__all__ = ["index_status", "problems"]


def index_status(index: Index) -> IndexStatus:
    """How much is in the index, and what could not be taken in."""
    ((entries, logs, artifacts, versions, deleted, runs, verdicts),) = index.select(
        """
        SELECT
            (SELECT COUNT(*) FROM entries), (SELECT COUNT(*) FROM logs),
            (SELECT COUNT(*) FROM artifacts),
            (SELECT COALESCE(SUM(versions), 0) FROM artifacts),
            (SELECT COALESCE(SUM(deleted), 0) FROM artifacts),
            (SELECT COUNT(*) FROM runs), (SELECT COUNT(*) FROM verdicts)
        """
    )
    ((pages,),) = index.select("PRAGMA page_count")
    ((page_bytes,),) = index.select("PRAGMA page_size")
    counted = index.select("SELECT kind, COUNT(*) FROM problems GROUP BY kind ORDER BY kind")
    return IndexStatus(
        path=None if index.path is None else str(index.path),
        schema_version=SCHEMA_VERSION,
        size_bytes=pages * page_bytes,
        entries=entries,
        logs=logs,
        artifacts=artifacts,
        versions=versions,
        deleted=deleted,
        runs=runs,
        verdicts=verdicts,
        problems=dict(counted),
        refreshed_at=index.refreshed_at,
    )


def problems(index: Index, *, limit: int | None = None) -> list[Problem]:
    """What the index could not take in, sorted by log and number."""
    found = index.select(
        "SELECT kind, log, number, reason FROM problems ORDER BY log, number, kind, reason LIMIT ?",
        (-1 if limit is None else limit,),
    )
    return [Problem(*row) for row in found]
