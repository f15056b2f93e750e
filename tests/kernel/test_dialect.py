"""perf-prof's scripts on live events: counting, latency, aliases, losses, printing, batches."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import Ended, run_script, wait_for_session
from processes import Calls, Daemon
from streams import GETPPID

EXIT = "syscalls:sys_exit_getppid"
Trace = Callable[..., Ended]


@pytest.fixture
def trace(daemon: Daemon, tmp_path: Path) -> Trace:
    """Runs a script's text over all the calls that a program makes."""

    def run(program: Calls, text: str, *options: str) -> Ended:
        script = tmp_path / "script.py"
        script.write_text(text)
        options = ("-q", "-p", str(program.pid), *options)
        with run_script(daemon, script, *options) as running, daemon.connect() as host:
            wait_for_session(host, "script.py", running)
            program.make()
            program.end()
            return running.end()

    return run


def test_events_are_counted_by_interval(
    daemon: Daemon, tmp_path: Path, calls: Callable[..., Calls]
) -> None:
    script = tmp_path / "counter.py"
    script.write_text(
        "seen = 0\n"
        "def __sample__(event):\n"
        "    global seen\n"
        "    seen += 1\n"
        "def __interval__():\n"
        "    global seen\n"
        "    print(seen)\n"
        "    seen = 0\n"
    )
    program = calls(20_000)
    options = ("-q", "-e", GETPPID, "-p", str(program.pid), "-i", "20")
    with run_script(daemon, script, *options) as running:
        # Ticks come without events too.
        assert running.line() == "0"
        program.make()
        counted = 0
        while counted < 20_000:
            counted += int(running.line())
        program.end()
        ended = running.end()
    assert counted == 20_000
    assert (ended.status, ended.err, set(ended.out.split())) in [
        (0, "", {"0"}),
        (0, "", set()),
    ]


def test_the_time_from_wake_up_to_run(
    daemon: Daemon, tmp_path: Path, calls: Callable[..., Calls]
) -> None:
    # GIVEN a program that sleeps until it reads a line
    program = calls(1)
    script = tmp_path / "latency.py"
    script.write_text(
        "since = {}\n"
        "def sched__sched_wakeup(event):\n"
        "    since[event.pid] = event._time\n"
        "def sched__sched_switch(event):\n"
        "    woken = since.pop(event.next_pid, None)\n"
        "    if woken is not None:\n"
        "        print(event.next_comm, event.next_pid, event._time - woken)\n"
    )
    selectors = (
        f"sched:sched_wakeup/pid=={program.pid}/,sched:sched_switch/next_pid=={program.pid}/"
    )
    with run_script(daemon, script, "-q", "-e", selectors) as running, daemon.connect() as host:
        wait_for_session(host, "latency.py", running)
        # WHEN it is woken
        program.make()
        comm, pid, waited = running.line().split()
        running.signal(signal.SIGTERM)
        ended = running.end()
    assert (comm, pid) == ("calls", str(program.pid))
    assert int(waited) > 0
    assert (ended.status, ended.err) == (0, "")


def test_events_without_a_handler_go_to_sample_in_the_order_of_time(
    trace: Trace, calls: Callable[..., Calls]
) -> None:
    ended = trace(
        calls(2),
        "def syscalls__sys_enter_getppid(event):\n"
        "    print('handler', event._event)\n"
        "def __sample__(event):\n"
        "    print('sample', event._event)\n",
        *("-e", f"{GETPPID},{EXIT}"),
    )
    assert ended == Ended(0, f"handler {GETPPID}\nsample {EXIT}\n" * 2, "")


def test_an_event_with_two_aliases_goes_to_both_handlers(
    trace: Trace, calls: Callable[..., Calls]
) -> None:
    ended = trace(
        calls(3),
        "names = []\n"
        "def syscalls__first(event):\n"
        "    names.append(event._event)\n"
        "def second(event):\n"
        "    names.append(event._event)\n"
        "def __exit__():\n"
        "    print(*sorted(names))\n",
        *("-e", f"{GETPPID}//alias=first/,{GETPPID}//alias=second/"),
    )
    names = ["syscalls:first"] * 3 + ["syscalls:second"] * 3
    assert ended == Ended(0, " ".join(names) + "\n", "")


@pytest.mark.parametrize("order", [(), ("--order",)], ids=["as-it-comes", "order"])
def test_exit_n_counts_over_all_events(
    trace: Trace, calls: Callable[..., Calls], order: tuple[str, ...]
) -> None:
    ended = trace(
        calls(1000),
        "def __sample__(event):\n    print(event._event)\ndef __exit__():\n    print('over')\n",
        *("-e", f"{GETPPID},{EXIT}", "-N", "7", *order),
    )
    assert ended == Ended(0, f"{GETPPID}\n{EXIT}\n" * 3 + f"{GETPPID}\nover\n", "")


def test_an_exception_in_a_handler_is_shown_counted_and_told_by_the_status(
    trace: Trace, calls: Callable[..., Calls], tmp_path: Path
) -> None:
    ended = trace(
        calls(4),
        "seen = 0\n"
        "def syscalls__sys_enter_getppid(event):\n"
        "    global seen\n"
        "    seen += 1\n"
        "    if seen == 2:\n"
        "        raise ValueError('second')\n"
        "    print(seen)\n",
        *("-e", GETPPID),
    )
    assert ended == Ended(
        1,
        "1\n3\n4\n",
        "Traceback (most recent call last):\n"
        f'  File "{tmp_path}/script.py", line 6, in syscalls__sys_enter_getppid\n'
        "    raise ValueError('second')\n"
        "ValueError: second\n"
        "1 exception in handlers\n",
    )


