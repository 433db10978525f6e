"""The entry point of the `thence` script."""

import os

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and exit with its status."""
    try:
        # Imported here, so that Ctrl-C while modules load ends in one line as well.
        from thence.cli.group import cli
    except KeyboardInterrupt:
        os.write(2, b"thence: interrupted\n")
        os._exit(130)
    cli(prog_name="thence")
