"""A machine tells where addresses lie, by the records that it was told."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from recordedmachine import (
    CONTEXT_KERNEL,
    CONTEXT_USER,
    Told,
    build,
    build_id,
    offset_of,
    segments,
    symbols,
)

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.model import CpuMode
from ptrace_client.perf_symbols import spaces

AT = 0x7F0000000000
KERNEL_START = 0xFFFFFFFF81000000
KALLSYMS = """\
ffffffff81000000 T _text
ffffffff81000100 T do_work
ffffffff81000200 t helper
ffffffffc0000010 t of_module\t[mod]
ffffffffc0000020 T also_of_module\t[mod]
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("program") / "program", "-pie", "-g")


@pytest.fixture(autouse=True)
def no_copies_of_perfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERF_BUILDID_DIR", str(tmp_path / "debug"))


def _address(path: Path, name: str) -> int:
    """Where a function lies if the file is mapped at AT from its start."""
    return AT + offset_of(path, symbols(path)[name][0])


@pytest.mark.parametrize("big_endian", [False, True])
def test_an_entry_tells_symbol_offset_and_file(program: Path, big_endian: bool) -> None:
    told = Told(big_endian=big_endian)
    told.mmap2(7, AT, 0x10000, str(program), inode=5)
    address, size = symbols(program)["global"]
    start = offset_of(program, address)

    (entry,) = told.chain(7, CONTEXT_USER, AT + start + 3)

    assert entry == {
        "ip": AT + start + 3,
        "sym": {"start": start, "end": start + size, "binding": 1, "name": "global"},
        "sym_off": 3,
        "dso": str(program),
    }
    assert list(entry) == ["ip", "sym", "sym_off", "dso"]


def test_a_part_of_a_file_is_mapped_from_its_offset(program: Path) -> None:
    told = Told()
    (offset, _, size) = segments(program)[1]
    told.mmap(7, AT, size, str(program), offset)

    assert told.names(7, AT + offset_of(program, symbols(program)["main"][0]) - offset) == ["main"]


def test_entries_are_fresh_since_scripts_change_them(program: Path) -> None:
    told = Told()
    told.mmap2(7, AT, 0x10000, str(program))
    address = _address(program, "global")
    (first,) = told.chain(7, address)

    first["sym"]["name"] = "changed"
    first.clear()

    assert told.names(7, address) == ["global"]


def test_threads_share_the_mappings_of_their_process(program: Path) -> None:
    told = Told()
    told.mmap2(7, AT, 0x10000, str(program))
    told.fork(8, 7, pid=7)
    told.mmap2(8, 2 * AT, 0x10000, str(program))
    address = _address(program, "global")

    assert told.names(8, address) == ["global"]
    # A thread that no record told of.
    assert [entry["dso"] for entry in told.chain(99, address, pid=7)] == [str(program)]


def test_a_child_has_a_copy_of_its_parents_mappings(program: Path) -> None:
    told = Told()
    told.mmap2(7, AT, 0x10000, str(program))
    told.fork(8, 7)
    told.mmap2(7, AT, 0x10000, "/elsewhere")
    told.exit(7)
    address = _address(program, "global")

    assert told.names(8, address) == ["global"]
    assert [entry["dso"] for entry in told.chain(7, address)] == ["/elsewhere"]


def test_a_task_from_before_the_recording_has_its_own_mappings_only(program: Path) -> None:
    told = Told()
    told.mmap2(7, AT, 0x10000, str(program))
    told.fork(8, 7, misc=1 << 13)

    assert told.chain(8, AT) == [{"ip": AT}]


