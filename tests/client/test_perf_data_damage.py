"""Recordings that lie are told, with the place, and cost neither time nor memory."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from perf_files import (
    EVENT_DESC,
    FORMAT,
    HOSTNAME,
    TRACING_DATA,
    MadeRecording,
    two_events,
    written,
)

from ptrace_client.errors import ClientError
from ptrace_client.perf_data import features, tracing_data
from ptrace_client.perf_data.attr import EventKind, SampleType
from ptrace_client.perf_data.recording import open_recording

HUGE = 1 << 60


def told(tmp_path: Path, content: bytes) -> str:
    """Returns what is wrong with a file, without the file's path."""
    path = written(tmp_path, content)
    with pytest.raises(ClientError) as raised:
        list(open_recording(path).records())
    text = str(raised.value)
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def patched(content: bytes, place: int, number: int, size: int = 8) -> bytes:
    """Returns the bytes with a number at a place."""
    return content[:place] + number.to_bytes(size, "little") + content[place + size :]


def attrs_place(content: bytes) -> int:
    return int.from_bytes(content[24:32], "little")


def one_sample() -> bytes:
    made = two_events()
    made.sample(21, 20)
    return made.file()


def test_files_of_other_tools_and_empty_ones(tmp_path: Path) -> None:
    assert told(tmp_path, b"") == "the file is empty"
    not_ours = "this is no perf.data file: it does not start with PERFILE2"
    assert told(tmp_path, b"tracing data v7, by another tool") == not_ours
    assert told(tmp_path, b"P") == not_ours
    assert told(tmp_path, b"PERFILE2") == not_ours
    assert (
        told(tmp_path, one_sample()[:90]) == "header, byte 8: the header says that it has 104 bytes"
    )


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match=r"^cannot open .*/absent: .*No such file"):
        open_recording(str(tmp_path / "absent"))
    with pytest.raises(ClientError, match=r"this is a directory, as perf record --threads"):
        open_recording(str(tmp_path))


@pytest.mark.parametrize(
    ("place", "number", "wanted"),
    [
        (8, 105, "header, byte 8: the header says that it has 105 bytes"),
        (8, 104 << 56, "header, byte 8: the header says"),
        (16, 0, "header, byte 16: the size of attrs is 0; perf record did not end"),
        (24, HUGE, "header, byte 24: the section of attrs lies behind the end"),
        (32, HUGE, "header, byte 24: the section of attrs lies behind the end"),
        (32, 0, "attrs, byte "),
        (40, HUGE, "header, byte 24: the section of data lies behind the end"),
    ],
)
def test_headers_that_lie(tmp_path: Path, place: int, number: int, wanted: str) -> None:
    assert told(tmp_path, patched(one_sample(), place, number)).startswith(wanted)


def test_attrs_that_lie(tmp_path: Path) -> None:
    content = one_sample()
    place = attrs_place(content)
    assert "an attr of 63 bytes" in told(tmp_path, patched(content, place + 4, 63, 4))
    assert "bytes are to follow" in told(tmp_path, patched(content, place + 4, 1 << 31, 4))
    ids = place + 128
    assert told(tmp_path, patched(content, ids, HUGE)).startswith(f"ids, byte {HUGE}: ")
    assert told(tmp_path, patched(content, ids + 8, HUGE)).startswith("ids, byte ")


def test_ids_that_all_events_share_are_not_multiplied(tmp_path: Path) -> None:
    made = MadeRecording()
    made.event(ids=range(1 << 18))
    attr = made.events[0].attr + made.pack("QQ", 104, 8 << 18)
    content = made.file()
    # Attrs at the end of the file, all with the same ids.
    content = patched(patched(content, 24, len(content)), 32, 9 * len(attr)) + attr * 9
    assert told(tmp_path, content) == f"attrs: more than {1 << 20} ids of events"


def test_more_events_than_there_can_be(tmp_path: Path) -> None:
    made = MadeRecording()
    made.event()
    attr = made.events[0].attr + made.pack("QQ", 104, 0)
    content = made.file()
    count = (1 << 14) + 1
    content = patched(patched(content, 24, len(content)), 32, count * len(attr)) + attr * count
    assert told(tmp_path, content) == f"attrs: more than {1 << 14} events"


def test_events_whose_samples_cannot_be_told_apart(tmp_path: Path) -> None:
    made = MadeRecording()
    made.event(EventKind.SOFTWARE, 0, ids=(1,), sample_type=SampleType.IP)
    made.event(EventKind.SOFTWARE, 1, ids=(2,), sample_type=SampleType.ID)
    assert "nothing tells them apart" in told(tmp_path, made.file())
    made = MadeRecording()
    made.event(EventKind.SOFTWARE, 0, sample_type=SampleType.IP)
    made.event(EventKind.SOFTWARE, 1, sample_type=SampleType.IP)
    assert "nothing tells them apart" in told(tmp_path, made.file())


def test_counts_need_no_ids_in_samples(tmp_path: Path) -> None:
    made = MadeRecording()
    made.event(EventKind.SOFTWARE, 0, ids=(1,), sample_type=0)
    made.event(EventKind.SOFTWARE, 1, ids=(2,), sample_type=0)
    made.features = {HOSTNAME: made.text("h"), 19: b""}
    made.record(76, made.pack("QIIQQQ", 2, 0, 0, 5, 6, 7))
    recording = open_recording(written(tmp_path, made.file()))
    assert [record.kind for record in recording.records()] == [76]


