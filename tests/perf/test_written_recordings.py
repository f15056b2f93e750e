"""What ptrace-client records, as real perf reads it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from commandline import PTRACE_CLIENT, Ended, environment, open_folder, ptrace_client
from processes import Daemon
from recordings import Recorder, clean_environment, perf
from sidebyside import run_both, run_perf

from ptrace_client.event_decoder import EventDecoder
from ptrace_client.perf_writing.output import open_output
from ptrace_client.perf_writing.recorder import Recorder as StreamRecorder
from ptrace_proto import ptrace_pb2 as pb
from unprivileged import NOBODY, as_user

pytestmark = pytest.mark.needs_kernel("tracefs", "perf events", "BPF programs")
GETPPID = "syscalls:sys_enter_getppid"
FIELDS = Path(__file__).with_name("fields_as_json.py")
EVERY_CALLBACK = Path(__file__).with_name("recorder.py")
# Tracepoints with text, arrays, data of any length, bit masks and named values.
MANY = """
    raw_syscalls:sys_enter raw_syscalls:sys_exit sched:sched_switch sched:sched_wakeup
    sched:sched_process_exec sched:sched_process_fork sched:sched_process_exit
    sched:sched_stat_runtime syscalls:sys_enter_openat task:task_newtask task:task_rename
    kmem:kmalloc kmem:mm_page_alloc signal:signal_generate timer:hrtimer_start
    workqueue:workqueue_queue_work writeback:writeback_mark_inode_dirty
    ext4:ext4_mark_inode_dirty filelock:locks_get_lock_context
