"""Symbols come from ELF files at offsets in the file, as perf tells them."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from recordedmachine import build, offset_of, symbols

from ptrace_client.perf_symbols.elf_symbols import read_absolute, read_symbols, text_offset
from ptrace_client.perf_symbols.files import build_id_of, opened
from ptrace_client.perf_symbols.model import Symbol
from ptrace_client.perf_symbols.table import SymbolTable
from ptrace_elf.elf import BytesData, Elf, ElfError

LOCAL, GLOBAL, WEAK = 0, 1, 2


def _read(path: Path, runtime: Path | None = None) -> SymbolTable:
    with opened(str(path)) as elf, opened(str(runtime or path)) as ran:
        assert elf is not None
        assert ran is not None
        return read_symbols(elf, ran if runtime else elf)


def _strip(path: Path, *options: str) -> Path:
    copy = path.with_name(path.name + "".join(options).replace("/", ""))
    subprocess.run(["objcopy", *options, path, copy], check=True, timeout=60)
    return copy


@pytest.mark.parametrize("options", [("-pie",), ("-no-pie",), ("-static",), ("-pie", "-g")])
def test_functions_and_data_lie_at_their_place_in_the_file(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    path = build(tmp_path / "program", *options)
    table, told = _read(path), symbols(path)

    for name, binding in (("global", GLOBAL), ("local", LOCAL), ("weakling", WEAK)):
        address, size = told[name]
        start = offset_of(path, address)
        assert table.find(start + 1) == Symbol(start, start + size, binding, name)
    assert told["data_word"][0] - offset_of(path, told["data_word"][0]) != 0
    data = table.find(offset_of(path, told["data_word"][0]))
    assert data is not None
    assert data.name == "data_word"


def test_labels_of_assembler_name_code_up_to_the_next_symbol(tmp_path: Path) -> None:
    path = build(tmp_path / "program")
    told = symbols(path)

    found = _read(path).find(offset_of(path, told["sizeless"][0]) + 10)

    assert found is not None
    assert found.name == "sizeless"
    assert found.end == offset_of(path, told["behind"][0])


def test_of_aliases_the_one_with_fewer_underscores_is_told(tmp_path: Path) -> None:
    path = build(tmp_path / "program")

    found = _read(path).find(offset_of(path, symbols(path)["shared_name"][0]))

    assert found is not None
    assert found.name == "shared_name"


def test_jumps_to_libraries_have_the_name_of_their_function(tmp_path: Path) -> None:
    path = build(tmp_path / "program", "-fcf-protection=none")
    text = subprocess.run(
        ["objdump", "-d", "-j", ".plt", path], capture_output=True, text=True, check=True
    ).stdout
    (line,) = (line for line in text.splitlines() if "<puts@plt>:" in line)

    found = _read(path).find(offset_of(path, int(line.split()[0], 16)))

    assert found is not None
    assert (found.name, found.binding, found.end - found.start) == ("puts@plt", GLOBAL, 16)


def test_a_stripped_file_has_what_it_exports(tmp_path: Path) -> None:
    path = build(tmp_path / "lib.so", "-shared", "-fPIC")
    table = _read(_strip(path, "--strip-all"))
    told = symbols(path)

    found = table.find(offset_of(path, told["global"][0]))
    hidden = table.find(offset_of(path, told["local"][0]))

    assert found is not None
    assert found.name == "global"
    assert hidden is None or hidden.name != "local"


def test_debug_information_names_what_the_stripped_file_runs(tmp_path: Path) -> None:
    path = build(tmp_path / "program", "-g")
    debug, stripped = _strip(path, "--only-keep-debug"), _strip(path, "--strip-all")

    table = _read(debug, stripped)

    start = offset_of(path, symbols(path)["local"][0])
    found = table.find(start)
    assert found is not None
    assert (found.name, found.start) == ("local", start)


def test_code_is_linked_higher_than_it_lies(tmp_path: Path) -> None:
    path = build(tmp_path / "program", "-no-pie", "-Wl,-Ttext-segment=0x600000")
    with opened(str(path)) as elf:
        assert elf is not None
        address = symbols(path)["main"][0]

        assert text_offset(elf) == address - offset_of(path, address) == 0x600000


def test_a_kernel_image_tells_addresses(tmp_path: Path) -> None:
    path = build(tmp_path / "program", "-no-pie")
    with opened(str(path)) as elf:
        assert elf is not None
        found = read_absolute(elf).find(symbols(path)["global"][0])

    assert found is not None
    assert found.name == "global"


def test_what_is_no_file_or_no_elf_file_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no ELF")
    (tmp_path / "empty").write_bytes(b"")
    subprocess.run(["mkfifo", tmp_path / "fifo"], check=True)

    for name in ("text", "empty", "fifo", "missing", ".", "\0"):
        with opened(str(tmp_path / name)) as elf:
            assert elf is None


def test_damaged_files_are_refused_or_give_less(tmp_path: Path) -> None:
    path = build(tmp_path / "program", "-g")
    whole = path.read_bytes()
    headers = int.from_bytes(whole[40:48], "little")
    random.seed(5)
    read = 0
    for round in range(600):
        data = bytearray(whole)
        for _ in range(random.randrange(1, 6)):
            first = random.choice((headers, 64, len(data) * 3 // 4))
            data[random.randrange(first, len(data))] = random.choice((0, 255, 128, 7))
        if round % 8 == 0:
            del data[random.randrange(len(data)) :]
        try:
            elf = Elf(BytesData(bytes(data)))
            build_id_of(elf)
            read_symbols(elf, elf).find(0x1150)
            read += 1
        except (ElfError, ValueError):
            continue

    assert 50 < read < 600


def test_names_that_overlap_are_bounded(tmp_path: Path) -> None:
    source = "".join(f"int f{number};" for number in range(60000))
    path = build(tmp_path / "many.o", "-c", source=source)
    data = bytearray(path.read_bytes())
    with opened(str(path)) as elf:
        assert elf is not None
        table, strings = elf.section(b".symtab"), elf.section(b".strtab")
        assert table is not None
        assert strings is not None
        start, size = int(strings["offset"]), int(strings["size"])
        data[start + 1 : start + size] = b"x" * (size - 1)

    with pytest.raises(ElfError, match="too long"):
        read_symbols(elf := Elf(BytesData(bytes(data))), elf)


def test_sections_without_content_are_no_reason_to_fail(tmp_path: Path) -> None:
    path = build(tmp_path / "program")
    shutil.copy(path, tmp_path / "copy")

    with opened(str(_strip(tmp_path / "copy", "--only-keep-debug"))) as elf:
        assert elf is not None
        assert len(read_symbols(elf, elf)) > 0