def test_markers_tell_whose_an_address_is(program: Path, tmp_path: Path) -> None:
    (tmp_path / "kallsyms").write_text(KALLSYMS)
    told = Told(kallsyms=str(tmp_path / "kallsyms"))
    told.kernel(KERNEL_START, 0x1000000, KERNEL_START)
    told.mmap2(7, AT, 0x10000, str(program))
    kernel, user = KERNEL_START + 0x104, _address(program, "global")

    entries = told.chain(7, CONTEXT_KERNEL, kernel, user, CONTEXT_USER, user, kernel)

    assert [entry.get("dso") for entry in entries] == [
        "[kernel.kallsyms]",
        None,
        str(program),
        None,
    ]
    assert entries[0]["sym"] == {
        "start": KERNEL_START + 0x100,
        "end": KERNEL_START + 0x200,
        "binding": 1,
        "name": "do_work",
    }
    assert told.chain(7, CONTEXT_KERNEL, kernel, (1 << 64) - 77) == []


def test_locations_of_samples_of_their_data_and_of_branches(program: Path, tmp_path: Path) -> None:
    (tmp_path / "kallsyms").write_text(KALLSYMS)
    told = Told(kallsyms=str(tmp_path / "kallsyms"))
    told.kernel(KERNEL_START, 0x1000000, KERNEL_START)
    told.mmap2(7, AT, 0x10000, str(program))
    kernel, user = KERNEL_START + 0x104, _address(program, "global") + 2
    machine = told.machine

    found = machine.locate(7, CpuMode.USER, user)
    assert (found.symbol and found.symbol.name, found.symbol_offset) == ("global", 2)
    assert machine.locate(7, CpuMode.KERNEL, user).map is None
    assert machine.locate(7, CpuMode.UNKNOWN, user).map is None
    assert machine.locate(7, CpuMode.HYPERVISOR, kernel).map is None
    assert machine.locate_data(7, CpuMode.KERNEL, user).symbol == found.symbol
    assert machine.locate_data(7, CpuMode.USER, kernel).symbol_offset == 4
    for address, name in ((user, "global"), (kernel, "do_work")):
        branch = machine.locate_branch(7, address)
        assert branch.symbol is not None
        assert branch.symbol.name == name


def test_a_kernel_that_moved_since_has_its_recorded_addresses(tmp_path: Path) -> None:
    (tmp_path / "kallsyms").write_text(KALLSYMS)
    told = Told(kallsyms=str(tmp_path / "kallsyms"))
    moved = 0x2000000
    told.kernel(KERNEL_START + moved, 0x1000000, KERNEL_START + moved)

    found = told.machine.locate(7, CpuMode.KERNEL, KERNEL_START + moved + 0x101)

    assert found.symbol is not None
    assert (found.symbol.name, found.symbol.start) == ("do_work", KERNEL_START + moved + 0x100)
    assert found.map is not None
    # perf takes first and last symbol for the ends of the kernel.
    assert found.map.start == KERNEL_START + moved


def test_symbols_of_modules_lie_in_their_mapping(tmp_path: Path) -> None:
    (tmp_path / "kallsyms").write_text(KALLSYMS)
    told = Told(kallsyms=str(tmp_path / "kallsyms"))
    told.kernel(KERNEL_START, 0x1000000, KERNEL_START)
    told.mmap(0, 0xFFFFFFFFC0000000, 0x1000, "/lib/modules/6/mod.ko", 0, CpuMode.KERNEL)

    told.machine.locate(7, CpuMode.KERNEL, KERNEL_START)
    found = told.machine.locate(7, CpuMode.KERNEL, 0xFFFFFFFFC0000024)

    assert found.map is not None
    assert found.map.dso.name == "[mod]"
    assert found.symbol is not None
    assert (found.symbol.name, found.symbol.start, found.symbol_offset) == (
        "also_of_module",
        0x20,
        4,
    )


def test_functions_that_come_and_go_at_run_time() -> None:
    told = Told()
    told.ksymbol(0xFFFFFFFFC1000000, 0x80, "bpf_prog_1234_mine")

    found = told.machine.locate(7, CpuMode.KERNEL, 0xFFFFFFFFC1000010)
    told.ksymbol(0xFFFFFFFFC1000000, 0x80, "bpf_prog_1234_mine", gone=True)

    assert found.symbol is not None
    assert found.symbol.name == "bpf_prog_1234_mine"
    assert told.machine.locate(7, CpuMode.KERNEL, 0xFFFFFFFFC1000010).map is None


