"""Symbols that are looked up in the lines of kallsyms are those of the table of the same text."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from ptrace_client.perf_symbols.kallsyms import read_kallsyms
from ptrace_client.perf_symbols.kallsyms_lines import KallsymsLines, split_lines

START = 0xFFFFFFFF81000000
MODULES = 0xFFFFFFFFC0001000


def _text(seed: int) -> bytes:
    """Functions and data with aliases, shuffled; those of two modules behind."""
    chosen = random.Random(seed)
    lines = [f"{START:016x} T _text"]
    for index in range(300):
        address = START + chosen.randrange(150) * 16
        prefix = chosen.choice(("", "_", "__", "SyS_", "compat_SyS_"))
        lines.append(f"{address:016x} {chosen.choice('tTwWdDbBrR')} {prefix}name{index}")
    for index in range(100):
        address = MODULES + chosen.randrange(60) * 16
        module = "one" if address < MODULES + 400 else "other"
        lines.append(f"{address:016x} {chosen.choice('tTdDr')} name{index}\t[{module}]")
    chosen.shuffle(lines)
    return "".join(f"{line}\n" for line in lines).encode()


@pytest.mark.parametrize("seed", range(20))
def test_all_addresses_have_the_same_symbol_as_by_the_table(seed: int) -> None:
    text = _text(seed)
    table, lines = read_kallsyms(text), split_lines(text)
    assert lines is not None
    own, modules = KallsymsLines(lines[0], 0), KallsymsLines(lines[1], 0)
    moved, one = KallsymsLines(lines[0], 4096), KallsymsLines(lines[1], -MODULES, "one")
    shown = {
        MODULES + symbol.start: symbol.name
        for symbol in map(one.find, range(0, 1000, 16))
        if symbol
    }

    for address in range(START - 32, START + 12000, 8):
        assert own.find(address) == table.find(address)
        found, same = moved.find(address + 4096), own.find(address)
        assert (found and found.name) == (same and same.name)
    for address in range(MODULES - 32, MODULES + 12000, 8):
        assert modules.find(address) == table.find(address)
        symbol = table.find(address)
        if symbol is not None and symbol.name.endswith("\t[one]") and symbol.start in shown:
            assert shown[symbol.start] == symbol.name.removesuffix("\t[one]")
    assert own.range == (START, max(own.find(at).end for at in _starts(lines[0].keys)))  # type: ignore[union-attr]
    assert not any("other" in name or "\t" in name for name in shown.values())
    assert len(shown) == len({at for at in _starts(lines[1].keys) if at < MODULES + 400})


def _starts(keys: list[bytes]) -> list[int]:
    return [int(key, 16) for key in keys]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no line of it\n",
        b"81000000 T of_32_bits\n81000040 T other\n",
        b"0000000000000000 T hidden\n0000000000000000 T too\n",
        b"FFFFFFFF81000000 T upper_case\nFFFFFFFF81000040 T other\n",
        b"ffffffff81000000 T one\nffffffff81000010 t $x\n",
        b"ffffffff81000000 T one\t[module]\nffffffff81000010 t of_kernel\n",
    ],
)
def test_text_that_is_laid_out_otherwise_is_left_to_the_table(text: bytes) -> None:
    assert split_lines(text) is None


def test_numpy_comes_without_threads_and_leaves_the_environment_alone() -> None:
    program = (
        "import os\n"
        "from ptrace_client.perf_symbols.numbers import load_numpy\n"
        "before = dict(os.environ)\n"
        "load_numpy()\n"
        "assert dict(os.environ) == before\n"
        "assert len(os.listdir('/proc/self/task')) == 1\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
