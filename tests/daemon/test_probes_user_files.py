"""Which file a probe means, and what is refused before anything in it is looked at."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from probed_files import find

from ptraced.errors import NotFound, TraceError, Unavailable
from ptraced.probes import elf_open, elf_search, user
from ptraced.probes.elf_open import open_probed

pytestmark = pytest.mark.usefixtures("kernel_with_uprobes")

TRUE = "/bin/true"


def refusal(path: str | Path, pids: tuple[int, ...] = ()) -> str:
    """What is said of a file, which is pointed at."""
    with pytest.raises(TraceError) as caught:
        find("uprobe", "main", path, pids=pids)
    message, line, caret = str(caught.value).split("\n")
    assert line == f'  uprobe:main@"{path}"'
    assert caret == " " * 15 + "^".ljust(len(str(path)), "~")
    return message


def test_a_file_that_is_not_there() -> None:
    assert refusal("/no/such") == "error: there is no file '/no/such'"
    assert refusal("/bin/true/so") == "error: there is no file '/bin/true/so'"


def test_files_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        kinds = {
            "/dev/null": "a device",
            str(tmp_path): "a directory",
            str(tmp_path / "fifo"): "a FIFO",
            str(tmp_path / "socket"): "a socket",
        }
        for path, kind in kinds.items():
            assert refusal(path) == f"error: '{path}' is {kind}, not a program or shared library"


def test_a_loop_of_links(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert refusal(loop) == f"error: '{loop}' cannot be opened: Too many levels of symbolic links"


def test_paths_that_cannot_be_meant() -> None:
    assert refusal("bin/true") == (
        "error: 'bin/true' is a relative path: the daemon has no current folder of yours, an "
        "absolute path does"
    )
    assert refusal("nosuchthing") == (
        "error: no library or program is called 'nosuchthing' here; its absolute path does"
    )


def test_a_path_that_is_too_long() -> None:
    with pytest.raises(TraceError, match=r"^no path has 4096 bytes or more$"):
        open_probed("/" + "a" * 5000, ())
    with pytest.raises(TraceError, match=r"^a file is missing: its path stands in quotes"):
        open_probed("/bin/\0", ())


def test_a_text_is_no_program() -> None:
    assert refusal("/etc/passwd") == "error: '/etc/passwd' is no ELF file"


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert refusal(tmp_path / "empty") == f"error: '{tmp_path}/empty' is no ELF file"


def test_a_program_of_another_machine(tmp_path: Path) -> None:
    # GIVEN a program whose header says that it is one for s390 (e_machine, 22)
    other = tmp_path / "other"
    program = bytearray(Path(TRUE).read_bytes())
    program[18:20] = (22).to_bytes(2, "little")
    other.write_bytes(program)

    machine = os.uname().machine
    assert refusal(other) == (
        f"error: '{other}' is for another machine (EM_S390), this one is {machine}"
    )


def test_an_object_file(tmp_path: Path) -> None:
    source = tmp_path / "object.c"
    source.write_text("int main(void) { return 0; }")
    subprocess.run(["gcc", "-c", "-o", tmp_path / "object.o", source], check=True)

    said = f"error: '{tmp_path}/object.o' is neither a program nor a shared library"
    assert refusal(tmp_path / "object.o") == said


def test_a_program_without_its_end(tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(Path(TRUE).read_bytes()[:100])
    assert refusal(cut).startswith(f"error: '{cut}' is damaged: ")


def test_a_kernel_without_uprobes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(user, "_DEVICE", tmp_path / "missing")

    with pytest.raises(Unavailable) as caught:
        find("uretprobe", "main", TRUE)

    assert str(caught.value) == (
        "error: this kernel has no uprobes (CONFIG_UPROBE_EVENTS is off)\n"
        '  uretprobe:main@"/bin/true"\n'
        "  ^~~~~~~~~"
    )


def test_a_process_that_is_gone() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert refusal(TRUE, (ended.pid,)) == (
        f"error: there is no process {ended.pid}, whose view of the file would count"
    )


@pytest.fixture
def unreadable_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """A /proc whose process 7 has a root that we may not enter; some paths are as here."""

    def make(*same: str) -> None:
        monkeypatch.setattr(elf_open, "same_place", lambda pid, path: path in same)
        monkeypatch.setattr(elf_open, "_PROC", tmp_path)
        opened = os.open

        def open_(path: object, flags: int, *rest: int) -> int:
            if path == tmp_path / "7/root":
                raise PermissionError
            return opened(path, flags, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "open", open_)

    return make


def test_without_rights_what_is_mounted_the_same_is_the_same(
    unreadable_root: Callable[..., None], tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(TRUE)
    unreadable_root(str(link), os.path.realpath(TRUE))
    assert open_probed(str(link), [7]).identity == open_probed(TRUE, []).identity


@pytest.mark.parametrize("same", [[], ["link"], ["target"]], ids=str)
def test_without_rights_what_may_be_another_file_is_not_looked_into(
    unreadable_root: Callable[..., None], tmp_path: Path, same: list[str]
) -> None:
    link = tmp_path / "link"
    link.symlink_to(TRUE)
    places = {"link": str(link), "target": os.path.realpath(TRUE)}
    unreadable_root(*(places[name] for name in same))
    with pytest.raises(Unavailable, match=r"^process 7 has files of its own .*CAP_SYS_PTRACE$"):
        open_probed(str(link), [7])


def test_a_file_that_is_replaced_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "program"
    shutil.copy(TRUE, path)
    first = open_probed(str(path), ())
    again = open_probed(str(path), ())
    path.unlink()
    shutil.copy(TRUE, path)

    assert first == again
    assert first != open_probed(str(path), ())


def test_a_file_that_is_changed_under_its_old_time_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "program"
    shutil.copy(TRUE, path)
    first = open_probed(str(path), ())
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    changed = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == changed:
        # Clocks of file systems tick every few milliseconds.
        path.write_bytes(path.read_bytes())
        os.utime(path, ns=times)

    assert path.stat().st_mtime_ns == times[1]
    assert first != open_probed(str(path), ())


def test_names_are_looked_for_as_ldso_and_shells_do() -> None:
    paths = {open_probed(name, ()).path for name in ("c", "libc", "libc.so.6")}
    assert len(paths) == 1
    assert paths.pop().endswith("/libc.so.6")
    assert open_probed("sh", [os.getpid()]).path.endswith("/bin/sh")


def cache_of(entries: list[tuple[int, int]], strings: bytes) -> bytes:
    """A cache whose entries have names and paths at these places of `strings`."""
    base = elf_search._HEADER.size + len(entries) * elf_search._ENTRY.size
    head = elf_search._HEADER.pack(elf_search._MAGIC, len(entries), len(strings), 0, 0)
    packed = (
        elf_search._ENTRY.pack(0x303, base + name, base + path, 0, 0) for name, path in entries
    )
    return head + b"".join(packed) + strings


def test_a_cache_that_lies_gives_nothing_wrong() -> None:
    entry = elf_search._ENTRY.pack(0x303, 10_000, 20_000, 0, 0)
    head = elf_search._HEADER.pack(elf_search._MAGIC, 1 << 31, 0, 0, 0)

    assert elf_search.cached_libraries(head + entry + b"xy", 0x303, "c") == []
    assert elf_search.cached_libraries(b"old", 0x303, "c") == []


def test_names_come_before_versions_of_them() -> None:
    strings = b"libc.so.6\0libc.so\0/b\0/a\0"
    cache = cache_of([(0, 18), (0, 21), (10, 18)], strings)

    assert elf_search.cached_libraries(cache, 0x303, "c") == ["/b", "/a"]
    assert elf_search.cached_libraries(cache, 0x303, "libc.so.6") == ["/b", "/a"]
    assert elf_search.cached_libraries(cache, 0x303, "libc.so.5") == []
    assert elf_search.cached_libraries(cache, 0x301, "c") == []


def test_a_cache_of_overlapping_names_takes_no_memory() -> None:
    # GIVEN a cache each of whose entries has names of 4096 bytes, 800 MB in all
    strings = b"libc.so." + b"".join(b"%d" % number for number in range(4000)) + b"\0"
    cache = cache_of([(0, number % 5000) for number in range(100_000)], strings)

    tracemalloc.start()
    try:
        found = elf_search.cached_libraries(cache, 0x303, "c")
        missing = elf_search.cached_libraries(cache, 0x303, "nosuch")
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert (len(found), missing) == (64, [])
    assert most < 2 << 20


def test_a_cache_that_is_a_fifo_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    flags = []

    def opener(path: str, given: int) -> int:
        flags.append(given)
        return os.open(tmp_path / "fifo", given)

    with pytest.raises(NotFound):
        elf_search.find_by_name("c", opener)

    assert all(given & os.O_PATH for given in flags)


def test_a_cache_is_read_to_a_limit(tmp_path: Path) -> None:
    # GIVEN a cache with a name that lies behind a hole of 4 MiB
    entry = elf_search._ENTRY.pack(0x303, 5 << 20, 100, 0, 0)
    head = elf_search._HEADER.pack(elf_search._MAGIC, 1, 0, 0, 0)
    strings = b"/bin/true\0".rjust(100 + 10 - len(head + entry), b"\0")
    cache = tmp_path / "cache"
    opened = {"/etc/ld.so.cache": str(cache)}

    def find() -> str:
        return elf_search.find_by_name(
            "nosuch.so", lambda path, flags: os.open(opened.get(path, path), flags)
        )

    near = elf_search._ENTRY.pack(0x303, 110, 100, 0, 0)
    cache.write_bytes(head + near + strings + b"nosuch.so\0")
    assert find() == "/bin/true"
    cache.write_bytes(head + entry + strings)
    with cache.open("r+b") as file:
        file.seek(5 << 20)
        file.write(b"nosuch.so\0")
    with pytest.raises(NotFound):
        find()
