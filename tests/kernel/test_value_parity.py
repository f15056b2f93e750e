"""What the daemon delivers of a workload is what `perf script` prints of the same run.

Both record the whole system meanwhile; compared is what happened in the tasks of the
workload, event by event and task by task, in order.
"""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import perfdata
import pytest
from conftest import Daemon
from streams import events, read_to_end
from test_print_parity import COMPARED, NEED_NOT_FIRE, print_with_perf

from ptrace_client.printing import Printer
from ptrace_proto import ptrace_pb2 as pb

# What fires in interrupts too, at moments when another program may run on that CPU
# for which the kernel then skips ours: seen in part only.
_IN_INTERRUPTS = ("irq:", "timer:", "ipi:", "rcu:", "workqueue:", "net:", "skb:", "block:")
EVENTS = sorted(event for event in COMPARED if not event.startswith(_IN_INTERRUPTS))

# (event, thread id) -> the texts of its events, in order
Texts = dict[tuple[str, int], list[str]]


@pytest.fixture(scope="module")
def both(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> tuple[Texts, Texts, set[int]]:
    """Our texts, perf's, and the threads of the workload."""
    directory = tmp_path_factory.mktemp("parity")
    data = directory / "perf.data"
    activity = Path(__file__).with_name("activity.py")
    request = pb.TraceRequest(
        selectors=[",".join(EVENTS)], print_formats=True, buffer_pages=4096, label="parity"
    )
    with daemon.connect() as host, host.open(request) as stream:
        subprocess.run(
            ["perf", "record", "-q", "-a", "-m", "4096", "-o", data, "-e", ",".join(EVENTS)]
            + ["--", sys.executable, activity, directory],
            check=True,
            capture_output=True,
        )
        stream.stop()
        total = read_to_end(stream)
        assert not [loss for loss in total.losses if loss.stage != pb.LOSS_STAGE_SKIPPED]
        ours = _ours(events(stream, total), stream.started.schemas)
    return ours, *_theirs(data)


def _ours(found: list[dict[str, object]], schemas: list[pb.EventSchema]) -> Texts:
    printers = {f"{schema.system}:{schema.name}": Printer(schema) for schema in schemas}
    texts = defaultdict(list)
    for event in found:
        name, tid = str(event["_event"]), int(str(event["_tid"]))
        texts[name, tid].append(printers[name].fields_text(event))
    return texts


def _theirs(data: Path) -> tuple[Texts, set[int]]:
    printed, _ = print_with_perf(data)
    tids = defaultdict(list)
    for sample in perfdata.samples(data):
        tids[sample.time, sample.cpu].append(sample.tid)
    texts = defaultdict(list)
    for name, lines in printed.items():
        for time, cpu, text in sorted(lines):
            texts[name, tids[time, cpu][0]].append(text)
    return texts, _workload(texts)


def _workload(texts: Texts) -> set[int]:
    """The tasks that the workload made, from what perf saw of their making."""
    return {
        int(text.split("pid=")[1].split()[0])
        for (name, _), found in texts.items()
        if name == "task:task_newtask"
        for text in found
        if "comm=python" in text or "comm=perf" in text
    }


@pytest.mark.parametrize("event", EVENTS)
def test_values_are_those_that_perf_prints(both: tuple[Texts, Texts, set[int]], event: str) -> None:
    ours, theirs, workload = both
    compared = 0
    for tid in workload:
        assert ours.get((event, tid), []) == theirs.get((event, tid), [])
        compared += len(theirs.get((event, tid), []))
    assert compared or event in NEED_NOT_FIRE


def test_forty_events_were_compared(both: tuple[Texts, Texts, set[int]]) -> None:
    _, theirs, workload = both
    assert len({event for event, tid in theirs if tid in workload}) >= 40
