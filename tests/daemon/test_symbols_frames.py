"""Stacks are encoded as protobuf would do it, and messages come out of a stream whole."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrace_proto import ptrace_pb2 as pb
from ptraced.symbols.frames import encoded_frame, encoded_stack, unresolved_stack
from ptraced.symbols.messages import Kind, Splitter, packed

NUMBERS = st.integers(0, 2**64 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(NUMBERS, st.booleans(), TEXTS, NUMBERS, TEXTS, st.integers(1, 2**32 - 1))
def test_a_stack_is_what_protobuf_makes_of_it(
    address: int, kernel: bool, symbol: str, offset: int, dso: str, stack_id: int
) -> None:
    frame = pb.Frame(address=address, symbol=symbol, offset=offset, kernel=kernel, dso=dso)
    expected = pb.Stack(id=stack_id, frames=[frame, pb.Frame(address=1), frame])

    encoded = encoded_frame(address, kernel, symbol, offset, dso)
    other = encoded_frame(1, False, "", 0, "")

    assert encoded_stack(stack_id, [encoded, other, encoded]) == expected.SerializeToString()


def test_bytes_of_paths_that_are_no_text_become_replacement_characters() -> None:
    path = b"/tmp/\xff.so".decode(errors="surrogateescape")
    stack = pb.Stack.FromString(encoded_stack(1, [encoded_frame(1, False, "", 0, path)]))
    assert stack.frames[0].dso == "/tmp/\N{REPLACEMENT CHARACTER}.so"


def test_an_unresolved_stack_has_its_addresses() -> None:
    stack = unresolved_stack(7, struct.pack("=2Q", 2**64 - 5, 2**64 - 6), struct.pack("=Q", 5))
    assert pb.Stack.FromString(stack) == pb.Stack(
        id=7,
        frames=[
            pb.Frame(address=2**64 - 5, kernel=True),
            pb.Frame(address=2**64 - 6, kernel=True),
            pb.Frame(address=5),
        ],
    )


@pytest.mark.parametrize("size", [1, 2, 5, 6, 1000])
def test_messages_come_whole_out_of_pieces(size: int) -> None:
    sent = [(Kind.STACK, b"abc"), (Kind.RECORDS, b""), (Kind.RESOLVED, bytes(300))]
    stream = b"".join(packed(kind, body[:1], body[1:]) for kind, body in sent)

    splitter = Splitter()
    found = [
        (kind, bytes(body))
        for start in range(0, len(stream), size)
        for kind, body in splitter.feed(stream[start : start + size])
    ]
    assert found == sent
