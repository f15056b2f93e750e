"""Stacks are unwound by .eh_frame, without it by frame pointers, and end where nothing leads."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from recordedmachine import EVENT, Told, build, offset_of, symbols

from ptrace_client.perf_data.attr import SampleType
from ptrace_client.perf_data.model import CpuMode, RecordedEvent, Sample
from ptrace_client.perf_symbols.cfi import OFFSET, REGISTER, FrameTable, Rule
from ptrace_client.perf_symbols.dwarf_expression import evaluate
from ptrace_client.perf_symbols.files import opened
from ptrace_elf.elf import BytesData, Elf, ElfError

AT = 0x7F0000000000
STACK = 0x7FFD00000000
SP, BP, IP = 7, 6, 8
# AX to IP and R8 to R15, as perf samples them.
MASK = 0xFF01FF
SOURCE = """
#define FUNCTION __attribute__((noinline, noclone))
volatile int sink;
int getpid(void);
FUNCTION void outside(void) { sink += getpid(); }
FUNCTION void leaf(void) { sink++; }
FUNCTION int big(int x) { volatile char room[200]; room[x] = 1; leaf(); return room[0] + x; }
FUNCTION int outer(int x) { return big(x) + big(x + 1); }
int main(int argc, char **argv) { return outer(argc); }
__asm__(".text\\n.globl rules\\nrules:\\n.cfi_startproc\\n"
        ".cfi_def_cfa 6, 24\\nnop\\n.cfi_remember_state\\n.cfi_offset 300, -40\\n"
        ".cfi_register 3, 12\\nnop\\n.cfi_restore_state\\n.cfi_same_value 3\\nnop\\n"
        ".cfi_escape 0x0f, 3, 0x77, 8, 0x06\\n.cfi_escape 0x10, 3, 2, 0x77, 16\\nnop\\nret\\n"
        ".cfi_endproc\\n");
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unwound")
    return build(
        folder / "program", "-O2", "-pie", "-fomit-frame-pointer", "-Wl,-z,lazy", source=SOURCE
    )


def _event() -> RecordedEvent:
    kinds = SampleType.CALLCHAIN | SampleType.REGS_USER | SampleType.STACK_USER
    attr = replace(EVENT.attr, sample_type=kinds, sample_regs_user=MASK)
    return RecordedEvent(0, "cpu-clock", attr, (), layout=None)  # type: ignore[arg-type]


def _sample(ip: int, stack: Sequence[int], *, bp: int = 0, abi: int = 2) -> Sample:
    values = [0] * 17
    values[SP], values[BP], values[IP] = STACK, bp, ip
    sample = Sample(_event(), CpuMode.USER, pid=7, tid=7, ip=ip)
    sample.user_regs = abi, tuple(values)
    sample.user_stack = struct.pack(f"<{len(stack)}Q", *stack)
    return sample


def _told(program: Path, **options: bool) -> Told:
    told = Told(**options)
    told.mmap2(7, AT, 0x10000, str(program))
    told.mmap2(7, STACK - 0x1000, 0x100000, "[stack]", protection=3)
    return told


def _address(program: Path, name: str, distance: int = 0) -> int:
    return AT + offset_of(program, symbols(program)[name][0]) + distance


def _row(program: Path, name: str, distance: int) -> tuple[Rule, int, dict[int, Rule]]:
    with opened(str(program)) as elf:
        assert elf is not None
        row = FrameTable(elf).row(symbols(program)[name][0] + distance)
    assert row is not None
    return row.cfa, row.cfa_offset, row.rules


def test_rules_follow_the_instructions(program: Path) -> None:
    start = {16: Rule(OFFSET, -8)}
    register = Rule(REGISTER, 6)

    assert _row(program, "rules", 0) == (register, 24, start)
    assert _row(program, "rules", 1) == (
        register,
        24,
        {**start, 300: Rule(OFFSET, -40), 3: Rule(REGISTER, 12)},
    )
    assert _row(program, "rules", 2) == (register, 24, start)
    cfa, _, rules = _row(program, "rules", 3)
    assert cfa.expression == b"\x77\x08\x06"
    assert rules[3].expression == b"\x77\x10"


