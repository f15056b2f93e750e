"""Scripts that are known by name: perf's own, the host's, and the user's.

A folder of scripts has NAME.py and, where there is more to tell, bin/NAME-record and
bin/NAME-report: shell scripts as perf has them, of which only the text is used. `perf script -l`
lists what a report file says of its script ("# description:", "# args:").
"""

from __future__ import annotations

import difflib
import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ptrace_client.analyses import analyses
from ptrace_client.errors import ClientError
from ptrace_client.printing import terminal_safe

# Where distributions install perf's scripts, by a folder for each language.
_PERFS: Final = ("/usr/lib*/perf-core", "/usr/libexec/perf-core")
_INFO: Final = re.compile(r"\s*#\s*(description|args):\s*(.*)")
# Of a file that is searched for these lines.
_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class CatalogueScript:
    """A script with a name, and what its files in bin/ tell of it."""

    name: str
    path: Path
    description: str = ""
    # As a usage line has them: "<required> [optional]".
    arguments: str = ""
    # Whether it is in the list, rather than a library of others.
    is_listed: bool = True

    @property
    def required_arguments(self) -> int:
        """How many arguments it cannot do without."""
        return self.arguments.count("<")

    @property
    def is_top(self) -> bool:
        """Whether it shows what goes on until it is interrupted, of all tasks."""
        return self.name.endswith("top")


def folders() -> list[Path]:
    """Return the folders of Python scripts that exist: the user's, the host's, then perf's."""
    named = os.environ.get("PTRACED_SCRIPTS", "").split(os.pathsep)
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    own = [*filter(None, named), f"{config}/ptraced/scripts", "/etc/ptraced/scripts"]
    places = [*(Path(os.path.expanduser(place)) for place in own), *_perfs_folders("python")]
    # Not Path's own: those raise where the user may not look.
    return list(dict.fromkeys(filter(os.path.isdir, places)))


def catalogue() -> list[CatalogueScript]:
    """Return the scripts to show in a list, by name; the first folder that has one counts."""
    found: dict[str, CatalogueScript] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.py")):
            script = _script(path)
            if script.is_listed:
                found.setdefault(script.name, script)
    return [found[name] for name in sorted(found)]


def find_script(name: str) -> CatalogueScript | None:
    """Return the script of a name, with or without .py, None where there is none."""
    if "/" in name or name.startswith("."):
        return None
    stem = name.removesuffix(".py")
    paths = (folder / f"{stem}.py" for folder in folders())
    return next((_script(path) for path in paths if os.path.isfile(path)), None)


def no_script(name: str) -> ClientError:
    """Return the error for a name that nothing has, with the nearest one that something has."""
    perl = _perl_script(name)
    if perl is not None:
        return ClientError(f"{perl} is a Perl script; only scripts in Python run here")
    known = [script.name for script in catalogue()]
    examples = [f"@{analysis.name}" for analysis in analyses()]
    near = difflib.get_close_matches(name.removesuffix(".py"), [*known, *examples], n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return ClientError(
        f"no script {terminal_safe(name)}{hint}: there is no such file, and "
        "`ptrace-client scripts` lists those that have a name"
    )


def record_file(path: Path) -> Path | None:
    """Return the file that tells what to record for the script at `path`, None without one."""
    return _beside(path, "record")


def _script(path: Path) -> CatalogueScript:
    """Read what is told of a script: by its report file, its record file, or itself."""
    beside = [file for kind in ("report", "record") if (file := _beside(path, kind)) is not None]
    info: dict[str, str] = {}
    for file in (*beside, path):
        for kind, text in _told(file):
            info.setdefault(kind, text)
    return CatalogueScript(
        name=path.stem,
        path=path,
        description=info.get("description", ""),
        arguments=info.get("args", ""),
        is_listed=bool(beside or info),
    )


def _told(file: Path) -> list[tuple[str, str]]:
    try:
        with file.open("rb") as opened:
            text = opened.read(_MOST_BYTES).decode(errors="replace")
    except OSError:
        return []
    matches = map(_INFO.fullmatch, text.splitlines())
    return [(found[1], found[2].strip()) for found in matches if found]


def _beside(path: Path, kind: str) -> Path | None:
    file = path.parent / "bin" / f"{path.stem}-{kind}"
    return file if os.path.isfile(file) else None


def _perfs_folders(language: str) -> list[Path]:
    chosen = os.environ.get("PERF_EXEC_PATH")
    installed = [place for pattern in _PERFS for place in sorted(glob.glob(pattern))]
    return [Path(place) / "scripts" / language for place in [*filter(None, [chosen]), *installed]]


def _perl_script(name: str) -> Path | None:
    names = (f"{name.removesuffix('.pl')}.pl",)
    paths = [folder / file for folder in _perfs_folders("perl") for file in names]
    return next(filter(os.path.isfile, paths), None)
