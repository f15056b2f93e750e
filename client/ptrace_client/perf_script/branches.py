"""A sample's branch stack as perf tells it: brstack and brstacksym."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ptrace_client.perf_data.model import Sample

if TYPE_CHECKING:
    from ptrace_client.perf_symbols.model import Machine

# struct perf_branch_entry, behind `to`.
_MISPREDICTED: Final = 1 << 0
_PREDICTED: Final = 1 << 1
_IN_TX: Final = 1 << 2
_ABORT: Final = 1 << 3
_CYCLES_SHIFT: Final = 4
_CYCLES_MASK: Final = 0xFFFF
_UNKNOWN: Final = "[unknown]"


def branch_stack(machine: Machine, sample: Sample) -> list[dict[str, Any]]:
    """Return brstack: an entry for each branch, newest first, with the files it lies in."""
    return [
        {
            "from": branch.source,
            "to": branch.target,
            "mispred": bool(branch.flags & _MISPREDICTED),
            "predicted": bool(branch.flags & _PREDICTED),
            "in_tx": bool(branch.flags & _IN_TX),
            "abort": bool(branch.flags & _ABORT),
            "cycles": branch.flags >> _CYCLES_SHIFT & _CYCLES_MASK,
            "from_dsoname": _dso(machine, sample, branch.source),
            "to_dsoname": _dso(machine, sample, branch.target),
        }
        for branch in sample.branches
    ]


def branch_symbols(machine: Machine, sample: Sample) -> list[dict[str, str]]:
    """Return brstacksym: the same branches by their symbols."""
    return [
        {
            "from": _symbol(machine, sample, branch.source),
            "to": _symbol(machine, sample, branch.target),
            "pred": _prediction(branch.flags),
            "in_tx": "X" if branch.flags & _IN_TX else "-",
            "abort": "A" if branch.flags & _ABORT else "-",
        }
        for branch in sample.branches
    ]


def _dso(machine: Machine, sample: Sample, address: int) -> str:
    found = machine.locate_branch(sample.tid, address, sample.pid)
    return found.map.dso.name if found.map is not None else _UNKNOWN


def _symbol(machine: Machine, sample: Sample, address: int) -> str:
    found = machine.locate_branch(sample.tid, address, sample.pid)
    if found.symbol is None or not found.symbol.name:
        return _UNKNOWN
    return f"{found.symbol.name}+{found.symbol_offset:#x}"


def _prediction(flags: int) -> str:
    if flags & _MISPREDICTED:
        return "M"
    return "P" if flags & _PREDICTED else "-"
