"""Questions about a project, answered from SQL tables that can be deleted and rebuilt.

`ingest` turns log entries into rows (a pure function), `database` keeps them in SQLite, `refresh`
brings them up to date with the logs, and one module per noun asks: `artifacts`, `versions`,
`runs`, `lineage`, `status`. Nothing here is true by itself: the logs are.
"""

from thence.index.database import Index
from thence.index.ingest import LogItem
from thence.index.refresh import refresh

__all__ = ["Index", "LogItem", "refresh"]