def test_sys_exit_in_a_handler_ends_the_run_without_exit(
    trace: Trace, calls: Callable[..., Calls]
) -> None:
    ended = trace(
        calls(4),
        "import sys\n"
        "def __sample__(event):\n"
        "    sys.exit(7)\n"
        "def __exit__():\n"
        "    print('not called')\n",
        *("-e", GETPPID),
    )
    assert ended == Ended(7, "", "")


@pytest.mark.parametrize("order", [(), ("--order",)], ids=["as-it-comes", "order"])
def test_lost_is_called_with_the_times_that_order_gives(
    daemon: Daemon, tmp_path: Path, calls: Callable[..., Calls], order: tuple[str, ...]
) -> None:
    # GIVEN a buffer of one page and a daemon that is stopped
    script = tmp_path / "lossy.py"
    script.write_text(
        "seen = 0\n"
        "def __sample__(event):\n"
        "    global seen\n"
        "    seen += 1\n"
        "def __lost__(lost_start, lost_end):\n"
        "    print('lost', lost_start, lost_end)\n"
        "def __exit__():\n"
        "    print('seen', seen)\n"
    )
    program = calls(100_000)
    options = ("-e", GETPPID, "-p", str(program.pid), "-m", "1", *order)
    with run_script(daemon, script, *options) as running, daemon.connect() as host:
        wait_for_session(host, "lossy.py", running)
        os.kill(daemon.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, daemon.pid, os.WSTOPPED)
        try:
            # WHEN more happens than fits
            program.make()
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        program.end()
        ended = running.end()

    # THEN the script and the user are told, to the event
    assert ended.status == 0
    loaded, *gaps, last = ended.out.splitlines()
    assert loaded == f"Loaded module: {script}"
    assert gaps
    for gap in gaps:
        word, start, end = gap.split()
        assert word == "lost"
        assert (0 < int(start) < int(end)) if order else (start, end) == ("0", "0")
    reports = [
        re.fullmatch(r"ptrace-client: lost (\d+) events? \((\d+) in all\)", line)
        for line in ended.err.splitlines()
    ]
    counts = [(int(report[1]), int(report[2])) for report in reports if report]
    assert len(counts) == len(reports) > 0
    assert counts[-1][1] == sum(count for count, _ in counts) > 90_000
    assert int(last.removeprefix("seen ")) + counts[-1][1] == 100_000


def test_print_writes_perf_profs_line(
    daemon: Daemon, tmp_path: Path, calls: Callable[..., Calls]
) -> None:
    program = calls(1)
    script = tmp_path / "printing.py"
    script.write_text(
        "def sched__mine(event):\n"
        "    event.print()\n"
        "    event.print(timestamp=False)\n"
        "    seconds, rest = divmod(event._time, 1_000_000_000)\n"
        "    print(event.prev_comm, event._tid, event._cpu, seconds, rest // 1000, sep='|')\n"
    )
    selector = f"sched:sched_switch/next_pid=={program.pid}/alias=mine/"
    options = ("-q", "-e", selector, "-N", "1")
    with run_script(daemon, script, *options) as running, daemon.connect() as host:
        wait_for_session(host, "printing.py", running)
        program.make()
        ended = running.end()

    assert (ended.status, ended.err) == (0, "")
    dated, plain, values = ended.out.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} ", dated.removesuffix(plain))
    comm, tid, cpu, seconds, micros = values.split("|")
    head, latency, tail = plain[:24], plain[24:28], plain[28:]
    assert head == f"{comm:>16} {tid:>6} "
    assert re.fullmatch(r"[.dDb][.NnpLlBb][.HhsZz][.0-9a-f]", latency)
    assert re.fullmatch(
        rf" \[{int(cpu):03}\] {seconds}\.{int(micros):06}: sched:sched_switch: "
        rf"prev_comm={re.escape(comm)} prev_pid={tid} prev_prio=\d+ prev_state=\S+ ==> "
        rf"next_comm=calls next_pid={program.pid} next_prio=\d+",
        tail,
    )


def test_a_batch_handler_gets_arrays(trace: Trace, calls: Callable[..., Calls]) -> None:
    ended = trace(
        calls(50_000),
        "import numpy\n"
        "total, last = 0, 0\n"
        "def syscalls__sys_enter_getppid__batch(batch):\n"
        "    global total, last\n"
        "    assert batch.lost == 0 and batch.cpu == 0\n"
        "    times = batch['_time'].astype(int)\n"
        "    assert last < times[0] and (numpy.diff(times) > 0).all()\n"
        "    assert batch.start == batch['_time'][0] and batch.end == batch['_time'][-1]\n"
        "    assert (batch['_comm'] == b'calls').all() and (batch['__syscall_nr'] == 110).all()\n"
        "    total, last = total + len(batch), batch['_time'][-1]\n"
        "def __exit__():\n"
        "    print(total)\n",
        *("-e", GETPPID),
    )
    assert ended == Ended(0, "50000\n", "")
