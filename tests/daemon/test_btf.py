"""Offsets and ids from BTF: of the running kernel, and of blobs made here."""

from __future__ import annotations

import functools
import json
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ptraced import btf
from ptraced.btf_types import DATASEC, ENUM, FUNC, STRUCT, UNION, VAR, types
from ptraced.errors import Unavailable

NAMES = b"\0task\0pid\0flags\0task_two\0run\0.data..percpu\0count\0"


def name(text: str) -> int:
    return NAMES.index(b"\0" + text.encode() + b"\0") + 1


def a_type(kind: int, own_name: int, length: int, behind: bytes, flag: bool = False) -> bytes:
    return struct.pack("<III", own_name, flag << 31 | kind << 24 | length, 8) + behind


def structure(own_name: str, members: dict[str, int], flag: bool = False) -> bytes:
    behind = b"".join(struct.pack("<III", name(text), 1, bits) for text, bits in members.items())
    return a_type(STRUCT, name(own_name), len(members), behind, flag)


def blob(*content: bytes) -> bytes:
    data = b"".join(content)
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(data), len(data), len(NAMES))
    return header + data + NAMES


# Types of each size that stand in front of what is looked for.
INT = a_type(1, 0, 0, bytes(4))
POINTER = a_type(2, 0, 0, b"")
ARRAY = a_type(3, 0, 0, bytes(12))
ENUMERATION = a_type(ENUM, 0, 3, bytes(24))
PROTOTYPE = a_type(13, 0, 2, bytes(16))
SECTION = a_type(15, 0, 2, bytes(24))
ENUMERATION_64 = a_type(19, 0, 1, bytes(12))
BEFORE = (INT, POINTER, ARRAY, ENUMERATION, PROTOTYPE, SECTION, ENUMERATION_64)


ASKED: tuple[Callable[[], object], ...] = (
    lambda: btf.member_offset("task", "pid"),
    lambda: btf.function_id("run"),
    lambda: btf.per_cpu_offset("count"),
)


@pytest.fixture
def vmlinux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that is taken for the kernel's BTF."""
    path = tmp_path / "vmlinux"
    monkeypatch.setattr(btf, "_VMLINUX", path)
    btf.member_offset.cache_clear()
    yield path
    btf.member_offset.cache_clear()


@functools.cache
def dumped() -> list[dict[str, object]]:
    """The kernel's types as bpftool reads them."""
    said = subprocess.run(
        ["bpftool", "-j", "btf", "dump", "file", "/sys/kernel/btf/vmlinux"],
        check=True,
        capture_output=True,
    )
    found: list[dict[str, object]] = json.loads(said.stdout)["types"]
    return found


def bits_by_bpftool(structure: str, member: str) -> int:
    for found in dumped():
        if found["kind"] == "STRUCT" and found["name"] == structure:
            members: list[dict[str, object]] = found["members"]  # type: ignore[assignment]
            (bits,) = (one["bits_offset"] for one in members if one["name"] == member)
            return int(bits)  # type: ignore[call-overload, no-any-return]
    raise AssertionError(f"bpftool finds no struct {structure}")


@pytest.mark.needs_kernel("BTF")
@pytest.mark.parametrize(
    ("structure", "member"),
    [
        ("task_struct", "cred"),
        ("task_struct", "pid"),
        ("cred", "euid"),
        ("cred", "fsuid"),
        ("list_head", "next"),
        ("cfs_rq", "rq"),
    ],
)
def test_offsets_in_the_running_kernel_are_what_bpftool_says(structure: str, member: str) -> None:
    bits = bits_by_bpftool(structure, member)

    assert btf.member_offset(structure, member) == bits // 8


@pytest.mark.needs_kernel("BTF")
def test_a_functions_id_is_what_bpftool_says() -> None:
    expected = [
        found["id"]
        for found in dumped()
        if found["kind"] == "FUNC" and found["name"] == "bpf_fentry_test1"
    ]

    assert [btf.function_id("bpf_fentry_test1")] == expected


def test_a_member_is_found_behind_types_of_every_size(vmlinux: Path) -> None:
    vmlinux.write_bytes(blob(*BEFORE, structure("task", {"pid": 32, "flags": 256})))

    assert btf.member_offset("task", "pid") == 4
    assert btf.member_offset("task", "flags") == 32


def test_a_struct_with_bit_fields_keeps_their_sizes_beside_the_offsets(vmlinux: Path) -> None:
    vmlinux.write_bytes(blob(structure("task", {"pid": 3 << 24 | 64}, flag=True)))

    assert btf.member_offset("task", "pid") == 8


def test_names_are_compared_whole(vmlinux: Path) -> None:
    vmlinux.write_bytes(
        blob(structure("task_two", {"pid": 0}), structure("task", {"pid": 64, "flags": 0}))
    )

    assert btf.member_offset("task", "pid") == 8
    assert btf.member_offset("tas", "pid") is None
    assert btf.member_offset("task", "pi") is None
    assert btf.member_offset("task_two", "flags") is None


