"""Rows of a database, handed to a script's functions of the tables' names."""

from __future__ import annotations

from typing import Final

from ptrace_client.perf_script.script import PerfScript, die

# The row of the one machine that recordings are of.
MACHINE: Final = 1
_TABLES: Final = (
    "evsel_table",
    "machine_table",
    "thread_table",
    "comm_table",
    "comm_thread_table",
    "dso_table",
    "symbol_table",
    "branch_type_table",
    "sample_table",
    "call_path_table",
    "call_return_table",
    "context_switch_table",
    "synth_data",
)


class Rows:
    """The functions are those that the script has when the export begins."""

    def __init__(self, script: PerfScript) -> None:
        self._handlers = {table: script.handler(table) for table in _TABLES}
        self._last_ids: dict[str, int] = {}

    def new_id(self, table: str) -> int:
        """Return the next id of a table."""
        number = self._last_ids[table] = self._last_ids.get(table, 0) + 1
        return number

    def has(self, table: str) -> bool:
        """Whether a table has rows."""
        return table in self._last_ids

    def add(self, table: str, *columns: object) -> None:
        """Hand a row to the script."""
        handler = self._handlers[table]
        if handler is None:
            return
        try:
            handler(*columns)
        except BaseException as error:
            die(error)


def signed64(value: int) -> int:
    """Return a u64 as the s64 of the same bits."""
    return ((value & (1 << 64) - 1) ^ 1 << 63) - (1 << 63)
