"""Each ready analysis on real events of a workload whose result is known, run by nobody."""

from __future__ import annotations

import errno
import mmap
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from commandline import PTRACE_CLIENT, Run, open_folder, wait_for_session
from leftovers import wait_until
from processes import Calls, Daemon, running
from users import SMALLER_BUFFER, start_daemon

from unprivileged import as_user

HERE = Path(__file__).parent
ROUNDS = 100
Work = Callable[[], object]
Analyse = Callable[..., list[str]]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon without root, which starts as fast as another one."""
    with open_folder() as folder:
        running = start_daemon(folder)
        yield running
        assert running.stop() == 0


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that does a known number of everything."""
    binary = tmp_path_factory.mktemp("analysed") / "analysed"
    options = ("-O0", "-fno-omit-frame-pointer", "-pthread")
    subprocess.run(["gcc", *options, "-o", binary, HERE / "analysed.c"], check=True)
    binary.parent.chmod(0o755)
    return binary


@pytest.fixture
def analyse(daemon: Daemon) -> Analyse:
    """Runs @NAME as nobody until some work is done, and returns what it printed."""

    def run(name: str, work: Work, *words: str) -> list[str]:
        command = [PTRACE_CLIENT, "run", "--socket", daemon.socket, "-q", f"@{name}", *words]
        with Run(as_user(command), Path("/")) as client, daemon.connect() as host:
            session = wait_for_session(host, f"{name}.py", client)
            work()
            host.stop(session)
            ended = client.end()
        assert (ended.status, SMALLER_BUFFER.sub("", ended.err)) == (0, ""), ended
        return ended.out.splitlines()

    return run


def table(lines: list[str], *head: str) -> list[list[str]]:
    """The rows of the table below this head, to the end of the output, as words."""
    rows = [line.split() for line in lines]
    return rows[rows.index(list(head)) + 1 :]


def busy(milliseconds: int, cpu: int) -> subprocess.Popen[bytes]:
    """A process that wants a CPU for so much time of its own."""
    text = (
        f"import os, time; os.sched_setaffinity(0, [{cpu}])\n"
        f"while time.process_time() < {milliseconds / 1000}: pass"
    )
    return subprocess.Popen([sys.executable, "-S", "-c", text])


def test_wakeup_latency(analyse: Analyse, calls: Callable[..., Calls]) -> None:
    # GIVEN a program that sleeps until it reads a line
    program = calls(1)

    def wake() -> None:
        program.make()
        program.end()

    events = (
        f"sched:sched_wakeup*/pid=={program.pid}/",
        f"sched:sched_switch/next_pid=={program.pid}||prev_pid=={program.pid}/",
    )
    second, *histogram = analyse("wakeup-latency", wake, "-e", events[0], "-e", events[1])

    # THEN it was woken for the line, and where it went to sleep again for the end of its input
    match = re.fullmatch(
        r" *(\d+) wake-ups   p50 +\d+\.\d   p99 +\d+\.\d   max +\d+\.\d us   calls", second
    )
    assert match is not None
    for line in histogram:
        assert re.fullmatch(r" +\d+ us +\d+ \|#*", line)
    assert sum(int(line.split()[2]) for line in histogram) == int(match[1]) >= 1


def test_run_queue(analyse: Analyse) -> None:
    def compete() -> None:
        for process in [busy(150, 0) for _ in range(4)]:
            assert process.wait() == 0

    lines = analyse("run-queue", compete)

    rows = table(lines, "WAITING", "CPU-MS", "PERCENT")
    spent = {length: float(milliseconds) for length, milliseconds, _ in rows}
    # While all four run there is always one that runs and three that wait: for 4 * 150 ms, but
    # for what they differ by at start and end.
    assert sum(time for length, time in spent.items() if length not in ("0", "1")) > 300
    assert sum(float(percent) for _, _, percent in rows) == pytest.approx(100, abs=0.5)
    assert any(
        re.match(r"CPU   0   waiting: average +\d+\.\d\d   most +\d+", line) for line in lines
    )


def test_ctrl_c_ends_an_analysis_with_its_summary(daemon: Daemon) -> None:
    command = [PTRACE_CLIENT, "run", "--socket", daemon.socket, "-q", "@run-queue", "-i", "50"]
    with Run(as_user(command), Path("/")) as client:
        assert client.line().startswith("CPU ")
        client.signal(signal.SIGINT)
        ended = client.end()
    assert ended.status == 0
    assert "\nWAITING " in ended.out


def test_syscalls(analyse: Analyse, calls: Callable[..., Calls]) -> None:
    program = calls(1_000, 1)

    def make() -> None:
        program.make()
        program.end()

    lines = analyse("syscalls", make, "-p", str(program.pid), "--rows", "100")

    made = re.fullmatch(r"(\d+) system calls, 0 events lost", lines[0])
    assert made is not None
    head = ("CALL", "COUNT", "FAILED", "TOTAL-MS", "AVERAGE-US", "P99-US", "MAX-US")
    rows = table(lines, *head)
    counts = {row[0]: int(row[1]) for row in rows}
    assert counts["getppid"] == 1_000
    # Other than exit_group, which does not return.
    assert set(counts) >= {"getppid", "read", "write"}
    assert "exit_group" not in counts
    assert sum(counts.values()) == int(made[1])
    for _, count, _, total, average, _, most in rows:
        assert float(average) * int(count) / 1000 == pytest.approx(float(total), rel=0.6, abs=0.1)
        assert float(average) <= float(most)


