"""Stacks of real processes: the file that is mapped, and no other, names their functions."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptraced.symbols import images, jit, proc
from ptraced.symbols.kernel import KernelSymbol
from ptraced.symbols.resolver import Resolver
from ptraced.task_records import Comm, Exit, Fork, Mmap2
from symbolprograms import MANGLED, NoKernel, build, frames, running, stripped, symbols

UNKNOWN = ("", 0, "")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("programs"))


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    resolver = Resolver(NoKernel())
    yield resolver
    resolver.close()


def now() -> int:
    return time.monotonic_ns()


def resolved(resolver: Resolver, pid: int, *addresses: int) -> list[tuple[str, int, str]]:
    return frames(resolver.stack(1, pid, now(), [], addresses))


@pytest.mark.parametrize("options", ["-pie", "-no-pie"])
def test_functions_of_a_running_program(tmp_path: Path, resolver: Resolver, options: str) -> None:
    program = build(tmp_path, options)
    starts = symbols(program)
    with running(program) as (pid, main, _, _):
        bias = main - starts["main"][0]
        names = ["local", "global", "weakling", "shared_name", "main", *MANGLED]
        addresses = [bias + starts[name][0] + 3 for name in names]
        found = resolved(resolver, pid, *addresses)

    assert found == [(MANGLED.get(name, name), 3, str(program)) for name in names]


def test_a_return_address_belongs_to_the_function_that_called(
    program: Path, resolver: Resolver
) -> None:
    start, size = symbols(program)["local"]
    with running(program) as (pid, main, _, _):
        end = main - symbols(program)["main"][0] + start + size
        found = resolved(resolver, pid, end, end)

    # "global" comes right behind "local": a call at its end would return there.
    assert found == [("global", 0, str(program)), ("local", size, str(program))]


def test_the_librarys_functions(program: Path, resolver: Resolver) -> None:
    with running(program) as (pid, _, getppid, _):
        ((name, offset, dso),) = resolved(resolver, pid, getppid + 2)

    assert name in ("getppid", "__getppid", "__GI___getppid", "__GI_getppid")
    assert offset == 2
    assert os.path.basename(dso).startswith("libc")


def test_the_vdso(resolver: Resolver) -> None:
    (vdso,) = (m for m in proc.executable_memory(os.getpid()) if m.path == "[vdso]")
    found = {
        frame
        for address in range(vdso.start, vdso.end, 8)
        for frame in resolved(resolver, os.getpid(), address)
    }

    assert {dso for _, _, dso in found} == {"[vdso]"}
    assert {"clock_gettime", "__vdso_clock_gettime"} & {name for name, _, _ in found}


def test_addresses_of_nothing(program: Path, resolver: Resolver) -> None:
    with running(program) as (pid, _, _, _):
        assert resolved(resolver, pid, 0x1234, 2**64 - 1, 0) == [UNKNOWN] * 3
    assert resolved(resolver, 2**22 + 1, 0x1234) == [UNKNOWN]


def test_a_stripped_program_keeps_its_file(tmp_path: Path, resolver: Resolver) -> None:
    bare = stripped(build(tmp_path), tmp_path / "symbols")
    with running(bare) as (pid, main, _, _):
        assert resolved(resolver, pid, main) == [("", 0, str(bare))]


def test_a_file_that_took_the_place_of_the_mapped_one_is_not_used(
    tmp_path: Path, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = build(tmp_path)
    with running(program) as (pid, main, _, _):
        other = build(tmp_path, "-O2", name="other")
        os.rename(other, program)
        monkeypatch.setattr(images, "_places", lambda path, mapping, pid: [str(program)])
        assert resolved(resolver, pid, main) == [("", 0, f"{program} (deleted)")]


@pytest.mark.skipif(os.geteuid() != 0, reason="the way to deleted files needs privileges")
def test_a_deleted_program_is_read_where_it_is_mapped(tmp_path: Path, resolver: Resolver) -> None:
    program = build(tmp_path)
    with running(program) as (pid, main, _, _):
        program.unlink()
        assert resolved(resolver, pid, main) == [("main", 0, f"{program} (deleted)")]


def test_a_program_is_found_by_its_build_id_when_its_process_is_gone(
    program: Path, resolver: Resolver
) -> None:
    main = symbols(program)["main"][0]
    build_id = images.Elf(images.open_regular(str(program))).build_id()
    pid, base = 2**22 + 7, 0x5555_0000_0000
    apply = resolver.history.apply
    apply(Comm(pid, pid, b"gone", True, 100))
    apply(Mmap2(pid, pid, base + 0x1000, 0x1000, 0x1000, str(program), build_id, None, 101))
    apply(Exit(pid, 1, pid, 1, 200))

    assert frames(resolver.stack(1, pid, 150, [], [base + main])) == [("main", 0, str(program))]
    other = pid + 1
    apply(Comm(other, other, b"gone", True, 100))
    wrong = bytes(20)
    apply(Mmap2(other, other, base + 0x1000, 0x1000, 0x1000, str(program), wrong, None, 101))
    assert frames(resolver.stack(1, other, 150, [], [base + main])) == [("", 0, str(program))]


def test_a_process_that_is_anothers_by_now_is_not_told_of(
    program: Path, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It has begun to run a set-uid program, or its number went to another; the record of it is
    # still on its way. Its addresses are what the user had put on its stack.
    ann, root = 64101, 0
    owner = ann
    monkeypatch.setattr(proc, "shown_to", lambda pid: owner)
    monkeypatch.setattr("ptraced.symbols.resolver._LOOK_AGAIN", 0.0)

    def told(whose: int | None) -> str:
        return frames(resolver.stack(1, pid, now(), [], [main], whose))[0][0]

    with running(program) as (pid, main, _, _):
        owner = root
        assert told(ann) == ""
        # Nor because another looked, who may.
        assert told(None) == "main"
        assert told(ann) == ""
    with running(program) as (pid, main, _, _):
        owner = ann
        assert told(ann) == "main"
        owner = root
        resolver.stack(1, pid, now(), [], [0x1234], ann)
        assert told(ann) == ""


def test_a_map_of_compiled_functions_that_is_anothers_by_now_is_not_told_of(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path(f"/tmp/perf-{os.getpid()}.map")
    place.write_text("700000000010 20 secret\n")
    monkeypatch.setattr(proc, "shown_to", lambda pid: 0)
    pid, start = os.getpid(), now()
    try:
        resolver.history.apply(Comm(pid, pid, b"any", True, start))
        mapping = Mmap2(pid, pid, 0x700000000000, 0x1000, 0, "//anon", None, None, start + 1)
        resolver.history.apply(mapping)
        for owner, name in ((64101, ""), (None, "secret"), (64101, ""), (0, "secret")):
            stack = resolver.stack(1, pid, now(), [], [0x700000000018], owner)
            assert frames(stack)[0][0] == name
    finally:
        place.unlink()


def renamed(program: Path, copy: Path, *options: str) -> Path:
    """A copy of a program with the same build id, whose main() is called otherwise."""
    subprocess.run(
        ["objcopy", "--redefine-sym", "main=not_main", *options, program, copy], check=True
    )
    return copy


def mapped(resolver: Resolver, pid: int, path: Path | str, build_id: bytes | None) -> int:
    """Tell of a process that has mapped a file; returns where main() of `program` is."""
    base = 0x5555_0000_0000
    resolver.history.apply(Comm(pid, pid, b"any", True, 100))
    resolver.history.apply(
        Mmap2(pid, pid, base + 0x1000, 0x1000, 0x1000, str(path), build_id, None, 101)
    )
    return base


@pytest.mark.parametrize("forged_first", [True, False])
def test_a_file_that_has_anothers_build_id_names_its_own_functions_only(
    program: Path, tmp_path: Path, resolver: Resolver, forged_first: bool
) -> None:
    # Anybody can give a file the build id of the C library.
    main = symbols(program)["main"][0]
    forged = renamed(program, tmp_path / "forged")
    build_id = images.Elf(images.open_regular(str(program))).build_id()
    assert images.Elf(images.open_regular(str(forged))).build_id() == build_id
    ours, theirs = 2**22 + 7, 2**22 + 8
    places = {theirs: forged, ours: program}
    for pid in sorted(places, reverse=forged_first):
        base = mapped(resolver, pid, places[pid], build_id)
        ((name, _, _),) = frames(resolver.stack(1, pid, 150, [], [base + main]))
        assert name == ("not_main" if pid == theirs else "main")


@pytest.mark.skipif(os.geteuid() != 0, reason="a file is given away")
def test_what_a_process_has_at_a_path_that_others_have_too_is_its_own(
    program: Path, tmp_path: Path, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a mount namespace of its own, of files that are only there.
    main = symbols(program)["main"][0]
    forged = renamed(program, tmp_path / "forged")
    os.chown(forged, 65534, 65534)
    build_id = images.Elf(images.open_regular(str(program))).build_id()
    ours, theirs = 2**22 + 7, 2**22 + 8
    roots = {theirs: forged, ours: program}
    monkeypatch.setattr(
        images, "_places", lambda path, mapping, pid: ["/nowhere/program", str(roots[pid])]
    )
    for pid in (theirs, ours, 2**22 + 9):
        roots.setdefault(pid, program)
        base = mapped(resolver, pid, "/nowhere/program", build_id)
        ((name, _, _),) = frames(resolver.stack(1, pid, 150, [], [base + main]))
        assert name == ("not_main" if pid == theirs else "main")


@pytest.mark.skipif(os.geteuid() != 0, reason="a file is given away")
@pytest.mark.parametrize("owner", [0, 65534])
def test_symbols_that_were_split_off_are_the_owners(
    tmp_path: Path, resolver: Resolver, owner: int
) -> None:
    debug = tmp_path / "symbols.debug"
    program = build(tmp_path)
    main = symbols(program)["main"][0]
    bare = stripped(program, debug, link=True)
    os.chown(debug, owner, owner)
    base = mapped(resolver, 2**22 + 7, bare, images.Elf(images.open_regular(str(bare))).build_id())
    ((name, _, _),) = frames(resolver.stack(1, 2**22 + 7, 150, [], [base + main]))
    assert name == ("main" if owner == 0 else "")


def test_a_file_without_a_build_id_is_told_by_its_inode(tmp_path: Path, resolver: Resolver) -> None:
    program = build(tmp_path, "-Wl,--build-id=none")
    with running(program) as (pid, main, _, _):
        assert resolved(resolver, pid, main) == [("main", 0, str(program))]

    copy = str(shutil.copy(program, tmp_path / "copy"))
    status = os.stat(copy)
    pid, base = 2**22 + 7, 0x5555_0000_0000
    apply = resolver.history.apply
    apply(Comm(pid, pid, b"gone", True, 100))
    for identity in ((status.st_dev, status.st_ino), (status.st_dev, status.st_ino + 1)):
        base += 1 << 32
        mapping = Mmap2(pid, pid, base, 0x2000, 0, copy, None, identity, 101)
        apply(mapping)
        known = "main" if identity[1] == status.st_ino else ""
        address = base + symbols(program)["main"][0]
        assert frames(resolver.stack(1, pid, 150, [], [address]))[0][0] == known


def test_a_file_that_stat_calls_otherwise_is_told_by_mapping_it(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Btrfs and overlayfs give stat(2) another device or inode than /proc/PID/maps."""
    with running(program) as (pid, _, _, _):
        memory = proc.executable_memory(pid)
    (identity,) = {mapped.identity for mapped in memory if mapped.path == str(program)}
    assert identity is not None
    file = images.open_regular(str(program))
    assert images._is_mapped_one(file, identity)

    class Status:
        st_dev, st_ino, st_size = identity[0] + 1, identity[1] + 1, file.size

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", lambda fd: Status)
        assert images._is_mapped_one(file, identity)
        assert not images._is_mapped_one(file, (identity[0] + 2, identity[1]))
        assert not images._is_mapped_one(file, (identity[0], identity[1] + 2))
    file.close()


