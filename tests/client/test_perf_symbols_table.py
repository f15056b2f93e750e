"""perf's rules for symbols at one address and for those without a size."""

import numpy as np
import pytest

from ptrace_client.perf_symbols.kallsyms import read_kallsyms, reference_addresses
from ptrace_client.perf_symbols.table import SymbolTable

LOCAL, GLOBAL, WEAK = 0, 1, 2


def _table(*symbols: tuple[int, int, int, str]) -> SymbolTable:
    table = SymbolTable()
    starts, sizes, bindings, names = zip(*symbols, strict=True)
    table.add(
        np.array(starts, np.uint64),
        np.array(sizes, np.uint64),
        np.array(bindings, np.uint8),
        [name.encode() for name in names],
    )
    return table


def _name(table: SymbolTable, address: int) -> str | None:
    found = table.find(address)
    return None if found is None else found.name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((100, 8, LOCAL, "sized"), (100, 0, GLOBAL, "sizeless_but_longer")),
        ((100, 8, LOCAL, "local"), (100, 8, WEAK, "weak_but_longer")),
        ((100, 8, GLOBAL, "global"), (100, 8, LOCAL, "local_but_longer")),
        ((100, 8, GLOBAL, "_one"), (100, 8, GLOBAL, "__underscores")),
        ((100, 8, GLOBAL, "longest"), (100, 8, GLOBAL, "short")),
        ((100, 8, GLOBAL, "sys_x"), (100, 8, GLOBAL, "SyS_x")),
    ],
)
def test_of_two_names_perf_takes_the_better(
    one: tuple[int, int, int, str], other: tuple[int, int, int, str]
) -> None:
    for symbols in ((one, other), (other, one)):
        table = _table(*symbols)
        table.drop_aliases()

        assert _name(table, 100) == one[3]


def test_of_equal_names_the_first_stays() -> None:
    table = _table((100, 8, GLOBAL, "abc"), (100, 4, GLOBAL, "xyz"), (100, 2, LOCAL, "longer"))

    table.drop_aliases()

    assert len(table) == 1
    assert _name(table, 100) == "abc"


def test_symbols_without_a_size_reach_up_to_the_next() -> None:
    table = _table((0x100, 0, LOCAL, "a"), (0x180, 8, LOCAL, "b"), (0x1F00, 0, LOCAL, "last"))

    table.end_those_without_size()

    assert table.find(0x17F) == (0x100, 0x180, LOCAL, "a")
    assert table.find(0x190) is None
    assert table.find(0x1F00) == (0x1F00, 0x3000, LOCAL, "last")


def test_an_address_belongs_to_the_innermost_symbol() -> None:
    table = _table((100, 100, GLOBAL, "outer"), (120, 10, GLOBAL, "inner"))

    assert [_name(table, address) for address in (110, 125, 140, 200)] == [
        "outer",
        "inner",
        "outer",
        None,
    ]


KALLSYMS = b"""\
ffffffff81000000 T _text
ffffffff81000000 T _stext
ffffffff81000040 t local_one
ffffffff81000050 W weak_one
ffffffff81000060 D some_data
ffffffff81000070 R some_constant
ffffffff81000080 t last_of_kernel
ffffffffc0001000 t of_module\t[mod]
ffffffffc0001020 t $x\t[mod]
ffffffffc0001040 t end_of_module\t[mod]
no line of it
"""


def test_kallsyms_gives_functions_and_data_with_binding_by_letter() -> None:
    table = read_kallsyms(KALLSYMS)

    found = [table.find(0xFFFFFFFF81000000 + at) for at in (0, 0x48, 0x58, 0x68, 0x78)]

    assert [(one.name, one.binding) for one in found if one] == [
        ("_stext", GLOBAL),
        ("local_one", LOCAL),
        ("weak_one", WEAK),
        ("some_data", GLOBAL),
        ("some_data", GLOBAL),
    ]


def test_the_last_symbol_before_a_module_ends_with_a_page() -> None:
    table = read_kallsyms(KALLSYMS)

    last = table.find(0xFFFFFFFF81000080)

    assert last is not None
    assert last.end == 0xFFFFFFFF81000080 // 4096 * 4096 + 2 * 4096


def test_the_references_of_a_text_without_addresses_are_zero() -> None:
    assert reference_addresses(KALLSYMS)["_text"] == 0xFFFFFFFF81000000
    hidden = b"0000000000000000 T _text\n0000000000000000 T _stext\n"
    assert not any(reference_addresses(hidden).values())


def test_text_without_symbols_gives_none() -> None:
    assert len(read_kallsyms(b"")) == 0
    assert len(read_kallsyms(b"\0" * 4096)) == 0
    assert read_kallsyms(b"").find(5) is None
