"""Kprobes on a real kernel: what they deliver is what strace sees of the same program."""

from __future__ import annotations

import errno
import functools
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commandline import open_folder
from leftovers import programs_of, wait_until, wait_until_none
from processes import Daemon
from streams import Total, read_to_end, trace_while
from users import start_daemon

from ptrace_client.errors import ClientError
from ptrace_client.event_decoder import EventDecoder
from ptrace_client.host import Host
from ptrace_proto import ptrace_pb2 as pb

pytestmark = pytest.mark.needs_kernel("kprobes", "BTF", "BPF programs", "BCC", "kernel headers")

KPROBES = Path("/sys/kernel/debug/kprobes/list")
LONG_NAME = "n" * 200
# Reads of all kinds that reach the file system, some of which fail there.
WORKLOAD = f"""
import os
for size in (1, 100, 65536):
    with open("/proc/self/status", "rb", buffering=0) as file:
        while file.read(size):
            pass
        os.pread(file.fileno(), 7, 3)
folder = os.open("/", os.O_RDONLY)
for name in ("/dev/null", "/etc/passwd", "/no/such/file", "/tmp/{LONG_NAME}", "/tmp/ä", ""):
    try:
        os.close(os.open(name, os.O_RDONLY))
    except OSError:
        pass
try:
    os.read(folder, 10)
except IsADirectoryError:
    pass
"""
_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (\S+)(?: (E\w+) .*)?")
_OPEN_ARGUMENTS = re.compile(r'(?:(AT_FDCWD|\d+), )?"(.*)", O_.*')
_AT_FDCWD = -100

# An event of the program: its fields, and "kprobe:vfs_read" or its alias.
Hit = tuple[str, dict[str, Any]]


@dataclass
class Call:
    """A system call as strace prints it; `returned` as the kernel has it, -EISDIR."""

    tid: int
    name: str
    arguments: str
    returned: int


@dataclass
class Both:
    """What strace and we have seen of one program, in order."""

    calls: list[Call]
    hits: list[Hit]

    def of(self, event: str) -> list[dict[str, Any]]:
        """The fields of an event in the program; strace's own are left out."""
        tids = {call.tid for call in self.calls}
        return [fields for name, fields in self.hits if name == event and fields["_tid"] in tids]


def parsed(line: str) -> Call:
    found = _LINE.fullmatch(line)
    assert found, line
    tid, name, arguments, returned, error = found.groups()
    value = -getattr(errno, error) if error else int(returned, 0)
    return Call(int(tid), name, arguments, value)


def hits(schemas: list[pb.EventSchema], total: Total) -> list[Hit]:
    decoders = {schema.id: EventDecoder(schema, 0) for schema in schemas}
    names = {schema.id: f"{schema.system}:{schema.alias or schema.name}" for schema in schemas}
    found = [
        (names[batch.schema_id], event.to_dict())
        for batch in total.batches
        for event in decoders[batch.schema_id].decode(batch)
    ]
    return sorted(found, key=lambda hit: hit[1]["_time"])


def none_lost(total: Total) -> bool:
    return not [loss for loss in total.losses if loss.stage != pb.LOSS_STAGE_SKIPPED]


def strace_and_trace(host: Host, selector: str, folder: Path, *words: str) -> Both:
    """Run the workload below strace, and trace both: a shell waits until we are ready."""
    output = folder / "strace"
    strace = ["strace", "-f", "-qq", "-e", "signal=none", "-o", str(output), *words]
    program = ["--", sys.executable, "-c", WORKLOAD]
    shell = subprocess.Popen(
        ["sh", "-c", 'read go; exec "$@"', "sh", *strace, *program], stdin=subprocess.PIPE
    )
    request = pb.TraceRequest(
        selectors=[selector], scope=pb.Scope(pids=[shell.pid]), buffer_pages=512
    )
    with host.open(request) as stream:
        shell.communicate(b"go\n")
        stream.stop()
        total = read_to_end(stream)
        assert none_lost(total)
        found = hits(list(stream.started.schemas), total)
    return Both([parsed(line) for line in output.read_text().splitlines()], found)


