"""A key that a run sees is nowhere in the project afterwards, and can be put back."""

import hashlib
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from patience import PATIENCE_S
from thence.execution.supervisor import probe
from thence.index.views import RunDetail
from thence.model.ids import Digest
from thence.model.records import FileRole, Finding, RunStatus
from thence.vault.pack import BlockKind, entries_of, parse_pack_key, read_directory
from workshop import KILL_THE_RECORDER, Workshop, environment, seal_of

needs_kernel_sensor = pytest.mark.skipif(
    probe() is not None, reason=f"no kernel-level sensor: {probe()}"
)

# Each place has a key of its own, so that none is found only because it was seen elsewhere.
KEYS = {
    place: f"{place[:3]}-{hashlib.sha256(place.encode()).hexdigest()[:28]}"
    for place in ("argv", "environment", "yaml", "source", "dotenv", "logged", "listed", "option")
}

SPILL = """
import json, os, sys, yaml
import settings, thence
seen = {
    "argv": sys.argv[2],
    "environment": os.environ["SERVICE_API_KEY"],
    "yaml": yaml.safe_load(open("conf.yaml"))["service"]["api_key"],
    "source": settings.API_KEY,
    "dotenv": open(".env").read().split("=")[1].strip(),
}
for value in seen.values():
    print("using", value, "now")
    print("failed with", value, file=sys.stderr)
with open("result.json", "w") as file:
    json.dump({"seen": seen, "rows": 3}, file)
with open("metrics.json", "w") as file:
    json.dump({"auc": 0.5, "key": seen["yaml"]}, file)
with open("notes.bin", "wb") as file:
    file.write(b"\\0\\1" + seen["yaml"].encode() + bytes(1000))
thence.log(api_key=os.environ["LOGGED"], urls=[f"https://ada:{os.environ['LISTED']}@example.org"])
"""


def plant(workshop: Workshop, *, ending: str = "") -> list[str]:
    """A project full of keys; gives the command."""
    at = workshop
    at.write("conf.yaml", "service:\n  url: https://example.org\n  api_key: none-yet\n")
    at.write("settings.py", "API_KEY = None\n")
    at.git("init", "-q")
    at.git("add", "-A")
    at.git("commit", "-qm", "first")
    at.write(
        "conf.yaml", f"service:\n  url: https://example.org\n  api_key: {KEYS['yaml']}\n  lr: 0.1\n"
    )
    at.write("settings.py", f'API_KEY = "{KEYS["source"]}"\n')
    at.write(".env", f"SERVICE_TOKEN={KEYS['dotenv']}\n")
    at.write("script.py", SPILL + ending)
    return [sys.executable, "script.py", "--api-key", KEYS["argv"]]


VARIABLES = {
    "SERVICE_API_KEY": KEYS["environment"],
    # Of names that tell nothing.
    "LOGGED": KEYS["logged"],
    "LISTED": KEYS["listed"],
}


def stored(workshop: Workshop) -> Iterator[tuple[str, bytes]]:
    """All bytes in `.thence`, as they lie there and as they are read."""
    local = workshop.project.site.local
    for path in local.rglob("*"):
        if path.is_file() and path.name != "secret.key":
            yield str(path.relative_to(local)), path.read_bytes()
    vault = workshop.project.site.vault
    for info in vault.store.list("packs/"):
        pack = parse_pack_key(info.key)
        assert pack is not None
        for entry in entries_of(read_directory(vault.store, pack)):
            if entry.kind in {BlockKind.WHOLE, BlockKind.RECIPE}:
                digest = Digest(entry.id)
                yield str(digest), vault.content.read(digest)


def leaks(workshop: Workshop) -> list[str]:
    """Where a key can be read."""
    found = []
    count = 0
    for name, data in stored(workshop):
        count += 1
        for place, key in KEYS.items():
            spellings = [key.encode(), key.encode("utf-16-le"), key.encode().hex().encode()]
            if any(spelling in data for spelling in spellings):
                found.append(f"{place} in {name}")
    assert count > 10  # it did look
    return found


def check_record(workshop: Workshop, run: RunDetail) -> None:
    """Everything else is there, and what is not is named."""
    files = workshop.files(run)
    assert b"lr: 0.1" in workshop.read(files["conf.yaml"].digest)
    assert files["conf.yaml"].redacted
    assert files["settings.py"].redacted
    assert (files[".env"].why_not_kept, files[".env"].digest) == ("secret", None)
    assert files["result.json"].redacted
    assert b'"rows": 3' in workshop.read(files["result.json"].digest)
    assert files["notes.bin"].why_not_kept == "secret"
    sealed = seal_of(run)
    names = {one.name for one in sealed.withheld}
    assert {"api-key", "SERVICE_API_KEY", "api_key", "API_KEY", ".env"} <= names, names
    assert run.metrics["auc"] == 0.5
    out = workshop.read(sealed.stdout).decode()
    assert out.count("using <secret:") == 5
    assert workshop.read(sealed.stderr).decode().count("failed with <secret:") == 5


def test_no_key_is_anywhere_after_a_run(workshop: Workshop) -> None:
    command = plant(workshop)
    run = workshop.run(
        *command,
        variables=VARIABLES,
        note=f"with {KEYS['environment']}",
        tags={"token": KEYS["argv"]},
        params={"password": KEYS["option"]},
    )
    assert run.status is RunStatus.FINISHED, workshop.read(seal_of(run).stderr)
    assert leaks(workshop) == []
    check_record(workshop, run)
    assert seal_of(run).code.diff is not None
    assert b"api_key: <secret:" in workshop.read(seal_of(run).code.diff)


RECORDER = "import sys\nfrom thence.project import Project\nProject.open().execute(sys.argv[1:])\n"


