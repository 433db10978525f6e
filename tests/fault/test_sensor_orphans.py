"""A command that waits to be started does not outlive a thence that died before it said so."""

import os
import select
import signal

import pytest

from patience import PATIENCE_S
from thence.execution import seccomp
from thence.execution.seccomp import SensorUnavailable


def test_who_waits_to_be_started_ends_with_the_one_who_would_start_it() -> None:
    told, tell = os.pipe()
    hear, let = os.pipe()
    parent = os.fork()
    if parent == 0:
        try:
            child = seccomp.fork(lambda channel: None)
            os.write(tell, b"%d" % child.pid)
        except SensorUnavailable:
            os.write(tell, b"0")
        os.read(hear, 1)
        os._exit(0)  # before the byte that starts the child
    child_pid = int(os.read(told, 20))
    if child_pid == 0:
        os.write(let, b"!")
        os.waitpid(parent, 0)
        pytest.skip("no kernel sensor here")
    watched = os.pidfd_open(child_pid)  # becomes readable when the process has ended

    os.write(let, b"!")
    os.waitpid(parent, 0)
    ended, _, _ = select.select([watched], [], [], PATIENCE_S)

    if not ended:
        os.kill(child_pid, signal.SIGKILL)
    assert ended
    for descriptor in (watched, told, tell, hear, let):
        os.close(descriptor)