@functools.cache
def symbols() -> list[list[str]]:
    """Address, letter, name and maybe module of the kernel's symbols."""
    return [line.split() for line in Path("/proc/kallsyms").read_text().splitlines()]


@functools.cache
def address_of(name: str) -> int:
    return int(next(line for line in symbols() if line[2] == name)[0], 16)


@functools.cache
def size_of(name: str) -> int:
    start = address_of(name)
    code = (int(line[0], 16) for line in symbols() if line[1] in "tTwW")
    return min(address for address in code if address > start) - start


def probes() -> list[str]:
    """The kprobes of the whole kernel."""
    return KPROBES.read_text().splitlines()


@pytest.fixture(scope="module")
def host(daemon: Daemon) -> Iterator[Host]:
    with daemon.connect() as connected:
        yield connected


@pytest.fixture(scope="module")
def reads(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Both:
    selectors = (
        "kprobe:vfs_read,kretprobe:vfs_read,kprobe:vfs_read/count == 7/alias=seven/,"
        f"kprobe:{address_of('vfs_read'):#x}//alias=by_address/"
    )
    words = ("-e", "trace=read,pread64", "-e", "raw=read,pread64")
    return strace_and_trace(host, selectors, tmp_path_factory.mktemp("reads"), *words)


@pytest.fixture(scope="module")
def opens(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Both:
    selectors = (
        "kprobe:do_sys_openat2//str=filename/,kretprobe:do_sys_openat2,"
        "kprobe:do_sys_openat2//str=arg2:64/alias=cut/"
    )
    words = ("-e", "trace=open,openat,creat", "-s", "4096")
    return strace_and_trace(host, selectors, tmp_path_factory.mktemp("opens"), *words)


def test_arguments_are_those_that_strace_shows(reads: Both) -> None:
    expected = [
        tuple(int(argument, 16) for argument in call.arguments.split(", ")[1:3])
        for call in reads.calls
    ]

    found = [(event["buf"], event["count"]) for event in reads.of("kprobe:vfs_read")]

    assert found == expected
    assert len(expected) > 50


def test_returned_values_are_those_that_strace_shows(reads: Both) -> None:
    expected = [call.returned for call in reads.calls]

    assert [event["ret"] for event in reads.of("kretprobe:vfs_read")] == expected
    assert -errno.EISDIR in expected
    assert max(expected) > 1000


def test_a_kprobe_is_where_the_function_is(reads: Both) -> None:
    assert {event["ip"] for event in reads.of("kprobe:vfs_read")} == {address_of("vfs_read")}


def test_a_kretprobe_has_the_function_and_where_it_returns_to(reads: Both) -> None:
    returns = reads.of("kretprobe:vfs_read")
    callers = ("ksys_read", "__x64_sys_pread64")

    assert {event["func"] for event in returns} == {address_of("vfs_read")}
    for event in returns:
        assert any(0 < event["ip"] - address_of(name) < size_of(name) for name in callers)


def test_a_filter_reads_arguments(reads: Both) -> None:
    expected = [call for call in reads.calls if call.arguments.split(", ")[2] == "0x7"]

    assert len(reads.of("kprobe:seven")) == len(expected) > 0


def test_an_address_is_as_good_as_the_name(reads: Both) -> None:
    def essence(event: str) -> list[tuple[int, int]]:
        return [(fields["file"], fields["count"]) for fields in reads.of(event)]

    assert essence("kprobe:by_address") == essence("kprobe:vfs_read") != []


def test_names_and_types_of_arguments_are_the_kernels(host: Host) -> None:
    schemas = host.describe(
        ["kprobe:vfs_read,kretprobe:vfs_read,kprobe:do_sys_openat2//str=filename/"]
    )

    assert [[(info.type, info.name) for info in schema.all_fields] for schema in schemas] == [
        [
            ("unsigned long", "ip"),
            ("struct file *", "file"),
            ("char *", "buf"),
            ("size_t", "count"),
            ("loff_t *", "pos"),
        ],
        [("unsigned long", "ip"), ("unsigned long", "func"), ("ssize_t", "ret")],
        [
            ("unsigned long", "ip"),
            ("int", "dfd"),
            ("const char *", "filename"),
            ("struct open_how *", "how"),
        ],
    ]


def opened(call: Call) -> tuple[int, str]:
    """Folder and name of a file that strace saw opened."""
    found = _OPEN_ARGUMENTS.fullmatch(call.arguments)
    assert found, call
    folder = _AT_FDCWD if found[1] in (None, "AT_FDCWD") else int(found[1])
    # Bytes outside of ASCII are octal there.
    return folder, found[2].encode().decode("unicode_escape").encode("latin-1").decode()


def test_a_text_argument_is_what_strace_shows(opens: Both) -> None:
    expected = [opened(call) for call in opens.calls]

    found = [(event["dfd"], event["filename"]) for event in opens.of("kprobe:do_sys_openat2")]

    assert found == expected
    assert {f"/tmp/{LONG_NAME}", "/tmp/ä", ""} < {name for _, name in expected}


def test_a_text_that_is_cut_says_so(opens: Both) -> None:
    names = [opened(call)[1].encode() for call in opens.calls]
    expected = [name if len(name) < 64 else name[:60] + b"..." for name in names]

    found = [event["filename"].encode() for event in opens.of("kprobe:cut")]

    assert found == expected
    assert f"/tmp/{LONG_NAME}"[:60].encode() + b"..." in found


def test_a_returned_descriptor_or_error_is_what_strace_shows(opens: Both) -> None:
    expected = [call.returned for call in opens.calls]

    assert [event["ret"] for event in opens.of("kretprobe:do_sys_openat2")] == expected
    assert -errno.ENOENT in expected


def test_inside_of_a_function_there_is_the_place_only(host: Host) -> None:
    # Behind the call with which ftrace can find every function.
    request = pb.TraceRequest(selectors=["kprobe:vfs_read+5"], scope=pb.Scope(pids=[os.getpid()]))

    total = trace_while(host, request, lambda: Path("/proc/self/stat").read_text())

    found = hits(total.schemas, total)
    assert {name for name, _ in found} == {"kprobe:vfs_read+0x5"}
    assert {fields["ip"] for _, fields in found} == {address_of("vfs_read") + 5}
    assert [info.name for info in total.schemas[0].all_fields] == ["ip"]


def test_a_function_of_a_module(host: Host) -> None:
    # The machine's files come through this module.
    assert ["p9_client_read", "[9pnet]"] in [line[2:] for line in symbols()]

    (schema,) = host.describe(["kprobe:p9_client_read"])

    assert [(info.type, info.name) for info in schema.all_fields[:3]] == [
        ("unsigned long", "ip"),
        ("struct p9_fid *", "fid"),
        ("u64", "offset"),
    ]


def test_a_wildcard_of_more_than_70_functions_and_nothing_left_of_it(daemon: Daemon) -> None:
    before = probes()
    request = pb.TraceRequest(selectors=["kprobe:vfs_*"], scope=pb.Scope(pids=[os.getpid()]))

    def work() -> None:
        assert len(probes()) - len(before) == len(total_schemas)
        Path("/proc/self/stat").read_text()
        os.stat("/")

    with daemon.connect() as host, host.open(request) as stream:
        total_schemas = list(stream.started.schemas)
        work()
        stream.stop()
        total = read_to_end(stream)

    assert none_lost(total)
    assert len(total_schemas) > 70
    seen = Counter(name for name, _ in hits(total_schemas, total))
    assert seen["kprobe:vfs_read"] > 0
    assert seen["kprobe:vfs_open"] > 0
    assert seen["kprobe:vfs_statx"] + seen["kprobe:vfs_getattr"] > 0
    wait_until(lambda: probes() == before, "the kprobes are gone")
    wait_until_none(lambda: programs_of(daemon), "programs")


def test_a_daemon_without_root_that_is_killed_leaves_no_kprobe() -> None:
    before = probes()
    request = pb.TraceRequest(
        selectors=["kprobe:vfs_read,kretprobe:vfs_read,kprobe:vfs_read+5"],
        scope=pb.Scope(pids=[os.getpid()]),
    )
    with open_folder() as folder:
        daemon = start_daemon(folder)
        with daemon.connect() as host:
            # It does not see addresses: the kernel alone knows where functions end.
            with pytest.raises(ClientError, match="the kernel refuses 'vfs_read\\+0x3'"):
                host.open(pb.TraceRequest(selectors=["kprobe:vfs_read+3"]))

            total = trace_while(host, request, lambda: Path("/proc/self/stat").read_text())
            host.open(request)
            left = len(probes())
            daemon.stop(signal.SIGKILL)

    assert {name for name, _ in hits(total.schemas, total)} == {
        "kprobe:vfs_read",
        "kretprobe:vfs_read",
        "kprobe:vfs_read+0x5",
    }
    assert left >= len(before) + 3
    wait_until(lambda: probes() == before, "the kprobes are gone")


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        (
            "kprobe:vfs_raed",
            "error: the kernel has no function 'vfs_raed' (did you mean 'vfs_read', 'vfs_readv' "
            "or 'vfs_write'?)\n  kprobe:vfs_raed\n         ^~~~~~~~",
        ),
        (
            "kprobe:jiffies",
            "error: 'jiffies' is data, no function\n  kprobe:jiffies\n         ^~~~~~~",
        ),
        (
            "kprobe:notify_die",
            "error: 'notify_die' is on the kernel's blacklist of functions that kprobes rely on\n"
            "  kprobe:notify_die\n         ^~~~~~~~~~",
        ),
        (
            "kretprobe:sched_clock",
            "error: the kernel refuses 'sched_clock': it is marked notrace\n"
            "  kretprobe:sched_clock\n            ^~~~~~~~~~~",
        ),
        (
            "kprobe:vfs_read+3",
            "error: the kernel refuses 'vfs_read+0x3': no instruction starts there, as objdump -d "
            "of its image shows (EILSEQ)\n  kprobe:vfs_read+3\n         ^~~~~~~~~~",
        ),
        (
            "kprobe:zz*",
            "error: no function that can be probed matches 'zz*'\n  kprobe:zz*\n         ^~~",
        ),
    ],
)
def test_what_cannot_be_probed(host: Host, selector: str, message: str) -> None:
    with pytest.raises(ClientError) as caught:
        host.open(pb.TraceRequest(selectors=[selector]))

    assert str(caught.value) == message