def test_a_function_of_the_same_name_is_no_struct(vmlinux: Path) -> None:
    vmlinux.write_bytes(blob(INT, a_type(FUNC, name("task"), 0, b"")))

    assert btf.member_offset("task", "pid") is None
    assert btf.function_id("task") == 2
    assert btf.function_id("run") is None
    assert btf.function_id("unheard_of") is None


def test_types_tell_where_their_members_are() -> None:
    data = blob(INT, ENUMERATION, structure("task", {"pid": 0}, flag=True))

    assert [(type.kind, type.length, type.flag, type.members) for type in types(data)] == [
        (1, 0, False, 24 + 12),
        (ENUM, 3, False, 24 + 16 + 12),
        (STRUCT, 1, True, 24 + 16 + 36 + 12),
    ]


def unnamed(kind: int, *members: tuple[str, int, int]) -> bytes:
    """A struct or union without a name; its members have names, types and bits."""
    behind = b"".join(
        struct.pack("<III", name(text) if text else 0, of, bits) for text, of, bits in members
    )
    return a_type(kind, 0, len(members), behind)


def outer(*members: tuple[str, int, int]) -> bytes:
    behind = unnamed(STRUCT, *members)[12:]
    return a_type(STRUCT, name("task"), len(members), behind)


def test_members_of_unnamed_members_are_found_at_their_place_in_the_whole(vmlinux: Path) -> None:
    vmlinux.write_bytes(
        blob(
            INT,
            unnamed(STRUCT, ("run", 1, 0), ("pid", 1, 32)),
            unnamed(UNION, ("", 1, 0), ("", 2, 0)),
            outer(("", 3, 64), ("flags", 1, 256)),
        )
    )

    assert btf.member_offset("task", "pid") == 12
    assert btf.member_offset("task", "flags") == 32
    assert btf.member_offset("task", "count") is None


def test_a_member_that_is_somewhere_else_in_a_struct_of_the_same_name_is_not_guessed(
    vmlinux: Path,
) -> None:
    vmlinux.write_bytes(
        blob(structure("task", {"pid": 64, "flags": 0}), structure("task", {"pid": 32, "flags": 0}))
    )

    assert btf.member_offset("task", "pid") is None
    assert btf.member_offset("task", "flags") == 0


@pytest.mark.parametrize(("of", "reason"), [(9, "no type 9"), (1, "types without an end")])
def test_unnamed_members_of_what_is_no_type_are_told(vmlinux: Path, of: int, reason: str) -> None:
    vmlinux.write_bytes(blob(outer(("", of, 0))))

    with pytest.raises(Unavailable, match=reason):
        btf.member_offset("task", "pid")


def test_per_cpu_variables_have_their_place_in_their_section(vmlinux: Path) -> None:
    variable = a_type(VAR, name("count"), 0, bytes(4))
    local = a_type(VAR, name("flags"), 0, bytes(4))
    section = a_type(DATASEC, name(".data..percpu"), 1, struct.pack("<III", 2, 4096, 4))
    vmlinux.write_bytes(blob(INT, variable, local, section))

    assert btf.per_cpu_offset("count") == 4096
    assert btf.per_cpu_offset("flags") is None
    assert btf.per_cpu_offset("unheard_of") is None


def test_a_kernel_without_btf_is_told(vmlinux: Path) -> None:
    reason = f"[Errno 2] No such file or directory: '{vmlinux}'"
    for ask in ASKED:
        with pytest.raises(Unavailable) as caught:
            ask()
        assert str(caught.value) == f"error: cannot read the kernel's BTF in {vmlinux}: {reason}"


@pytest.mark.parametrize("content", [b"\xeb\x9f" + bytes(40), bytes(100)])
def test_what_is_no_btf_of_this_machine_is_told(vmlinux: Path, content: bytes) -> None:
    vmlinux.write_bytes(content)

    with pytest.raises(Unavailable) as caught:
        btf.member_offset("task", "pid")

    assert str(caught.value) == (
        f"error: cannot read the kernel's BTF in {vmlinux}: not BTF of this machine's byte order"
    )


def test_a_blob_that_ends_early_is_told_wherever_it_ends(vmlinux: Path) -> None:
    whole = blob(*BEFORE, structure("task", {"pid": 32, "flags": 256}))
    for end in range(len(whole)):
        vmlinux.write_bytes(whole[:end])
        reason = "truncated BTF" if end >= 24 else "not BTF of this machine's byte order"
        for ask in ASKED:
            with pytest.raises(Unavailable) as caught:
                ask()
            assert str(caught.value) == (
                f"error: cannot read the kernel's BTF in {vmlinux}: {reason}"
            )


def test_types_that_reach_beyond_their_section_are_told(vmlinux: Path) -> None:
    whole = bytearray(blob(INT, structure("task", {"pid": 32})))
    # Says that the structure has more members than there are.
    struct.pack_into("<I", whole, 24 + len(INT) + 4, STRUCT << 24 | 0xFFFF)
    vmlinux.write_bytes(whole)

    with pytest.raises(Unavailable) as caught:
        btf.member_offset("task", "flags")

    assert str(caught.value) == f"error: cannot read the kernel's BTF in {vmlinux}: truncated BTF"