def test_a_file_of_another_build_names_nothing(program: Path) -> None:
    address = _address(program, "global")
    same, other = Told(), Told()
    same.mmap2(7, AT, 0x10000, str(program), build_id=build_id(program))
    other.mmap2(7, AT, 0x10000, str(program), build_id=bytes(20))

    assert same.names(7, address) == ["global"]
    assert other.chain(7, address) == [{"ip": address, "dso": str(program)}]


def test_the_recordings_table_tells_builds_by_path(program: Path) -> None:
    address = _address(program, "global")
    told = Told(features={"build_ids": {str(program): b"\1" * 20}})
    told.mmap2(7, AT, 0x10000, str(program), inode=4)
    told.mmap2(8, AT, 0x10000, str(program), inode=5)

    for tid in (7, 8):
        found = told.machine.locate(tid, CpuMode.USER, address)
        assert found.map is not None
        assert (found.map.dso.build_id, found.symbol) == (b"\1" * 20, None)


def test_files_of_one_path_are_told_apart(program: Path) -> None:
    told = Told()
    for tid, inode in ((1, 0), (2, 5), (3, 6), (4, 5), (5, 0)):
        told.mmap2(tid, AT, 0x1000, str(program), inode=inode)
    found = [told.machine.locate(tid, CpuMode.USER, AT).map for tid in range(1, 6)]

    dsos = [one.dso for one in found if one]
    # What nobody told more of is the first that the path stood for.
    assert dsos[0] is dsos[1] is dsos[3] is dsos[4]
    assert dsos[2] is not dsos[0]


def test_many_files_of_one_path_take_no_longer_each() -> None:
    told = Told()
    for number in range(5000):
        told.mmap2(7, AT + 0x1000 * number, 0x1000, "/file", inode=number + 1)
        told.ksymbol((1 << 63) + 16 * number, 16, "late")

    assert told.machine.locate(7, CpuMode.USER, AT + 0x1000 * 4999).map is not None
    assert told.machine.locate(7, CpuMode.KERNEL, (1 << 63) + 5).symbol_offset == 5


def test_a_file_that_is_gone_is_found_by_its_build(program: Path, tmp_path: Path) -> None:
    id = build_id(program)
    folder = tmp_path / "debug/.build-id" / id.hex()[:2] / id.hex()[2:]
    folder.mkdir(parents=True)
    (folder / "elf").write_bytes(program.read_bytes())
    told = Told()
    told.mmap2(7, AT, 0x10000, "/gone/program", build_id=id)

    assert told.names(7, _address(program, "local")) == ["local"]


def test_a_debug_link_leads_to_names(program: Path, tmp_path: Path) -> None:
    stripped, debug = tmp_path / "program", tmp_path / ".debug/program.dbg"
    debug.parent.mkdir()
    subprocess.run(["objcopy", "--only-keep-debug", program, debug], check=True)
    link = f"--add-gnu-debuglink={debug}"
    subprocess.run(["objcopy", "--strip-all", link, program, stripped], check=True)
    told = Told()
    told.mmap2(7, AT, 0x10000, str(stripped))

    assert told.names(7, _address(program, "local")) == ["local"]


def test_files_lie_under_symfs(program: Path, tmp_path: Path) -> None:
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr/program").write_bytes(program.read_bytes())
    told = Told(symfs=str(tmp_path))
    told.mmap2(7, AT, 0x10000, "/usr/program")

    assert told.names(7, _address(program, "local")) == ["local"]


@pytest.fixture
def jit_map() -> Path:
    # A pid that no process has (the kernel's limit is 1 << 22).
    path = Path(f"/tmp/perf-{(1 << 22) + os.getpid()}.map")
    path.write_text(f"{AT:x} 40 jitted one\n0x{AT + 0x40:x} 20 next\nbad line\n")
    yield path
    path.unlink()


