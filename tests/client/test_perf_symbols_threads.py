"""Names of threads follow COMM and FORK records, as perf has it."""

import struct

import pytest

from ptrace_client.perf_data.model import RecordKind
from ptrace_client.perf_symbols.threads import Threads


def _comm(byte_order: str, pid: int, tid: int, name: bytes) -> bytes:
    body = struct.pack(byte_order + "II", pid, tid) + name + b"\0" * (16 - len(name))
    return struct.pack(byte_order + "IHH", RecordKind.COMM, 0, 8 + len(body)) + body


def _fork(byte_order: str, pid: int, parent: int, tid: int, parent_tid: int) -> bytes:
    body = struct.pack(byte_order + "IIIIQ", pid, parent, tid, parent_tid, 0)
    return struct.pack(byte_order + "IHH", RecordKind.FORK, 0, 8 + len(body)) + body


def _apply(threads: Threads, record: bytes) -> None:
    # Records lie somewhere in a file; what follows is not theirs.
    data = b"before--" + record + b"after"
    take = {RecordKind.COMM: threads.comm_record, RecordKind.FORK: threads.fork_record}
    kind = record[0] or record[3]
    take[RecordKind(kind)](data, 8, 8 + len(record))


@pytest.fixture(params=["<", ">"])
def order(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_thread_that_nobody_named_is_its_tid() -> None:
    comms = Threads("<").comms

    assert [comms[0], comms[1234], comms[(1 << 32) - 1]] == ["swapper", ":1234", ":-1"]
    assert 1234 not in comms


def test_the_last_comm_holds(order: str) -> None:
    threads = Threads(order)

    _apply(threads, _comm(order, 5, 6, b"one"))
    _apply(threads, _comm(order, 5, 6, b"two"))

    assert threads.comms[6] == "two"
    assert threads.comms[5] == ":5"


def test_a_name_may_be_any_bytes(order: str) -> None:
    threads = Threads(order)

    _apply(threads, _comm(order, 5, 5, b"caf\xe9"))

    assert threads.comms[5].encode(errors="surrogateescape") == b"caf\xe9"


def test_a_child_has_the_name_of_the_thread_that_forked(order: str) -> None:
    threads = Threads(order)
    _apply(threads, _comm(order, 5, 5, b"leader"))
    _apply(threads, _comm(order, 5, 6, b"worker"))

    _apply(threads, _fork(order, 7, 5, 7, 6))
    _apply(threads, _comm(order, 5, 6, b"renamed"))

    assert threads.comms[7] == "worker"


def test_a_tid_that_is_born_again_is_another_thread(order: str) -> None:
    threads = Threads(order)
    _apply(threads, _comm(order, 7, 7, b"old"))

    _apply(threads, _fork(order, 7, 5, 7, 5))

    assert threads.comms[7] == ":7"


def test_a_parent_of_another_process_died_unseen(order: str) -> None:
    threads = Threads(order)
    _apply(threads, _comm(order, 5, 6, b"old"))

    _apply(threads, _fork(order, 9, 8, 9, 6))

    assert threads.comms[6] == ":6"
    assert threads.comms[9] == ":9"


def test_a_record_that_is_too_short_changes_nothing() -> None:
    threads = Threads("<")

    threads.comm_record(b"\0" * 12, 0, 12)

    assert threads.fork_record(b"\0" * 20, 0, 20) is None
    assert dict(threads.comms) == {0: "swapper"}
