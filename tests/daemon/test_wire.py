"""Batches encoded by hand are what protobuf makes of them."""

from __future__ import annotations

import pytest

from ptrace_proto import ptrace_pb2 as pb
from ptraced import wire


@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000, 3_000_000])
def test_fragments_joined_are_one_message(size: int) -> None:
    data = bytes(size)
    fragments = [pb.TraceResponse(warnings=[pb.Warning(text="w")]).SerializeToString()]
    for cpu in (0, 300):
        fragments += [wire.batch_header(70_000, cpu, size // 8, size), data]

    message = pb.TraceResponse.FromString(b"".join(fragments))

    assert message == pb.TraceResponse(
        warnings=[pb.Warning(text="w")],
        batches=[
            pb.Batch(schema_id=70_000, cpu=cpu, count=size // 8, rows=data) for cpu in (0, 300)
        ],
    )
