"""The numbers of system calls, against the headers that the kernel's developers publish.

x86_64: `asm/unistd_64.h`, made of arch/x86/entry/syscalls/syscall_64.tbl. aarch64 has the generic
table, include/uapi/asm-generic/unistd.h, which is on every machine that has a kernel's headers.
"""

import re
from pathlib import Path

import pytest

from thence.execution import seccomp

HEADERS = {
    "x86_64": "x86_64-linux-gnu/asm/unistd_64.h",
    "aarch64": "asm-generic/unistd.h",
}


def numbers(header: str) -> dict[str, int]:
    path = Path("/usr/include") / header
    if not path.is_file():
        pytest.skip(f"no kernel headers here: {path}")
    text = path.read_text()
    found = dict(re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", text))
    return {name: int(number) for name, number in found.items()}


@pytest.mark.parametrize("machine", HEADERS)
def test_numbers_are_those_of_the_kernel(machine: str) -> None:
    known = numbers(HEADERS[machine])
    table = seccomp._MACHINES[machine]
    assert {name: known.get(name) for name in table.calls} == table.calls
    assert known["seccomp"] == table.seccomp


def test_aarch64_leaves_out_only_calls_that_it_does_not_have() -> None:
    known = numbers(HEADERS["aarch64"])
    machines = seccomp._MACHINES
    missing = set(machines["x86_64"].calls) - set(machines["aarch64"].calls)
    # `renameat` is in the generic header for old machines, of which aarch64 is one.
    assert not missing & set(known)
    assert missing == {
        *("open", "creat", "mkdir", "rename", "link", "symlink", "unlink"),
    }  # fmt: skip


def test_architectures_are_those_of_the_audit_header() -> None:
    path = Path("/usr/include/linux/elf-em.h")
    if not path.is_file():
        pytest.skip(f"no kernel headers here: {path}")
    text = path.read_text()
    # AUDIT_ARCH: the machine's number in ELF, 64 bits, little-endian (linux/audit.h).
    for machine, name in (("x86_64", "EM_X86_64"), ("aarch64", "EM_AARCH64")):
        found = re.search(rf"#define {name}\s+(\d+)", text)
        assert found is not None
        assert seccomp._MACHINES[machine].audit_arch == 0xC0000000 | int(found[1])
