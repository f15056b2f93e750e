"""Stacks as the contract has them (ptrace.proto, Stack and Frame), put together by hand.

The process that finds symbols makes hundreds of thousands of frames and keeps each in its
encoded form; protobuf's objects would be made only to be thrown away.
"""

from __future__ import annotations

from collections.abc import Iterable

from ptraced.varint import varint

# Tags: the field's number << 3, with 0 for varints and 2 for what has a length.
_STACK_ID, _STACK_FRAME = 0x08, 0x12
# Characters of a name or path: those who are traced choose them, and each stack repeats them.
_TEXT_MAX = 512
_CUT = "..."
_ADDRESS, _SYMBOL, _OFFSET, _KERNEL, _DSO = 0x08, 0x12, 0x18, 0x20, 0x2A


def encoded_frame(address: int, kernel: bool, symbol: str, offset: int, dso: str) -> bytes:
    """A Frame within a Stack; what is empty, 0 or False is left out, as protobuf has it.

    Of a name that is too long the start remains, of a path the end.
    """
    if len(symbol) > _TEXT_MAX:
        symbol = symbol[: _TEXT_MAX - len(_CUT)] + _CUT
    if len(dso) > _TEXT_MAX:
        dso = _CUT + dso[len(_CUT) - _TEXT_MAX :]
    fields = [bytes((_ADDRESS,)) + varint(address)] if address else []
    if symbol:
        fields.append(_text(_SYMBOL, symbol))
    if offset:
        fields.append(bytes((_OFFSET,)) + varint(offset))
    if kernel:
        fields.append(bytes((_KERNEL, 1)))
    if dso:
        fields.append(_text(_DSO, dso))
    frame = b"".join(fields)
    return bytes((_STACK_FRAME,)) + varint(len(frame)) + frame


def encoded_stack(stack_id: int, frames: Iterable[bytes]) -> bytes:
    """A Stack of frames by encoded_frame()."""
    return bytes((_STACK_ID,)) + varint(stack_id) + b"".join(frames)


def unresolved_stack(stack_id: int, kernel: bytes, user: bytes) -> bytes:
    """A Stack that has addresses only; they are native u64, leaf first."""
    return encoded_stack(
        stack_id,
        [
            encoded_frame(address, in_kernel, "", 0, "")
            for addresses, in_kernel in ((kernel, True), (user, False))
            for address in memoryview(addresses).cast("Q")
        ],
    )


def _text(tag: int, text: str) -> bytes:
    # Names and paths that are not UTF-8 arrive with surrogates; the contract has no place
    # for them.
    data = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode()
    return bytes((tag,)) + varint(len(data)) + data
