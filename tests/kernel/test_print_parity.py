"""Printer writes real records as `perf script` does.

Needs perf, tracefs and the right to trace the whole system. Both sides get the same
perf.data file; kernel symbols are kept from perf, since clients have none.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import perfdata
import pytest

from ptrace_client.printing import Printer
from ptrace_formats import print_fmt
from ptrace_formats.event_format import EventFormat
from ptrace_proto import ptrace_pb2 as pb
from ptraced.tracefs import Tracefs


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Every one of these must fire, wherever in the system, ...
SYSTEM_WIDE = words("""
    block:block_bio_queue block:block_getrq block:block_io_start block:block_plug
    block:block_rq_complete block:block_rq_issue block:block_unplug
    exceptions:page_fault_kernel exceptions:page_fault_user
    ext4:ext4_allocate_blocks ext4:ext4_allocate_inode ext4:ext4_drop_inode
    ext4:ext4_evict_inode ext4:ext4_sync_file_enter ext4:ext4_sync_file_exit
    ext4:ext4_unlink_enter
    fib:fib_table_lookup
    irq:softirq_entry irq:softirq_exit irq:softirq_raise
    mmap:exit_mmap mmap:vm_unmapped_area
    net:net_dev_queue net:net_dev_start_xmit net:net_dev_xmit net:netif_receive_skb net:netif_rx
    rcu:rcu_utilization
    sched:sched_migrate_task sched:sched_process_exec sched:sched_process_exit
    sched:sched_process_fork sched:sched_process_wait
    sched:sched_switch sched:sched_wakeup sched:sched_wakeup_new sched:sched_waking
    signal:signal_deliver signal:signal_generate
    skb:consume_skb skb:skb_copy_datagram_iovec
    sock:inet_sock_set_state sock:sock_recv_length sock:sock_send_length
    task:task_newtask task:task_rename
    tcp:tcp_destroy_sock tcp:tcp_rcv_space_adjust
    timer:hrtimer_cancel timer:hrtimer_expire_entry timer:hrtimer_start timer:itimer_state
    timer:timer_start
    workqueue:workqueue_activate_work workqueue:workqueue_execute_start
    workqueue:workqueue_queue_work
""")
# ... and these, which are frequent, in the workload itself.
IN_THE_WORKLOAD = words("""
    kmem:kfree kmem:kmalloc kmem:kmem_cache_alloc kmem:kmem_cache_free kmem:mm_page_alloc
    kmem:mm_page_free kmem:rss_stat
    raw_syscalls:sys_enter raw_syscalls:sys_exit
    syscalls:sys_enter_openat syscalls:sys_exit_openat syscalls:sys_enter_connect
    syscalls:sys_enter_kill syscalls:sys_enter_write syscalls:sys_exit_mmap
    writeback:writeback_dirty_inode writeback:writeback_mark_inode_dirty
    ipi:ipi_send_cpumask jbd2:jbd2_checkpoint_stats jbd2:jbd2_run_stats