@pytest.mark.parametrize("feature", [TRACING_DATA, HOSTNAME, EVENT_DESC])
def test_features_that_lie(tmp_path: Path, feature: int) -> None:
    made = two_events()
    made.sample(21, 20)
    content = made.file()
    data, size = (int.from_bytes(content[at : at + 8], "little") for at in (40, 48))
    entry = data + size + 16 * sorted(made.features).index(feature)
    for place in (entry, entry + 8):
        text = told(tmp_path, patched(content, place, HUGE))
        assert text.startswith(f"feature {feature}, byte ")


def test_the_texts_and_counts_of_features(tmp_path: Path) -> None:
    for feature, content, wanted in (
        (HOSTNAME, b"\xff\xff\xff\xff", "feature 3, byte "),
        (11, b"\xff\xff\xff\x7f", "feature 11, byte "),
        (EVENT_DESC, b"\xff\xff\xff\x7f\x80\0\0\0", "feature 12, byte "),
        (EVENT_DESC, b"\x01\0\0\0\xff\xff\xff\xff", "feature 12, byte "),
        (2, bytes(36), "feature 2, byte "),
        (7, b"", "feature 7, byte "),
        (24, b"", "feature 24: this is the header of a directory of recordings"),
    ):
        made = two_events()
        made.sample(21, 20)
        made.features[feature] = content
        assert told(tmp_path, made.file()).startswith(wanted)


def test_tracing_data_that_lies(tmp_path: Path) -> None:
    whole = two_events().features[TRACING_DATA]
    for size in range(len(whole) - 4):
        made = two_events()
        made.features[TRACING_DATA] = whole[:size]
        text = told(tmp_path, made.file())
        assert text.startswith("tracing data, byte ")
    made = two_events()
    long = FORMAT.format(name="sched_wakeup", id=300).replace("int common_pid", "int " + "x" * 600)
    made.features[TRACING_DATA] = made.tracing({"sched": [long]})
    assert told(tmp_path, made.file()).startswith("it has no format of the tracepoint 300, ")
    for place, number in ((0, 0), (23, 0), (31, HUGE)):
        made = two_events()
        made.features[TRACING_DATA] = patched(whole, place, number)
        assert told(tmp_path, made.file()).startswith("tracing data, byte ")


def test_formats_that_are_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = two_events()
    long = FORMAT.format(name="sched_wakeup", id=300) + " " * (256 << 10)
    made.features[TRACING_DATA] = made.tracing({"sched": [long]})
    assert told(tmp_path, made.file()).startswith("it has no format of the tracepoint 300, ")
    monkeypatch.setattr(tracing_data, "MOST_TRACING_DATA", 1000)
    assert "bytes are too many for what perf copies of tracefs" in told(tmp_path, made.file())


def test_features_that_are_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_MOST_KEPT", 10)
    made = two_events()
    made.features |= {13: b"12345678", 14: b"12345678"}
    kept = open_recording(written(tmp_path, made.file())).features.other
    assert (kept[13], kept[14]) == (b"12345678", b"12")
    made.features[HOSTNAME] = made.pack("I", 2 << 20) + bytes(2 << 20)
    assert told(tmp_path, made.file()).endswith(f"a text of {2 << 20} bytes")


def test_a_tracepoint_without_its_format(tmp_path: Path) -> None:
    made = two_events()
    del made.features[TRACING_DATA]
    made.sample(21, 20)
    assert told(tmp_path, made.file()) == (
        "it has no format of the tracepoint 300, which tells what its samples hold; record again"
    )


def test_files_that_are_cut_off(tmp_path: Path) -> None:
    content = one_sample()
    data = int.from_bytes(content[40:48], "little")
    for size in range(1, len(content), 7):
        text = told(tmp_path, content[:size])
        if data < size < data + 56:
            assert "(the file is cut off: it ends at byte " in text


def test_what_comes_before_the_cut_is_delivered(tmp_path: Path) -> None:
    made = MadeRecording()
    made.event(ids=(1,))
    for time in range(1, 11):
        made.sample(1, time)
    content = made.file()
    recording = open_recording(written(tmp_path, content[:-60]))
    assert "the file is cut off" in recording.notes[0]
    records = recording.records()
    assert [record.time for record in islice(records, 8)] == [1, 2, 3, 4, 5, 6, 7, 8]
    with pytest.raises(ClientError, match=r"records, byte \d+: the records end in the middle"):
        next(records)


def test_an_unfinished_recording_is_read_to_the_end_of_the_file(tmp_path: Path) -> None:
    made = MadeRecording()
    made.event(ids=(1,), flags=0)
    made.features[HOSTNAME] = b""
    for time in (20, 10):
        made.sample(1, time)
    content = made.file(data_size=0)
    end = int.from_bytes(content[40:48], "little") + len(b"".join(made.records))
    recording = open_recording(written(tmp_path, content[:end]))
    assert [record.time for record in recording.records()] == [10, 20]
    assert "perf record did not end" in recording.notes[0]


@pytest.mark.parametrize("size", [0, 7])
def test_records_of_no_size_do_not_hang(tmp_path: Path, size: int) -> None:
    made = two_events()
    made.records.append(made.pack("IHH", 9, 0, size) + bytes(8))
    assert f"a record of {size} bytes" in told(tmp_path, made.file())


def test_samples_that_lack_their_time(tmp_path: Path) -> None:
    made = two_events()
    made.record(9, made.pack("Q", 21))
    assert told(tmp_path, made.file()).endswith("a record of 16 bytes lacks its time")
