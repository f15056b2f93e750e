"""Names of C++ and Rust, source lines and inlined functions, by the tools of binutils."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from recordedmachine import Told, build, offset_of, symbols

from ptrace_client.perf_data.model import CpuMode
from ptrace_client.perf_symbols.addr2line import Addr2line
from ptrace_client.perf_symbols.demangle import Demangler

AT = 0x7F0000000000
SOURCE = """\
static inline __attribute__((always_inline)) int innermost(int x) { return x / 7 + x; }
static inline __attribute__((always_inline)) int middle(int x) { return innermost(x + 1) * 3; }
__attribute__((noinline)) int outer(int x) { return middle(x); }
int main(int argc, char **argv) { return outer(argc); }
"""


@pytest.fixture
def demangler() -> Demangler:
    demangler = Demangler()
    yield demangler
    demangler.close()


def test_names_are_without_parameters_and_hashes(demangler: Demangler) -> None:
    names = {
        b"main": "main",
        b"_ZN3foo3BarIlE4spinEl": "foo::Bar<long>::spin",
        b"_ZNK3foo3barEv.cold": "foo::bar",
        b"_Z3fooIiEvT_@@VERSION_1": "foo<int>",
        b"_ZN3std2rt10lang_start17h0123456789abcdefE": "std::rt::lang_start",
        b"_RNvCskwGfYPst2Cb_3foo16example_function": "foo::example_function",
        b"_ZN_no_name": "_ZN_no_name",
        b"_Z with blanks": "_Z with blanks",
        b"camlStdlib__list_$5b12": "Stdlib.list_[12",
        b"caf\xe9": "caf\udce9",
    }

    assert demangler(list(names)) == list(names.values())
    assert demangler([b"_ZN3foo3BarIlE4spinEl"] * 3) == ["foo::Bar<long>::spin"] * 3


def test_names_that_would_become_huge_stay(demangler: Demangler) -> None:
    grows = (
        b"_Z1f"
        + b"".join(
            b"S%s_" % b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[at : at + 1] for at in range(30)
        )
        * 9
    )
    long = b"_Z" + b"9000" + b"x" * 9000

    assert demangler([long, b"_Z3foov"]) == [long.decode(), "foo"]
    assert len(demangler([grows])[0]) < 1 << 20


def test_without_cxxfilt_names_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, demangler: Demangler
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert demangler([b"_Z3foov", b"main"]) == ["_Z3foov", "main"]


def test_a_tool_that_ends_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, demangler: Demangler
) -> None:
    tool = tmp_path / "c++filt"
    tool.write_text("#!/bin/sh\nexit 1\n")
    tool.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tmp_path))

    for _ in range(20):
        assert demangler([b"_Z3foov"]) == ["_Z3foov"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inlined")
    source = folder / "source.c"
    source.write_text(SOURCE)
    return build(folder / "program", "-g", "-pie", "-O2", source=source)


@pytest.fixture
def mapped(program: Path) -> Told:
    told = Told()
    told.mmap2(7, AT, 0x10000, str(program))
    yield told
    told.machine.close()


def _inlined_address(program: Path) -> int:
    return AT + offset_of(program, symbols(program)["outer"][0]) + 6


def test_a_location_has_its_line_and_the_lines_text(mapped: Told, program: Path) -> None:
    location = mapped.machine.locate(7, CpuMode.USER, _inlined_address(program))
    source = str(program.parent / "source.c")

    path, line, text = mapped.machine.srccode(location)

    assert mapped.machine.srcline(location) == (path, line) == (source, line)
    assert text == SOURCE.splitlines()[line - 1]


def test_what_is_not_known_has_no_line(mapped: Told) -> None:
    machine = mapped.machine

    for location in (
        machine.locate(7, CpuMode.USER, 5),
        machine.locate(7, CpuMode.KERNEL, 1 << 63),
    ):
        assert machine.srcline(location) == (None, 0)
        assert machine.srccode(location) == (None, 0, None)


def test_inlined_functions_have_entries_when_wanted(mapped: Told, program: Path) -> None:
    address = _inlined_address(program)
    with_them = Told(inline=True)
    with_them.mmap2(7, AT, 0x10000, str(program))

    entries = with_them.chain(7, address)
    with_them.machine.close()

    assert [entry["sym"]["name"] for entry in entries] == ["innermost", "middle", "outer"]
    assert [entry["sym_srcline"] for entry in entries] == [
        "source.c:1",
        "source.c:2",
        "source.c:3",
    ]
    assert list(entries[0]) == ["ip", "sym", "sym_off", "sym_srcline", "dso"]
    assert mapped.names(7, address) == ["outer"]


def test_without_addr2line_there_are_no_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mapped: Told, program: Path
) -> None:
    location = mapped.machine.locate(7, CpuMode.USER, _inlined_address(program))
    monkeypatch.setenv("PATH", str(tmp_path))

    assert mapped.machine.srcline(location) == (None, 0)


def test_few_children_stay(tmp_path: Path, program: Path) -> None:
    addr2line = Addr2line()
    for number in range(12):
        copy = tmp_path / str(number)
        copy.write_bytes(program.read_bytes())
        assert addr2line.lines(str(copy), symbols(program)["outer"][0])

    assert len(addr2line._tools) == 8
    addr2line.close()


def test_files_in_the_current_folder_are_not_what_a_recording_names(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(program.parent)
    told = Told()
    told.mmap2(7, AT, 0x10000, program.name)

    location = told.machine.locate(7, CpuMode.USER, _inlined_address(program))
    assert location.map is not None
    assert told.machine.srcline(location) == (None, 0)
    told.machine.close()
