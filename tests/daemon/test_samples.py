"""Rows of every kind of field as named, typed values."""

from __future__ import annotations

import struct

import pytest

from ptrace_proto import ptrace_pb2 as pb
from ptraced.samples import SampleDecoder

TIME = pb.Field(name="_time", kind=pb.FIELD_KIND_UNSIGNED, offset=0, size=8)


def schema(*fields: pb.Field, row_size: int, dynamic: bool = False) -> pb.EventSchema:
    return pb.EventSchema(
        id=3,
        system="sys",
        name="event",
        fields=[TIME, *fields],
        row_size=row_size,
        has_dynamic=dynamic,
    )


def one_value(kind: pb.FieldKind, raw: bytes) -> pb.SampleField:
    """What a field of these bytes becomes, in a row without dynamic data."""
    field = pb.Field(name="f", kind=kind, offset=8, size=len(raw))
    decoder = SampleDecoder([schema(field, row_size=8 + len(raw))])
    (sample,) = decoder.decode(3, 0, struct.pack("<Q", 1) + raw)
    (value,) = sample.fields
    return value


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        (pb.FIELD_KIND_SIGNED, b"\xff", {"signed": -1}),
        (pb.FIELD_KIND_SIGNED, b"\xfe\xff", {"signed": -2}),
        (pb.FIELD_KIND_SIGNED, struct.pack("<i", -(2**31)), {"signed": -(2**31)}),
        (pb.FIELD_KIND_SIGNED, struct.pack("<q", -(2**63)), {"signed": -(2**63)}),
        (pb.FIELD_KIND_UNSIGNED, b"\xff", {"unsigned": 255}),
        (pb.FIELD_KIND_UNSIGNED, b"\x01\x02", {"unsigned": 0x201}),
        (pb.FIELD_KIND_UNSIGNED, b"\xff" * 4, {"unsigned": 2**32 - 1}),
        (pb.FIELD_KIND_UNSIGNED, b"\xff" * 8, {"unsigned": 2**64 - 1}),
        (pb.FIELD_KIND_POINTER, struct.pack("<Q", 2**63 + 5), {"unsigned": 2**63 + 5}),
        (pb.FIELD_KIND_BOOL, b"\0", {"truth": False}),
        (pb.FIELD_KIND_BOOL, b"\1", {"truth": True}),
        (pb.FIELD_KIND_CHAR_ARRAY, b"bash\0junk", {"text": "bash"}),
        (pb.FIELD_KIND_CHAR_ARRAY, b"full", {"text": "full"}),
        (pb.FIELD_KIND_CHAR_ARRAY, b"a\xffb\0", {"text": "a\ufffdb"}),
        (pb.FIELD_KIND_BYTES, b"\0\1\2\0\4\5", {"data": b"\0\1\2\0\4\5"}),
    ],
)
def test_a_fixed_field_becomes_a_value_of_its_kind(
    kind: pb.FieldKind, raw: bytes, expected: dict[str, object]
) -> None:
    assert one_value(kind, raw) == pb.SampleField(name="f", **expected)  # type: ignore[arg-type]


def test_no_kind_of_field_is_left_out_here() -> None:
    assert set(pb.FieldKind.keys()) == {
        "FIELD_KIND_UNSPECIFIED",
        "FIELD_KIND_SIGNED",
        "FIELD_KIND_UNSIGNED",
        "FIELD_KIND_POINTER",
        "FIELD_KIND_BOOL",
        "FIELD_KIND_CHAR_ARRAY",
        "FIELD_KIND_BYTES",
        "FIELD_KIND_DYNAMIC_STRING",
        "FIELD_KIND_DYNAMIC_BYTES",
        "FIELD_KIND_STACK",
        "FIELD_KIND_READ",
        "FIELD_KIND_REGS",
    }


def test_dynamic_data_is_where_its_locator_says_and_rows_have_their_length() -> None:
    decoder = SampleDecoder(
        [
            schema(
                pb.Field(name="path", kind=pb.FIELD_KIND_DYNAMIC_STRING, offset=8, size=8),
                pb.Field(name="mask", kind=pb.FIELD_KIND_DYNAMIC_BYTES, offset=16, size=8),
                row_size=24,
                dynamic=True,
            )
        ]
    )

    def row(time: int, path: bytes, mask: bytes) -> bytes:
        fixed = struct.pack("<QIIII", time, 24, len(path), 24 + len(path), len(mask))
        return struct.pack("<I", len(fixed + path + mask)) + fixed + path + mask

    data = row(7, b"/tmp/x\0", b"\1\0\3") + row(8, b"", b"") + row(9, b"open", b"\0")

    found = [
        (sample.time, sample.fields[0].text, sample.fields[1].data)
        for sample in decoder.decode(3, 0, data)
    ]

    assert found == [(7, "/tmp/x", b"\1\0\3"), (8, "", b""), (9, "open", b"\0")]


def test_a_sample_has_event_time_and_cpu_and_all_fields_but_the_time() -> None:
    fields = [
        pb.Field(name="pid", kind=pb.FIELD_KIND_SIGNED, offset=8, size=4),
        pb.Field(name="prio", kind=pb.FIELD_KIND_UNSIGNED, offset=12, size=2),
    ]
    decoder = SampleDecoder([schema(*fields, row_size=14)])
    data = struct.pack("<QiH", 100, -5, 120) + struct.pack("<QiH", 200, 6, 121)

    found = list(decoder.decode(3, 2, data))

    assert found == [
        pb.Sample(
            event="sys:event",
            time=time,
            cpu=2,
            fields=[
                pb.SampleField(name="pid", signed=pid),
                pb.SampleField(name="prio", unsigned=prio),
            ],
        )
        for time, pid, prio in ((100, -5, 120), (200, 6, 121))
    ]


def test_an_alias_names_the_event() -> None:
    aliased = schema(row_size=8)
    aliased.alias = "mine"

    (sample,) = SampleDecoder([aliased]).decode(3, 0, bytes(8))

    assert sample.event == "sys:mine"
