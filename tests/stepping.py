"""Work on a store that goes on only when it is told to, an operation of the store at a time."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from thence.store.base import Bytes, ObjectInfo, Store

__all__ = ["Gate", "Inline", "Killed", "Stepper"]


class Killed(BaseException):
    """The process is dead: nothing that it does has an effect any more."""


class Gate:
    """A store around a store whose operations wait, but for reads of packs."""

    def __init__(self, store: Store, wait: Callable[[str], None]) -> None:
        self._store = store
        self._wait = wait

    @property
    def url(self) -> str:
        return self._store.url

    def get(self, key: str) -> bytes:
        self._wait(f"get {key}")
        return self._store.get(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self._store.get_range(key, start, length)

    def create(self, key: str, parts: Sequence[Bytes]) -> None:
        self._wait(f"create {key}")
        self._store.create(key, parts)

    def create_from_file(self, key: str, path: Path) -> None:
        self._wait(f"create {key}")
        self._store.create_from_file(key, path)

    def replace(self, key: str, parts: Sequence[Bytes]) -> None:
        self._wait(f"replace {key}")
        self._store.replace(key, parts)

    def head(self, key: str) -> ObjectInfo | None:
        self._wait(f"head {key}")
        return self._store.head(key)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        # A page at a time, as a bucket does: what comes and goes meanwhile is seen or not.
        while True:
            self._wait(f"list {prefix} {after}")
            page = []
            for info in self._store.list(prefix, after=after):
                page.append(info)
                if len(page) == 3:
                    break
            yield from page
            if len(page) < 3:
                return
            after = page[-1].key

    def delete(self, key: str) -> None:
        self._wait(f"delete {key}")
        self._store.delete(key)


class Stepper:
    """Work in a thread of its own that is stopped before each operation of its store.

    Args:
        work: Is given the store, and something to call where it may be stopped as well.
        store: What the operations are done in.
    """

    def __init__(self, work: Callable[[Store, Callable[[], None]], None], store: Store) -> None:
        self._work = work
        self._gate = Gate(store, self._wait)
        self._go = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)
        self._killed = False
        self.done = False
        self.error: BaseException | None = None
        self.at = "begin"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._stopped.acquire()

    def step(self, count: int = 1) -> None:
        """Let it do the operation that it waits with, and so on."""
        for _ in range(count):
            if self.done:
                return
            self._go.release()
            self._stopped.acquire()

    def finish(self) -> None:
        """Let it go on to its end."""
        while not self.done:
            self.step()

    def kill(self) -> None:
        """Have it die where it is."""
        self._killed = True
        self.finish()

    def _wait(self, at: str) -> None:
        if self._killed:
            raise Killed
        self.at = at
        self._stopped.release()
        self._go.acquire()
        if self._killed:
            raise Killed

    def _run(self) -> None:
        try:
            self._wait("begin")
            self._work(self._gate, lambda: self._wait("pause"))
        except BaseException as error:
            self.error = error
        finally:
            self.done = True
            self._stopped.release()


class Inline:
    """A pool of threads that has none: what is submitted is done at once, by who submits."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> "Inline":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, work, /, *arguments, **named):  # type: ignore[no-untyped-def]
        """As `Executor.submit`."""
        from concurrent.futures import Future

        done = Future()  # type: ignore[var-annotated]
        try:
            done.set_result(work(*arguments, **named))
        except Exception as error:
            done.set_exception(error)
        return done

    def shutdown(self, **_: object) -> None:
        """As `Executor.shutdown`."""
