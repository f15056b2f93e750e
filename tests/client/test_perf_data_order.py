"""Records come in perf's order: by time within what rounds allow."""

from __future__ import annotations

from pathlib import Path

import pytest
from perf_files import MadeRecording, two_events, wakeup_raw, written

from ptrace_client.perf_data import order, scan
from ptrace_client.perf_data.attr import EventKind, SampleType
from ptrace_client.perf_data.model import Recording, RecordKind
from ptrace_client.perf_data.recording import open_recording


def opened(tmp_path: Path, made: MadeRecording) -> Recording:
    return open_recording(written(tmp_path, made.file()))


def times(recording: Recording) -> list[int]:
    return [record.time for record in recording.records()]


def clocks() -> MadeRecording:
    """Returns a recording of one event."""
    made = MadeRecording()
    made.event(ids=(1,))
    return made


def test_all_is_sorted_where_there_are_no_rounds(tmp_path: Path) -> None:
    made = clocks()
    for time in (30, 10, 20):
        made.sample(1, time)
    assert times(opened(tmp_path, made)) == [10, 20, 30]


def test_a_round_releases_what_the_one_before_had_seen(tmp_path: Path) -> None:
    made = clocks()
    made.sample(1, 10)
    made.sample(1, 30)
    made.record(RecordKind.FINISHED_ROUND)
    made.sample(1, 20)
    made.sample(1, 50)
    # Releases up to 30, the newest that the first round had seen.
    made.record(RecordKind.FINISHED_ROUND)
    # Too late for its place, but in front of 50, which still waits.
    made.sample(1, 15)
    made.sample(1, 40)
    recording = opened(tmp_path, made)
    assert times(recording) == [10, 20, 30, 15, 40, 50]
    assert recording.notes == [f"{tmp_path}/perf.data: 1 records came out of order"]


def test_an_empty_round_keeps_the_bound_of_the_last(tmp_path: Path) -> None:
    made = clocks()
    made.record(RecordKind.FINISHED_ROUND)
    made.record(RecordKind.FINISHED_ROUND)
    made.sample(1, 30)
    made.record(RecordKind.FINISHED_ROUND)
    made.sample(1, 10)
    assert times(opened(tmp_path, made)) == [10, 30]


def test_equal_times_keep_the_order_of_the_file(tmp_path: Path) -> None:
    made = clocks()
    for tid in range(5):
        made.sample(1, 10, tid=tid)
        if tid == 2:
            made.record(RecordKind.FINISHED_ROUND)
    starts = [record.start for record in opened(tmp_path, made).records()]
    assert starts == sorted(starts)


def test_other_records_have_their_place_among_the_samples(tmp_path: Path) -> None:
    made = two_events()
    made.sample(11, 30, tail=wakeup_raw(made, 1))
    made.record(RecordKind.COMM, made.pack("II8s", 7, 7, b"sh") + made.trailer(21, 20))
    made.sample(21, 10)
    kinds = [(record.kind, record.time) for record in opened(tmp_path, made).records()]
    assert kinds == [(9, 10), (3, 20), (9, 30)]


def test_records_without_a_time_come_at_once(tmp_path: Path) -> None:
    made = two_events()
    made.sample(21, 30)
    made.sample(21, 0)
    made.sample(21, (1 << 64) - 1)
    made.record(RecordKind.COMM, made.pack("II8s", 7, 7, b"sh") + made.trailer(0, 0))
    made.record(RecordKind.THREAD_MAP, made.pack("Q", 0))
    kinds = [(record.kind, record.time) for record in opened(tmp_path, made).records()]
    assert kinds == [(9, -1), (9, -1), (3, -1), (73, -1), (9, 30)]


def test_nothing_is_sorted_where_samples_have_no_time(tmp_path: Path) -> None:
    made = MadeRecording()
    made.event(sample_type=SampleType.IP)
    for address in (3, 1, 2):
        made.record(9, made.pack("Q", address))
    addresses = [
        int.from_bytes(record.data[record.start + 8 : record.end], "little")
        for record in opened(tmp_path, made).records()
    ]
    assert addresses == [3, 1, 2]


