"""Scripts that linux-perf ships, on live events: they show what they show under perf.

perf records a program while clients of another user trace it, so that both have the very same
events. What is measured in time differs, as each has its own moment for an event.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from callers import own_rule
from commandline import PTRACE_CLIENT, Ended, Run, open_folder, wait_for_session
from processes import Calls, Daemon
from users import AS_NOBODY

from ptrace_client.host import Host
from unprivileged import NOBODY

pytestmark = pytest.mark.needs_kernel("BTF", "perf events")

SHIPPED = Path("/usr/lib/perf-core/scripts/python")
COMPACTION = ("begin", "end", "migratepages", "isolate_freepages", "isolate_migratepages")
# Of netdev-times; perf aborts on kfree_skb and consume_skb, which have new fields.
NETWORK = (
    *("irq:softirq_entry", "irq:softirq_exit", "irq:softirq_raise", "irq:irq_handler_entry"),
    *("irq:irq_handler_exit", "napi:napi_poll", "net:netif_receive_skb", "net:netif_rx"),
    *("net:net_dev_queue", "net:net_dev_xmit", "skb:skb_copy_datagram_iovec"),
)
TRACEPOINTS = (
    *("raw_syscalls:sys_enter", "raw_syscalls:sys_exit"),
    *("syscalls:sys_enter_futex", "syscalls:sys_exit_futex"),
    *(f"compaction:mm_compaction_{name}" for name in COMPACTION),
    *NETWORK,
)
ADMINISTRATOR = '[[rule]]\nname = "administrator"\nusers = ["root"]\nadmin = true\n'
# With fields of all kinds: text of either kind, arrays, pointers, numbers of all sizes.
FIELDS = (
    *("sched:sched_process_fork", "sched:sched_process_exit", "task:task_newtask"),
    *("net:net_dev_queue", "net:netif_receive_skb", "skb:skb_copy_datagram_iovec"),
    *("syscalls:sys_enter_openat", "syscalls:sys_exit_openat"),
    *("raw_syscalls:sys_enter", "raw_syscalls:sys_exit", "mmap:vm_unmapped_area"),
)
# Tells fields with their types, of one event in a handler.
RECORDER = f"""
EVENTS = {[event.replace(":", "__") for event in FIELDS]}

def tell(name, cpu, pid, comm, chain, fields):
    if name in EVENTS:
        print(name, cpu, pid, comm, chain, [(type(it).__name__, it) for it in fields])

def raw_syscalls__sys_enter(name, context, cpu, secs, nsecs, pid, comm, chain, id, args, sample):
    inner = sample["sample"]
    # A tracepoint's place is known by its stack only: without one it lies nowhere.
    keys = [key for key in sample if not key.startswith(("dso", "sym"))]
    told = [sample["comm"], sample["ev_name"], len(sample["attr"]), *keys]
    numbers = [inner[key] for key in ("pid", "tid", "cpu", "period", "addr", "cpumode")]
    tell(name, cpu, pid, comm, chain, [id, args, *told, *numbers, *inner])

def trace_unhandled(name, context, fields):
    values = list(fields.values())
    tell(name, values[0], *values[3:6], values[6:])
"""
# Where event_analyzing_sample has its database, which others' runs are not to see.
OWN_SHM = (
    *("unshare", "--mount", "--propagation", "private", "sh", "-euc"),
    'mount -t tmpfs own /dev/shm; exec "$@"',
    "sh",
)


@dataclass(frozen=True)
class Script:
    """A script with its arguments, and events in place of those that the client chooses for it."""

    name: str
    arguments: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    folder: Path = SHIPPED

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.py"


@dataclass
class Outcome:
    """What a script wrote under perf and under us."""

    perf: str
    ours: Ended


Outcomes = dict[str, Outcome]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def open_daemon(folder: Path) -> Iterator[Daemon]:
    """A daemon that all users reach, and that lets them trace everything."""
    daemon = Daemon(folder)
    yield daemon
    assert daemon.stop() == 0


@pytest.fixture(scope="module")
def work(folder: Path) -> Path:
    """The program of dialect_work.c, where every user may read it."""
    source = Path(__file__).with_name("dialect_work.c")
    binary = folder / "dialect_work"
    subprocess.run(["gcc", "-O1", "-fno-omit-frame-pointer", "-o", binary, source], check=True)
    return binary


def without_cache(folder: Path) -> dict[str, str]:
    """The environment of a perf that has nobody else's files by their build ids."""
    return {**os.environ, "HOME": str(folder), "PERF_CONFIG": "/dev/null"}


