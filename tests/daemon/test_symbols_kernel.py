"""Names of kernel addresses: as the kernel prints them, and out of a list."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptraced.symbols.kernel import KernelSymbol, ListedSymbols, PrintedSymbols
from unprivileged import DAEMON_CAPABILITIES, as_user

LISTED = """\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000100 t first
ffffffff81000100 W first_alias
ffffffff81000180 D data
ffffffff81000200 T second
ffffffff81000300 T _etext
ffffffff82000000 T _sinittext
ffffffff82000100 T _einittext
ffffffffc0000000 t probe\t[module]
ffffffffc0000100 t remove\t[module]
ffffffffc0001000 t other\t[another]
"""


@pytest.fixture
def kallsyms(tmp_path: Path) -> Path:
    path = tmp_path / "kallsyms"
    path.write_text(LISTED)
    return path


@pytest.fixture
def printed() -> Iterator[PrintedSymbols]:
    symbols = PrintedSymbols()
    yield symbols
    symbols.close()


KERNEL = "[kernel.kallsyms]"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (0xFFFFFFFF81000100, KernelSymbol("first", 0xFFFFFFFF81000100, KERNEL)),
        (0xFFFFFFFF810001FF, KernelSymbol("first", 0xFFFFFFFF81000100, KERNEL)),
        (0xFFFFFFFF810002FF, KernelSymbol("second", 0xFFFFFFFF81000200, KERNEL)),
        # Behind the end of the kernel's code.
        (0xFFFFFFFF81000300, None),
        (0xFFFFFFFF82000100, None),
        (0xFFFFFFFFC0000080, KernelSymbol("probe", 0xFFFFFFFFC0000000, "[module]")),
        # Nobody tells where the last function of a module ends.
        (0xFFFFFFFFC0000180, None),
        (0xFFFFFFFFC0001080, None),
        (0xFFFFFFFF80000000, None),
        (0x1234, None),
    ],
)
def test_listed_functions(kallsyms: Path, address: int, expected: KernelSymbol | None) -> None:
    assert ListedSymbols(kallsyms).find(address) == expected


def test_the_list_is_read_again_for_a_module_that_was_loaded_later(
    kallsyms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbols = ListedSymbols(kallsyms)
    assert symbols.find(0xFFFFFFFFC0002000) is None
    kallsyms.write_text(LISTED + "ffffffffc0002000 t a\t[new]\nffffffffc0002100 t b\t[new]\n")

    # Not at once: reading it takes long.
    assert symbols.find(0xFFFFFFFFC0002000) is None
    monkeypatch.setattr("ptraced.symbols.kernel._RELOAD_AFTER", 0.0)
    found = symbols.find(0xFFFFFFFFC0002000)
    assert found == KernelSymbol("a", 0xFFFFFFFFC0002000, "[new]")


def test_a_list_without_addresses_has_no_symbols(kallsyms: Path) -> None:
    kallsyms.write_text("0000000000000000 T _stext\n0000000000000000 T first\n")
    assert ListedSymbols(kallsyms).find(0xFFFFFFFF81000100) is None


def listed_by_kernel(count: int) -> dict[int, set[tuple[str, str]]]:
    """Names by address of that many functions of the running kernel."""
    found: dict[int, set[tuple[str, str]]] = {}
    with open("/proc/kallsyms") as file:
        for line in file:
            address, kind, name, *module = line.split()
            if kind in "tT":
                symbol = name, module[0] if module else KERNEL
                found.setdefault(int(address, 16), set()).add(symbol)
    starts = sorted(found)
    return {start: found[start] for start in starts[:: max(1, len(starts) // count)]}


@pytest.mark.needs_kernel("BPF programs", "kernel symbols")
def test_the_kernel_prints_what_it_lists(printed: PrintedSymbols) -> None:
    listed = listed_by_kernel(500)
    for start, names in listed.items():
        found = printed.find(start)
        assert found is not None
        assert found.start == start
        assert (found.name, found.dso) in names


@pytest.mark.needs_kernel("BPF programs", "kernel symbols")
def test_the_daemons_capabilities_suffice_although_the_list_is_empty_for_it() -> None:
    """That it is empty depends on kernel.kptr_restrict and kernel.perf_event_paranoid."""
    start, names = next(iter(listed_by_kernel(3).items()))
    code = (
        "import json; from ptraced.symbols.kernel import PrintedSymbols;"
        f"print(json.dumps(PrintedSymbols().find({start + 1})))"
    )
    command = as_user([sys.executable, "-c", code], caps=DAEMON_CAPABILITIES)
    said = subprocess.run(command, check=True, capture_output=True, text=True)

    name, found, dso = json.loads(said.stdout)
    assert found == start
    assert (name, dso) in names


@pytest.mark.needs_kernel("BPF programs")
@pytest.mark.parametrize("address", [0, 0x1234, 2**64 - 1, 2**47])
def test_what_is_no_code_of_the_kernel_has_no_name(printed: PrintedSymbols, address: int) -> None:
    assert printed.find(address) is None
