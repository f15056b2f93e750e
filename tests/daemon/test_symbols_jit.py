"""Maps of functions that were compiled at run time, as programs write them, or others do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptrace_elf.elf import FileData, open_regular
from ptraced.symbols import jit as module
from ptraced.symbols import proc
from ptraced.symbols.jit import JitMap, open_map


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    monkeypatch.setattr(module, "_PAUSE_BY_COST", 0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "perf-7.map"


@pytest.fixture
def functions(file: Path) -> JitMap:
    def opened() -> tuple[str, FileData]:
        return "/tmp/perf-7.map", open_regular(str(file), follow=False)

    return JitMap(opened)


def test_functions_are_found_within_their_size(file: Path, functions: JitMap) -> None:
    file.write_text("7f00 10 py::main:/a b.py\n0x8000 20 other\n")
    assert functions.find(0x7EFF) is None
    assert functions.find(0x7F00) == ("py::main:/a b.py", 0x7F00)
    assert functions.find(0x7F0F) == ("py::main:/a b.py", 0x7F00)
    assert functions.find(0x7F10) is None
    assert functions.find(0x801F) == ("other", 0x8000)
    assert functions.path == "/tmp/perf-7.map"


def test_what_is_added_later_is_found_and_half_a_line_waits(file: Path, functions: JitMap) -> None:
    file.write_text("1000 10 first\n2000 10 sec")
    assert functions.find(0x1000) == ("first", 0x1000)
    assert functions.find(0x2000) is None
    with file.open("a") as more:
        more.write("ond\n")
    assert functions.find(0x2000) == ("second", 0x2000)


def test_the_newest_of_those_that_overlap_is_taken(file: Path, functions: JitMap) -> None:
    file.write_text("1000 100 old\n1010 10 newer\n1000 20 newest\n")
    assert functions.find(0x1018) == ("newest", 0x1000)
    assert functions.find(0x1090) is None


def test_a_map_that_is_begun_anew_is_read_anew(file: Path, functions: JitMap) -> None:
    file.write_text("1000 10 of_an_earlier_process\n")
    assert functions.find(0x1000) == ("of_an_earlier_process", 0x1000)
    file.write_text("2000 10 mine\n")
    assert functions.find(0x2000) == ("mine", 0x2000)
    assert functions.find(0x1000) is None


def test_lines_that_are_none_are_passed_over(file: Path, functions: JitMap) -> None:
    file.write_bytes(
        b"\n-5 10 minus\nx y z\n1000\n1000 10\n1000 0 empty\nffffffffffffffffff 10 far\n"
        b"2000 10 na\xff\x1bme\n3000 ffffffffffff long\n4000 10 " + b"x" * 5000 + b"\n"
    )
    assert functions.find(0x1000) is None
    assert functions.find(0x2000) == ("na\N{REPLACEMENT CHARACTER}\x1bme", 0x2000)
    assert functions.find(0x3000) is None
    assert functions.find(0x4000) == ("x" * 1024, 0x4000)


def test_size_and_number_of_functions_are_bounded(
    file: Path, functions: JitMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FUNCTIONS_MAX", 3)
    monkeypatch.setattr(module, "_BYTES_MAX", 60)
    file.write_text("".join(f"{number}000 10 f{number}\n" for number in range(1, 9)))
    assert functions.find(0x3000) == ("f3", 0x3000)
    assert functions.find(0x4000) is None


def test_a_process_without_a_map_is_told_apart(functions: JitMap, file: Path) -> None:
    assert functions.find(0x1000) is None
    assert functions.missing
    file.write_text("")
    assert functions.find(0x1000) is None
    assert not functions.missing


@pytest.fixture
def place() -> Iterator[Path]:
    """Where this process would write its map."""
    path = Path(f"/tmp/perf-{os.getpid()}.map")
    yield path
    path.unlink(missing_ok=True)


def test_a_map_of_ones_own_is_opened(place: Path) -> None:
    place.write_text("1000 10 mine\n")
    path, data = open_map(os.getpid())
    assert path == str(place)
    assert data.read(0, 4) == b"1000"
    data.close()


def test_it_is_looked_for_where_the_process_sees_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its root is closed to us, if the same file system is at that place."""
    place.write_text("1000 10 mine\n")

    def closed(path: str, *, follow: bool = True) -> FileData:
        if path.startswith("/proc/"):
            raise PermissionError(path)
        return open_regular(path, follow=follow)

    monkeypatch.setattr(module, "open_regular", closed)
    path, data = open_map(os.getpid())
    assert path == str(place)
    data.close()

    monkeypatch.setattr(proc, "same_place", lambda pid, path: False)
    with pytest.raises(PermissionError):
        open_map(os.getpid())


def test_a_link_a_fifo_and_a_device_are_not_opened(place: Path, tmp_path: Path) -> None:
    (tmp_path / "target").write_text("1000 10 not_mine\n")
    place.symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="is no regular file"):
        open_map(os.getpid())
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(OSError, match="is no regular file"):
        open_map(os.getpid())
    place.unlink()
    place.mkdir()
    with pytest.raises(OSError, match="is no regular file"):
        open_map(os.getpid())
    place.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_the_map_of_somebody_else_is_not_believed(place: Path) -> None:
    place.write_text("1000 10 planted\n")
    os.chown(place, 65534, 65534)
    with pytest.raises(PermissionError, match="not the process's own"):
        open_map(os.getpid())


def test_a_process_that_is_gone_is_not_one_without_a_map() -> None:
    functions = JitMap(lambda: open_map(2**22 + 5))
    assert functions.find(0x1000) is None
    assert not functions.missing