@contextmanager
def recording(pid: int, file: Path, options: Sequence[str]) -> Iterator[None]:
    """`perf record` of a process, from here on to its end."""
    control, write = os.pipe()
    read, acknowledge = os.pipe()
    command = ["perf", "record", "-q", "-D", "-1", "-k", "CLOCK_MONOTONIC", "-p", str(pid)]
    command += ["--control", f"fd:{control},{acknowledge}", "-o", str(file), *options]
    descriptors, own = (control, acknowledge), without_cache(file.parent)
    with subprocess.Popen(command, pass_fds=descriptors, env=own) as perf:
        os.close(control)
        os.close(acknowledge)
        os.write(write, b"enable\n")
        assert os.read(read, 16).startswith(b"ack")
        yield
        perf.wait()
    os.close(write)
    os.close(read)


def start_client(daemon: Daemon, script: Script, pid: int, folder: Path) -> Run:
    events = [word for event in script.events for word in ("-e", event)]
    options = ("--socket", daemon.socket, "-p", str(pid), *events, *script.options)
    command = [PTRACE_CLIENT, "run", *options, script.path, "--", *script.arguments]
    return Run([*OWN_SHM, *AS_NOBODY, *command], folder)


def perf_output(file: Path, script: Script, folder: Path) -> str:
    command = ["perf", "script", "-i", file, "-s", script.path, "--", *script.arguments]
    done = subprocess.run(
        [*OWN_SHM, *command],
        cwd=folder,
        env=without_cache(folder),
        capture_output=True,
        text=True,
    )
    return done.stdout


@contextmanager
def named_stacks(host: Host, pid: int) -> Iterator[Iterator[object]]:
    """The page faults of a process up to the one whose stack has the name of touch()."""
    with host.trace("page-faults", pids=[pid], stacks="user") as faults:
        yield itertools.takewhile(
            lambda fault: all(frame["symbol"] != "touch" for frame in fault.callchain), faults
        )


def side_by_side(
    daemon: Daemon,
    work: Path,
    record: Sequence[str],
    scripts: Sequence[Script],
    *,
    stacks: bool = False,
) -> Outcomes:
    """Run the program under `perf record` and all scripts at once; then perf's scripts.

    With `stacks` the program stays until its stacks have names: what is mapped where in a
    process that began before all this is known while it is there.
    """
    folder = work.parent
    file = folder / "perf.data"
    program = Calls(work, 0, 0)
    with ExitStack() as running, daemon.connect() as host:
        clients = {
            script: running.enter_context(start_client(daemon, script, program.pid, folder))
            for script in scripts
        }
        for script, client in clients.items():
            wait_for_session(host, script.path.name, client)
        named = running.enter_context(named_stacks(host, program.pid)) if stacks else iter(())
        with recording(program.pid, file, record):
            program.make()
            list(named)
            program.end()
        return {
            script.name: Outcome(perf_output(file, script, folder), client.end())
            for script, client in clients.items()
        }


@pytest.fixture(scope="module")
def tracepoints(open_daemon: Daemon, work: Path) -> Outcomes:
    (work.parent / "recorder.py").write_text(RECORDER)
    scripts = (
        Script("recorder", (), FIELDS, folder=work.parent),
        *map(Script, ("syscall-counts", "syscall-counts-by-pid", "failed-syscalls-by-pid")),
        *map(Script, ("futex-contention", "compaction-times", "net_dropmonitor")),
        Script("netdev-times", ("tx", "rx", "debug"), NETWORK),
        Script("check-perf-trace", (), ("irq:softirq_entry", "kmem:kmalloc")),
    )
    events = dict.fromkeys((*TRACEPOINTS, *FIELDS))
    record = [word for event in events for word in ("-e", event)]
    return side_by_side(open_daemon, work, record, scripts)


