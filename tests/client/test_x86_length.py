"""Lengths of x86 instructions, compared with a disassembler's."""

from __future__ import annotations

import platform
import random
from pathlib import Path

import capstone
import pytest
from elftools.elf.elffile import ELFFile

from ptrace_client.perf_script.x86_length import instruction_length

LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
MODES = {True: capstone.CS_MODE_64, False: capstone.CS_MODE_32}
# What the disassembler takes for something else than the manual's tables do: registers whose
# kind of operand does not matter, what is not defined, and AMD's XOP.
ODD = {"ud0", "ud1", "vpperm"}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="has other libraries")
@pytest.mark.parametrize("name", ["libc.so.6", "libm.so.6", "libstdc++.so.6"])
def test_lengths_in_a_library_are_those_of_a_disassembler(name: str) -> None:
    with (LIBRARIES / name).open("rb") as file:
        text = ELFFile(file).get_section_by_name(".text")
        code, address = text.data()[:300_000], text["sh_addr"]
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.skipdata = True
    checked = 0
    for at, size, mnemonic, _ in decoder.disasm_lite(code, address):
        place = at - address
        if mnemonic != ".byte" and place + size < len(code):
            found = instruction_length(code[place : place + 16], True)
            assert found == size, (hex(at), code[place : place + 16].hex(), mnemonic)
            checked += 1

    assert checked > 30_000


@pytest.mark.parametrize("is_64bit", [True, False])
def test_lengths_of_any_bytes_are_those_of_a_disassembler(is_64bit: bool) -> None:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, MODES[is_64bit])
    chance = random.Random(1)
    checked = 0
    for _ in range(60_000):
        code = chance.randbytes(16)
        # A REX prefix counts only right before the opcode; the disassembler takes others, too.
        if is_64bit and any(byte & 0xF0 == 0x40 for byte in code[:4]):
            continue
        for _, size, mnemonic, operands in decoder.disasm_lite(code, 0, 1):
            is_odd = mnemonic in ODD or (mnemonic == "mov" and "r" in operands and code[0] == 0x0F)
            found = instruction_length(code, is_64bit)
            assert is_odd or found == size, (code.hex(), mnemonic, operands)
            checked += 1

    assert checked > 30_000


@pytest.mark.parametrize("code", [b"", b"\x66", b"\x48\x8b", b"\xe8\0\0\0", b"\x66" * 16])
def test_code_that_is_cut_short_has_no_length(code: bytes) -> None:
    assert instruction_length(code, True) is None
