"""`thence reproduce` asks for the secrets of a run by name, and keeps none of them."""

import fcntl
import os
import pty
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from workshop import Workshop, environment

TOKEN, KEY = "k3v9-x81q-77aa-0z2m", "Vq0-88dPz31kLm7xTw2c"
SCRIPT = """
import os, tomllib
conf = tomllib.load(open("conf.toml", "rb"))
open("out.txt", "w").write(f"{len(os.environ['SHOP_API_TOKEN'])} {len(conf['api_key'])}")
"""


class Typed(NamedTuple):
    """What a person saw, who typed answers."""

    screen: str
    status: int


def on_a_terminal(root: Path, words: list[str], answers: dict[str, str]) -> Typed:
    """Run the command on a terminal of its own; type an answer once its question has appeared."""
    ours, theirs = pty.openpty()

    def take() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    with environment(NO_COLOR="1"):
        process = subprocess.Popen(
            [sys.executable, "-m", "thence", *words],
            cwd=root,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=take,  # noqa: PLW1509 - it calls the kernel, nothing else
        )
    os.close(theirs)
    screen, seen = "", 0
    waiting = dict(answers)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            data = os.read(ours, 4096)
        except OSError:  # everybody has left the terminal
            break
        if not data:
            break
        screen += data.decode("utf-8", "replace")
        for question, answer in list(waiting.items()):
            if question in screen[seen:]:
                seen = screen.index(question, seen) + len(question)
                del waiting[question]
                os.write(ours, f"{answer}\n".encode())
    os.close(ours)
    assert not waiting, screen
    return Typed(screen, process.wait(timeout=60))


@pytest.fixture
def recorded(workshop: Workshop) -> Workshop:
    """A run with a secret in its environment, and another in a file."""
    workshop.write("conf.toml", f'api_key = "{KEY}"\n')
    run = workshop.script(SCRIPT, variables={"SHOP_API_TOKEN": TOKEN})
    assert run.exit_code == 0
    (workshop.root / "conf.toml").unlink()
    return workshop


def kept(workshop: Workshop, text: str) -> list[str]:
    return [
        str(path)
        for path in (workshop.root / ".thence").rglob("*")
        if path.is_file() and text.encode() in path.read_bytes()
    ]


def test_secrets_are_asked_for_by_name_and_neither_shown_nor_kept(recorded: Workshop) -> None:
    answers = {
        "SHOP_API_TOKEN (an environment variable):": TOKEN,
        "api_key (in conf.toml):": KEY,
    }
    typed = on_a_terminal(recorded.root, ["reproduce", "run:last"], answers)
    assert typed.status == 0, typed.screen
    assert " reproduced (1 result" in typed.screen
    assert "missing" not in typed.screen
    for secret in (TOKEN, KEY):
        assert secret not in typed.screen
        assert kept(recorded, secret) == []


def test_one_can_go_on_without_a_secret(recorded: Workshop) -> None:
    answers = {"SHOP_API_TOKEN (an environment variable):": "", "api_key (in conf.toml):": KEY}
    typed = on_a_terminal(recorded.root, ["reproduce", "run:last"], answers)
    assert typed.status == 3, typed.screen
    assert "missing: the secret SHOP_API_TOKEN (an environment variable)" in typed.screen
    assert "api_key (in conf.toml)" not in typed.screen.partition("missing")[2]


def test_another_value_is_said_to_be_another_one(recorded: Workshop) -> None:
    other = TOKEN[::-1]
    answers = {"SHOP_API_TOKEN (an environment variable):": other, "api_key (in conf.toml):": KEY}
    typed = on_a_terminal(recorded.root, ["reproduce", "run:last"], answers)
    assert typed.status == 0, typed.screen
    assert "the secret SHOP_API_TOKEN is not the value that the run had" in typed.screen
    assert kept(recorded, other) == []


def test_without_a_terminal_it_says_which_are_missing_and_does_not_wait(
    recorded: Workshop,
) -> None:
    done = recorded.thence("reproduce", "run:last", stdin=subprocess.DEVNULL)
    assert done.returncode == 3
    assert (
        "not given: the secret SHOP_API_TOKEN (an environment variable); "
        "set a variable to it, and add: --secret SHOP_API_TOKEN=VARIABLE"
    ) in done.stderr
    assert "not given: the secret api_key (in conf.toml)" in done.stderr
    assert "missing: the secret api_key (in conf.toml)" in done.stdout


def test_without_a_terminal_they_come_from_the_environment(recorded: Workshop) -> None:
    def reproduce(**variables: str) -> subprocess.CompletedProcess[str]:
        with environment(**variables):
            return subprocess.run(
                [sys.executable, "-m", "thence", "reproduce", "run:last"],
                cwd=recorded.root,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )

    done = reproduce(SHOP_API_TOKEN=TOKEN, ANY_NAME=KEY)
    assert done.returncode == 0, done.stdout
    assert "not given" not in done.stderr
    done = reproduce(SHOP_API_TOKEN="something-else-1", ANY_NAME=KEY)
    assert "SHOP_API_TOKEN is another value here" in done.stderr
    assert "--secret SHOP_API_TOKEN=SHOP_API_TOKEN" in done.stderr