def test_opens(analyse: Analyse, tmp_path: Path) -> None:
    there, missing, long = tmp_path / "there", tmp_path / "missing", f"/{'x' * 300}"
    there.touch()
    text = (
        f"for name in {[str(there), str(missing), long]}:\n try: open(name)\n except OSError: pass"
    )

    def open_them() -> None:
        opener[:] = [subprocess.Popen([sys.executable, "-S", "-c", text])]
        assert opener[0].wait() == 0

    opener: list[subprocess.Popen[bytes]] = []
    lines = analyse("opens", open_them)

    assert lines[0].split() == ["TIME", "PID", "COMM", "RESULT", "FILE"]
    own = [line.split()[2:] for line in lines if line.split()[1] == str(opener[0].pid)]
    comm = {words[0] for words in own}
    results = {file: result for _, result, file in own}
    assert len(comm) == 1
    assert results[str(there)].isdecimal()
    assert results[str(missing)] == "ENOENT"
    # 256 bytes with the closing NUL.
    assert results[f"/{'x' * 251}..."] == "ENAMETOOLONG"


def test_opens_that_failed(analyse: Analyse, tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    text = f"open({str(tmp_path / 'there')!r}); open({str(tmp_path / 'missing')!r})"
    command = [sys.executable, "-S", "-c", text]
    lines = analyse("opens", lambda: subprocess.run(command, capture_output=True), "--failed")
    assert any(line.endswith(f"ENOENT   {tmp_path}/missing") for line in lines)
    assert not any(line.endswith(f"{tmp_path}/there") for line in lines)


def test_exec_snoop(analyse: Analyse) -> None:
    pids: list[int] = []

    def start() -> None:
        process = subprocess.Popen(["/bin/true"])
        pids.append(process.pid)
        process.wait()

    lines = analyse("exec-snoop", start)

    assert lines[0].split() == ["TIME", "PID", "PARENT", "WHAT", "MS", "FILE"]
    begun, ended = (line.split()[1:] for line in lines if line.split()[1] == str(pids[0]))
    assert begun == [str(pids[0]), str(os.getpid()), "start", "/bin/true"]
    assert (ended[:3], ended[4]) == ([str(pids[0]), str(os.getpid()), "end"], "/bin/true")
    assert 0 < float(ended[3]) < 60_000


def test_tcp(analyse: Analyse) -> None:
    ends: list[tuple[str, int]] = []

    def connect() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            ends.append(server.getsockname())
            with socket.create_connection(ends[0]) as client:
                ends.append(client.getsockname())
                peer, _ = server.accept()
                peer.close()
        with socket.socket() as refused, pytest.raises(ConnectionRefusedError):
            refused.connect(ends[0])

    lines = analyse("tcp", connect)

    server, client = (f"{host}:{port}" for host, port in ends)
    process = f"{Path('/proc/self/comm').read_text().strip()}({os.getpid()})"
    shown = [line.split()[1:] for line in lines if server in line]
    without_times = [[word for word in words if not _NUMBER.fullmatch(word)] for words in shown]
    assert sorted(without_times[:2], key=len) == [
        ["accepted", server, client],
        ["connected", client, server, process],
    ]
    assert sorted(without_times[2:4], key=len) == [
        ["closed", server, client],
        ["closed", client, server, process],
    ]
    ((what, _, remote, who),) = without_times[4:]
    assert (what, remote, who) == ("failed", server, process)
    (row,) = (row for row in table(lines, *TCP_HEAD) if row[0] == "127.0.0.1")
    assert int(row[1]) >= 2
    assert int(row[2]) >= 1


def test_tcp_that_has_to_send_again(analyse: Analyse) -> None:
    def connect_in_vain() -> None:
        # GIVEN a server whose queue is full: it drops what else wants to connect
        with socket.create_server(("127.0.0.1", 0), backlog=0) as server, ExitStack() as stack:
            clients = [stack.enter_context(socket.socket()) for _ in range(4)]
            for client in clients:
                client.setblocking(False)
                assert client.connect_ex(server.getsockname()) == errno.EINPROGRESS
            # The first time after a second: RFC 6298.
            wait_until(lambda: resent(clients[-1]) > 0, "it was sent again")

    lines = analyse("tcp", connect_in_vain)

    assert any(re.match(r"\S+ resent +127\.0\.0\.1:\d+ +127\.0\.0\.1:\d+", line) for line in lines)
    (row,) = (row for row in table(lines, *TCP_HEAD) if row[0] == "127.0.0.1")
    assert int(row[3]) >= 1


TCP_HEAD = ("HOST", "CONNECTIONS", "FAILED", "RESENT")
_NUMBER = re.compile(r"\d+\.\d")


def resent(client: socket.socket) -> int:
    """How many segments a connection sent again: tcpi_total_retrans of struct tcp_info."""
    (total,) = struct.unpack_from(
        "I", client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100
    )
    return int(total)


def test_block_io(analyse: Analyse, tmp_path: Path) -> None:
    device = Path(
        f"/sys/dev/block/{os.major(tmp_path.stat().st_dev)}:{os.minor(tmp_path.stat().st_dev)}"
    )
    if not (device / "mq").is_dir():
        pytest.skip(f"{tmp_path} is on no disk")

    def write() -> None:
        page = mmap.mmap(-1, 65536)
        descriptor = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT | os.O_DIRECT | os.O_DSYNC)
        for _ in range(20):
            os.write(descriptor, page)
        os.close(descriptor)

    lines = analyse("block-io", write)

    line = re.compile(rf"{device.resolve().name} +write +(\d+) requests +(\d+) KiB   p50 .* us")
    writes = [match for match in map(line.fullmatch, lines) if match]
    assert sum(int(match[1]) for match in writes) >= 20
    assert sum(int(match[2]) for match in writes) >= 20 * 64
    histogram = lines[lines.index("write:") + 1 :]
    counted = sum(int(row.split()[2]) for row in histogram)
    assert counted == sum(int(match[1]) for match in writes)


