"""Which events of the syscalls: family are dispatched by number, and which number."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from madeup import Declared, event

from ptrace_formats.event_format import EventFormat
from ptraced import syscall_family
from ptraced.syscall_family import Dispatched, dispatched

NUMBER: Declared = ("int __syscall_nr", 8, 4, True)
ARGUMENT: Declared = ("unsigned long fd", 16, 8, False)
UNISTD = """\
#ifndef _ASM_UNISTD_64_H
#define __NR_read 1000
#define __NR_write 1001
#define __NR_stat 1002
#define __NR_umount2 1003
#define __NR3264_lseek 1004
#define __NR_uname 1005
#define __NR_syscalls 1006
#endif
"""


def call(name: str, *fields: Declared, system: str = "syscalls") -> EventFormat:
    return event(system, name, NUMBER, *(fields or (ARGUMENT,)))


FOUR = [call(f"sys_enter_{name}") for name in ("read", "write", "lseek", "newstat")]


@pytest.fixture(params=["x86_64", "aarch64"])
def headers(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Headers of each architecture, as that architecture lays them out."""
    monkeypatch.setattr(platform, "machine", lambda: request.param)
    monkeypatch.setattr(syscall_family, "status_offset", lambda: 0)
    place = {
        "x86_64": "arch/x86/include/generated/uapi/asm/unistd_64.h",
        "aarch64": "include/uapi/asm-generic/unistd.h",
    }[request.param]
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text(UNISTD)
    return tmp_path


def test_events_get_the_numbers_of_the_headers_by_their_position(headers: Path) -> None:
    sides = [call("sys_exit_read"), call("sys_enter_read"), call("sys_exit_write")]

    assert dispatched([*sides, call("sys_enter_lseek")], headers) == {
        0: Dispatched("exit", 1000),
        1: Dispatched("enter", 1000),
        2: Dispatched("exit", 1001),
        3: Dispatched("enter", 1004),
    }


def test_calls_whose_function_has_another_name_are_found_by_that(headers: Path) -> None:
    named = [call(f"sys_enter_{name}") for name in ("newstat", "umount", "newuname", "read")]
    unnamed = [call(f"sys_enter_{name}") for name in ("stat", "umount2", "uname")]

    found = dispatched([*unnamed, *named], headers)

    assert {position: place.number for position, place in found.items()} == {
        3: 1002,
        4: 1003,
        5: 1005,
        6: 1000,
    }


def test_calls_that_the_headers_are_too_old_for_are_known(headers: Path) -> None:
    recent = call("sys_enter_futex_wait")

    assert dispatched([*FOUR, recent], headers)[4] == Dispatched("enter", 455)


def test_recent_calls_of_one_architecture_are_for_that_one(headers: Path) -> None:
    table = syscall_family._RECENT.read_text()
    only_x86 = [line.split() for line in table.splitlines() if line.split()[1] == "x86_64"]

    recent = syscall_family._recent()

    assert [name in recent for _, _, name in only_x86] == [
        platform.machine() == "x86_64" for _ in only_x86
    ]


def test_the_headers_number_wins_over_the_table(
    headers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syscall_family, "_recent", lambda: {"read": 7, "brand_new": 8})

    found = dispatched([*FOUR, call("sys_enter_brand_new")], headers)

    assert (found[0].number, found[4].number) == (1000, 8)


def test_an_event_that_is_selected_twice_is_attached_by_itself_the_second_time(
    headers: Path,
) -> None:
    found = dispatched([*FOUR, FOUR[0]], headers)

    assert sorted(found) == [0, 1, 2, 3]


def test_records_that_the_raw_event_lacks_something_of_are_left_out(headers: Path) -> None:
    with_text = call("sys_enter_newuname", ARGUMENT, ("__data_loc char[] __name", 24, 4, False))
    narrow = call("sys_enter_umount", ("short flags", 16, 2, True))

    assert sorted(dispatched([with_text, narrow, *FOUR], headers)) == [2, 3, 4, 5]


@pytest.mark.parametrize(
    "other",
    [
        call("sys_enter_newuname", system="mine"),
        call("sys_enter_unheard_of"),
        call("newuname"),
        call("sys_leave_newuname"),
    ],
    ids=lambda format: f"{format.system}:{format.name}",
)
def test_other_events_are_left_out(headers: Path, other: EventFormat) -> None:
    assert sorted(dispatched([other, *FOUR], headers)) == [1, 2, 3, 4]


def test_few_events_are_not_worth_a_dispatcher(headers: Path) -> None:
    assert len(dispatched(FOUR, headers)) == 4
    assert dispatched(FOUR[:3], headers) == {}
    # One that is there twice counts once.
    assert dispatched([*FOUR[:3], FOUR[0]], headers) == {}


def test_nothing_is_dispatched_without_a_table_of_numbers(tmp_path: Path) -> None:
    assert dispatched(FOUR, tmp_path / "nothing") == {}


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        ({("thread_info", "status"): 20, ("task_struct", "thread_info"): 300}, 320),
        ({("thread_info", "status"): None, ("task_struct", "thread_info"): 0}, None),
        ({("thread_info", "status"): 20, ("task_struct", "thread_info"): None}, None),
    ],
)
def test_the_place_of_a_tasks_status_is_put_together(
    offsets: dict[tuple[str, str], int | None],
    expected: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(syscall_family.btf, "member_offset", lambda *names: offsets[names])

    assert syscall_family.status_offset() == expected


def test_nothing_is_dispatched_where_32_bit_calls_cannot_be_told(
    headers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(dispatched(FOUR, headers)) == 4

    monkeypatch.setattr(syscall_family, "status_offset", lambda: None)

    assert dispatched(FOUR, headers) == {}
