"""Stacks added up, folded and drawn."""

from __future__ import annotations

import itertools
import random
import re

import pytest

from ptrace_client.flame import FoldedStacks, fold


def frame(symbol: str, dso: str, *, kernel: bool = False) -> dict[str, object]:
    return {"addr": 0x1000, "symbol": symbol, "offset": 0, "kernel": kernel, "dso": dso}


def stacks_of(**amounts: int) -> FoldedStacks:
    """Stacks by names that are joined with two underscores."""
    stacks = FoldedStacks()
    for names, amount in amounts.items():
        stacks.add(tuple(names.split("__")), amount)
    return stacks


def test_a_callchain_is_folded_from_the_outermost_caller() -> None:
    chain = [
        frame("vfs_read", "[kernel.kallsyms]", kernel=True),
        frame("read", "/usr/lib/libc.so.6"),
        frame("Unknown", "/usr/bin/program"),
        frame("Unknown", "[vdso]"),
        frame("Unknown", "Unknown"),
    ]
    assert fold(chain) == ("[unknown]", "[vdso]", "[program]", "read", "vfs_read_[k]")
    assert fold([]) == ()


def test_lines_are_in_order_and_amounts_of_equal_stacks_add_up() -> None:
    stacks = stacks_of(main__work=2, main=1)
    stacks.add(("main", "work"), 40)
    assert stacks.lines() == ["main 1", "main;work 42"]
    assert stacks.total == 43


def test_names_cannot_break_lines_or_stacks() -> None:
    stacks = FoldedStacks()
    stacks.add(("a;b", "c\nd\x1b"))
    assert stacks.lines() == ["a:b;c\\nd\\x1b 1"]
    assert stacks.draw(30) == ["|a;b 100%--------------------|", "|c\\nd\\x1b 100%---------------|"]


def test_stacks_beyond_the_most_are_added_up_together() -> None:
    stacks = FoldedStacks(most=2)
    for name in ("a", "b", "c", "d", "a"):
        stacks.add((name,))
    assert stacks.lines() == ["[other stacks] 2", "a 2", "b 1"]


def test_callers_stand_on_top_and_the_largest_comes_first() -> None:
    drawn = stacks_of(main__read=2, main__work__sort=6, main__work=2).draw(41)
    assert drawn == [
        "|main 100%------------------------------|",
        "|work 80%-----------------------|read---|",
        "|sort 60%---------------|",
    ]


def test_what_is_below_a_narrow_function_stands_below_it() -> None:
    drawn = stacks_of(a__x=50, b__y=35, b__z=15, c=1).draw(22)
    assert drawn == [
        "|a 50%----|b 50%----|",
        "|x 50%----|y 35%-|z-|",
    ]


def test_names_are_cut_and_what_gets_no_three_characters_is_left_out() -> None:
    drawn = stacks_of(verylongname=60, other=30, tiny__x=10).draw(21)
    assert drawn == ["|verylongnam|other|"]
    assert stacks_of(verylongname=60, other=30, tiny__x=10).draw(31) == [
        "|verylongname 60%-|other---|ti|",
        " " * 27 + "|x-|",
    ]


def test_nothing_is_drawn_of_nothing() -> None:
    assert FoldedStacks().draw() == []
    assert stacks_of(main=0).draw() == []


@pytest.mark.parametrize("width", [10, 77, 200])
def test_every_box_is_inside_its_callers(width: int) -> None:
    # GIVEN random stacks whose names tell their callers: abc is called by ab
    generator = random.Random(width)
    stacks = FoldedStacks()
    for _ in range(200):
        path = "".join(generator.choices("abc", k=generator.randint(1, 6)))
        names = tuple(path[:depth] for depth in range(1, len(path) + 1))
        stacks.add(names, generator.randint(1, 100))

    # THEN a row's boxes lie within those of the row above
    drawn = stacks.draw(width)
    assert drawn[0].startswith("|")
    assert drawn[0].endswith("|")
    for upper, lower in itertools.pairwise(drawn):
        assert len(upper) <= width
        callers = {match.start(): match for match in re.finditer(r"\|[^| ]+[^|]*(?=\|)", upper)}
        for box in re.finditer(r"\|(?=([abc]+))[^|]*(?=\|)", lower):
            inside = [c for c in callers.values() if c.start() <= box.start() < c.end()]
            assert len(inside) == 1
            assert box.end() <= inside[0].end()


def test_widths_are_shares_of_the_total() -> None:
    (row,) = stacks_of(a=1, b=2, c=5).draw(81)
    widths = [len(box) for box in row.removesuffix("|").split("|")[1:]]
    assert [width + 1 for width in widths] == [50, 20, 10]


def test_deep_stacks_are_drawn() -> None:
    stacks = FoldedStacks()
    stacks.add(tuple(f"f{depth}" for depth in range(5000)))
    assert len(stacks.draw(20)) == 5000
