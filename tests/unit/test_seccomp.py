"""The default filter, interpreted instruction by instruction."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from coso.kernel.seccomp import ALLOW, AUDIT_ARCH_X86_64, deny
from coso.spec import seccomp
from coso.spec.defaults import CAPABILITIES
from coso.spec.seccomp_compiled import PROGRAM

EPERM, ENOSYS = deny(1), deny(38)
X86_64 = AUDIT_ARCH_X86_64


def verdict(program: bytes, number: int, *arguments: int, arch: int = X86_64) -> int:
    """Run classic BPF over a struct seccomp_data."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<IIQ6Q", number, arch, 0, *padded)
    code = list(struct.iter_unpack("<HBBI", program))
    at = register = 0
    while True:
        operation, yes, no, k = code[at]
        at += 1
        if operation == 0x20:
            register = struct.unpack_from("<I", data, k)[0]
        elif operation == 0x06:
            return k
        elif operation == 0x05:
            at += k
        else:
            holds = {0x15: register == k, 0x35: register >= k, 0x45: bool(register & k)}[operation]
            at += yes if holds else no


@pytest.fixture(scope="module")
def default() -> bytes:
    return seccomp.program(CAPABILITIES)


def test_every_denied_call_fails_and_its_neighbours_do_not(default: bytes) -> None:
    special = {seccomp.CLONE, seccomp.CLONE3, seccomp.IOCTL, seccomp.PERSONALITY, seccomp.SOCKET}
    denied = {number for _, number, _ in seccomp.DENIED}
    for number in set(range(seccomp.NEWEST_CALL + 1)) - special:
        assert verdict(default, number) == (EPERM if number in denied else ALLOW), number


def test_a_call_from_the_future_does_not_exist(default: bytes) -> None:
    assert verdict(default, seccomp.NEWEST_CALL + 1) == ENOSYS
    assert verdict(default, 0x40000000 + 39) == ENOSYS  # x32


def test_a_program_of_another_architecture_finds_no_call(default: bytes) -> None:
    assert verdict(default, 20, arch=0x40000003) == ENOSYS


def test_clone_makes_processes_and_no_namespaces(default: bytes) -> None:
    assert verdict(default, seccomp.CLONE, 0x11) == ALLOW
    for flag in (0x10000000, 0x20000000, 0x00020000, 0x40000000, 0x04000000, 0x08000000, 0x02000000):
        assert verdict(default, seccomp.CLONE, flag | 0x11) == EPERM
    assert verdict(default, seccomp.CLONE3) == ENOSYS


def test_arguments_decide_where_they_must(default: bytes) -> None:
    assert verdict(default, seccomp.IOCTL, 1, 0x5412) == EPERM
    assert verdict(default, seccomp.IOCTL, 1, 0x5413) == ALLOW
    assert verdict(default, seccomp.SOCKET, 40) == EPERM
    assert verdict(default, seccomp.SOCKET, 2) == ALLOW
    assert verdict(default, seccomp.PERSONALITY, 0xFFFFFFFF) == ALLOW
    assert verdict(default, seccomp.PERSONALITY, 0x40000) == EPERM


def test_the_compiled_profile_is_the_profile(default: bytes) -> None:
    assert default == PROGRAM, "run coso.spec.seccomp.write_compiled()"


def test_a_capability_opens_its_calls() -> None:
    program = seccomp.program((*CAPABILITIES, "CAP_SYS_ADMIN"))
    assert verdict(program, 165) == ALLOW
    assert verdict(program, seccomp.CLONE, 0x10000011) == ALLOW
    assert verdict(program, 246) == EPERM


def test_the_numbers_are_the_kernels() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip(f"no {header} (package linux-libc-dev)")
    known = dict(re.findall(r"#define __NR_(\w+) (\d+)", header.read_text()))
    assert [(n, k) for n, k, _ in seccomp.DENIED if n in known and int(known[n]) != k] == []