def test_events_may_have_their_times_at_different_places(tmp_path: Path) -> None:
    made = MadeRecording()
    kinds = SampleType.IDENTIFIER | SampleType.TIME
    made.event(EventKind.SOFTWARE, 0, ids=(1,), sample_type=kinds)
    made.event(EventKind.SOFTWARE, 1, ids=(2,), sample_type=kinds | SampleType.IP)
    made.record(9, made.pack("QQ", 1, 30))
    made.record(9, made.pack("QQQ", 2, 5, 20))
    made.record(9, made.pack("QQ", 1, 10))
    found = [(record.time, record.event) for record in opened(tmp_path, made).records()]
    assert [time for time, _ in found] == [10, 20, 30]
    assert [event.index for _, event in found if event] == [0, 1, 0]


def test_ids_behind_the_time_are_found(tmp_path: Path) -> None:
    made = MadeRecording()
    kinds = SampleType.TIME | SampleType.ID
    made.event(EventKind.SOFTWARE, 0, ids=(1,), sample_type=kinds)
    made.event(EventKind.SOFTWARE, 1, ids=(2,), sample_type=kinds)
    made.record(9, made.pack("QQ", 30, 1))
    made.record(9, made.pack("QQ", 20, 2))
    made.record(RecordKind.LOST, made.pack("QQQQ", 1, 1, 25, 2))
    found = [(record.kind, record.time) for record in opened(tmp_path, made).records()]
    assert found == [(9, 20), (2, 25), (9, 30)]


def test_samples_of_unknown_ids_are_left_out_and_counted(tmp_path: Path) -> None:
    made = two_events()
    made.sample(99, 10)
    made.sample(21, 20)
    recording = opened(tmp_path, made)
    assert times(recording) == [20]
    assert recording.notes == [
        f"{tmp_path}/perf.data: 1 samples have ids that no event has; left out"
    ]


def test_what_has_the_id_0_is_of_the_first_event(tmp_path: Path) -> None:
    made = two_events()
    made.sample(0, 10, tail=wakeup_raw(made, 1))
    (record,) = opened(tmp_path, made).records()
    assert record.event is not None
    assert record.event.index == 0


def test_an_id_is_of_the_event_that_took_it_last(tmp_path: Path) -> None:
    made = MadeRecording()
    made.event(EventKind.SOFTWARE, 0, ids=(1,))
    made.event(EventKind.SOFTWARE, 1, ids=(1,))
    made.sample(1, 10)
    (record,) = opened(tmp_path, made).records()
    assert record.event is not None
    assert record.event.index == 1


def test_kinds_that_nobody_knows_are_passed_on(tmp_path: Path) -> None:
    made = two_events()
    made.record(200, b"whatever")
    made.record(40, made.pack("Q", 0) + made.trailer(21, 5))
    found = [(record.kind, record.time) for record in opened(tmp_path, made).records()]
    assert found == [(200, -1), (40, 5)]


def test_no_more_wait_than_memory_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "MOST_WAITING", 4)
    monkeypatch.setattr(scan, "_SEGMENT", 0)
    made = clocks()
    for time in (40, 30, 20, 10, 50, 15):
        made.sample(1, time)
    # The older part goes once five wait; what comes later than it is out of order.
    assert times(opened(tmp_path, made)) == [10, 20, 30, 15, 40, 50]


def test_one_time_far_away_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "MOST_WAITING", 4)
    monkeypatch.setattr(scan, "_SEGMENT", 0)
    made = clocks()
    for time in (1, *[1 << 60] * 4, 5):
        made.sample(1, time)
    assert times(opened(tmp_path, made)) == [1, *[1 << 60] * 4, 5]


def test_samples_whose_id_lies_behind_their_time_have_their_own_event(tmp_path: Path) -> None:
    made = MadeRecording()
    kinds = SampleType.TIME | SampleType.ID
    for id in (1, 2):
        made.event(ids=(id,), sample_type=kinds)
    for id, time in ((1, 30), (2, 10), (1, 20)):
        made.record(RecordKind.SAMPLE, made.pack("QQ", time, id))
    found = [(it.event.index, it.time) for it in opened(tmp_path, made).records() if it.event]
    assert found == [(1, 10), (0, 20), (0, 30)]