def test_callers_are_found_by_the_rules_of_the_file(program: Path) -> None:
    told = _told(program)
    (cfa, size, _) = _row(program, "big", 18)
    assert cfa == Rule(REGISTER, 7)
    stack = [0] * 200
    stack[0] = _address(program, "big", 19)
    # The frame of big(), whose return address is the word below its CFA.
    stack[size // 8] = _address(program, "outer", 10)

    entries = told.machine.callchain(_sample(_address(program, "leaf"), stack))

    assert [entry["sym"]["name"] for entry in entries[:3]] == ["leaf", "big", "outer"]
    assert entries[1]["ip"] == _address(program, "big", 18)
    assert all("dso" in entry for entry in entries[:3])


def test_a_call_that_ends_a_function_is_of_that_function(program: Path) -> None:
    told = _told(program)
    address, size = symbols(program)["big"]
    behind = AT + offset_of(program, address) + size
    stack = [behind, _address(program, "outer", 10), *[0] * 100]

    entries = told.machine.callchain(_sample(_address(program, "leaf"), stack))

    assert [entry["sym"]["name"] for entry in entries[:3]] == ["leaf", "big", "outer"]


def test_what_has_no_rules_is_left_by_its_frame_pointer(program: Path) -> None:
    told = _told(program, sane=True)
    told.mmap2(7, AT * 2 // 3, 0x1000, "//anon")
    stack = [0, 0, STACK + 64, _address(program, "outer", 10), *[0] * 100]

    sample = _sample(AT * 2 // 3 + 8, stack, bp=STACK + 16)
    entries = told.machine.callchain(sample)

    assert [entry["ip"] for entry in entries[:2]] == [
        AT * 2 // 3 + 8,
        _address(program, "outer", 9),
    ]
    for pointer in (0, 8, STACK - 8, STACK + 0x5000):
        sample = _sample(AT * 2 // 3 + 8, stack, bp=pointer)
        assert len(told.machine.callchain(sample)) == 1


@pytest.mark.parametrize("sane", [False, True])
def test_behind_a_frame_pointer_perf_guesses_the_stack_pointer(program: Path, sane: bool) -> None:
    told = _told(program, sane=sane)
    _, size, _ = _row(program, "big", 18)
    stack = [0] * 200
    pointer = 10
    stack[pointer + 1] = _address(program, "big", 19)
    # Of big(), whose frame begins behind the one that is left, or 16 bytes from where that ends.
    begins = pointer + 2 if sane else 2
    stack[begins + size // 8 - 1] = _address(program, "outer", 10)

    # No function is where the file begins.
    sample = _sample(AT + 8, stack, bp=STACK + 8 * pointer)
    addresses = [entry["ip"] for entry in told.machine.callchain(sample)]

    assert addresses[:3] == [AT + 8, _address(program, "big", 18), _address(program, "outer", 9)]


def test_perf_gives_up_where_a_file_has_no_rules_at_all(program: Path) -> None:
    told = _told(program)
    told.mmap2(7, AT * 2 // 3, 0x1000, "//anon")
    stack = [0, 0, STACK + 64, _address(program, "outer", 10), *[0] * 100]

    sample = _sample(AT * 2 // 3 + 8, stack, bp=STACK + 16)

    assert len(told.machine.callchain(sample)) == 1


def test_memory_that_was_not_copied_is_zero(program: Path) -> None:
    told = _told(program)

    entries = told.machine.callchain(_sample(_address(program, "leaf"), [5]))

    assert [entry["ip"] for entry in entries] == [_address(program, "leaf"), (1 << 64) - 1]


@pytest.mark.parametrize("sane", [False, True])
def test_a_file_that_is_mapped_twice_misleads_perf(program: Path, sane: bool) -> None:
    told = _told(program, sane=sane)
    told.mmap2(7, AT - 0x20000, 0x10000, str(program))
    stack = [_address(program, "outer", 10), *[0] * 100]

    entries = told.machine.callchain(_sample(_address(program, "leaf"), stack))

    assert (len(entries) > 1) is sane


def test_a_stub_that_has_just_been_called_is_known_by_its_code(program: Path) -> None:
    told = _told(program)
    # So that no rules are found.
    told.mmap2(7, AT - 0x20000, 0x10000, str(program))
    with opened(str(program)) as elf:
        assert elf is not None
        stubs = elf.section(b".plt")
    assert stubs is not None
    # The first entry is the one that all others go to.
    stub = AT + int(stubs["offset"]) + 16
    stack = [_address(program, "outer", 10), *[0] * 100]

    addresses = [entry["ip"] for entry in told.machine.callchain(_sample(stub, stack))]
    within = told.machine.callchain(_sample(stub + 6, stack))

    assert addresses == [stub, _address(program, "outer", 9)]
    assert len(within) == 1


def test_code_of_other_widths_and_samples_without_registers(program: Path) -> None:
    told = _told(program)
    sample = _sample(_address(program, "leaf"), [0] * 10, abi=1)
    assert told.machine.callchain(sample) == []
    sample.user_regs = None
    assert told.machine.callchain(sample) == []


def test_stacks_of_other_machines_are_told_of_once(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Told(features={"arch": "aarch64"})

    for _ in range(2):
        assert told.machine.callchain(_sample(5, [0] * 10)) == []

    assert capsys.readouterr().err == (
        "warning: stacks that were copied with samples are unwound only for x86_64: chains of "
        "this recording (aarch64) lack their user part\n"
    )


def test_stacks_without_end_are_cut(program: Path) -> None:
    told = _told(program, sane=True)
    told.mmap2(7, AT * 2 // 3, 0x1000, "//anon")
    # Each frame leads to one that is 16 bytes higher.
    stack = []
    for number in range(400):
        stack += [STACK + 16 * (number + 1), AT * 2 // 3 + 8]

    sample = _sample(AT * 2 // 3 + 8, stack, bp=STACK)

    assert len(told.machine.callchain(sample)) == 127


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("34", 4),
        ("08ff 31 22", 0x100),
        ("09ff", (1 << 64) - 1),
        ("7708", 0x1008),
        ("7708 06", 0x2010),
        ("35 32 1c", 3),
        ("32 35 1c 1f", 3),
        ("35 33 2b 28 0100 31 37", 7),
        ("31 2f 0100 32 23 07", 8),
        ("31 32 16 13", 2),
        ("31 32 14 22", 3),
        ("10 8002", 256),
        ("11 7f 20", 0),
        ("3f 34 24", 240),
        ("96 31 12 22", 2),
    ],
)
def test_expressions(expression: str, value: int) -> None:
    assert evaluate(bytes.fromhex(expression), {7: 0x1000}, lambda at: 2 * at) == value


@pytest.mark.parametrize("expression", ["", "22", "7f00", "ff", "2ffdff", "2f0070", "0a01", "10ff"])
def test_expressions_that_cannot_be_computed(expression: str) -> None:
    with pytest.raises((LookupError, struct.error)):
        evaluate(bytes.fromhex(expression), {}, lambda at: at)


def test_damaged_tables_lead_nowhere(program: Path) -> None:
    whole = program.read_bytes()
    with opened(str(program)) as elf:
        assert elf is not None
        header, frames = elf.section(b".eh_frame_hdr"), elf.section(b".eh_frame")
        assert header is not None
        assert frames is not None
        first, last = int(header["offset"]), int(frames["offset"]) + int(frames["size"])
    random.seed(7)
    addresses = [address for address, _ in symbols(program).values()]
    refused = 0
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(random.randrange(1, 20)):
            data[random.randrange(first, last)] = random.choice((0, 1, 0x7F, 0x80, 255, 0x10))
        try:
            table = FrameTable(Elf(BytesData(bytes(data))))
        except ElfError:
            refused += 1
            continue
        for address in addresses:
            table.row(address + 1)

    assert refused < 400