def test_children_that_run_nothing_of_their_own_have_their_parents_memory(
    program: Path, resolver: Resolver
) -> None:
    with running(program) as (pid, main, _, time):
        child = 2**22 + 9
        resolver.history.apply(Fork(child, pid, child, pid, time))
        resolver.history.apply(Exit(child, pid, child, pid, time + 100))
        found = frames(resolver.stack(1, child, time + 50, [], [main]))
    assert found == [("main", 0, str(program))]


def test_a_number_that_went_to_another_process_is_not_looked_at(
    program: Path, resolver: Resolver
) -> None:
    with running(program) as (pid, main, _, time):
        assert frames(resolver.stack(1, pid, time - 10**10, [], [main])) == [UNKNOWN]


def test_what_is_mapped_later_is_found_after_a_while(
    program: Path, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory: list[proc.Mapped] = []
    monkeypatch.setattr(proc, "executable_memory", lambda pid: memory)
    with running(program) as (pid, main, _, _):
        assert resolved(resolver, pid, main) == [UNKNOWN]
        monkeypatch.undo()
        assert resolved(resolver, pid, main) == [UNKNOWN]
        monkeypatch.setattr("ptraced.symbols.resolver._LOOK_AGAIN", 0.0)
        assert resolved(resolver, pid, main) == [("main", 0, str(program))]


class OneFunction(NoKernel):
    def find(self, address: int) -> KernelSymbol | None:
        start = 0xFFFFFFFF81000000
        inside = start <= address < start + 0x20
        return KernelSymbol("do_exit", start, "[kernel.kallsyms]") if inside else None


def test_frames_of_the_kernel_come_first() -> None:
    resolver = Resolver(OneFunction())
    start = 0xFFFFFFFF81000000
    found = resolver.stack(5, 2**22 + 1, now(), [start, start + 0x20, start + 0x21], [0x1234])
    resolver.close()

    assert frames(found) == [
        ("do_exit", 0, "[kernel.kallsyms]"),
        ("do_exit", 0x20, "[kernel.kallsyms]"),
        UNKNOWN,
        UNKNOWN,
    ]


def test_compiled_functions_are_of_the_processs_own_map(tmp_path: Path, resolver: Resolver) -> None:
    pid = os.getpid()
    place = Path(f"/tmp/perf-{pid}.map")
    place.write_text("700000000010 20 py::hot:/a.py\n")
    try:
        mapping = Mmap2(pid, pid, 0x700000000000, 0x1000, 0, "//anon", None, None, now())
        resolver.history.apply(mapping)
        assert resolved(resolver, pid, 0x700000000018, 0x700000000030, 0x700000000040) == [
            ("py::hot:/a.py", 8, str(place)),
            ("py::hot:/a.py", 0x20, str(place)),
            UNKNOWN,
        ]
    finally:
        place.unlink()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("python3.12", True),
        ("libpython3.13.so.1.0", True),
        ("python3.14t", True),
        ("python3", False),
        ("notpython3.12", False),
    ],
)
@pytest.mark.parametrize("has_map", [False, True])
def test_python_without_a_map_of_its_functions_is_told_once(
    program: Path, tmp_path: Path, name: str, told: bool, has_map: bool
) -> None:
    python = shutil.copy(program, tmp_path / name)
    notes: list[tuple[int, str]] = []
    resolver = Resolver(NoKernel(), lambda pid, path: notes.append((pid, path)))
    with running(python) as (pid, main, _, _):
        place = Path(f"/tmp/perf-{pid}.map")
        if has_map:
            place.touch()
        start = now()
        for later in (0, 10**8, 6 * 10**8, 7 * 10**8):
            resolver.stack(1, pid, start + later, [], [main])
            # At first it may not have begun it yet.
            assert later > 10**8 or not notes
        place.unlink(missing_ok=True)
    resolver.close()

    assert notes == ([(pid, str(python))] if told and not has_map else [])


