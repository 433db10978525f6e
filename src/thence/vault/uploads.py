"""Packs on their way to a bucket, several at a time, while the next ones are being filled."""

from threading import Condition, Thread

from thence.errors import Interrupted
from thence.store.base import Store
from thence.vault.pack import Pack, PackBuilder

__all__ = ["Uploads"]

AT_ONCE = 4
_GRACE_S = 1.0


class Uploads:
    """Publishes packs in the background. May be used from any thread.

    After the first failure nothing more is taken, and every call raises that same error.

    The threads are daemons and there is one for each pack: who presses Ctrl-C does not wait for 64
    MiB on a slow line, which the threads of an executor would make the interpreter do. What is
    left of such a pack is at most a whole one that nothing names.

    Args:
        store: Where to.
        at_once: How many packs are on their way at most; they wait in `staging`, not in memory.
    """

    def __init__(self, store: Store, *, at_once: int | None = None) -> None:
        self._store = store
        self._at_once = at_once or AT_ONCE
        self._changed = Condition()
        self._active: set[PackBuilder] = set()
        self._done: list[Pack] = []
        self._error: Exception | None = None

    def send(self, builder: PackBuilder) -> None:
        """Begin to publish a pack; waits where too many are on their way.

        Raises:
            StorageError: A pack before it could not be written, now or earlier.
            Denied: The store may not be written to.
            Interrupted: This was stopped.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._error or len(self._active) < self._at_once)
            self.check()
            self._active.add(builder)
        try:
            Thread(target=self._publish, args=(builder,), name="thence-upload", daemon=True).start()
        except RuntimeError:
            # The end of a process seals its run, and no thread can be started any more by then.
            self._publish(builder)

    def check(self) -> None:
        """See that nothing failed.

        Raises:
            StorageError: A pack could not be written.
            Denied: The store may not be written to.
            Interrupted: This was stopped.
        """
        if self._error is not None:
            raise self._error

    def wait(self) -> list[Pack]:
        """Wait until all that was sent is durable; the packs since the last call.

        Raises:
            StorageError: A pack could not be written.
            Denied: The store may not be written to.
            Interrupted: This was stopped.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._error or not self._active)
            self.check()
            done, self._done = self._done, []
        return done

    def stop(self) -> None:
        """Take no more, and leave nothing in the staging folder; safe to call at any time."""
        with self._changed:
            self._error = self._error or Interrupted("writing was stopped")
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._active, _GRACE_S)
            for builder in self._active:
                builder.abandon()

    def _publish(self, builder: PackBuilder) -> None:
        try:
            pack = builder.publish(self._store)
        except Exception as error:  # raised again in the thread that writes
            with self._changed:
                self._error = self._error or error
        else:
            with self._changed:
                self._done.append(pack)
        finally:
            with self._changed:
                self._active.discard(builder)
                self._changed.notify_all()
