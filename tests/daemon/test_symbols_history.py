"""Address spaces over time, as records tell them: late, out of order, and very many."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from ptraced.symbols import history as module
from ptraced.symbols.address_space import AddressSpace, Mapping
from ptraced.symbols.history import History
from ptraced.task_records import Comm, Exit, Fork, Lost, Mmap2, TaskRecord

SHELL, CHILD = 100, 200


def mapped(pid: int, start: int, path: str, time: int, length: int = 0x1000) -> Mmap2:
    return Mmap2(pid, pid, start, length, 0, path, path.encode(), None, time)


def executed(pid: int, time: int) -> Comm:
    return Comm(pid, pid, b"name", True, time)


def forked(pid: int, parent: int, time: int) -> Fork:
    return Fork(pid, parent, pid, parent, time)


def ended(pid: int, time: int) -> Exit:
    return Exit(pid, SHELL, pid, SHELL, time)


def history_of(*records: TaskRecord) -> History:
    history = History()
    for record in records:
        history.apply(record)
    return history


def path_at(history: History, pid: int, address: int, time: int) -> str | None:
    found = history.space(pid, time).find(address, time)
    return found.file.path if found else None


LIFE: tuple[TaskRecord, ...] = (
    executed(SHELL, 10),
    mapped(SHELL, 0x1000, "/bin/sh", 11),
    forked(CHILD, SHELL, 20),
    executed(CHILD, 30),
    mapped(CHILD, 0x1000, "/bin/true", 31),
    mapped(CHILD, 0x8000, "/lib/libc.so", 32),
    mapped(CHILD, 0x1000, "/bin/late", 40),
    ended(CHILD, 50),
)
EXPECTED = [
    (SHELL, 0x1800, 15, "/bin/sh"),
    (SHELL, 0x1800, 45, "/bin/sh"),
    (SHELL, 0x8000, 45, None),
    # Before it runs a program of its own a child has its parent's.
    (CHILD, 0x1800, 25, "/bin/sh"),
    (CHILD, 0x1800, 35, "/bin/true"),
    (CHILD, 0x1FFF, 35, "/bin/true"),
    (CHILD, 0x2000, 35, None),
    (CHILD, 0x8000, 35, "/lib/libc.so"),
    (CHILD, 0x8000, 31, None),
    (CHILD, 0x1800, 45, "/bin/late"),
    # What ended is still to be looked up.
    (CHILD, 0x8000, 49, "/lib/libc.so"),
]


def test_each_time_has_its_mappings() -> None:
    history = history_of(*LIFE)
    for pid, address, time, path in EXPECTED:
        assert path_at(history, pid, address, time) == path


@pytest.mark.parametrize("seed", range(20))
def test_records_of_several_cpus_may_come_in_any_order(seed: int) -> None:
    # The shell's own beginning stays first: a child of what is not known yet is another case.
    late = list(LIFE[2:])
    random.Random(seed).shuffle(late)
    history = history_of(*LIFE[:2], *late)
    for pid, address, time, path in EXPECTED:
        assert path_at(history, pid, address, time) == path


def test_an_end_that_comes_before_its_beginning_stays_an_end() -> None:
    history = history_of(ended(CHILD, 50), forked(CHILD, SHELL, 20), executed(CHILD, 30))
    assert not history.is_current(history.space(CHILD, 60))


def test_a_number_goes_to_another_process() -> None:
    again = (forked(CHILD, SHELL, 60), executed(CHILD, 61), mapped(CHILD, 0x1000, "/bin/new", 62))
    history = history_of(*LIFE, *again)
    assert path_at(history, CHILD, 0x1800, 45) == "/bin/late"
    assert path_at(history, CHILD, 0x1800, 65) == "/bin/new"
    assert history.is_current(history.space(CHILD, 65))


def test_threads_and_names_change_nothing() -> None:
    thread = Fork(SHELL, SHELL, 101, SHELL, 12)
    history = history_of(*LIFE[:2], thread, Comm(SHELL, 101, b"x", False, 13))
    history.apply(Exit(SHELL, 1, 101, SHELL, 14))
    assert path_at(history, SHELL, 0x1800, 15) == "/bin/sh"
    assert history.is_current(history.space(SHELL, 15))


def test_a_snapshot_is_about_the_time_before_it_too() -> None:
    history = history_of(executed(SHELL, 10), mapped(SHELL, 0x1000, "/early", 11))
    space = history.space(SHELL, 50)
    file = history.file("/seen", None, (1, 2))
    history.add_mapping(space, Mapping(0x1000, 0x3000, 0, file, 50, snapshot=True))

    assert path_at(history, SHELL, 0x2000, 20) == "/seen"
    assert path_at(history, SHELL, 0x1000, 20) == "/early"
    assert path_at(history, SHELL, 0x1000, 60) == "/seen"


def test_after_a_loss_what_was_known_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "monotonic_ns", lambda: 100)
    history = history_of(*LIFE, Lost(3))

    assert path_at(history, SHELL, 0x1800, 45) == "/bin/sh"
    assert path_at(history, SHELL, 0x1800, 110) is None
    space = history.space(SHELL, 110)
    assert history.is_current(space)
    assert not space.complete
    assert history.space(SHELL, 120) is space


def test_children_of_children_inherit_and_need_no_endless_chain() -> None:
    history = history_of(*LIFE[:2])
    for pid in range(1000, 1500):
        parent = pid - 1 if pid > 1000 else SHELL
        history.apply(forked(pid, parent, pid))
        history.apply(mapped(pid, pid << 12, f"/own{pid}", pid))
    assert path_at(history, 1499, 0x1800, 2000) == "/bin/sh"
    assert path_at(history, 1499, 1000 << 12, 2000) == "/own1000"

    depth, space = 0, history.space(1499, 2000)
    while space.parent is not None:
        depth, space = depth + 1, space.parent
    assert depth <= 33


def life_of(pid: int, time: int) -> list[TaskRecord]:
    paths = ["/usr/bin/tool", "/lib/ld.so", "[vdso]", "/lib/libc.so.6"]
    return [
        forked(pid, SHELL, time),
        executed(pid, time + 1),
        *(mapped(pid, at << 16, path, time + 2 + at) for at, path in enumerate(paths)),
        ended(pid, time + 50),
    ]


def test_twenty_thousand_processes_are_known_for_a_while_and_memory_is_bounded() -> None:
    history = history_of(*LIFE[:2])
    tracemalloc.start()
    sizes = []
    for number in range(20_000):
        pid, time = 1000 + number, 100 * number
        for record in life_of(pid, time):
            history.apply(record)
        # A stack of it comes after its end.
        assert path_at(history, pid, 3 << 16, time + 40) == "/lib/libc.so.6"
        if number % 5000 == 4999:
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()

    assert len(history) <= 4096 + 2
    assert history.mappings <= 4 * 4096 + 2
    assert sizes[-1] < 16 << 20
    assert sizes[-1] < 1.2 * sizes[0]
    # The latest are all there, the first are not.
    assert path_at(history, 1000 + 19_000, 0, 100 * 19_000 + 40) == "/usr/bin/tool"
    assert path_at(history, 1000, 0, 40) is None


def test_one_process_that_maps_without_end_is_bounded() -> None:
    space = AddressSpace(1, 0, True)
    history = History()
    file = history.file("//anon", None, None)
    for number in range(20_000):
        space.add(Mapping(number << 12, number + 1 << 12, 0, file, number * 10**9))
    assert len(space.mappings) <= 4096
    assert space.find(19_999 << 12, 10**15) is not None


def test_a_place_that_is_mapped_again_and_again_is_kept_once() -> None:
    space = AddressSpace(1, 0, True)
    history = History()
    stays = Mapping(0x5000, 0x6000, 0, history.file("/stays", None, None), 1)
    space.add(stays)
    for number in range(10_000):
        file = history.file(f"/{number}", None, None)
        space.add(Mapping(0x1000, 0x2000, 0, file, number * 10**9))
    assert len(space.mappings) <= 65
    assert space.find(0x5000, 10**15) is stays


def test_all_processes_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAPPINGS_MAX", 1000)
    monkeypatch.setattr(module, "_PROCESSES_MAX", 300)
    history = History()
    for pid in range(1, 1000):
        for number in range(10):
            history.apply(mapped(pid, number << 12, "/file", pid))
    assert history.mappings <= 1000
    assert len(history) <= 300
    assert path_at(history, 999, 0, 1000) == "/file"


def test_one_process_that_starts_programs_without_end_is_bounded() -> None:
    history = History()
    for time in range(0, 1000, 10):
        history.apply(executed(SHELL, time))
        history.apply(mapped(SHELL, 0x1000, f"/{time}", time))
    assert history.mappings <= 8
    assert path_at(history, SHELL, 0x1000, 985) == "/980"
    assert path_at(history, SHELL, 0x1000, 5) is None
