"""The ready analyses of examples/: scripts whose first line has the options to run them with."""

from __future__ import annotations

import ast
import difflib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ptrace_client.errors import ClientError

_FOLDER: Final = Path(__file__).parent / "examples"
# env(1) takes the rest of the line apart by rules that are, for our lines, those of shells.
_SHEBANG: Final = "#!/usr/bin/env -S ptrace-client run "


@dataclass(frozen=True)
class Analysis:
    """A script that is run as @name."""

    name: str
    path: Path

    @property
    def source(self) -> str:
        """Its text."""
        return self.path.read_text(encoding="utf-8")

    @property
    def options(self) -> list[str]:
        """The words behind `ptrace-client run` in its first line."""
        first, _, _ = self.source.partition("\n")
        return shlex.split(first.removeprefix(_SHEBANG))

    @property
    def summary(self) -> str:
        """The first line of its documentation."""
        return (ast.get_docstring(ast.parse(self.source)) or "").partition("\n")[0]


def analyses() -> list[Analysis]:
    """Return all of them, by name."""
    return [Analysis(path.stem, path) for path in sorted(_FOLDER.glob("*.py"))]


def find_analysis(name: str) -> Analysis:
    """Return the one that is called `name`, with or without the @; raise ClientError if none is."""
    name = name.removeprefix("@")
    found = {analysis.name: analysis for analysis in analyses()}
    if name not in found:
        near = difflib.get_close_matches(name, found, n=1)
        hint = f" (did you mean @{near[0]}?)" if near else ""
        raise ClientError(f"no example @{name}{hint}; `ptrace-client examples` lists them")
    return found[name]
