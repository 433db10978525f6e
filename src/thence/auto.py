"""`import thence.auto`: from that line on, this process is a run; it ends when the process does.

As `with thence.run():` around the rest of the program. Under `thence run`, and in programs that a
run has started, it is part of that run, and nothing is done. Where no run can be recorded, the
program goes on, and a line on stderr says why.
"""

import sys

from thence.errors import ThenceError
from thence.verbs import begin

__all__: list[str] = []

try:
    begin()
except (ThenceError, OSError) as error:
    sys.stderr.write(f"thence: this process is not recorded: {error}\n")
