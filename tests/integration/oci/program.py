"""A program of a few bytes, for x86-64, which makes a directory by one of the three ways into the kernel."""

from __future__ import annotations

import struct
from pathlib import Path

BASE = 0x400000
START = 64 + 56  # The header of the file, and that of its one segment (elf(5)).
# The number of mkdir(2) in each table, and the two instructions that call it.
WAYS = {"x86_64": (83, "syscall"), "x32": (0x40000000 | 83, "syscall"), "i386": (39, "int")}
MODE = 0o755


def write(place: Path, way: str, directory: str = "/made") -> None:
    """A program that makes a directory and ends with the number of the error."""
    body = _code(way, 0)
    body = _code(way, BASE + START + len(body)) + directory.encode() + b"\0"
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
