"""How a connection begins, and a refusal that gRPC's clients understand."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import grpc
import pytest

from ptraced.http2 import RESOURCE_EXHAUSTED, Refusal, begins

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes.fromhex("000006 04 00 00000000") + bytes(6)
TIMEOUT = 20


def test_a_connection_begins_with_the_preface_and_settings() -> None:
    whole = PREFACE + SETTINGS
    assert begins(whole) is True
    assert {begins(whole[:size]) for size in range(len(PREFACE) + 9)} == {None}


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        PREFACE[:-1] + b"x",
        PREFACE + bytes.fromhex("000006 01 00 00000000"),
        PREFACE + bytes.fromhex("000000 04 01 00000000"),
        PREFACE + bytes.fromhex("000006 04 00 00000001"),
        PREFACE + bytes.fromhex("ffffff 04 00 00000000"),
    ],
    ids=["http1", "tls", "near", "headers", "ack", "stream", "large"],
)
def test_anything_else_is_not_http2(content: bytes) -> None:
    assert begins(content) is False


@pytest.mark.parametrize("text", ["too many: 5%", "x" * 180])
def test_grpc_tells_the_reason_of_a_refusal_at_once(tmp_path: Path, text: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        refusing = threading.Thread(target=_refuse_one, args=(listener, text))
        refusing.start()
        with (
            grpc.insecure_channel(f"unix:{tmp_path}/s") as channel,
            pytest.raises(grpc.RpcError) as caught,
        ):
            channel.unary_unary("/a.B/C")(b"request", timeout=TIMEOUT)
        refusing.join()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details() == text


def _refuse_one(listener: socket.socket, text: str) -> None:
    connection, _ = listener.accept()
    with connection:
        refusal = Refusal(RESOURCE_EXHAUSTED, text)
        while not refusal.finished:
            # Byte by byte, as the worst client would.
            connection.sendall(refusal.answer(connection.recv(1)))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass


def test_a_refusal_takes_no_endless_frame() -> None:
    refusal = Refusal(RESOURCE_EXHAUSTED, "no")
    refusal.answer(PREFACE + SETTINGS)
    with pytest.raises(ValueError, match="frame too large"):
        refusal.answer(bytes.fromhex("ffffff 00 00 00000000"))