@pytest.fixture(scope="module")
def samples(open_daemon: Daemon, work: Path) -> Outcomes:
    faults = (("page-faults",), ("-g",))
    scripts = (
        Script("flamegraph", ("-f", "json", "-o", "-"), *faults),
        Script("stackcollapse", (), *faults),
        Script("event_analyzing_sample", (), *faults),
    )
    record = ("-e", "page-faults", "-c", "1", "-g")
    return side_by_side(open_daemon, work, record, scripts, stacks=True)


@pytest.mark.parametrize(
    "name", ["syscall-counts", "syscall-counts-by-pid", "failed-syscalls-by-pid"]
)
def test_counts_are_those_under_perf(tracepoints: Outcomes, name: str) -> None:
    outcome = tracepoints[name]
    assert "getppid" in outcome.perf or "ENOENT" in outcome.perf
    assert outcome.ours.out == outcome.perf
    assert outcome.ours.status == 0
    chosen = f"ptrace-client: events of {SHIPPED}/bin/{name}-record: raw_syscalls:sys_"
    assert outcome.ours.err.startswith(chosen)


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("futex-contention", r"\d+(?= (avg )?ns)"),
        ("compaction-times", r"\d+(?=ns)"),
        ("netdev-times", r"\d+\.\d+"),
    ],
)
def test_all_but_times_is_what_perf_shows(tracepoints: Outcomes, name: str, times: str) -> None:
    outcome = tracepoints[name]
    assert outcome.ours.status == 0
    perf, ours = (re.sub(rf" *{times}", "T", it) for it in (outcome.perf, outcome.ours.out))
    assert perf.count("\n") > 0
    assert ours == perf


def test_fields_are_what_perf_passes(tracepoints: Outcomes) -> None:
    """Of events in the order of their texts: two at once on two CPUs may be told in either."""
    outcome = tracepoints["recorder"]
    assert outcome.ours.status == 0, outcome.ours.err
    perf, ours = (sorted(text.splitlines()) for text in (outcome.perf, outcome.ours.out))
    assert {line.split()[0] for line in perf} >= {"net__net_dev_queue", "task__task_newtask"}
    assert ours == perf


def test_flags_and_symbols_have_perfs_names(tracepoints: Outcomes) -> None:
    """The common fields are 0, as a BPF program does not get them."""

    def softirqs(text: str) -> list[tuple[str, ...]]:
        # Others come with interrupts: even when the task is about to be switched.
        line = r"^irq__softirq_entry +(\d+) [\d.]+ +(.*?) +common_.*\n(vec=NET_RX)$"
        return re.findall(line, text, re.M)

    outcome = tracepoints["check-perf-trace"]
    # perf's output ends where it aborts.
    assert softirqs(outcome.ours.out)
    assert softirqs(outcome.ours.out) == softirqs(outcome.perf)
    assert "gfp_flags=__GFP_" in outcome.ours.out
    told = "warning: kmem__kmalloc does not take node: perf would abort (--strict does)\n"
    assert told in outcome.ours.err


def test_a_script_that_perf_aborts_on_counts_drops(tracepoints: Outcomes) -> None:
    """Of net_dropmonitor: packets to a closed port."""
    outcome = tracepoints["net_dropmonitor"].ours
    assert outcome.status == 0
    counted = [int(line.split()[-1]) for line in outcome.out.splitlines()[3:]]
    assert sum(counted) == 6