def test_a_process_whose_files_are_closed_to_us_is_not_said_to_lack_a_map(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = shutil.copy(program, tmp_path / "python3.12")

    def closed(pid: int) -> object:
        raise PermissionError

    monkeypatch.setattr(jit, "open_map", closed)
    notes: list[int] = []
    resolver = Resolver(NoKernel(), lambda pid, path: notes.append(pid))
    with running(python) as (pid, main, _, _):
        start = now()
        for later in (0, 6 * 10**8):
            resolver.stack(1, pid, start + later, [], [main])
    resolver.close()
    assert notes == []


def test_stacks_that_were_seen_before_take_no_lookups(
    program: Path, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(program) as (pid, main, getppid, _):
        first = resolver.stack(1, pid, now(), [], [getppid, main + 5])
        monkeypatch.setattr(resolver, "_user_frame", None)
        assert resolver.stack(1, pid, now(), [], [getppid, main + 5]) == first


def test_mounts_are_compared_by_what_they_show(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {
        "self": "1 0 8:1 / / rw - ext4 a rw\n2 1 0:9 / /tmp rw - tmpfs b rw\n",
        "7": "11 0 8:1 / / rw - ext4 a rw\n12 1 0:9 / /tmp rw - tmpfs b rw\n",
        "8": "21 0 8:1 / / rw - ext4 a rw\n22 1 0:77 / /tmp rw - tmpfs b rw\n",
        "9": "31 0 8:1 /jail / rw - ext4 a rw\n",
        "10": "41 0 8:1 / / rw - ext4 a rw\n42 1 0:9 / /tmp rw - tmpfs b rw\n"
        "43 1 0:78 / /tmp rw - tmpfs over rw\n44 1 0:79 / /a\\040b rw - tmpfs c rw\n",
    }
    monkeypatch.setattr(proc, "read", lambda path: tables[path.split("/")[2]].encode())

    assert proc.same_place(7, "/tmp/perf-1.map")
    assert proc.same_place(8, "/usr/lib/libc.so.6")
    assert not proc.same_place(8, "/tmp/perf-1.map")
    assert proc.same_place(8, "/tmpfile")
    assert not proc.same_place(9, "/usr/lib/libc.so.6")
    assert not proc.same_place(10, "/tmp/perf-1.map")
    assert not proc.same_place(10, "/a b/file")