def test_jitted_code_is_what_its_compiler_says(jit_map: Path) -> None:
    told = Told()
    pid = (1 << 22) + os.getpid()
    told.mmap2(pid, AT, 0x1000, "//anon")

    (entry,) = told.chain(pid, AT + 5)

    assert entry["dso"] == str(jit_map)
    assert entry["sym"] == {"start": AT, "end": AT + 0x40, "binding": 1, "name": "jitted one"}
    assert told.names(pid, AT + 0x41, AT + 0x60) == ["next", None]


def test_memory_without_code_has_no_file_for_names() -> None:
    told = Told()
    told.mmap2(7, AT, 0x1000, "[heap]", protection=3)

    assert told.chain(7, AT) == [{"ip": AT, "dso": "[heap]"}]


def test_the_vdso_has_its_functions() -> None:
    told = Told()
    # perf takes it for mapped from its start, whatever the record says.
    told.mmap2(7, AT, 0x2000, "[vdso]", 0x10000)
    found = {name for at in range(0, 0x2000, 16) for name in told.names(7, AT + at)}

    assert any(name and "gettime" in name for name in found)


def test_chains_are_as_deep_as_perfs() -> None:
    assert len(Told().chain(7, *range(1, 500))) == 127


def test_no_more_is_kept_than_some_frames(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptrace_client.perf_symbols.frames._CACHE_MAX", 50)
    told = Told()
    for tid in range(1, 9):
        told.mmap2(tid, AT, 0x10000, str(program))
        told.chain(tid, *range(AT, AT + 40))
        spaces = [told.machine._spaces.find(None, one) for one in range(1, 9)]
        assert sum(len(maps.frames) for maps in spaces) <= 50

    assert told.names(3, _address(program, "global")) == ["global"]


def test_damaged_records_are_ignored() -> None:
    told = Told()
    for kind in range(1, 20):
        told._apply(kind, 0, b"")  # type: ignore[arg-type]

    assert told.chain(7, 5) == [{"ip": 5}]


@pytest.mark.parametrize(
    ("option", "content", "message"),
    [
        ("kallsyms", None, "the kernel's symbols cannot be read from {}: No such file or"),
        ("kallsyms", "text", "{} has no symbols of a kernel: give a copy of /proc/kallsyms"),
        ("vmlinux", "text", "{} is no ELF file that can be read: give the kernel's vmlinux"),
    ],
)
def test_files_of_the_user_that_do_not_help_are_errors(
    tmp_path: Path, option: str, content: str | None, message: str
) -> None:
    path = tmp_path / "given"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ClientError) as raised:
        Told(**{option: str(path)})

    assert str(raised.value).startswith(message.format(path))


def test_processes_that_are_each_others_children_have_no_endless_mappings(program: Path) -> None:
    told = Told()
    told.mmap2(7, AT, 0x10000, str(program))
    told.fork(80, 7, pid=8)
    # Each has what both had, 2 ** 100 mappings in the end.
    for number in range(100):
        told.fork(1000 + number, 8, pid=7)
        told.fork(2000 + number, 7, pid=8)
    told.mmap2(7, AT + 0x1000, 0x1000, str(program))
    told.fork(9, 7)

    assert told.names(8, _address(program, "global")) == ["global"]


def test_processes_that_ended_leave_room_for_mappings_of_others(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spaces, "_INHERITED_MAX", 600)
    told = Told()
    told.mmap2(7, AT, 0x10000, str(program))
    for tid in range(100, 2000):
        told.fork(tid, 7)
        told.exit(tid)
    address = _address(program, "global")

    assert told.names(1999, address) == ["global"]
    for tid in range(2000, 3000):
        told.fork(tid, 7)
    assert told.chain(2999, address) == [{"ip": address}]