"""
SELECTORS = tuple(MANY.split())


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        folder.chmod(0o777)
        yield folder


@pytest.fixture(scope="module")
def daemon(folder: Path) -> Iterator[Daemon]:
    own = folder / "daemon"
    own.mkdir()
    running = Daemon(own)
    yield running
    assert running.stop() == 0


@pytest.fixture
def busy() -> Iterator[int]:
    """A process with some ten thousand calls a second."""
    calls = "import os\nprint(flush=True)\nwhile True: os.getppid(), sum(range(1000))"
    command = [sys.executable, "-S", "-E", "-c", calls]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


@contextmanager
def recording_until_large(daemon: Daemon, path: Path, pid: int) -> Iterator[subprocess.Popen[str]]:
    """A recorder of a busy process, once its file has some thousand samples."""
    arguments = ["--socket", daemon.socket, "-e", GETPPID, "-p", pid, "-o", path]
    with subprocess.Popen(
        [PTRACE_CLIENT, "record", *map(str, arguments)],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not (path.exists() and path.stat().st_size > 300_000):
            subprocess.run(["true"], check=True)
        yield process


def record(daemon: Daemon, *arguments: str | Path, prefix: Sequence[str] = ()) -> Ended:
    done = ptrace_client("record", "--socket", daemon.socket, *arguments, prefix=prefix)
    assert done.status == 0, done.err
    return done


def of_perf(*arguments: str | Path, data: bytes | None = None) -> str:
    """What perf prints, without a word on stderr."""
    done = subprocess.run(
        [perf(), *map(str, arguments)],
        env=clean_environment(),
        input=data,
        stdin=subprocess.DEVNULL if data is None else None,
        capture_output=True,
        check=True,
        timeout=60,
    )
    # Of -F, for each kind of events that has no such field.
    told = [line for line in done.stderr.splitlines() if not line.endswith(b"Ignoring.")]
    assert not any(told), told
    return done.stdout.decode(errors="surrogateescape")


def test_perf_gets_the_samples_that_the_stream_delivered(
    daemon: Daemon, folder: Path, recording: Recorder
) -> None:
    """Every field of every event, and of whom, where and when it was."""
    path = folder / "many.data"
    (folder / "tour").mkdir()
    tour = [sys.executable, str(Path(__file__).with_name("tour.py")), str(folder / "tour")]
    waiting = ["/bin/sh", "-c", 'read -r line; exec "$@"', "sh", *tour]
    process = subprocess.Popen(waiting, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    request = pb.TraceRequest(
        selectors=SELECTORS,
        scope=pb.Scope(pids=[process.pid]),
        format_texts=True,
        task_records=True,
    )
    delivered: list[dict[str, Any]] = []
    with daemon.connect() as host, host.open(request) as stream:
        schemas = {schema.id: schema for schema in stream.started.schemas}
        decoders = {id: EventDecoder(schema, 0) for id, schema in schemas.items()}
        output, _ = open_output(str(path))
        recorder = StreamRecorder(stream.started, host.info, output, local=True)
        process.communicate(b"\n")
        while True:
            message = stream.next(None)
            if message is None:
                continue
            recorder.take(message)
            for batch in message.batches:
                id = batch.schema_id
                decoded = decoders[id].decode(batch)
                delivered += [_expected(event, schemas[id]) for event in decoded]
            if message.HasField("end"):
                break
        recorder.close()

    printed = run_perf(path, FIELDS)
    got = [json.loads(line) for line in printed.stdout.splitlines()]

    assert len({sample["event"] for sample in got}) >= 8
    assert len(got) == len(delivered) == recorder.samples
    key = "time", "cpu", "event", "pid"
    got.sort(key=lambda sample: [sample[name] for name in key])
    delivered.sort(key=lambda sample: [sample[name] for name in key])
    for ours, perfs in zip(delivered, got, strict=True):
        assert perfs["fields"].keys() == ours["fields"].keys(), ours["event"]
        assert {name: perfs[name] for name in (*key, "comm")} == {
            name: ours[name] for name in (*key, "comm")
        }
        for name, value in ours["fields"].items():
            assert _same(perfs["fields"][name], value), (ours["event"], name, perfs, ours)


def _expected(event: Any, schema: pb.EventSchema) -> dict[str, Any]:
    values = event.to_dict()
    fields = {field.name: values[field.name] for field in schema.all_fields}
    return {
        "event": values["_event"],
        "time": values["_time"],
        "cpu": values["_cpu"],
        "pid": values["_tid"],
        # perf calls them all so, whatever the CPU.
        "comm": event._comm if values["_tid"] else "swapper",
        "fields": fields,
    }


def _same(perfs: Any, ours: Any) -> bool:
    """Whether a value of perf's is ours: numbers below 8 bytes have no sign there, and data is
    text where it is printable."""
    if isinstance(ours, int) and isinstance(perfs, int):
        return perfs in (ours, *(ours % (1 << bits) for bits in (8, 16, 32, 64)))
    data = bytes.fromhex(perfs["hex"]) if isinstance(perfs, dict) else perfs.encode()
    if isinstance(ours, str):
        return data.partition(b"\0")[0] == ours.encode(errors="surrogateescape")
    if isinstance(ours, bytes):
        return data == ours or data.partition(b"\0")[0] == ours.partition(b"\0")[0]
    size = len(data) // max(len(ours), 1) or 1
    numbers = [int.from_bytes(data[at : at + size], "little") for at in range(0, len(data), size)]
    return numbers == [number % (1 << 8 * size) for number in ours]


def test_at_the_same_time_perf_records_the_same(
    daemon: Daemon, folder: Path, recording: Recorder
) -> None:
    """The calls of one process, recorded by both."""
    events = "raw_syscalls:sys_enter,raw_syscalls:sys_exit,syscalls:sys_enter_openat"
    ours, perfs = folder / "both-ours.data", folder / "both-perfs.data"
    command = [sys.executable, "-S", "-E", "-c", "import os; [os.stat('/') for _ in range(300)]"]
    inner = [PTRACE_CLIENT, "record", "--socket", daemon.socket, "-q", "-e", events, "-o", ours]
    outer = [perf(), "record", "-q", "-N", "--no-bpf-event", "-e", events, "-o", perfs]
    shell = ["/bin/sh", "-c", 'exec "$@"', "sh", *outer, "--", *command]
    subprocess.run([*map(str, [*inner, "--", *shell])], env=environment(), check=True)

    def of_command(path: Path) -> list[str]:
        lines = of_perf("script", "-i", path, "-F", "comm,tid,event,trace").splitlines()
        (pid,) = re.findall(r"exec: \S+:(\d+)/\1\n", shown_tasks(perfs))[-1:]
        own = [re.sub(r"\s+", " ", line).strip() for line in lines]
        return [line for line in own if line.split()[1] == pid]

    both = [of_command(path) for path in (ours, perfs)]
    # Perf begins behind the start of the program, which is within ours.
    assert len(both[1]) > 600
    assert both[0][-len(both[1]) :] == both[1]


def shown_tasks(path: Path) -> str:
    return of_perf("script", "-i", path, "--show-task-events")


def test_stacks_have_the_symbols_of_the_program_and_of_the_kernel(
    daemon: Daemon, folder: Path, recording: Recorder
) -> None:
    path = folder / "stacks.data"
    events = "cpu-clock/-F 2000/,page-faults,syscalls:sys_enter_wait4"
    for work in (("spin", "1"), ("spin", "60", "touch", "9")):
        record(daemon, "-g", "-e", events, "-o", path, "--", recording.workload, *work)

    report = of_perf("report", "-i", path, "--stdio", "--no-children", "-G")
    assert re.search(r"workload +workload +\[\.\] innermost", report)
    assert re.search(r"\[kernel\.kallsyms\] +\[k\] [a-z]", report)
    stacks = of_perf("script", "-i", path, "-F", "comm,event,ip,sym")
    chain = r"\n\s+[0-9a-f]+ ".join(("innermost", "outermost", "spin", "main"))
    assert re.search(chain, stacks)
    verbose = of_perf("evlist", "-v", "-i", path).splitlines()
    assert "cpu-clock: type: 1" in verbose[0]
    assert "{ sample_period, sample_freq }: 2000" in verbose[0]
    assert "CALLCHAIN" in verbose[2]
    assert (path.parent / "stacks.data.old").exists()


def test_perf_knows_tasks_mappings_build_ids_and_the_host(
    daemon: Daemon, folder: Path, recording: Recorder
) -> None:
    path = folder / "tasks.data"
    command = "/bin/sh", "-c", "/bin/true; exec /bin/ls /"
    done = record(daemon, "-e", "raw_syscalls:sys_enter", "-o", path, "--", *command)

    tasks = of_perf("script", "-i", path, "--show-task-events", "--show-mmap-events")
    assert re.search(r"PERF_RECORD_FORK\(\d+:\d+\):\(\d+:\d+\)", tasks)
    assert re.search(r"PERF_RECORD_COMM exec: true:", tasks)
    assert re.search(r"PERF_RECORD_EXIT\(", tasks)
    assert re.search(r"PERF_RECORD_MMAP2 .* r-xp /usr/bin/(dash|ls)\n", tasks)
    # Nothing of before the command.
    assert {line.split()[0] for line in tasks.splitlines() if "raw_sys" in line} == {
        "sh",
        "true",
        "ls",
    }
    assert re.search(r"^\S+ +raw_syscalls:sys_enter", tasks, re.MULTILINE) is None
    ids = of_perf("buildid-list", "-i", path)
    assert re.search(r"^[0-9a-f]{40} /\S*libc", ids, re.MULTILINE)
    assert "[kernel.kallsyms]" in ids
    header = of_perf("report", "-i", path, "--header-only")
    for line in ("hostname : ", "os release : ", "arch : ", "nrcpus online : ", "clockid: mono"):
        assert f"# {line}" in header
    first, last = (
        float(of_perf("script", "-i", path, "-F", "time").split()[place].rstrip(":"))
        for place in (0, -1)
    )
    assert f"time of first sample : {first:.6f}" in header
    assert f"time of last sample : {last:.6f}" in header
    samples = of_perf("script", "-i", path, "-F", "event").splitlines()
    assert f"{len(samples)} samples" in done.err


def test_perf_sched_reckons_with_it(daemon: Daemon, folder: Path) -> None:
    path = folder / "sched.data"
    events = "sched:sched_switch,sched:sched_wakeup,sched:sched_stat_runtime"
    command = "/bin/sh", "-c", "for i in 1 2 3; do sleep 0.001; done"
    record(daemon, "-e", events, "-o", path, "--", *command)

    latency = of_perf("sched", "latency", "-i", path)
    assert re.search(r"^  sleep:\(3\) +\| +[0-9.]+ ms", latency, re.MULTILINE)


def test_the_same_comes_through_a_pipe(daemon: Daemon, folder: Path) -> None:
    prefix = [PTRACE_CLIENT, "record", "--socket", str(daemon.socket), "-q", "-o", "-"]
    command = ["-e", "raw_syscalls:sys_enter,cpu-clock", "--", "/bin/sh", "-c", "read x; read y"]
    done = subprocess.run(
        [*prefix, *command], env=environment(), input=b"1\n2\n", capture_output=True, check=True
    )
    assert not done.stderr
    shown = of_perf("script", "-i", "-", "-F", "comm,event,trace", data=done.stdout)
    assert shown.count("raw_syscalls:sys_enter: NR 0 (0, ") >= 4

    saved = folder / "saved.pipe"
    saved.write_bytes(done.stdout)
    perfs, ours = run_both(saved, EVERY_CALLBACK)
    assert "raw_syscalls__sys_enter" in perfs.stdout
    assert ours.stdout == _without_unset(perfs.stdout)


def test_a_recorder_that_is_killed_leaves_what_it_has(
    daemon: Daemon, folder: Path, busy: int
) -> None:
    path = folder / "killed.data"
    with recording_until_large(daemon, path, busy) as process:
        process.kill()

    assert len(of_perf("script", "-i", path, "-F", "event").splitlines()) > 500


def test_a_process_is_recorded_for_a_time(daemon: Daemon, folder: Path, busy: int) -> None:
    path = folder / "process.data"
    where = "-p", str(busy), "--duration", "0.3"
    record(daemon, "-e", GETPPID, *where, "-o", path)

    times = of_perf("script", "-i", path, "-F", "time").split()
    assert float(times[-1].rstrip(":")) > float(times[0].rstrip(":"))
    assert set(of_perf("script", "-i", path, "-F", "pid").split()) == {str(busy)}


def test_a_daemon_that_dies_leaves_a_recording_that_ended(folder: Path, busy: int) -> None:
    own = folder / "mortal"
    own.mkdir()
    mortal, path = Daemon(own), own / "cut.data"
    with recording_until_large(mortal, path, busy) as process:
        mortal.stop(signal.SIGKILL)
        _, told = process.communicate()

    assert process.returncode == 4
    assert told.startswith("error: the daemon at ")
    assert len(of_perf("script", "-i", path, "-F", "event").splitlines()) > 500


def test_a_user_without_privileges_records_its_own(daemon: Daemon, folder: Path) -> None:
    path = folder / "nobodys.data"
    command = "/bin/sh", "-c", "/bin/true"
    events = "-e", "raw_syscalls:sys_enter,page-faults"
    record(daemon, "-g", *events, "-o", path, "--", *command, prefix=as_user([]))

    assert path.stat().st_uid == NOBODY
    assert path.stat().st_mode & 0o777 == 0o600
    shown = of_perf("script", "-f", "-i", path, "--show-mmap-events", "-F", "comm,event,ip,sym,dso")
    for mapped in ("dash", "true", "libc.so.6"):
        assert re.search(rf"PERF_RECORD_MMAP2 .* r-xp /usr/\S*/{mapped}\n", shown)
    assert re.search(r"true +raw_syscalls:sys_enter: *\n(\s+.+\n)*?\s+[0-9a-f]+ \w+ \(/usr", shown)


def _without_unset(text: str) -> str:
    """What perf prints, without the member of a tuple that it leaves unset."""
    return text.replace("(0, 0, <NULL>)", "(0, 0)")


def test_sigint_ends_it_well(daemon: Daemon, folder: Path, busy: int) -> None:
    path = folder / "interrupted.data"
    with recording_until_large(daemon, path, busy) as process:
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()

    assert process.returncode == 0
    found = re.fullmatch(
        r"ptrace-client: (\d+) samples, [0-9.]+ MB written to \S+, lost none\n", told
    )
    assert found
    assert len(of_perf("script", "-i", path, "-F", "event").splitlines()) == int(found[1])


def test_both_read_the_same_out_of_it(daemon: Daemon, folder: Path, recording: Recorder) -> None:
    path = folder / "everything.data"
    events = "sched:sched_process_exec,raw_syscalls:sys_enter,page-faults"
    record(daemon, "-g", "-e", events, "-o", path, "--", recording.workload, "children", "3")

    perfs, ours = run_both(path, EVERY_CALLBACK)
    assert "sched__sched_process_exec" in perfs.stdout
    assert ours.stdout == _without_unset(perfs.stdout)


def test_a_recording_goes_to_no_terminal(daemon: Daemon) -> None:
    command = [PTRACE_CLIENT, "record", "--socket", str(daemon.socket), "-o", "-", "-e", "profile"]
    script = f"import pty, sys; sys.exit(pty.spawn({command!r}) >> 8)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert "a recording is no text for a terminal: send stdout elsewhere" in done.stdout
    assert done.returncode == 2
