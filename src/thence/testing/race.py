"""One writer of a race between processes: `python -m thence.testing.race OPENER URL KEY TEXT`.

It opens the store, writes `ready`, waits for a line, creates the object, and writes `won` or
`lost`. In a module without pytest, because sixteen of it start at the same time.
"""

import importlib
import sys

from thence.errors import AlreadyExists

__all__ = ["main"]


def main(opener: str, url: str, key: str, text: str) -> None:
    """Take part in one race.

    Args:
        opener: `module:function`, called with the URL.
        url: Which store.
        key: What all writers try to create.
        text: What this one writes there.
    """
    module, _, function = opener.partition(":")
    store = getattr(importlib.import_module(module), function)(url)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    try:
        store.create(key, [text.encode()])
    except AlreadyExists:
        sys.stdout.write("lost\n")
    else:
        sys.stdout.write("won\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
