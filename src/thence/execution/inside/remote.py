"""What is fetched from elsewhere and asked of databases: wrappers of clients that are imported."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .clouds import Clouds
    from .fetches import Fetches
    from .observation import Observation
    from .queries import Queries
    from .replay import Replay

__all__ = ["start"]


class _Parts:
    """What all wrappers share; made when the first client is imported."""

    def __init__(self, observation: Observation) -> None:
        self._observation = observation
        self._fetches: Fetches | None = None
        self._replay: Replay | None = None
        self._queries: Queries | None = None
        self._clouds: Clouds | None = None

    @property
    def fetches(self) -> Fetches:
        """Tells of answers."""
        if self._fetches is None:
            from .fetches import Fetches

            self._fetches = Fetches(self._observation)
        return self._fetches

    @property
    def replay(self) -> Replay:
        """The kept answers."""
        if self._replay is None:
            from .replay import load

            made: list[Replay] = []
            folder = str(self._observation.plan.get("remote", {}).get("replay", ""))
            self.fetches.guard(lambda _: made.append(load(folder)))
            self._replay = made[0] if made else load("")
        return self._replay

    def clients(self) -> tuple[tuple[str, Callable[[Any], None]], ...]:
        """Modules, and what is done to them."""
        return (
            ("http.client", self._http),
            ("urllib3.connectionpool", self._urllib3),
            ("httpx._transports.default", self._httpx),
            ("aiohttp.client_reqrep", self._aiohttp),
            ("aiohttp.http_parser", self._aiohttp_parser),
            ("aiohttp.streams", self._aiohttp_streams),
            ("aiohttp.connector", self._aiohttp_connector),
            ("polars", self._cloud("wrap")),
            ("pyarrow.parquet.core", self._cloud("wrap")),
            ("pyarrow.parquet", self._cloud("wrap")),
            ("pyarrow.dataset", self._cloud("wrap")),
            ("pyarrow.feather", self._cloud("wrap")),
            ("pyarrow.orc", self._cloud("wrap")),
            ("pyarrow.fs", self._cloud("wrap_filesystems")),
            ("sqlite3", self._heirs("wrap_sqlite")),
            ("psycopg", self._database("wrap_psycopg")),
            ("psycopg2", self._heirs("wrap_psycopg2")),
            ("adbc_driver_manager.dbapi", self._database("wrap_adbc")),
            ("adbc_driver_sqlite.dbapi", self._database("wrap_adbc_driver")),
            ("adbc_driver_postgresql.dbapi", self._database("wrap_adbc_driver")),
            ("_duckdb", self._duckdb),
            ("duckdb", self._duckdb),
        )

    @property
    def queries(self) -> Queries:
        """Tells of queries."""
        if self._queries is None:
            from .queries import Queries

            self._queries = Queries(self._observation)
        return self._queries

    def _cloud(self, name: str) -> Callable[[Any], None]:
        def patch(module: Any) -> None:
            if self._clouds is None:
                from .clouds import Clouds

                self._clouds = Clouds(self.fetches)
            getattr(self._clouds, name)(module)

        return patch

    def _database(self, name: str) -> Callable[[Any], None]:
        def patch(module: Any) -> None:
            from . import databases

            getattr(databases, name)(module, self.queries)

        return patch

    def _heirs(self, name: str) -> Callable[[Any], None]:
        def patch(module: Any) -> None:
            from . import heirs

            getattr(heirs, name)(module, self.queries)

        return patch

    def _duckdb(self, module: Any) -> None:
        from . import through_duckdb

        through_duckdb.wrap(module, self.queries)

    def _http(self, module: Any) -> None:
        from . import http

        http.wrap(module, self.fetches, self.replay)

    def _urllib3(self, module: Any) -> None:
        from . import http

        http.wrap_urllib3(module, self.replay)

    def _httpx(self, module: Any) -> None:
        from . import through_httpx

        through_httpx.wrap(module, self.fetches, self.replay)

    def _aiohttp(self, module: Any) -> None:
        from . import through_aiohttp

        through_aiohttp.wrap_response(module, self.fetches)

    def _aiohttp_parser(self, module: Any) -> None:
        from . import through_aiohttp

        through_aiohttp.wrap_parser(module)

    def _aiohttp_streams(self, module: Any) -> None:
        from . import through_aiohttp

        through_aiohttp.wrap_streams(module)

    def _aiohttp_connector(self, module: Any) -> None:
        from . import through_aiohttp

        through_aiohttp.wrap_connector(module, self.replay)


def start(observation: Observation) -> None:
    """Begin."""
    for name, patch in _Parts(observation).clients():
        observation.imports.when(name, patch)
