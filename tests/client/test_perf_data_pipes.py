"""What perf writes into a pipe, and compressed records."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from perf_files import FORMAT, MadeRecording, two_events, wakeup_raw, written
from zstandard import ZstdCompressor

from ptrace_client.errors import ClientError
from ptrace_client.perf_data import compressed, order
from ptrace_client.perf_data.attr import EventKind
from ptrace_client.perf_data.model import Recording, RecordKind
from ptrace_client.perf_data.recording import open_recording

ORDERS = pytest.mark.parametrize("prefix", ["<", ">"], ids=["little", "big"])


@pytest.fixture(params=["pipe", "saved"])
def piped(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[bytes], Recording]:
    """Opens what a pipe holds: from a FIFO, and from a file into which it was put."""

    def opened(content: bytes) -> Recording:
        if request.param == "saved":
            return open_recording(written(tmp_path, content))
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        threading.Thread(target=_write, args=(fifo, content), daemon=True).start()
        return open_recording(str(fifo))

    return opened


def _write(fifo: Path, content: bytes) -> None:
    try:
        fifo.write_bytes(content)
    except BrokenPipeError:
        pass


def found(recording: Recording) -> list[tuple[str, int]]:
    """Returns (name of the event or number of the kind, time) of each record."""
    return [
        (record.event.name if record.event else str(record.kind), record.time)
        for record in recording.records()
    ]


@ORDERS
def test_a_pipe_holds_the_same_as_a_file(piped: Callable[[bytes], Recording], prefix: str) -> None:
    made = two_events(prefix)
    made.record(RecordKind.THREAD_MAP, made.pack("Q", 0))
    made.sample(11, 30, tail=wakeup_raw(made, 5))
    made.sample(21, 20)
    made.record(RecordKind.FINISHED_ROUND)
    recording = piped(made.pipe())
    assert recording.is_pipe
    assert [event.name for event in recording.events] == ["sched:sched_wakeup", "cpu-clock:u"]
    assert recording.events[0].format is not None
    assert recording.features.hostname == "wolke"
    assert found(recording) == [("73", -1), ("cpu-clock:u", 20), ("sched:sched_wakeup", 30)]
    recording.close()


def test_events_may_come_and_change_between_samples(piped: Callable[[bytes], Recording]) -> None:
    made = MadeRecording()
    made.event(EventKind.SOFTWARE, 0, ids=(21,))
    head = made.pipe()
    made.sample(21, 10)
    made.record(RecordKind.HEADER_BUILD_ID, made.pack("I20s4x", 1, b"\xcd" * 20) + b"/bin/x\0")
    made.record(
        RecordKind.HEADER_ATTR,
        _attr(EventKind.SOFTWARE, 2) + made.pack("Q", 31),
    )
    made.record(RecordKind.EVENT_UPDATE, made.pack("QQ", 2, 31) + b"faults\0")
    made.record(RecordKind.EVENT_UPDATE, made.pack("QQ", 0, 31) + b"pages\0")
    made.record(RecordKind.EVENT_UPDATE, made.pack("QQd", 1, 31, 0.5))
    made.record(RecordKind.EVENT_UPDATE, made.pack("QQ", 0, 99) + b"of nobody\0")
    made.sample(31, 20)
    recording = piped(head + b"".join(made.records))
    assert found(recording) == [("cpu-clock:HG", 10), ("faults", 20)]
    event = recording.events[1]
    assert (event.unit, event.scale, event.ids) == ("pages", 0.5, (31,))
    assert recording.features.build_ids == {"/bin/x": b"\xcd" * 20}


def _attr(kind: int, config: int) -> bytes:
    aside = MadeRecording()
    aside.event(kind, config)
    return aside.events[0].attr


def test_names_may_come_before_their_events(piped: Callable[[bytes], Recording]) -> None:
    made = MadeRecording()
    made.event(EventKind.SOFTWARE, 0, ids=(21,), name="own")
    made.event(EventKind.SOFTWARE, 1, ids=(31,), name="other")
    whole = made.pipe()
    described = made.declared(RecordKind.HEADER_FEATURE, made.pack("Q", 12) + made.describe())
    made.sample(31, 20)
    recording = piped(whole[:16] + described + whole[16:] + made.records[0])
    assert found(recording) == [("other", 20)]
    assert [event.name for event in recording.events] == ["own", "other"]


@pytest.mark.parametrize("size", [(64 << 20) + 8, (1 << 32) - 1])
def test_formats_that_are_too_many_are_refused(tmp_path: Path, size: int) -> None:
    made = two_events()
    made.features.clear()
    made.record(RecordKind.HEADER_TRACING_DATA, made.pack("II", size, 0))
    with pytest.raises(ClientError, match=rf"tracing data of {size} bytes"):
        open_recording(written(tmp_path, made.pipe()))


def test_formats_come_once(tmp_path: Path) -> None:
    made = two_events()
    again = made.features[1] + b"\0" * (-len(made.features[1]) % 8)
    made.record(RecordKind.HEADER_TRACING_DATA, made.pack("II", len(again), 0))
    made.records.append(again)
    with pytest.raises(ClientError, match=r"tracing data, byte .*: there is more of it"):
        open_recording(written(tmp_path, made.pipe()))


def test_formats_may_be_larger_than_what_a_pipe_holds(piped: Callable[[bytes], Recording]) -> None:
    made = two_events()
    texts = [FORMAT.format(name=f"event_{id}", id=id) for id in range(300, 600)]
    made.features[1] = made.tracing({"sched": texts})
    made.sample(11, 30, tail=wakeup_raw(made, 5))
    recording = piped(made.pipe())
    assert len(found(recording)) == 1
    assert recording.tracing is not None
    assert len(recording.tracing.formats) == 300


def test_a_pipe_is_read_once(piped: Callable[[bytes], Recording]) -> None:
    made = two_events()
    made.sample(21, 20)
    recording = piped(made.pipe())
    assert len([*recording.records()]) == 1
    assert [*recording.records()] == []


def test_what_cannot_be_read_is_closed(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    saved = written(tmp_path, two_events().pipe() + bytes(16))
    with subprocess.Popen(["sh", "-c", f"cat {saved} > {fifo}"]):
        with pytest.raises(ClientError, match="a record of 0 bytes"):
            open_recording(str(fifo))
        links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
        assert str(fifo) not in {os.path.realpath(link) for link in links}


def test_traces_are_gone_over(piped: Callable[[bytes], Recording]) -> None:
    made = two_events()
    made.record(RecordKind.AUXTRACE, made.pack("QQQIIII", 1 << 20, 0, 0, 0, 0, 0, 0))
    made.records.append(b"\xff" * (1 << 20))
    made.sample(21, 20)
    assert found(piped(made.pipe())) == [("71", -1), ("cpu-clock:u", 20)]


def test_a_trace_that_is_cut_off_is_told(piped: Callable[[bytes], Recording]) -> None:
    made = two_events()
    made.sample(21, 20)
    made.record(RecordKind.AUXTRACE, made.pack("QQQIIII", 1 << 60, 0, 0, 0, 0, 0, 0))
    recording = piped(made.pipe())
    records = recording.records()
    assert [next(records).kind, next(records).kind] == [71, 9]
    with pytest.raises(ClientError, match="in the middle of one"):
        next(records)


def test_what_comes_before_the_cut_is_delivered(piped: Callable[[bytes], Recording]) -> None:
    made = two_events()
    made.sample(21, 20)
    made.sample(21, 30)
    recording = piped(made.pipe()[:-5])
    records = recording.records()
    assert next(records).time == 20
    with pytest.raises(ClientError, match=r"records, byte \d+: the .* in the middle of one"):
        next(records)


def test_records_come_as_rounds_end(tmp_path: Path) -> None:
    made = two_events()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    head = made.pipe()
    script = (
        "import sys\n"
        "from ptrace_client.perf_data.recording import open_recording\n"
        "for record in open_recording('-').records():\n"
        "    print(record.time, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        made.sample(21, 20)
        made.record(RecordKind.FINISHED_ROUND)
        made.record(RecordKind.FINISHED_ROUND)
        reader.stdin.write(head + b"".join(made.records))
        reader.stdin.flush()
        # The pipe is still open, and nothing more is in it.
        assert reader.stdout.readline() == b"20\n"
        reader.stdin.write(made.sample(21, 40))
        reader.stdin.close()
        assert reader.stdout.readline() == b"40\n"
    assert reader.returncode == 0


def test_a_file_may_be_standard_input_but_not_come_through_a_pipe(tmp_path: Path) -> None:
    made = two_events()
    made.sample(21, 20)
    path = written(tmp_path, made.file())
    script = (
        "from ptrace_client.perf_data.recording import open_recording\n"
        "from ptrace_client.errors import ClientError\n"
        "try:\n"
        "    print(len([*open_recording('-').records()]))\n"
        "except ClientError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", script]
    with Path(path).open("rb") as file:
        assert subprocess.check_output(command, stdin=file) == b"1\n"
    assert subprocess.check_output(command, input=b"") == (
        b"standard input: nothing came; what was to record has failed\n"
    )
    assert subprocess.check_output(command, input=Path(path).read_bytes()) == (
        b"standard input: this is a perf.data file, whose parts are not in their order; give its "
        b"name instead of piping it\n"
    )


def pressed(made: MadeRecording, pieces: list[bytes]) -> None:
    """Adds COMPRESSED records of one stream, a piece each."""
    stream = ZstdCompressor().compressobj()
    for piece in pieces:
        content = stream.compress(piece) + stream.flush(1)
        # Their size is that of the content, without padding.
        made.records.append(made.pack("IHH", 81, 0, 8 + len(content)) + content)


@ORDERS
def test_compressed_records_are_in_place(piped: Callable[[bytes], Recording], prefix: str) -> None:
    made = two_events(prefix)
    made.sample(11, 30, tail=wakeup_raw(made, 5))
    made.sample(21, 20)
    made.record(RecordKind.FINISHED_ROUND)
    content = b"".join(made.records)
    made.records.clear()
    # The second goes on within a record of the first.
    pressed(made, [content[:60], content[60:]])
    made.sample(21, 25)
    recording = piped(made.pipe())
    assert found(recording) == [
        ("cpu-clock:u", 20),
        ("cpu-clock:u", 25),
        ("sched:sched_wakeup", 30),
    ]


def test_compressed_in_a_file(tmp_path: Path) -> None:
    made = two_events()
    content = made.sample(21, 20)
    made.records.clear()
    pressed(made, [content])
    assert found(open_recording(written(tmp_path, made.file()))) == [("cpu-clock:u", 20)]


def test_all_of_a_record_comes_at_once(tmp_path: Path) -> None:
    made = two_events()
    # Of many sizes, so that some end where the decompressor's own buffers are full.
    count = 128 * 1024 // len(made.sample(21, 1)) * 5
    for time in range(2, count):
        made.sample(21, time)
    content = b"".join(made.records)
    made.records.clear()
    pressed(made, [content])
    assert len(found(open_recording(written(tmp_path, made.file())))) == count - 1


def damaged(tmp_path: Path, made: MadeRecording) -> str:
    recording = open_recording(written(tmp_path, made.file()))
    with pytest.raises(ClientError) as told:
        list(recording.records())
    return str(told.value).removeprefix(f"{tmp_path}/perf.data: records, ")


def test_compressed_in_compressed_is_refused(tmp_path: Path) -> None:
    inner = two_events()
    pressed(inner, [b"x"])
    made = two_events()
    pressed(made, inner.records)
    assert damaged(tmp_path, made).endswith("a record of kind 81 in a compressed one")


def test_compressed_records_that_end_too_early_are_told(tmp_path: Path) -> None:
    made = two_events()
    content = made.sample(21, 20)
    made.records.clear()
    pressed(made, [content[:-1]])
    assert damaged(tmp_path, made).endswith("records: the compressed ones end in the middle of one")


def test_memory_for_what_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "MOST_HELD", 100)
    made = two_events()
    pieces = [made.sample(21, time) for time in (40, 30, 20, 10)]
    made.records.clear()
    pressed(made, pieces)
    recording = open_recording(written(tmp_path, made.file()))
    # Three do not fit, so they go; the fourth comes too late.
    assert [record.time for record in recording.records()] == [20, 30, 40, 10]


def test_what_is_not_zstd_is_told(tmp_path: Path) -> None:
    made = two_events()
    made.record(RecordKind.COMPRESSED, b"not compressed at all")
    assert "this is not zstd's format: " in damaged(tmp_path, made)


def test_bombs_do_not_go_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed, "MOST_CONTENT", 1 << 20)
    made = two_events()
    pressed(made, [bytes(2 << 20)])
    assert damaged(tmp_path, made).endswith("a compressed record holds more than 1 MiB")