def test_an_offset_beyond_the_function(host: Host) -> None:
    with pytest.raises(ClientError) as caught:
        host.open(pb.TraceRequest(selectors=["kprobe:vfs_read+0x5000"]))

    assert str(caught.value) == (
        f"error: 'vfs_read' has {size_of('vfs_read'):#x} bytes at most: 0x5000 is beyond its end\n"
        "  kprobe:vfs_read+0x5000\n                 ^~~~~~~"
    )


def test_functions_of_one_name(host: Host) -> None:
    places = sorted(line[0] for line in symbols() if line[2] == "t_next")
    listed = ", ".join(f"'kprobe:0x{place}'" for place in places[:3])

    with pytest.raises(ClientError) as caught:
        host.open(pb.TraceRequest(selectors=["kprobe:t_next"]))

    assert str(caught.value) == (
        f"error: {len(places)} functions are called 't_next': say which by its address, {listed} "
        f"or {len(places) - 3} more\n  kprobe:t_next\n         ^~~~~~"
    )


def test_a_wildcard_for_more_than_the_server_allows(host: Host) -> None:
    with pytest.raises(ClientError) as caught:
        host.open(pb.TraceRequest(selectors=["kprobe:*"]))

    said = re.sub(r"\d+", "N", str(caught.value))
    assert said == ("error: N functions match '*', at most N can be probed\n  kprobe:*\n         ^")
