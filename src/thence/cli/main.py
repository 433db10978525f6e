"""The entry point of the `thence` script."""

import gc
import os

__all__ = ["main"]

# Modules make many objects and hardly any rubbish, which Python would look for all the same.
_RUBBISH = (50_000, 20, 20)


def main() -> None:
    """Run the command line of this process and exit with its status."""
    gc.set_threshold(*_RUBBISH)
    try:
        # Imported here, so that Ctrl-C while modules load ends in one line as well.
        from thence.cli.group import cli
    except KeyboardInterrupt:
        os.write(2, b"thence: interrupted\n")
        os._exit(130)
    try:
        cli(prog_name="thence")
    finally:
        gc.freeze()  # or Python looks through all objects once more, and frees them: 30 ms
