"""Which columns a row has, and where."""

from __future__ import annotations

import pytest
from madeup import event

from ptrace_proto import ptrace_pb2 as pb
from ptraced.errors import TraceError
from ptraced.layout import Blank, Blanks, RowLayout, lay_out

FORMAT = event(
    "sys",
    "mixed",
    ("u8 small", 8, 1, False),
    ("short half", 10, 2, True),
    ("int word", 12, 4, True),
    ("void * where", 16, 8, False),
    ("char comm[16]", 24, 16, False),
    ("char odd[13]", 40, 13, False),
    ("u8 raw[6]", 54, 6, False),
    ("__data_loc char[] text", 60, 4, False),
)


def places(layout: RowLayout) -> list[tuple[str, int, int]]:
    return [(column.name, column.offset, column.size) for column in layout.columns]


def test_all_columns_lie_behind_the_time_without_a_hole_and_aligned() -> None:
    layout = lay_out(FORMAT, None)

    assert [column.name for column in layout.columns] == [
        "_time",
        "_comm",
        "where",
        "comm",
        "_pid",
        "_tid",
        "word",
        "text",
        "half",
        "raw",
        "common_flags",
        "common_preempt_count",
        "small",
        "odd",
    ]
    end = 0
    for column in layout.columns:
        assert (column.offset, column.offset % column.alignment) == (end, 0)
        end += column.size
    assert layout.row_size == end == 92
    assert layout.has_dynamic


def test_only_wanted_columns_and_the_time_are_in_a_row() -> None:
    layout = lay_out(FORMAT, {"small", "word", "_pid"})

    assert places(layout) == [("_time", 0, 8), ("_pid", 8, 4), ("word", 12, 4), ("small", 16, 1)]
    assert layout.row_size == 17
    assert not layout.has_dynamic


@pytest.mark.parametrize("wanted", [(), ("_time",)])
def test_a_row_without_any_field_is_the_time(wanted: tuple[str, ...]) -> None:
    assert places(lay_out(FORMAT, wanted)) == [("_time", 0, 8)]


def test_dynamic_data_has_a_locator_of_eight_bytes_and_arrays_their_own_size() -> None:
    layout = lay_out(FORMAT, {"text", "odd"})

    assert places(layout) == [("_time", 0, 8), ("text", 8, 8), ("odd", 16, 13)]
    assert [column.dynamic for column in layout.columns] == [False, True, False]
    assert [column.kind for column in layout.columns] == [
        pb.FIELD_KIND_UNSIGNED,
        pb.FIELD_KIND_DYNAMIC_STRING,
        pb.FIELD_KIND_CHAR_ARRAY,
    ]
    assert layout.has_dynamic


def test_an_array_is_aligned_as_its_place_in_the_record_and_its_size_allow() -> None:
    format = event(
        "sys",
        "arrays",
        ("char far[16]", 12, 16, False),
        ("char near[16]", 32, 16, False),
        ("u8 six[6]", 48, 6, False),
        ("char odd[13]", 56, 13, False),
    )

    aligned = {column.name: column.alignment for column in lay_out(format, None).columns}

    assert [aligned[name] for name in ("far", "near", "six", "odd")] == [4, 8, 2, 1]


def test_a_field_of_the_event_does_not_displace_a_common_column() -> None:
    format = event("sys", "own", ("u64 _pid", 8, 8, False))

    layout = lay_out(format, {"_pid"})

    assert places(layout) == [("_time", 0, 8), ("_pid", 8, 4)]


def test_blank_columns_stay_where_they_are() -> None:
    blanks = Blanks(frozenset({"text", "word"}), frozenset({"where", "word"}))

    layout = lay_out(FORMAT, None, blanks=blanks)

    assert places(layout) == places(lay_out(FORMAT, None))
    blank = {c.name: c.blank for c in layout.columns if c.blank is not Blank.NOTHING}
    assert blank == {"text": Blank.ALL, "word": Blank.ALL, "where": Blank.KERNEL_ADDRESSES}
    assert blanks.names == {"text", "word", "where"}


def test_no_field_blanks_the_task_that_hit_the_event() -> None:
    format = event("sys", "own", ("u64 _pid", 8, 8, False))

    layout = lay_out(format, {"_pid"}, blanks=Blanks(frozenset({"_pid"})))

    assert [column.blank for column in layout.columns] == 2 * [Blank.NOTHING]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("wrod", "error: sys:mixed has no field 'wrod' (did you mean 'word'?)"),
        ("zzzzzz", "error: sys:mixed has no field 'zzzzzz'"),
        ("\x1b[31m", "error: sys:mixed has no field '\\x1b[31m'"),
    ],
)
def test_an_unknown_field_is_named_with_the_nearest_that_there_is(
    wanted: str, message: str
) -> None:
    with pytest.raises(TraceError) as caught:
        lay_out(FORMAT, {wanted})
    assert str(caught.value) == message
