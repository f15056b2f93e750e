"""What the daemon delivers of a workload is what `perf script` prints of the same run, and what
we make of perf's recording of it.

Both record the same processes; compared is what happened in the tasks of the workload,
event by event and task by task, in order.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from processes import Daemon
from streams import Total, read_to_end
from test_print_parity import COMPARED, NEED_NOT_FIRE

from ptrace_client.event_decoder import EventDecoder
from ptrace_client.perf_data.recording import open_recording
from ptrace_client.perf_data.stream import described_events, open_file_stream
from ptrace_client.printing import Printer
from ptrace_proto import ptrace_pb2 as pb

# What fires in interrupts too, at moments when another program may run on that CPU
# for which the kernel then skips ours: seen in part only. And what comes after the exit.
_APART = (
    "irq:",
    "timer:",
    "ipi:",
    "rcu:",
    "workqueue:",
    "net:",
    "skb:",
    "block:",
    "mmap:exit_mmap",
)
# Up to the file system, and to where the scheduler puts a task.
MAY_NOT_FIRE = NEED_NOT_FIRE | {"sched:sched_migrate_task"}
EVENTS = sorted(event for event in COMPARED if not event.startswith(_APART))

_LINE = re.compile(r"\s*(-?\d+)\s+(\d+)\.(\d{9}):\s+(\w+:\w+): ?(.*)")

# (event, thread id) -> time, by the clock of the side, and text of its events, in order
Texts = dict[tuple[str, int], list[tuple[int, str]]]
EXEC = "sched:sched_process_exec"


# What differs from one side to the other: clocks, and what a BPF program cannot know.
_APART_FIELDS = ("_time", "_realtime", "common_flags", "common_preempt_count")


@dataclass
class Run:
    """A run of the workload: what the daemon delivered, with its schemas; perf's recording."""

    delivered: list[dict[str, object]]
    schemas: list[pb.EventSchema]
    data: Path


