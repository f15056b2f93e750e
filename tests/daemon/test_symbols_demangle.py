"""Names of C++ and Rust as their programmers wrote them, and names that are traps."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from ptraced.symbols import demangle as module
from ptraced.symbols.demangle import Demangler
from symbolprograms import MANGLED

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.fixture
def demangler() -> Iterator[Demangler]:
    running = Demangler()
    yield running
    running.close()


def bomb(doublings: int) -> str:
    """A name that is twice as long in source with every nine characters."""
    name = "_Z1f1AIiiE"
    for number in range(1, doublings + 1):
        digit = DIGITS[number - 1]
        name += f"S_IS{digit}_S{digit}_E"
    return name


@pytest.mark.parametrize("name", MANGLED)
def test_names_are_as_in_source(demangler: Demangler, name: str) -> None:
    assert demangler.demangle(name) == MANGLED[name]


def test_parts_of_functions_keep_what_the_compiler_called_them(demangler: Demangler) -> None:
    assert demangler.demangle("_Z3fooi.isra.0.cold") == "foo(int).isra.0.cold"
    assert demangler.demangle("_Znwm@plt") == "operator new(unsigned long)@plt"


@pytest.mark.parametrize("name", ["main", "_start", "_Znonsense", "_Z", "_RNvNonsense", "_R0", ""])
def test_other_names_stay(demangler: Demangler, name: str) -> None:
    assert demangler.demangle(name) == name


def test_the_runtime_librarys_names_are_what_cxxfilt_says(demangler: Demangler) -> None:
    library = subprocess.run(
        ["gcc", "-print-file-name=libstdc++.so.6"], check=True, capture_output=True, text=True
    ).stdout.strip()
    if not os.path.isabs(library):
        library = "/usr/lib/x86_64-linux-gnu/libstdc++.so.6"
    said = subprocess.run(["nm", "-D", library], check=True, capture_output=True, text=True)
    names = [line.split()[-1].partition("@")[0] for line in said.stdout.splitlines()]
    names = sorted({name for name in names if name.startswith("_Z")})[::40]
    filtered = subprocess.run(
        ["c++filt", "-i"], input="\n".join(names), check=True, capture_output=True, text=True
    )

    assert len(names) > 50
    assert [demangler.demangle(name) for name in names] == filtered.stdout.splitlines()


def test_a_name_that_stands_for_gigabytes_stays_as_it_is(demangler: Demangler) -> None:
    assert len(demangler.demangle(bomb(4))) > 500
    before = time.monotonic()
    assert demangler.demangle(bomb(34)) == bomb(34)
    assert time.monotonic() - before < 5
    assert demangler.failures == 1
    assert demangler.demangle("_Z3fooi") == "foo(int)"


def test_a_child_that_dies_is_replaced(demangler: Demangler) -> None:
    assert demangler.demangle("_Z3fooi") == "foo(int)"
    assert demangler._child is not None
    os.kill(demangler._child[0], signal.SIGKILL)
    os.waitid(os.P_PID, demangler._child[0], os.WEXITED | os.WNOWAIT)

    assert demangler.demangle("_Z3bari") == "_Z3bari"
    assert demangler.demangle("_Z3bazi") == "baz(int)"


def test_after_many_traps_names_stay_for_a_while(
    demangler: Demangler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(name: str) -> str:
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(demangler, "_ask", late)
        assert {demangler.demangle("_Z3fooi") for _ in range(30)} == {"_Z3fooi"}
    assert demangler.failures == 20

    assert demangler.demangle("_Z3bari") == "_Z3bari"
    monkeypatch.setattr(module, "_FAILURES_WITHIN", 0.0)
    assert demangler.demangle("_Z3bari") == "bar(int)"
