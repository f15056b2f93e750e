"""Settings of perf's own configuration, which scripts may ask for."""

from __future__ import annotations

import configparser
import functools
import os
from pathlib import Path
from typing import Final

_SYSTEM: Final = Path("/etc/perfconfig")
# No such file is larger.
_MOST_BYTES: Final = 1 << 20


def setting(name: str) -> str | None:
    """Return the value of "section.key", None where it is not set.

    The user's file (PERF_CONFIG, else ~/.perfconfig) goes before the host's; what cannot be
    read is taken for empty.
    """
    section, _, key = name.rpartition(".")
    return _settings().get((section.lower(), key.lower()))


@functools.cache
def _settings() -> dict[tuple[str, str], str]:
    own = os.environ.get("PERF_CONFIG")
    found: dict[tuple[str, str], str] = {}
    for path in (_SYSTEM, Path(own or os.path.expanduser("~/.perfconfig"))):
        found.update(_read(path))
    return found


def _read(path: Path) -> dict[tuple[str, str], str]:
    parser = configparser.RawConfigParser(
        allow_no_value=True, strict=False, inline_comment_prefixes=("#", ";"), delimiters=("=",)
    )
    try:
        with path.open(errors="replace") as file:
            # perf indents what belongs to a section.
            lines = [line.strip() for line in file.read(_MOST_BYTES).splitlines()]
        parser.read_string("\n".join(lines))
    except (OSError, configparser.Error):
        return {}
    return {
        (section.lower(), key): (value if value is not None else "true").strip('"')
        for section in parser.sections()
        for key, value in parser.items(section)
    }
