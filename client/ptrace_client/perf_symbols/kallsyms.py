"""The kernel's symbols from text in the layout of /proc/kallsyms."""

from __future__ import annotations

import re

import numpy as np

from ptrace_client.perf_symbols.aliases import GLOBAL, WEAK
from ptrace_client.perf_symbols.table import SymbolTable

# Functions and data, as perf takes them; mapping symbols of ARM ("$x") name nothing.
_LINE = re.compile(rb"^([0-9a-fA-F]{1,16}) ([tTwWdDbB]) ([^$\n][^\n]*)$", re.M)
_REFERENCES = ("_text", "_stext")
_FUNCTION = re.compile(rb"([0-9a-fA-F]{1,16}) [tTwW]")


def read_kallsyms(text: bytes) -> SymbolTable:
    """Return all symbols, those of modules named "name\\t[module]"; empty where there are none."""
    table = SymbolTable()
    found = _LINE.findall(text)
    if not found:
        return table
    addresses, kinds, names = zip(*found, strict=True)
    starts = np.array([int(address, 16) for address in addresses], np.uint64)
    bindings = [WEAK if kind == b"W" else GLOBAL if kind.isupper() else 0 for kind in kinds]
    table.add(starts, np.zeros(len(starts), np.uint64), np.array(bindings, np.uint8), list(names))
    table.end_those_without_size(modules=True)
    table.drop_aliases()
    return table


def reference_addresses(text: bytes) -> dict[str, int]:
    """Return the addresses of _text and _stext: 0 where the reader may not know them."""
    found: dict[str, int] = {}
    for name in _REFERENCES:
        ending = f" {name}\n".encode()
        at = text.find(ending)
        while at >= 0:
            function = _FUNCTION.fullmatch(text, text.rfind(b"\n", 0, at) + 1, at)
            if function is not None:
                found[name] = int(function[1], 16)
                break
            at = text.find(ending, at + 1)
    return found