@pytest.fixture(scope="module")
def run(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("parity")
    data = directory / "perf.data"
    activity = Path(__file__).with_name("activity.py")
    events_list = ",".join(EVENTS)
    record = ["perf", "record", "-q", "-m", "1024", "-o", str(data), "-e", events_list]
    # A shell that waits to become perf: its children are followed from the start.
    shell = subprocess.Popen(
        [
            "sh",
            "-c",
            'read go; exec "$@"',
            "sh",
            *record,
            "--",
            sys.executable,
            activity,
            directory,
        ],
        stdin=subprocess.PIPE,
    )
    request = pb.TraceRequest(
        selectors=[events_list],
        scope=pb.Scope(pids=[shell.pid]),
        print_formats=True,
        buffer_pages=2048,
    )
    with daemon.connect() as host, host.open(request) as stream:
        shell.communicate(b"go\n")
        stream.stop()
        total = read_to_end(stream)
        assert not [loss for loss in total.losses if loss.stage != pb.LOSS_STAGE_SKIPPED]
        schemas = list(stream.started.schemas)
        return Run(named_events(stream.started, total), schemas, data)


@pytest.fixture(scope="module")
def both(run: Run) -> tuple[Texts, Texts]:
    """Our texts and perf's, of the threads of the workload since it was executed."""
    return _of_workload(_ours(run.delivered, run.schemas)), _of_workload(_theirs(run.data))


@pytest.fixture(scope="module")
def live_and_recorded(run: Run) -> tuple[Texts, Texts]:
    """The events whole, as the daemon delivered them and as the recording has them."""
    recording = open_recording(str(run.data))
    stream = open_file_stream(recording, [])
    total = read_to_end(stream)
    recording.close()
    recorded = named_events(stream.started, total)
    return (
        _of_workload(_whole(run.delivered, run.schemas)),
        _of_workload(_whole(recorded, run.schemas)),
    )


def named_events(started: pb.Started, total: Total) -> list[dict[str, object]]:
    """The events of a stream as dicts, by time, with the names of their tasks."""
    decoders = {schema.id: EventDecoder(schema, 0) for schema in started.schemas}
    found = [
        {**event.to_dict(), "_comm": event._comm}
        for batch in total.batches
        for event in decoders[batch.schema_id].decode(batch)
    ]
    return sorted(found, key=lambda event: int(str(event["_time"])))


def _whole(found: list[dict[str, object]], schemas: list[pb.EventSchema]) -> Texts:
    """The same as _ours(), with all that events have behind the text."""
    texts = _ours(found, schemas)
    places = dict.fromkeys(texts, 0)
    for event in found:
        key = str(event["_event"]), int(str(event["_tid"]))
        time, text = texts[key][places[key]]
        kept = [item for item in event.items() if item[0] not in _APART_FIELDS]
        texts[key][places[key]] = time, f"{text} {kept}"
        places[key] += 1
    return texts


def _ours(found: list[dict[str, object]], schemas: list[pb.EventSchema]) -> Texts:
    printers = {f"{schema.system}:{schema.name}": Printer(schema) for schema in schemas}
    texts = defaultdict(list)
    for event in found:
        name, tid = str(event["_event"]), int(str(event["_tid"]))
        texts[name, tid].append((int(str(event["_time"])), printers[name].fields_text(event)))
    return texts


def _theirs(data: Path) -> Texts:
    command = ["perf", "script", "--ns", "--kallsyms", "/dev/null", "-F", "tid,time,event,trace"]
    printed = subprocess.run([*command, "-i", data], check=True, capture_output=True, text=True)
    texts = defaultdict(list)
    for line in printed.stdout.splitlines():
        match = _LINE.fullmatch(line)
        assert match, line
        tid, second, rest, name, text = match.groups()
        texts[name, int(tid)].append((int(second + rest), text))
    return texts


def _of_workload(texts: Texts) -> Texts:
    """What happened in the process that runs the activity, and in all that it made.

    perf records from when it executes the workload until a task says that it exits; we
    before and after that.
    """
    ((first, start),) = {
        (tid, time)
        for (name, tid), lines in texts.items()
        if name == EXEC
        for time, text in lines
        if f"filename={sys.executable} " in text
    }
    tasks = {first}
    while True:
        children = {
            int(text.split()[0].removeprefix("pid="))
            for tid in tasks
            for _, text in texts.get(("task:task_newtask", tid), [])
        }
        if children <= tasks:
            break
        tasks |= children
    found: Texts = defaultdict(list)
    for (name, tid), lines in texts.items():
        if tid in tasks:
            ((end, _),) = texts["sched:sched_process_exit", tid]
            for time, text in lines:
                if start <= time <= end:
                    found[name, tid].append((time, text))
    return dict(found)


def _texts(of: Texts, event: str) -> dict[int, list[str]]:
    return {tid: [text for _, text in lines] for (name, tid), lines in of.items() if name == event}


@pytest.mark.parametrize("event", EVENTS)
def test_values_are_those_that_perf_prints(both: tuple[Texts, Texts], event: str) -> None:
    ours, theirs = (_texts(side, event) for side in both)
    assert ours == theirs
    assert ours or event in MAY_NOT_FIRE


@pytest.mark.parametrize("event", EVENTS)
def test_events_are_the_same_live_and_recorded(
    live_and_recorded: tuple[Texts, Texts], event: str
) -> None:
    live, recorded = (_texts(side, event) for side in live_and_recorded)
    assert live == recorded
    assert live or event in MAY_NOT_FIRE


def test_columns_are_the_same_live_and_recorded(daemon: Daemon, run: Run) -> None:
    recording = open_recording(str(run.data))
    recorded = described_events(recording, [])
    recording.close()
    with daemon.connect() as host:
        live = host.describe([",".join(EVENTS)])
    for ours, theirs in zip(_by_name(live), _by_name(recorded), strict=True):
        assert list(ours.fields) == list(theirs.fields)
        assert (ours.common_type, ours.print_fmt) == (theirs.common_type, theirs.print_fmt)
        for mine, other in zip(ours.all_fields, theirs.all_fields, strict=True):
            # The daemon knows the values of enumerators.
            mine.ClearField("named_values")
            other.ClearField("named_values")
            assert mine == other


def _by_name(schemas: Iterable[pb.EventSchema]) -> list[pb.EventSchema]:
    return sorted(schemas, key=lambda schema: (schema.system, schema.name))


def test_forty_events_were_compared(both: tuple[Texts, Texts]) -> None:
    assert len({event for event, _ in both[1]}) >= 40
