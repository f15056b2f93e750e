"""What a recording says of its host: texts of tracefs, memory, processor, the kernel's place."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

from ptrace_elf.elf import build_id_in
from ptrace_proto import ptrace_pb2 as pb
from ptraced.scope import online_cpus, possible_cpus
from ptraced.tracefs import Tracefs

_KALLSYMS = Path("/proc/kallsyms")
_NOTES = Path("/sys/kernel/notes")
_ENDS = ("_text", "_etext")


def recorded_host(tracefs: Tracefs, addresses: bool) -> pb.RecordedHost:
    """The facts; addresses of the kernel only where they are to be shown."""
    start, end = kernel_range() if addresses else (0, 0)
    events = tracefs.root / "events"
    return pb.RecordedHost(
        header_page=_text(events / "header_page"),
        header_event=_text(events / "header_event"),
        page_size=os.sysconf("SC_PAGE_SIZE"),
        total_memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        cpu_description=_processor(_text(Path("/proc/cpuinfo"))),
        kernel_build_id=build_id_in(_bytes(_NOTES)) or b"",
        kernel_start=start,
        kernel_end=end,
        cpus_online=len(online_cpus()),
        cpus_available=possible_cpus(),
        printk_formats=_bytes(tracefs.root / "printk_formats") if addresses else b"",
    )


def kernel_range(path: Path = _KALLSYMS) -> tuple[int, int]:
    """Addresses of _text and _etext; 0 where the kernel does not show them to the daemon."""
    return _kernel_range(path)


@cache
def _kernel_range(path: Path) -> tuple[int, int]:
    found: dict[str, int] = {}
    try:
        with path.open() as lines:
            for line in lines:
                address, _, name, *module = line.split()
                if name in _ENDS and not module:
                    found[name] = int(address, 16)
                    if len(found) == len(_ENDS):
                        break
    except OSError:
        return 0, 0
    return found.get("_text", 0), found.get("_etext", 0)


def _processor(cpuinfo: str) -> str:
    found = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    return found[1] if found else ""


def _text(path: Path) -> str:
    return _bytes(path).decode(errors="replace")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
