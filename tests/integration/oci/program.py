"""Programs of a few bytes, for x86-64: the image's own cannot do what these do."""

from __future__ import annotations

import struct
from pathlib import Path

BASE = 0x400000
START = 64 + 56  # The header of the file, and that of its one segment (elf(5)).
# The number of mkdir(2) in each table, and the two instructions that call it.
WAYS = {"x86_64": (83, "syscall"), "x32": (0x40000000 | 83, "syscall"), "i386": (39, "int")}
MODE = 0o755
# Sends its second word as a datagram to the socket that the first one names, as sd_notify(3) does: with @ at the
# beginning it has no place in the filesystem.  It ends with 0 when all of the word went.
SENDER = bytes.fromhex(
    "488b742410"  # mov rsi, [rsp+16], the first word
    "4883c480 66c704240100"  # add rsp, -128; mov word [rsp], AF_UNIX: a struct sockaddr_un
    "488d7c2402 acaa84c075fa"  # lea rdi, [rsp+2]; then lodsb; stosb; test al, al; jnz to lodsb
    "4989f9 4929e1 49ffc9"  # r9 = its length without the last byte, which is 0
    "807c240240 7505 c644240200"  # cmp byte [rsp+2], '@'; jne; mov byte [rsp+2], 0
    "6a015f 6a025e 31d2 6a2958 0f05 89c7"  # edi = socket(AF_UNIX, SOCK_DGRAM, 0)
    "488bb42498000000"  # mov rsi, [rsp+152], the second word
    "31d2 803c1600 7404 ffc2 ebf6"  # edx = its length
    "4531d2 4989e0 6a2c58 0f05"  # eax = sendto(edi, rsi, edx, 0, rsp, r9)
    "29d0 89c7 6a3c58 0f05"  # exit(eax - edx)
)


def write(place: Path, way: str, directory: str = "/made") -> None:
    """A program that makes a directory by one of the ways into the kernel and ends with the number of the error."""
    body = _code(way, 0)
    _write(place, _code(way, BASE + START + len(body)) + directory.encode() + b"\0")


def write_sender(place: Path) -> None:
    """A program that sends its second word to the socket that its first one names."""
    _write(place, SENDER)


def _write(place: Path, body: bytes) -> None:
    size = START + len(body)
    head = struct.pack(
        "<4s5B7x2HI3QI6H", b"\x7fELF", 2, 1, 1, 0, 0, 2, 62, 1, BASE + START, 64, 0, 0, 64, 56, 1, 64, 0, 0
    )
    segment = struct.pack("<2I6Q", 1, 5, 0, BASE, BASE, size, size, 0x1000)
    place.write_bytes(head + segment + body)
    place.chmod(0o755)


def _code(way: str, path: int) -> bytes:
    number, instruction = WAYS[way]
    # mov eax, number; then the two arguments: ebx and ecx for int 0x80, edi and esi for syscall.
    first, second, call = (0xBB, 0xB9, b"\xcd\x80") if instruction == "int" else (0xBF, 0xBE, b"\x0f\x05")
    made = struct.pack("<BIBIBI", 0xB8, number, first, path, second, MODE) + call
    # neg eax; mov edi, eax; mov eax, 60 (exit); syscall
    return made + b"\xf7\xd8\x89\xc7" + struct.pack("<BI", 0xB8, 60) + b"\x0f\x05"