def test_futex(analyse: Analyse, analysed: Path) -> None:
    with running(analysed, ROUNDS) as program:
        lines = analyse("futex", program.make, "-p", str(program.pid))
    head = ["PID", "COMM", "ADDRESS", "WAITS", "TOTAL-MS", "AVERAGE-US", "MAX-US", "FUNCTION"]
    (row,) = (row for row in table(lines, *head) if row[-1] == "futex")
    assert row[:2] == [str(program.pid), "analysed"]
    assert int(row[3]) == ROUNDS
    # 2 ms each; a machine that is busy may take longer.
    assert float(row[4]) > ROUNDS
    assert float(row[5]) == pytest.approx(1000 * float(row[4]) / ROUNDS, rel=0.01)


def amount(lines: list[str], *names: str) -> int:
    """The sum of those folded stacks that have all these names, one below the other."""
    total = 0
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = iter(stack.split(";"))
        if all(name in frames for name in names):
            total += int(count)
    return total


def test_off_cpu(analyse: Analyse, analysed: Path) -> None:
    with running(analysed, ROUNDS) as program:
        lines = analyse("off-cpu", program.make, "--blocked", "--comm", "analysed")
    assert all(line.startswith("analysed;") for line in lines)
    waited = amount(lines, "analysed", "main", "work", "wait_for_lock", "futex")
    assert ROUNDS * 1000 < waited <= amount(lines, "analysed", "main")


def test_profile(analyse: Analyse, analysed: Path) -> None:
    with running(analysed, ROUNDS) as program:
        words = ("-p", str(program.pid), "-e", "profile/-F 999 -g/")
        lines = analyse("profile", program.make, *words)
    spinning = amount(lines, "analysed", "main", "work", "spin_hard")
    assert spinning > 50
    assert spinning > 0.7 * amount(lines, "analysed")


def test_profile_as_a_flame_graph(analyse: Analyse, analysed: Path) -> None:
    with running(analysed, ROUNDS) as program:
        words = ("-p", str(program.pid), "--flame", "--width", "60", "-e", "profile/-F 999 -g/")
        lines = analyse("profile", program.make, *words)
    assert all(len(line) <= 60 for line in lines)
    assert re.match(r"\|analysed 100%-+\|$", lines[0])
    deepest = max(index for index, line in enumerate(lines) if line.startswith("|spin_hard "))
    assert any(line.startswith("|work ") for line in lines[:deepest])


def test_page_faults(analyse: Analyse, analysed: Path) -> None:
    with running(analysed, ROUNDS) as program:
        lines = analyse("page-faults", program.make, "-p", str(program.pid))
    assert re.fullmatch(r"\d+ page faults, on \d+ pages", lines[0])
    rows = table(lines, "FAULTS", "PAGES", "COMM", "FUNCTION", "CALLER", "FILE")
    (row,) = (row for row in rows if row[3] == "touch_page")
    assert row == [str(ROUNDS), str(ROUNDS), "analysed", "touch_page", "work", "analysed"]


@pytest.mark.needs_kernel("uprobes")
def test_malloc(analyse: Analyse, analysed: Path) -> None:
    with running(analysed, ROUNDS) as program:
        lines = analyse("malloc", program.make, "-p", str(program.pid))
    place = [line.split() for line in lines].index(["PID", "COMM", "CALLS", "KIB", "AVERAGE-B"])
    pid, comm, calls, kib, _ = lines[place + 1].split()
    assert (pid, comm) == (str(program.pid), "analysed")
    assert int(calls) >= ROUNDS
    assert float(kib) >= ROUNDS * 1000 / 1024
    assert sum(int(line.split()[0]) for line in lines[:place]) == int(calls)
    (sizes,) = (line.split() for line in lines[place:] if line.startswith("     512 B "))
    assert int(sizes[2]) >= ROUNDS
