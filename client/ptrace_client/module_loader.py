"""Loading of a script by path or by module name, as perf-prof's python profiler does it."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import io
import os
import sys
import traceback
import types
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path

from ptrace_client import perf_prof_module
from ptrace_client.errors import ClientError
from ptrace_client.script_errors import user_traceback


def load_module(name: str, args: Sequence[str]) -> types.ModuleType:
    """Import the script `name`, with sys.argv, sys.path and stdout prepared for it.

    A name with "/", or ending in ".py" or ".so", is a path, whose folder goes to the front of
    sys.path; any other is searched in the current folder, then along sys.path. Raise ClientError
    where there is no such script (status 2), it does not parse (2) or raises (1).
    """
    by_path = "/" in name or name.endswith((".py", ".so"))
    folder = os.path.dirname(os.path.abspath(name)) if by_path else os.getcwd()
    spec = _path_spec(name) if by_path else _name_spec(name, folder)
    sys.path.insert(0, folder)
    sys.argv = [name, *args]
    sys.modules["perf_prof"] = perf_prof_module.create()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of tasks and files need not be UTF-8; they leave as the bytes they were.
        sys.stdout.reconfigure(line_buffering=True, errors="surrogateescape")
    try:
        return _import(spec)
    except SyntaxError as error:
        text = "".join(traceback.format_exception_only(error)).rstrip()
        raise ClientError(f"cannot load {name}:\n{text}") from None
    except Exception as error:
        raise ClientError(f"cannot load {name}:\n{user_traceback(error).rstrip()}", 1) from None


def _import(spec: ModuleSpec) -> types.ModuleType:
    if "." in spec.name:
        return importlib.import_module(spec.name)
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A script may be called like a module that this program itself has loaded.
    added = sys.modules.setdefault(spec.name, module) is module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if added:
            del sys.modules[spec.name]
        raise
    return module


def _path_spec(name: str) -> ModuleSpec:
    path = Path(name).absolute()
    if not path.exists():
        raise ClientError(f"no script {name}: there is no such file")
    if not path.is_file():
        raise ClientError(f"cannot load {name}: it is not a file")
    if not os.access(path, os.R_OK):
        raise ClientError(f"cannot load {name}: permission denied")
    module = path.name.partition(".")[0]
    spec = importlib.util.spec_from_file_location(module, path)
    if spec is None:
        # A command without ".py", started by its "#!" line.
        loader = SourceFileLoader(module, str(path))
        spec = importlib.util.spec_from_file_location(module, path, loader=loader)
    assert spec is not None
    return spec


def _name_spec(name: str, folder: str) -> ModuleSpec:
    first = name.partition(".")[0]
    spec = PathFinder.find_spec(first, [folder, *sys.path])
    # A folder without __init__.py has no loader, and is no script, but may hold one.
    if spec is None or (spec.loader is None and first == name):
        hint = f"; for the file of that name write ./{name}" if Path(name).is_file() else ""
        raise ClientError(
            f"no script {name}: no module of that name in {folder} or along sys.path{hint}"
        )
    return spec if first == name else ModuleSpec(name, None)
