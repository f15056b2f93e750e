"""How scripts in perf's dialect are served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# What --dialect may say.
PERF_PROF: Final = "perf-prof"
PERF_SCRIPT: Final = "perf-script"
DIALECTS: Final = (PERF_PROF, PERF_SCRIPT)


@dataclass(frozen=True)
class DialectOptions:
    """What the user said about it.

    `dialect` is one of DIALECTS where the script does not tell. `strict` binds handlers by
    perf's exact rule; `sane_values` gives fields their sign, text and names where perf errs.
    `kallsyms`, `vmlinux` and `symfs` are files of the recorded host, for symbols; `inline` gives
    inlined functions their own entries in call chains.
    """

    dialect: str | None = None
    strict: bool = False
    sane_values: bool = False
    kallsyms: str | None = None
    vmlinux: str | None = None
    symfs: str = ""
    inline: bool = False