""")
# Rare, or up to the file system and disk below the temporary directory.
NEED_NOT_FIRE = {event for event in SYSTEM_WIDE if event.startswith(("block:", "ext4:"))} | {
    "ipi:ipi_send_cpumask",
    "jbd2:jbd2_checkpoint_stats",
    "jbd2:jbd2_run_stats",
    "rcu:rcu_utilization",
}
# What the libtraceevent of perf 6.1 has no parser for: functions of the kernel.
PERF_CANNOT_PARSE = {
    "ipi:ipi_send_cpumask": "__get_cpumask",
    "jbd2:jbd2_checkpoint_stats": "jiffies_to_msecs",
    "jbd2:jbd2_run_stats": "jiffies_to_msecs",
}
# Where perf 6.1 does not print what the kernel prints.
PERF_IS_WRONG = {
    "rcu:rcu_utilization": "follows a pointer to text by printk_formats, which clients lack",
    "sock:sock_recv_length": "takes fields for unsigned in comparisons",
    "sock:sock_send_length": "takes fields for unsigned in comparisons",
    "timer:timer_start": "loses the mask of the flags and so names bits of another field",
    "writeback:writeback_dirty_inode": "prints the first flag it knows no value of for 0",
    "writeback:writeback_mark_inode_dirty": "prints the first flag it knows no value of for 0",
}

COMPARED = {*SYSTEM_WIDE, *IN_THE_WORKLOAD} - PERF_CANNOT_PARSE.keys() - PERF_IS_WRONG.keys()

_LINE = re.compile(r"\s*\[(\d+)\]\s+(\d+)\.(\d{9}):\s+(\w+:\w+): ?(.*)")
_FAILURE = re.compile(r"^\s+\[(\w+:\w+)\] function (\w+) not defined$", re.MULTILINE)

# (time in ns, CPU, text)
Printed = tuple[int, int, str]


@dataclass
class Recording:
    """What both sides print, by event, and what perf complains about."""

    ours: dict[str, list[Printed]]
    theirs: dict[str, list[Printed]]
    failures: dict[str, str]


def printer(format: EventFormat) -> Printer:
    schema = pb.EventSchema(system=format.system, name=format.name)
    for field in format.fields:
        schema.all_fields.add(
            name=field.name,
            type=field.ctype,
            kind=field.kind,
            size=field.size,
            element_size=field.element_size,
            element_signed=field.element_signed,
        )
    # Perf knows the values of no enumerators; for it they are numbers.
    names = [field.name for field in format.fields]
    parsed = print_fmt.parse(format.print_fmt, names)
    if parsed is not None:
        schema.print_format.CopyFrom(parsed)
    return Printer(schema)


def print_with_perf(data: Path) -> tuple[dict[str, list[Printed]], dict[str, str]]:
    command = [
        "perf",
        "script",
        "--ns",
        "--kallsyms",
        "/dev/null",
        "-F",
        "cpu,time,event,trace",
        "-i",
    ]
    run = subprocess.run(
        [*command, str(data)],
        check=True,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
    )
    printed = defaultdict(list)
    for line in run.stdout.splitlines():
        match = _LINE.fullmatch(line)
        assert match, line
        cpu, second, rest, event, text = match.groups()
        printed[event].append((int(second) * 1_000_000_000 + int(rest), int(cpu), text))
    return printed, dict(_FAILURE.findall(run.stderr))


def print_with_ours(data: Path, events: Sequence[str]) -> dict[str, list[Printed]]:
    tracefs = Tracefs.find()
    formats = [tracefs.format(*event.split(":")) for event in events]
    known = {format.id: (format, printer(format)) for format in formats}
    printed = defaultdict(list)
    for sample in perfdata.samples(data):
        format, its_printer = known[sample.common_type]
        values = {field.name: perfdata.value(field, sample.record) for field in format.fields}
        text = its_printer.fields_text(values)
        printed[f"{format.system}:{format.name}"].append((sample.time, sample.cpu, text))
    return printed


def record(directory: Path, events: Sequence[str], *options: str) -> Recording:
    data = directory / "perf.data"
    workload = [sys.executable, str(Path(__file__).with_name("activity.py")), str(directory)]
    perf = ["perf", "record", "-q", *options, "-m", "512", "-o", str(data)]
    subprocess.run(
        [*perf, "-e", ",".join(events), "--", *workload], check=True, capture_output=True
    )
    theirs, failures = print_with_perf(data)
    return Recording(print_with_ours(data, events), theirs, failures)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    first = record(tmp_path_factory.mktemp("everywhere"), SYSTEM_WIDE, "-a")
    second = record(tmp_path_factory.mktemp("workload"), IN_THE_WORKLOAD)
    return Recording(
        first.ours | second.ours, first.theirs | second.theirs, first.failures | second.failures
    )


def test_every_event_fires(recording: Recording) -> None:
    missing = {*SYSTEM_WIDE, *IN_THE_WORKLOAD} - recording.ours.keys() - NEED_NOT_FIRE
    assert missing == set()


def test_perf_fails_on_known_formats_only(recording: Recording) -> None:
    assert recording.failures == PERF_CANNOT_PARSE


@pytest.mark.parametrize("event", sorted(COMPARED))
def test_records_read_as_with_perf(recording: Recording, event: str) -> None:
    ours, theirs = sorted(recording.ours[event]), sorted(recording.theirs[event])
    different = [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]]
    assert different == []


def test_many_events_are_sure_to_be_compared() -> None:
    assert len(COMPARED - NEED_NOT_FIRE) >= 40


@pytest.mark.parametrize("byte", [0x00, 0x7F, 0x80, 0xFF])
def test_no_record_is_too_odd_to_be_printed(byte: int) -> None:
    """Records full of one byte, whose dynamic fields lie nowhere."""
    tracefs = Tracefs.find()
    for name in tracefs.names():
        format = tracefs.format(*name.split(":"))
        size = max(field.offset + field.size for field in format.fields)
        record = bytes([byte]) * size
        values = {field.name: perfdata.value(field, record) for field in format.fields}
        assert isinstance(printer(format).fields_text(values), str), name
