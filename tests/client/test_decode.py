"""Batches taken apart: layouts, padding, and batches that do not fit."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from operator import length_hint

import numpy as np
import pytest
from event_samples import (
    BYTES,
    CHARS,
    DYNAMIC_BYTES,
    DYNAMIC_STRING,
    POINTER,
    REALTIME_OFFSET,
    SIGNED,
    UNSIGNED,
    make_batch,
    make_schema,
)

from ptrace_client.batch import BatchDecoder, EventBatch
from ptrace_client.decode import RowLayout, event_name, text
from ptrace_client.errors import ClientError
from ptrace_client.losses import Gap
from ptrace_proto import ptrace_pb2 as pb

OPEN = (("path", DYNAMIC_STRING, 8), ("flags", UNSIGNED, 8), ("list", DYNAMIC_BYTES, 8))


def rows_of(layout: RowLayout, batch: pb.Batch) -> list[tuple[object, ...]]:
    return list(layout.rows(batch))


def test_all_columns_in_row_order() -> None:
    schema = make_schema(columns=["_pid", "comm", "prio"])
    layout = RowLayout(schema)
    batch = make_batch(schema, {"_time": 9, "_pid": 1, "comm": b"ab", "prio": -5})
    assert layout.columns == {"_time": 0, "_pid": 1, "comm": 2, "prio": 3}
    assert rows_of(layout, batch) == [(9, 1, b"ab".ljust(16, b"\0"), -5)]


def test_columns_that_nobody_reads_make_no_objects() -> None:
    schema = make_schema()
    batch = make_batch(schema, {"_time": 9, "pid": 3, "target_cpu": 1}, {"pid": 4})
    assert rows_of(RowLayout(schema, {"pid", "nosuch"}), batch) == [(3,), (4,)]
    assert rows_of(RowLayout(schema, ()), batch) == [(), ()]


def test_gaps_between_columns_are_skipped() -> None:
    schema = make_schema(columns=["pid"])
    schema.fields[1].offset = 12
    schema.row_size = 20
    batch = pb.Batch(count=1, rows=struct.pack("<Q4xi4x", 7, -2))
    assert rows_of(RowLayout(schema), batch) == [(7, -2)]


def test_integers_of_unusual_size_are_bytes() -> None:
    schema = make_schema("test:event", own=(("odd", UNSIGNED, 3),), columns=["odd"])
    batch = pb.Batch(count=1, rows=struct.pack("<Q3s", 7, b"\1\2\3"))
    assert rows_of(RowLayout(schema), batch) == [(7, b"\1\2\3")]


def test_rows_tell_how_many_are_left() -> None:
    for schema in (make_schema(), make_schema("test:open", OPEN)):
        rows = RowLayout(schema).rows(make_batch(schema, {}, {}, {}))
        assert length_hint(rows) == 3
        next(rows)
        assert length_hint(rows) == 2


def test_dynamic_rows_keep_their_bytes_only_if_a_dynamic_column_is_read() -> None:
    schema = make_schema("test:open", OPEN, columns=["path", "flags", "list"])
    batch = make_batch(schema, {"path": b"/a\0", "flags": 5}, {"path": b"/long\0", "list": b"12"})
    assert rows_of(RowLayout(schema, {"flags"}), batch) == [(5,), (0,)]
    rows = rows_of(RowLayout(schema, {"path"}), batch)
    assert [row[1][32:] for row in rows] == [b"/a\0", b"/long\0" + b"12"]  # type: ignore[index]


def test_an_empty_batch_has_no_rows() -> None:
    for schema in (make_schema(), make_schema("test:open", OPEN)):
        assert rows_of(RowLayout(schema), make_batch(schema)) == []


@pytest.mark.parametrize(
    ("count", "rows", "what"),
    [
        (2, b"12345678" + b"1234", "12 bytes for 2 rows"),
        (1, b"12345678" + b"1234" * 2, "16 bytes for 1 rows"),
    ],
)
def test_a_batch_of_the_wrong_size_is_refused(count: int, rows: bytes, what: str) -> None:
    layout = RowLayout(make_schema(columns=["pid"]))
    with pytest.raises(ClientError) as error:
        layout.rows(pb.Batch(count=count, rows=rows))
    assert str(error.value) == f"the server sent a damaged batch of sched:sched_wakeup: {what}"
    assert error.value.status == 1


def damaged_dynamic_batches() -> Iterator[tuple[pb.Batch, str]]:
    good = make_batch(make_schema("test:open", OPEN, columns=["path"]), {"path": b"/a"}).rows
    assert len(good) == 4 + 16 + 2
    yield pb.Batch(count=2, rows=good), "1 rows instead of 2"
    yield pb.Batch(count=2, rows=good + b"\1\0"), "a row of 0 bytes"
    yield pb.Batch(count=1, rows=good[:-1]), "a row of 18 bytes"
    yield pb.Batch(count=1, rows=b"\4\0\0\0abcd"), "a row of 4 bytes"


@pytest.mark.parametrize(("batch", "what"), list(damaged_dynamic_batches()))
def test_a_damaged_batch_with_dynamic_data_is_refused(batch: pb.Batch, what: str) -> None:
    layout = RowLayout(make_schema("test:open", OPEN, columns=["path"]))
    with pytest.raises(ClientError) as error:
        layout.rows(batch)
    assert str(error.value) == f"the server sent a damaged batch of test:open: {what}"


def test_a_layout_that_makes_no_sense_is_refused() -> None:
    schema = make_schema(columns=["pid"])
    schema.fields[1].offset = 4
    with pytest.raises(ClientError, match=r"^the server sent overlapping columns for sched:sched_"):
        RowLayout(schema)
    schema.fields[1].offset = 40
    with pytest.raises(ClientError, match=r"^the server sent columns beyond the row of sched:sche"):
        RowLayout(schema)


def test_names_and_text() -> None:
    assert event_name(make_schema()) == "sched:sched_wakeup"
    assert event_name(make_schema(alias="a1")) == "sched:a1"
    assert text(b"ab\0cd\xff") == "ab"
    assert text(b"ab\xff") == "ab\udcff"


def batch_of(
    schema: pb.EventSchema, *rows: dict[str, object], gap: Gap | None = None
) -> EventBatch:
    batch = make_batch(schema, *rows, cpu=2)
    return BatchDecoder(schema, REALTIME_OFFSET).decode(batch, gap or Gap())


def test_a_batch_is_a_structured_array_over_the_bytes_received() -> None:
    schema = make_schema(
        "test:event",
        own=(("pid", SIGNED, 4), ("name", CHARS, 8), ("mask", BYTES, 4), ("ip", POINTER, 8)),
    )
    batch = batch_of(
        schema,
        {"_time": 10, "_tid": 4, "pid": -7, "name": b"ab", "mask": b"\1\0\2\0", "ip": 2**64 - 1},
        {"_time": 30, "_tid": 5, "pid": 8},
    )
    assert isinstance(batch, np.ndarray)
    assert len(batch) == 2
    assert batch.dtype.names == (
        *("_time", "_pid", "_tid", "_comm", "common_flags", "common_preempt_count"),
        *("pid", "name", "mask", "ip"),
    )
    assert batch["pid"].tolist() == [-7, 8]
    assert batch["name"].tolist() == [b"ab", b""]
    assert batch["mask"].tolist() == [b"\1\0\2\0", b"\0\0\0\0"]
    assert batch["ip"].tolist() == [2**64 - 1, 0]
    assert type(batch["pid"]) is np.ndarray
    assert not batch.flags.owndata
    assert not batch.flags.writeable
    assert (batch.event, batch.cpu, batch.lost) == ("test:event", 2, 0)
    assert (batch.start, batch.end) == (10, 30)


def test_what_events_derive_batches_have_too() -> None:
    batch = batch_of(make_schema(), {"_time": 10, "_tid": 4}, {"_time": 30, "_tid": 5})
    assert batch["_cpu"].tolist() == [2, 2]
    assert batch["_period"].tolist() == [1, 1]
    assert batch["common_type"].tolist() == [374, 374]
    assert batch["common_pid"].tolist() == [4, 5]
    assert batch["_realtime"].tolist() == [10 + REALTIME_OFFSET, 30 + REALTIME_OFFSET]
    with pytest.raises(ValueError, match="no field of name nosuch"):
        batch["nosuch"]


def test_slices_and_selections_keep_the_attributes() -> None:
    batch = batch_of(make_schema(), {"_time": 10, "pid": 1}, {"_time": 30, "pid": 2})
    some = batch[batch["pid"] > 1]
    assert some["_time"].tolist() == [30]
    assert some["_cpu"].tolist() == [2]
    assert (some.event, some.cpu, some.start, some.end) == ("sched:sched_wakeup", 2, 10, 30)
    assert batch[["pid", "prio"]].tolist() == [(1, 0), (2, 0)]
    assert batch[1]["pid"] == 2


def test_a_gap_before_the_batch_belongs_to_it() -> None:
    gap = Gap(count=5, start=3, end=9)
    batch = batch_of(make_schema(), {"_time": 10}, {"_time": 30}, gap=gap)
    assert (batch.lost, batch.start, batch.end) == (5, 3, 30)


def test_dynamic_strings_are_as_wide_as_the_longest() -> None:
    schema = make_schema("test:open", OPEN)
    batch = batch_of(
        schema,
        {"_time": 1, "_comm": b"x", "path": b"/a\0", "flags": 2**63, "list": b"\1\0"},
        {"_time": 2, "path": b"/longer\0"},
    )
    assert batch["path"].dtype == np.dtype("S8")
    assert batch["path"].tolist() == [b"/a", b"/longer"]
    assert batch["list"].tolist() == [b"\1\0", b""]
    assert batch["flags"].tolist() == [2**63, 0]
    assert batch["_comm"].tolist() == [b"x", b""]
    assert batch["_cpu"].tolist() == [2, 2]
    assert len(batch_of(schema)) == 0


def test_a_limit_cuts_a_batch() -> None:
    schema = make_schema()
    batch = make_batch(schema, {"_time": 1}, {"_time": 2}, {"_time": 3})
    cut = BatchDecoder(schema, 0).decode(batch, Gap(), limit=2)
    assert cut["_time"].tolist() == [1, 2]
    assert (cut.start, cut.end) == (1, 2)