def test_stacks_are_those_under_perf(samples: Outcomes) -> None:
    outcome = samples["stackcollapse"]
    assert outcome.ours.status == 0

    def own(text: str) -> list[str]:
        return [line for line in text.splitlines() if ";main" in line]

    def leaves(text: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for line in text.splitlines():
            names, _, count = line.rpartition(" ")
            # A function has several names, of which each takes its own.
            found[names.rpartition(";")[2].partition("@")[0]] += int(count)
        return found

    assert any(line.endswith(";main;touch 50") for line in own(outcome.perf))
    assert own(outcome.ours.out) == own(outcome.perf)
    assert leaves(outcome.ours.out) == leaves(outcome.perf)


def test_flames_are_those_under_perf(samples: Outcomes) -> None:
    outcome = samples["flamegraph"]
    assert outcome.ours.status == 0

    def main(text: str) -> Any:
        """What is below main, and all that was counted."""
        todo, found, total = [json.loads(text)], [], 0
        while todo:
            node = todo.pop()
            total += node["v"]
            todo += node["c"]
            found += [node] if node["n"] == "main" else []
        return found, total

    assert main(outcome.ours.out) == main(outcome.perf)
    assert "touch" in outcome.ours.out


def test_a_database_of_samples_is_that_under_perf(samples: Outcomes) -> None:
    outcome = samples["event_analyzing_sample"]
    assert outcome.ours.status == 0

    def counted(text: str) -> list[list[str]]:
        # Histograms go by logarithms of the rest of the line.
        rows = (line.split() for line in text.splitlines() if line.startswith("  "))
        return sorted([row[0].partition("@")[0], *row[1:]] for row in rows)

    assert any(row[:2] == ["touch", "50"] for row in counted(outcome.perf))
    assert counted(outcome.ours.out) == counted(outcome.perf)


def test_physical_addresses_are_sorted_as_under_perf(open_daemon: Daemon, work: Path) -> None:
    script = Script("mem-phys-addr", (), ("minor-faults",))
    record = ("-e", "minor-faults", "-c", "1", "-d", "--phys-data")
    outcome = side_by_side(open_daemon, work, record, [script])["mem-phys-addr"]
    # Only root is told where which memory lies: the client calls all of it "N/A".
    count = re.search(r"^N/A +(\d+) +100.0%$", outcome.ours.out, re.M)
    assert count is not None
    assert count[1] in outcome.perf


def test_sctop_shows_counts_until_it_is_interrupted(
    open_daemon: Daemon, work: Path, folder: Path
) -> None:
    program = Calls(work, 0, 0)
    script = Script("sctop", ("dialect_work", "1"))
    with start_client(open_daemon, script, program.pid, folder) as client:
        with open_daemon.connect() as host:
            wait_for_session(host, "sctop.py", client)
        program.make()
        while not (shown := re.match(r"getppid +(\d+)", client.line())):
            pass
        client.signal(signal.SIGINT)
        ended = client.end()
        program.end()
    assert int(shown[1]) >= 1000
    assert ended.status == 0


def test_a_script_without_its_window_says_what_it_needs(folder: Path, open_daemon: Daemon) -> None:
    ended = start_client(open_daemon, Script("sched-migration"), os.getpid(), folder).end()
    assert ended.status == 255
    assert "ImportError: this script shows a window, which needs wxPython" in ended.err


@contextmanager
def own_program(work: Path) -> Iterator[subprocess.Popen[str]]:
    """The program as nobody's own."""
    with subprocess.Popen([*AS_NOBODY, work], stdin=-1, stdout=-1, text=True) as program:
        yield program


@pytest.mark.parametrize(
    ("script", "stacks", "shown"),
    [
        (Script("syscall-counts"), "all", r"^getppid +1010$"),
        (
            Script("event_analyzing_sample", (), ("page-faults",)),
            "none",
            r"^There is [1-9]\d* records in gen",
        ),
    ],
)
def test_own_tasks_suffice(
    served: Callable[[str], Daemon], work: Path, script: Script, stacks: str, shown: str
) -> None:
    """A user who may see nothing of others' tasks, nor stacks in the second case."""
    daemon = served(f"{own_rule(NOBODY, stacks=stacks)}\n{ADMINISTRATOR}")
    with own_program(work) as program:
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        with start_client(daemon, script, pid, work.parent) as client:
            with daemon.connect() as host:
                wait_for_session(host, script.path.name, client)
            program.communicate("go\n")
            ended = client.end()
    assert ended.status == 0
    assert re.search(shown, ended.out, re.M)
