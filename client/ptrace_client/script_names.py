"""Names that stand for scripts."""

from __future__ import annotations

import os
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ptrace_client.perf_script.catalogue import CatalogueScript


def find_named(name: str) -> CatalogueScript | None:
    """Return the script of the catalogue that `name` means, None where it is a file or a module.

    Files and modules of the current folder come first, then the catalogue, then installed
    modules. Raise ClientError for a name that nothing has, but something like it.
    """
    if "/" in name or name == "help" or any(map(os.path.exists, (name, f"{name}.py"))):
        return None
    from ptrace_client.perf_script.catalogue import find_script, no_script

    found = find_script(name)
    if found is None and not is_module(name):
        error = no_script(name)
        if "did you mean" in str(error) or "Perl" in str(error):
            raise error
    return found


def with_suffix(name: str) -> str:
    """Return the file name.py where there is only that, else the name as it is."""
    return f"{name}.py" if os.path.isfile(f"{name}.py") and not os.path.exists(name) else name


def is_module(name: str) -> bool:
    """Whether a name may be that of an installed module, or of a package that has it."""
    return "/" not in name and PathFinder.find_spec(name.partition(".")[0]) is not None
