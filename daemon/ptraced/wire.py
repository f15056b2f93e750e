"""Batches and stacks on the wire, encoded by hand so that their rows are copied once.

Serialized protobuf messages that are put one behind the other are their merge:
repeated fields add up. A session therefore queues fragments of TraceResponse and
joins as many as fit into one message.
"""

from __future__ import annotations

from ptrace_proto import ptrace_pb2 as pb
from ptraced.varint import varint

# Field numbers of ptrace.proto with their wire types: (number << 3 | type).
_VARINT, _LENGTH = 0, 2
_STACKS = bytes([pb.TraceResponse.STACKS_FIELD_NUMBER << 3 | _LENGTH])
_BATCHES = bytes([pb.TraceResponse.BATCHES_FIELD_NUMBER << 3 | _LENGTH])
_TASKS = bytes([pb.TraceResponse.TASKS_FIELD_NUMBER << 3 | _LENGTH])
_SCHEMA_ID = bytes([pb.Batch.SCHEMA_ID_FIELD_NUMBER << 3 | _VARINT])
_CPU = bytes([pb.Batch.CPU_FIELD_NUMBER << 3 | _VARINT])
_COUNT = bytes([pb.Batch.COUNT_FIELD_NUMBER << 3 | _VARINT])
_ROWS = bytes([pb.Batch.ROWS_FIELD_NUMBER << 3 | _LENGTH])


def batch_header(schema_id: int, cpu: int, count: int, row_bytes: int) -> bytes:
    """What stands before a batch's rows in a TraceResponse fragment."""
    fields = b"".join(
        (
            _SCHEMA_ID,
            varint(schema_id),
            _CPU,
            varint(cpu),
            _COUNT,
            varint(count),
            _ROWS,
            varint(row_bytes),
        )
    )
    return _BATCHES + varint(len(fields) + row_bytes) + fields


def stack_header(message_bytes: int) -> bytes:
    """What stands before a serialized pb.Stack in a TraceResponse fragment."""
    return _STACKS + varint(message_bytes)


def task_header(message_bytes: int) -> bytes:
    """What stands before a serialized pb.TaskRecord in a TraceResponse fragment."""
    return _TASKS + varint(message_bytes)
