"""Source lines and inlined functions of addresses in files, by addr2line where it is there."""

from __future__ import annotations

from typing import NamedTuple

from ptrace_client.perf_symbols.line_tool import LineTool

# Inlined functions at one address.
_RECORDS_MAX = 1024
# After so many addresses of a file without an answer it is asked no more.
_FAILURES_MAX = 123
# Files whose addr2line is kept running: each holds its file's debug information in memory.
_RUNNING_MAX = 8
_UNKNOWN = b"??:0"
_CACHE_MAX = 100_000


class SourceLine(NamedTuple):
    """A place in the source; `function` as in the file."""

    function: bytes
    path: str
    line: int


class Addr2line:
    """Asks a child process for each file, which stays until too many others run."""

    def __init__(self) -> None:
        self._tools: dict[str, LineTool] = {}
        self._failures: dict[str, int] = {}
        self._known: dict[tuple[str, int], list[SourceLine]] = {}

    def lines(self, path: str, address: int) -> list[SourceLine]:
        """Return where the code at a linked address stems from: the innermost function first.

        Empty where nobody knows.
        """
        key = path, address
        found = self._known.get(key)
        if found is None:
            if len(self._known) > _CACHE_MAX:
                self._known.clear()
            found = self._known[key] = self._ask(path, address)
        return found

    def close(self) -> None:
        """End the children."""
        for tool in self._tools.values():
            tool.close()
        self._tools.clear()

    def _ask(self, path: str, address: int) -> list[SourceLine]:
        failures = self._failures.get(path, 0)
        if failures >= _FAILURES_MAX:
            return []
        try:
            found = _records(self._tool(path), address)
        except FileNotFoundError:
            self._failures[path] = _FAILURES_MAX
            return []
        except OSError:
            # A file that it cannot cope with once will not do better.
            self._tools.pop(path).close()
            self._failures[path] = _FAILURES_MAX
            return []
        self._failures[path] = 0 if found else failures + 1
        return found

    def _tool(self, path: str) -> LineTool:
        tool = self._tools.pop(path, None)
        if tool is None:
            if len(self._tools) >= _RUNNING_MAX:
                oldest = next(iter(self._tools))
                self._tools.pop(oldest).close()
            tool = LineTool(["addr2line", "-i", "-f", "-e", path])
        self._tools[path] = tool
        return tool


def _records(tool: LineTool, address: int) -> list[SourceLine]:
    """What is answered to an address: as many records as functions are inlined there.

    "," is no address, and always answered by one record that nothing else has.
    """
    tool.send(b"%016x\n,\n" % address)
    found: list[SourceLine] = []
    function, place = tool.line(), tool.line()
    if place == _UNKNOWN:
        tool.line()
        tool.line()
        return []
    while place != _UNKNOWN:
        path, _, line = place.partition(b":")
        digits = line.split()[0] if line.split() else b""
        number = int(digits) if digits.isdigit() else 0
        if len(found) < _RECORDS_MAX:
            found.append(SourceLine(function, path.decode(errors="surrogateescape"), number))
        function, place = tool.line(), tool.line()
    return found