@needs_kernel_sensor
@pytest.mark.parametrize("knows", [True, False], ids=["with the key", "without the key"])
def test_no_key_is_anywhere_after_a_run_that_died(workshop: Workshop, knows: bool) -> None:
    command = plant(workshop, ending=KILL_THE_RECORDER)
    with environment(**VARIABLES):
        subprocess.run(
            [sys.executable, "-c", RECORDER, *command],
            cwd=workshop.root,
            capture_output=True,
            check=False,
            timeout=PATIENCE_S,
        )
    assert len(workshop.spools()) == 1
    assert leaks(workshop) == []
    with environment(**(VARIABLES if knows else {})):
        (run,) = workshop.project.recover()
    assert run.status is RunStatus.DIED
    assert leaks(workshop) == []
    check_record(workshop, run)
    assert workshop.spools() == []


def test_a_key_that_only_a_secret_file_holds_is_not_kept_when_it_is_printed(
    workshop: Workshop,
) -> None:
    workshop.write(".env", f'DATABASE_PASSWORD="{KEYS["dotenv"]}"\nMODE=fast\n')
    run = workshop.script(
        "text = open('.env').read()\nprint(text)\nopen('copy.txt', 'w').write(text)\n"
    )
    assert leaks(workshop) == []
    assert b"MODE=fast" in workshop.read(seal_of(run).stdout)
    assert b"MODE=fast" in workshop.read(workshop.files(run)["copy.txt"].digest)


def test_a_key_in_a_result_of_any_size_is_found(workshop: Workshop) -> None:
    run = workshop.script(
        """
        import os
        key = os.environ["SERVICE_API_KEY"].encode()
        with open("large.bin", "wb") as file:
            file.truncate(70 << 20)
            file.seek((64 << 20) - 5)
            file.write(key)
        with open("large.csv", "wb") as file:
            file.write(b"a,b\\n" * (3 << 20) + key)
        """.replace("\n        ", "\n"),
        variables=VARIABLES,
    )
    assert {use.why_not_kept for use in workshop.files(run, FileRole.OUTPUT).values()} == {"secret"}
    assert len(seal_of(run).problems) == 2
    assert leaks(workshop) == []


def test_a_key_in_the_data_that_a_run_reads(workshop: Workshop) -> None:
    workshop.write("rows.csv", f"url,key\nhttps://example.org,{KEYS['environment']}\n")
    run = workshop.script(
        "open('n.txt', 'w').write(str(len(open('rows.csv').read())))\n", variables=VARIABLES
    )
    assert leaks(workshop) == []
    assert workshop.files(run)["rows.csv"].redacted


USES = """
import hashlib, json, os, sys, yaml
import settings
conf = yaml.safe_load(open("conf.yaml"))
keys = [sys.argv[2], os.environ["SERVICE_API_KEY"], conf["service"]["api_key"], settings.API_KEY]
assert len(set(keys)) == 1 and "secret:" not in keys[0], keys
with open("result.json", "w") as file:
    json.dump({"signature": hashlib.sha256(keys[0].encode()).hexdigest()[:9], "key": keys[0]}, file)
"""


def test_a_run_reproduces_where_its_key_is_known(workshop: Workshop, tmp_path: Path) -> None:
    key = KEYS["environment"]
    workshop.write("conf.yaml", f"service:\n  api_key: {key}\n")
    workshop.write("settings.py", f"API_KEY = '{key}'\n")
    workshop.write("script.py", USES)
    run = workshop.run(
        sys.executable, "script.py", "--api-key", key, variables={"SERVICE_API_KEY": key}
    )
    assert leaks(workshop) == []
    for name in ("conf.yaml", "settings.py", "script.py", "result.json"):
        (workshop.root / name).unlink()
    verdict = workshop.reproduce(f"run:{run.run}")
    assert verdict.finding is Finding.CANNOT_BE_CHECKED
    assert "the secret SERVICE_API_KEY (an environment variable)" in verdict.missing
    assert any("a secret on the command line is missing" in text for text in verdict.reasons)
    # In the environment again, or given by its name.
    for known in ({"variables": {"SERVICE_API_KEY": key}}, {"secrets": {"SERVICE_API_KEY": key}}):
        verdict = workshop.reproduce(f"run:{run.run}", **known)
        assert verdict.finding is Finding.REPRODUCED, verdict
        assert verdict.missing == ()
        assert leaks(workshop) == []
    verdict = workshop.reproduce(f"run:{run.run}", secrets={"SERVICE_API_KEY": "another-value-1"})
    assert verdict.finding is not Finding.REPRODUCED


def test_what_is_kept_to_look_at_holds_the_key_only_while_it_is_needed(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"  # other tests reproduce at the same time, in the usual place
    kept.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(kept))
    run = workshop.script(
        "import os\nopen('out.txt', 'w').write(str(len(os.environ['SERVICE_API_KEY'])))\n",
        variables=VARIABLES,
    )
    verdict = workshop.reproduce(f"run:{run.run}", variables=VARIABLES)
    assert verdict.finding is Finding.REPRODUCED, verdict
    assert list(kept.iterdir()) == []
    assert leaks(workshop) == []


def test_the_spool_of_a_living_run_is_for_its_owner_only(workshop: Workshop) -> None:
    run = workshop.script(
        textwrap.dedent(
            """
            import os
            spool = os.environ["THENCE_SPOOL"]
            modes = {name: oct(os.stat(os.path.join(spool, name)).st_mode & 0o77)
                     for name in os.listdir(spool)}
            print(sorted(modes.items()))
            """
        )
    )
    assert b"0o0" in workshop.read(seal_of(run).stdout)
    assert os.stat(workshop.project.site.local / "secret.key").st_mode & 0o77 == 0
