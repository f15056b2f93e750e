"""Every kind of field, from the kernel to the event."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from processes import Calls, Daemon
from streams import GETPPID, events, read_to_end, trace_while

from ptrace_proto import ptrace_pb2 as pb


def traced(
    daemon: Daemon, selector: str, work: Callable[[], object], **scope: object
) -> list[dict[str, object]]:
    request = pb.TraceRequest(selectors=[selector], scope=pb.Scope(**scope))  # type: ignore[arg-type]
    with daemon.connect() as host, host.open(request) as stream:
        work()
        stream.stop()
        return events(stream, read_to_end(stream))


def test_a_dynamic_string_is_never_cut(daemon: Daemon, tmp_path: Path) -> None:
    # GIVEN a program whose path is nearly as long as a path can be
    directory = tmp_path
    while len(str(directory)) < 3800:
        directory = directory / ("d" * 200)
    directory.mkdir(parents=True)
    program = directory / "program"
    program.symlink_to("/bin/true")

    found = traced(
        daemon, "sched:sched_process_exec", lambda: subprocess.run([program], check=True)
    )

    assert [event["filename"] for event in found if len(str(event["filename"])) > 3800] == [
        str(program)
    ]


def test_several_dynamic_strings_in_one_event(daemon: Daemon, tmp_path: Path) -> None:
    def write() -> None:
        file = tmp_path / "kept"
        file.write_text("x" * 10_000)
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    # Events whose fields are a mixture, from all over the kernel.
    found = traced(daemon, "writeback:*", write)
    names = {str(event["name"]) for event in found if "name" in event}

    assert names
    assert all(name and "\0" not in name for name in names)


def test_task_names_and_signed_numbers(daemon: Daemon) -> None:
    script = (
        "import os, ctypes\n"
        "ctypes.CDLL(None).prctl(15, b'\\xff na\\tme', 0, 0, 0)\n"
        "os.close(-5 % 2**31) if False else None\n"
        "try: os.close(-1)\nexcept OSError: pass\n"
    )

    def work() -> None:
        subprocess.run([sys.executable, "-c", script], check=True)

    renamed = traced(daemon, "task:task_rename", work)
    closed = traced(daemon, "syscalls:sys_exit_close/ret<0/", work)

    # Bytes that are no UTF-8 come as Python's surrogates, and round-trip.
    assert "\udcff na\tme" in [event["newcomm"] for event in renamed]
    assert -9 in [event["ret"] for event in closed]


def test_arrays_are_bytes_and_pointers_unsigned(
    daemon: Daemon, calls: Callable[..., Calls]
) -> None:
    program = calls(2)

    found = traced(daemon, "raw_syscalls:sys_enter/id==110/", program.make, pids=[program.pid])

    assert len(found) == 2
    assert isinstance(found[0]["args"], bytes)
    assert len(found[0]["args"]) == 48


def test_common_fields(daemon: Daemon, calls: Callable[..., Calls]) -> None:
    program = calls(2, 1)

    first, second = traced(daemon, "syscalls:sys_enter_getppid", program.make, pids=[program.pid])

    id_file = Path("/sys/kernel/tracing/events/syscalls/sys_enter_getppid/id")
    assert first["common_type"] == int(id_file.read_text())
    assert first["common_pid"] == first["_pid"] == first["_tid"] == program.pid
    assert first["_cpu"] == second["_cpu"] == 1
    assert first["_period"] == 1
    assert first["_event"] == "syscalls:sys_enter_getppid"
    assert first["_time"] < second["_time"]  # type: ignore[operator]


def test_nothing_of_the_kernels_stands_behind_a_tasks_name(
    daemon: Daemon, calls: Callable[..., Calls]
) -> None:
    program = calls(20, 1)
    request = pb.TraceRequest(selectors=[GETPPID], scope=pb.Scope(pids=[program.pid]))
    with daemon.connect() as host:
        total = trace_while(host, request, program.make)

    (schema,) = total.schemas
    (column,) = (field for field in schema.fields if field.name == "_comm")
    rows = b"".join(batch.rows for batch in total.batches)
    starts = range(column.offset, len(rows), schema.row_size)
    names = {rows[start : start + column.size] for start in starts}
    assert names == {b"calls".ljust(16, b"\0")}


def test_the_same_event_twice_is_delivered_twice(
    daemon: Daemon, calls: Callable[..., Calls]
) -> None:
    program = calls(5)
    selector = "syscalls:sys_enter_getppid,syscalls:sys_enter_getppid//alias=again/"

    found = traced(daemon, selector, program.make, pids=[program.pid])

    names = [event["_event"] for event in found]
    assert names.count("syscalls:sys_enter_getppid") == 5
    assert names.count("syscalls:again") == 5
