"""Stacks of the daemon as perf's callchains."""

from __future__ import annotations

from typing import Any

from ptrace_client.stacks import UNKNOWN, Chain, Frame

# perf's number for a global symbol: the daemon does not tell which kind one is.
_GLOBAL = 1


def callchain(chain: Chain) -> list[dict[str, Any]]:
    """Return what perf makes of a stack: fresh dicts, leaf first, the caller's own.

    Keys are in perf's order, each only if known: ip, sym (start, end, binding, name), sym_off,
    dso. How long a symbol is the daemon does not tell: it ends behind the address.
    """
    return [_entry(frame) for frame in chain]


def _entry(frame: Frame) -> dict[str, Any]:
    address = frame["addr"]
    entry: dict[str, Any] = {"ip": address}
    if frame["symbol"] != UNKNOWN:
        entry["sym"] = {
            "start": address - frame["offset"],
            "end": address + 1,
            "binding": _GLOBAL,
            "name": frame["symbol"],
        }
        entry["sym_off"] = frame["offset"]
    if frame["dso"] != UNKNOWN:
        entry["dso"] = frame["dso"]
    return entry
