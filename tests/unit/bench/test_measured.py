"""What a command takes is counted with all that it starts."""

import os
import sys
from pathlib import Path

import pytest
from bench.measured import Command, CommandFailed, measure

BURN = "import time\nwhile time.process_time() < 0.3: pass"


def _python(text: str, folder: Path) -> Command:
    return Command([sys.executable, "-c", text], folder)


def test_the_cpu_of_a_child_of_the_command_counts(tmp_path: Path) -> None:
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}], check=True)"

    took = measure([_python(parent, tmp_path)], environment=os.environ)

    assert took.cpu_s >= 0.3
    assert took.wall_s > 0


def test_times_of_several_commands_are_added_and_the_largest_memory_counts(tmp_path: Path) -> None:
    large = _python("held = b'x' * 150_000_000", tmp_path)

    took = measure(
        [_python(BURN, tmp_path), large, _python(BURN, tmp_path)], environment=os.environ
    )

    assert took.cpu_s >= 0.6
    assert 150_000_000 < took.rss_bytes < 300_000_000


def test_the_memory_of_who_measures_is_not_that_of_the_command(tmp_path: Path) -> None:
    held = b"x" * 200_000_000

    took = measure([Command(["true"], tmp_path)], environment=os.environ)

    assert took.rss_bytes < len(held) / 4


def test_a_command_that_fails_is_told_with_what_it_printed(tmp_path: Path) -> None:
    command = _python("import sys; sys.exit('no such thing')", tmp_path)

    with pytest.raises(CommandFailed, match=r"status \['1'\][^$]*no such thing"):
        measure([command], environment=os.environ)


def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"not done within 0\.5 s"):
        measure([Command(["sleep", "60"], tmp_path)], environment=os.environ, timeout_s=0.5)


def test_a_command_that_is_not_there_fails(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="FileNotFoundError"):
        measure([Command(["no-such-program"], tmp_path)], environment=os.environ)
