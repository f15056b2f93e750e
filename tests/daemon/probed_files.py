"""Programs that are made to be probed, and what is found in them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ptrace_formats.event_format import EventFormat
from ptraced.identity import Caller
from ptraced.origin import Probe
from ptraced.policy import builtin
from ptraced.policy.grant import Grant
from ptraced.probes.user import find_user_probes

# What administrators have.
EVERYTHING = builtin.POLICY.grant(Caller(0, 0, user="root"))


def build(target: Path, source: str, *options: str) -> Path:
    """Compile C, or C++ where the target's name ends so, as a shared library if not told."""
    suffix = ".cc" if target.suffix == ".cc" else ".c"
    file = target.with_name(f"{target.stem}-source{suffix}")
    file.write_text(source)
    compiler = "g++" if suffix == ".cc" else "gcc"
    result = target.with_suffix("")
    arguments = options or ("-shared", "-fPIC", "-O1")
    subprocess.run([compiler, "-w", *arguments, "-o", result, file], check=True)
    return result


def find(
    kind: str,
    target: str,
    path: Path | str,
    strings: Mapping[str, int] | None = None,
    *,
    most: int = 100,
    pids: Sequence[int] = (),
    grant: Grant = EVERYTHING,
) -> list[tuple[EventFormat, Probe]]:
    text = f'{kind}:{target}@"{path}"' + "".join(f"//str={name}/" for name in strings or ())
    return find_user_probes(
        kind, target, str(path), text, strings or {}, most=most, pids=pids, grant=grant
    )


def fields(kind: str, target: str, path: Path, **strings: int) -> dict[str, str]:
    """The C types of the one probe's fields but ip, by name."""
    ((event, _),) = find(kind, target, path, strings)
    return {field.name: field.ctype for field in event.fields if field.name != "ip"}


def record(kind: str, target: str, path: Path) -> list[str]:
    """The statements of C that fill the record at the one probe's one place."""
    ((_, probe),) = find(kind, target, path)
    (site,) = probe.sites
    return re.findall(r"{[^}]*}|[^{}; ][^{};]*;", site.record)
