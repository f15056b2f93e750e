"""Symbols of ELF files: every address of real programs, and files that lie."""

from __future__ import annotations

import functools
import lzma
import os
import platform
import re
import socket
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ptrace_elf.elf import BytesData, Elf, ElfError, build_id_in, open_regular
from ptraced.symbols import debug_files
from ptraced.symbols.debug_files import symbol_tables
from ptraced.symbols.table import SymbolTable, read_table
from symbolprograms import build, names_by_address, stripped, symbols

SYMTAB, DYNSYM = 2, 11


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("elf"))


@pytest.fixture(autouse=True)
def _no_debug_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(debug_files, "_DEBUG", str(tmp_path / "debug"))


def opened(path: Path) -> Elf:
    return Elf(BytesData(path.read_bytes()))


def own_table(path: Path, kind: int = SYMTAB) -> SymbolTable:
    table = read_table(opened(path), kind)
    assert table is not None
    return table


@pytest.mark.parametrize("options", ["-pie", "-static"])
def test_every_address_of_a_function_has_its_name(tmp_path: Path, options: str) -> None:
    binary = build(tmp_path, options)
    table = own_table(binary)
    starts = symbols(binary)

    expected = list(names_by_address(binary).items())
    # Of a whole C library some.
    for address, names in expected[:: max(1, len(expected) // 5000)]:
        found = table.find(address)
        assert found is not None, f"{address:#x}: {names}"
        name, start = found
        assert starts[name][0] == start
        assert address - start in {offset for _, offset in names}
    assert len(expected) > 400


def test_behind_the_end_of_a_function_nothing_is_guessed(tmp_path: Path) -> None:
    binary = build(tmp_path, "-falign-functions=64")
    table = own_table(binary)
    found = symbols(binary)
    for name in ("local", "global", "weakling", "shared_name"):
        start, size = found[name]
        assert table.find(start + size - 1) == (name, start)
        assert table.find(start + size) is None
    assert table.find(0) is None
    assert table.find(2**63) is None


def sizeless_range(program: Path) -> tuple[int, int]:
    found = symbols(program)
    return found["sizeless"][0], found["behind"][0]


def test_a_symbol_without_a_size_reaches_to_the_next_one(program: Path) -> None:
    start, end = sizeless_range(program)
    table = own_table(program)
    for address in range(start, end):
        assert table.find(address) == ("sizeless", start)
    assert table.find(end) == ("behind", end)


def test_of_several_names_the_one_is_taken_that_perf_takes(program: Path) -> None:
    found = own_table(program).find(symbols(program)["shared_name"][0])
    # Both are global, without underscores: the longer one.
    assert found is not None
    assert found[0] == "shared_name"


def test_a_stripped_program_has_only_what_it_exports(program: Path, tmp_path: Path) -> None:
    bare = stripped(program, tmp_path / "symbols")
    elf = opened(bare)
    assert read_table(elf, SYMTAB) is None
    for table in symbol_tables(elf, elf.build_id(), str(tmp_path), [""]):
        for start, _ in symbols(program).values():
            assert table.find(start) is None


def tables_of(path: Path) -> list[SymbolTable]:
    elf = Elf(open_regular(str(path)))
    tables = symbol_tables(elf, elf.build_id(), str(path.parent), ["/nowhere", ""])
    elf.data.close()
    return tables


def has_all(tables: list[SymbolTable], program: Path) -> bool:
    starts = symbols(program)
    for address in names_by_address(program):
        found = next(filter(None, (table.find(address) for table in tables)), None)
        if found is None or starts[found[0]][0] != found[1]:
            return False
    return True


def test_symbols_are_found_by_build_id(program: Path, tmp_path: Path) -> None:
    build_id = opened(program).build_id()
    assert build_id is not None
    place = tmp_path / "debug/.build-id" / build_id.hex()[:2]
    place.mkdir(parents=True)
    bare = stripped(program, place / f"{build_id.hex()[2:]}.debug")
    assert has_all(tables_of(bare), program)


def test_a_file_of_another_build_id_is_not_believed(program: Path, tmp_path: Path) -> None:
    build_id = opened(program).build_id()
    assert build_id is not None
    place = tmp_path / "debug/.build-id" / build_id.hex()[:2]
    place.mkdir(parents=True)
    bare = stripped(program, tmp_path / "unused")
    other = build(tmp_path, "-DOTHER", "-O1", name="other")
    os.rename(other, place / f"{build_id.hex()[2:]}.debug")
    assert not has_all(tables_of(bare), program)


@pytest.mark.parametrize("directory", ["", ".debug", "debug/usr"])
def test_symbols_are_found_by_link(
    tmp_path: Path, directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = build(tmp_path, "-Wl,--build-id=none")
    debug = tmp_path / "split.debug"
    bare = stripped(program, debug, link=True)
    if directory.startswith("debug"):
        place = Path(f"{tmp_path}/debug{tmp_path}")
    else:
        place = tmp_path / directory
    place.mkdir(exist_ok=True, parents=True)
    os.rename(debug, place / debug.name)
    assert has_all(tables_of(bare), program)

    with (place / debug.name).open("ab") as changed:
        changed.write(b"x")
    assert not has_all(tables_of(bare), program), "the checksum is another one"


def test_symbols_that_are_packed_into_a_section_are_found(program: Path, tmp_path: Path) -> None:
    debug = tmp_path / "symbols"
    bare = stripped(program, debug)
    Path(f"{debug}.xz").write_bytes(lzma.compress(debug.read_bytes()))
    packed = tmp_path / "packed"
    option = f"--add-section=.gnu_debugdata={debug}.xz"
    subprocess.run(["objcopy", option, bare, packed], check=True)
    assert has_all(tables_of(packed), program)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="read on x86_64 only")
@pytest.mark.parametrize("options", ["-Wl,-z,lazy", "-Wl,-z,now", "-Wl,-z,ibtplt"])
def test_jumps_to_libraries_are_named_as_objdump_names_them(tmp_path: Path, options: str) -> None:
    binary = build(tmp_path, options)
    bare = stripped(binary, tmp_path / "symbols")
    tables = tables_of(bare)
    sections = [f"--section={name}" for name in (".plt", ".plt.sec", ".plt.got")]
    said = subprocess.run(
        ["objdump", "-d", *sections, binary], check=True, capture_output=True, text=True
    ).stdout
    expected = {
        int(address, 16): name.partition("@")[0] + "@plt"
        for address, name in re.findall(r"^([0-9a-f]+) <([^>]+@plt)>:$", said, re.MULTILINE)
    }

    assert {"printf@plt", "getchar@plt"} <= set(expected.values())
    for address, name in expected.items():
        for place in (address, address + 7):
            found = next(filter(None, (table.find(place) for table in tables)), None)
            assert found == (name, address)


def test_a_build_id_is_what_readelf_says(program: Path) -> None:
    said = subprocess.run(["readelf", "-n", program], check=True, capture_output=True, text=True)
    build_id = opened(program).build_id()
    assert build_id is not None
    assert f"Build ID: {build_id.hex()}\n" in said.stdout


@pytest.mark.parametrize(
    "notes",
    [
        b"",
        struct.pack("<III4s", 4, 20, 3, b"GNU\0"),
        struct.pack("<III4s", 4, 0, 3, b"GNU\0"),
        struct.pack("<III4s", 4, 2**32 - 1, 3, b"GNU\0") + bytes(100),
        struct.pack("<III4s", 2**32 - 1, 20, 3, b"GNU\0") + bytes(100),
        struct.pack("<III4s", 4, 100, 3, b"GNU\0") + bytes(100),
    ],
)
def test_notes_that_lie_have_no_build_id(notes: bytes) -> None:
    assert build_id_in(notes) is None


def test_an_address_of_code_is_told_by_its_place_in_the_file(program: Path) -> None:
    elf = opened(program)
    said = subprocess.run(
        ["readelf", "-lW", program], check=True, capture_output=True, text=True
    ).stdout
    (row,) = (line.split() for line in said.splitlines() if " R E " in line)
    offset, address, size = (int(row[column], 16) for column in (1, 2, 4))
    assert elf.address_of(offset) == address
    assert elf.address_of(offset + size - 1) == address + size - 1
    assert elf.address_of(1 << 40) is None


@pytest.mark.parametrize(
    "kind", ["fifo", "device", "directory", "missing", "link to a fifo", "socket"]
)
def test_only_regular_files_are_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/null")
    elif kind == "directory":
        path.mkdir()
    elif kind == "link to a fifo":
        os.mkfifo(tmp_path / "fifo")
        path.symlink_to(tmp_path / "fifo")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    with pytest.raises(OSError, match=r"is no regular file|No such file"):
        open_regular(str(path))


# A small file, so that changes hit what matters.
@functools.cache
def small(bits: str = "-m64") -> bytes:
    source = (
        ".globl _start\n_start:\nret\n.size _start, 1\n.type _start, @function\nlabel: ret\n"
        ".globl jumps\njumps: call outside@PLT\n.type jumps, @function\n"
    )
    with tempfile.TemporaryDirectory() as name:
        binary = Path(name) / "small"
        command = ["gcc", "-x", "assembler", "-", "-nostdlib", "-shared", bits, "-o", binary]
        command += ["-Wl,--build-id"]
        subprocess.run(command, input=source, text=True, check=True)
        return binary.read_bytes()


def test_files_of_32_bits_are_read() -> None:
    elf = Elf(BytesData(small("-m32")))
    (table,) = symbol_tables(elf, elf.build_id(), "", [])
    code = next(row for row in elf.loaded if row["flags"] & 1)
    start = elf.address_of(int(code["offset"]))
    assert start == int(code["vaddr"])
    assert elf.build_id() is not None
    entry = elf.section(b".text")
    assert entry is not None
    address = int(entry["addr"])
    assert table.find(address) == ("_start", address)
    assert table.find(address + 1) == ("label", address + 1)
    assert table.find(address + 2) == ("jumps", address + 2)


def use(data: bytes) -> None:
    """All that is done with a file; nothing but ElfError may come out."""
    try:
        elf = Elf(BytesData(data))
        build_id = elf.build_id()
    except ElfError:
        return
    for offset in (0, 0x1000, 2**64 - 1):
        elf.address_of(offset)
    for table in symbol_tables(elf, build_id, "/nowhere", ["/nowhere"]):
        for address in (0, 0x401000, 0x401001, 2**64 - 1):
            table.find(address)


def changes() -> st.SearchStrategy[list[tuple[int, int, int]]]:
    """Places, sizes and new values of numbers in the file, most of them in its headers."""
    size = len(small())
    header = st.integers(0, 63) | st.integers(size - 64 * 12, size - 1) | st.integers(0, size - 1)
    values = st.sampled_from([0, 1, 0x7F, 0xFFFF, 2**31, 2**32 - 1, 2**63, 2**64 - 1]) | (
        st.integers(0, 2**64 - 1)
    )
    return st.lists(st.tuples(header, st.sampled_from([1, 2, 4, 8]), values), max_size=6)


@given(changes())
@settings(max_examples=400, deadline=10_000, suppress_health_check=[HealthCheck.too_slow])
def test_files_with_changed_numbers_are_refused_or_read(
    places: list[tuple[int, int, int]],
) -> None:
    data = bytearray(small())
    for at, size, value in places:
        data[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    use(bytes(data))


@given(st.integers(0, 20_000))
@example(0)
@example(16)
@example(64)
@settings(max_examples=200, deadline=10_000)
def test_files_that_are_cut_off_are_refused_or_read(size: int) -> None:
    use(small()[:size])


def with_sections(change: tuple[str, int]) -> bytes:
    """The small file with one field of all section headers changed."""
    data = bytearray(small())
    (start,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    places = {"offset": (24, "<Q"), "size": (32, "<Q"), "link": (40, "<I"), "type": (4, "<I")}
    at, form = places[change[0]]
    for index in range(count):
        struct.pack_into(form, data, start + index * size + at, change[1])
    return bytes(data)


@pytest.mark.parametrize(
    "change",
    [
        ("offset", 0),
        ("offset", 2**64 - 1),
        ("size", 2**64 - 1),
        ("size", 2**40),
        ("size", 0),
        ("link", 2**32 - 1),
        ("link", 0),
        ("type", SYMTAB),
        ("type", DYNSYM),
        ("type", 8),
    ],
)
def test_sections_that_overlap_lead_in_circles_or_reach_too_far(change: tuple[str, int]) -> None:
    use(with_sections(change))


def test_more_sections_than_there_can_be_are_refused() -> None:
    data = bytearray(small())
    # Zero sections in the header: the first section tells how many there are.
    struct.pack_into("<H", data, 60, 0)
    (start,) = struct.unpack_from("<Q", data, 40)
    struct.pack_into("<Q", data, start + 32, 2**50)
    with pytest.raises(ElfError, match="a table of headers has a wrong size"):
        Elf(BytesData(bytes(data)))


def test_a_file_of_the_other_byte_order_is_refused() -> None:
    data = bytearray(small())
    data[5] = 2
    with pytest.raises(ElfError, match="no little-endian ELF file"):
        Elf(BytesData(bytes(data)))


def test_a_file_that_becomes_shorter_is_an_error_and_no_signal(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(small())
    data = open_regular(str(path))
    os.truncate(path, 100)
    with pytest.raises(ElfError, match="the file has become shorter"):
        Elf(data)
    data.close()


def test_a_bomb_of_packed_symbols_is_not_unpacked_whole(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debug_files, "_UNPACKED_MAX", 1 << 20)
    bomb = tmp_path / "bomb.xz"
    bomb.write_bytes(lzma.compress(bytes(20 << 20), preset=0))
    packed = tmp_path / "packed"
    bare = stripped(program, tmp_path / "symbols")
    option = f"--add-section=.gnu_debugdata={bomb}"
    subprocess.run(["objcopy", option, bare, packed], check=True)
    assert not has_all(tables_of(packed), program)
