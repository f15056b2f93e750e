"""Requests that no client of ours would make, from a seed: the same seed makes the same ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from google.protobuf.message import Message

from ptrace_proto import ptrace_pb2 as pb

_EVENTS = [
    "sched:sched_wakeup", "sched:sched_switch", "syscalls:sys_enter_openat", "sched:*", "task:*",
    "syscalls:sys_enter_read", "raw_syscalls:sys_enter", "irq:softirq_entry", "s?hed:[a-z]*wak*",
    "profile", "page-faults", "cpu-clock", "context-switches", "breakpoint", "cycles", "r01c0",
    "kprobe:vfs_read", "kprobe:vfs_re*", "kretprobe:ksys_read", "kprobe:0xffffffff81000000",
    'uprobe:malloc@"/lib/x86_64-linux-gnu/libc.so.6"', 'usdt:libc:*@"libc.so.6"', "sched",
    "sched:", ":", "*", "no:such", "%sdt_libc:setjmp", "",
]  # fmt: skip
_PATHS = [
    "/proc/self/exe", "/proc/1/root/bin/sh", "/proc/self/fd/3", "/dev/zero", "/dev/stdin",
    "/root/x", "/etc/shadow", "/", "//", "/tmp/../../../../bin/true", "../bin/true", "bin/true",
    "/bin/true/", "libc.so.6", "libc", "sh", "/sys/kernel/tracing/trace_pipe", "/dev/fd/0",
    "/bin/true\x00/x", ".", "/run", "/proc/kmsg", "/" + "a/" * 200, "/" + "b" * 5000, "~",
    "$HOME/x", "`id`", "/bin/\udc80",
]  # fmt: skip
_ATTRIBUTES = [
    "stack", "stack=1", "alias=a", "alias=int", "alias=\x1b[2J", "cpus=0", "cpus=0-99999",
    "cpus=a", "max-stack=5", "max-stack=99999999999999999999", "max-stack=-1", "str=arg1",
    "str=filename:16", "str=filename:99999999", "exclude=user", "freq=1", "freq=0",
    "period=99999999999999999999", "sample=ip,addr", "-g", "nosuch", "stack/stack", "key=value",
    "pages=9", "user", "kernel", "",
]  # fmt: skip
_OPERANDS = [
    "pid", "prio", "comm", "common_pid", "next_comm", "arg1", "ip", "addr", "id", "filename",
    "_pid", "_comm", "0", "1", "-1", "0x7fffffffffffffff", "18446744073709551616", "1e9", "'x'",
    '"init"', '"*in*"', '"\\"); return 0; //"', '"\\x00"', '"' + "é" * 300 + '"', "$1", "__",
    "nosuchfield", 'bpf_trace_printk("x")', "*(u64 *)0", "ctx", "sizeof(int)", "1 ? 2 : 3",
    "pid, 1", "(pid", "pid)",
]  # fmt: skip
_OPERATORS = [
    "==", "!=", "<", ">=", "&", "~", "!~", "&&", "||", "+", "<<", "=", ";", "->", "!", "and",
    "in", "/*", "*/", "//", "%", "^", "? :", ",", "\n", "\x00", " ",
]  # fmt: skip
_C = [
    'pid == 1; } int other(void *ctx) { return 0; ', "1) return 0; if (1",
    "#include </etc/shadow>\n", '__asm__ volatile("int3")', "pid == 1 /* ", "@FILTER@",
    "@ROW_SIZE@", "pid == 1 } #if 0", "\\\npid", "??/\npid",
    'comm ~ "*" ; bpf_override_return(ctx, 1)', "%:include <x>", "L'x' == pid",
]  # fmt: skip
_GLOBS = [
    "*", "sched", "s*", "[", "[!a]*", "*" * 200, "a" * 300, "[a-", "*?" * 40, "\x1b]0;x\x07",
]  # fmt: skip
_CGROUPS = [
    "/", "..", "/../..", "(a+)+$", "[", "system.slice", "(?:", "a" * 3000, "\x00", ".*",
    "a{9999}", "(" * 900, "a{99999999999999999999}", "b" * 9000,
]  # fmt: skip
_CPUS = [
    "0", "0-1", "0-999999", "1,0,1,0", "-", "a", "0x1", "9" * 50, ",", "0-0-0", "٣", "0" * 5000,
]  # fmt: skip
_NOISE = [
    "\x00", "\x1b[31m", "\n", "\r", "\u202e", "\U0001f600", "'", '"', "(", "{", "]", "\\", "/",
    "@", ",", ":", "%s%n",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """A call of a method with these bytes as its request."""

    number: int
    method: str
    request: bytes


def cases(seed: int, count: int, pids: list[int]) -> Iterator[Case]:
    """So many cases of one seed; `pids` are processes that requests may name."""
    chance = random.Random(seed)
    for number in range(count):
        method, request = chance.choice(_KINDS)(chance, pids)
        yield Case(number, method, request)


def _described(chance: random.Random, pids: list[int]) -> tuple[str, bytes]:
    request = pb.DescribeEventsRequest(
        selectors=[_selector(chance) for _ in range(chance.choice([1, 1, 1, 2, 5]))],
        scope=_scope(chance, pids),
        stacks=_stacks(chance),
    )
    return "DescribeEvents", request.SerializeToString()


def _traced(chance: random.Random, pids: list[int]) -> tuple[str, bytes]:
    return "Trace", _trace_request(chance, pids).SerializeToString()


def _mutated(chance: random.Random, pids: list[int]) -> tuple[str, bytes]:
    """A request whose bytes were damaged, or that is one of another method."""
    requests: list[tuple[str, Message]] = [
        ("Trace", _trace_request(chance, pids)),
        ("DescribeEvents", pb.DescribeEventsRequest(selectors=[_selector(chance)])),
        ("ListEvents", pb.ListEventsRequest(globs=[chance.choice(_GLOBS)])),
        ("StopSession", pb.StopSessionRequest(session_id=_text(chance))),
        ("KillSession", pb.KillSessionRequest(session_id=_text(chance))),
    ]
    method, request = chance.choice(requests)
    data = bytearray(request.SerializeToString())
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0 if data:
                data[at % len(data)] ^= 1 << chance.randrange(8)
            case 1:
                del data[at : at + chance.randint(1, 9)]
            case 2:
                data[at:at] = chance.randbytes(chance.randint(1, 9))
            case 3:
                # Lengths and numbers that are larger than anything.
                data[at:at] = b"\xff" * chance.randint(1, 10)
            case 4:
                data += data[at:] * chance.randint(1, 40)
            case 5:
                method = chance.choice(requests)[0]
    return method, bytes(data)


def _random(chance: random.Random, _pids: list[int]) -> tuple[str, bytes]:
    methods = [method.name for method in pb.DESCRIPTOR.services_by_name["Tracing"].methods]
    return chance.choice([*methods, "NoSuch", ""]), chance.randbytes(chance.choice([0, 3, 40, 900]))


def _small(chance: random.Random, _pids: list[int]) -> tuple[str, bytes]:
    method, request = chance.choice(
        [
            (
                "ListEvents",
                pb.ListEventsRequest(globs=chance.choices(_GLOBS, k=chance.randint(1, 4))),
            ),
            ("StopSession", pb.StopSessionRequest(session_id=_text(chance))),
            ("KillSession", pb.KillSessionRequest(session_id=_text(chance))),
            ("ListSessions", pb.ListSessionsRequest()),
            ("WhoAmI", pb.WhoAmIRequest()),
        ]
    )
    return method, request.SerializeToString()


_KINDS: list[Callable[[random.Random, list[int]], tuple[str, bytes]]] = [
    _described, _described, _traced, _traced, _mutated, _mutated, _mutated, _random, _small,
]  # fmt: skip


def _trace_request(chance: random.Random, pids: list[int]) -> pb.TraceRequest:
    request = pb.TraceRequest(
        selectors=[_selector(chance) for _ in range(chance.choice([0, 1, 1, 1, 1, 3, 40]))],
        scope=_scope(chance, pids),
        stacks=_stacks(chance),
        buffer_pages=chance.choice([0, 0, 1, 3, 8, 1 << 20, (1 << 32) - 1]),
        watermark_percent=chance.choice([0, 0, 1, 100, 101, (1 << 32) - 1]),
        wake_every_event=chance.random() < 0.1,
        mark_interval=chance.choice([0, 0, 1, (1 << 64) - 1]),
        self_describing=chance.random() < 0.2,
        print_formats=chance.random() < 0.2,
        label=chance.choice(["", _text(chance), "x" * 300]),
    )
    for _ in range(chance.choice([0, 0, 1, 3])):
        request.projections.add(
            event=chance.choice([*_EVENTS, _text(chance)]),
            fields=chance.choices([*_OPERANDS, _text(chance)], k=chance.randint(0, 5)),
            all_fields=chance.random() < 0.3,
        )
    return request


def _scope(chance: random.Random, pids: list[int]) -> pb.Scope:
    if chance.random() < 0.7:
        return pb.Scope()
    tasks = [*pids, *pids, 0, -1, 1, 2, (1 << 31) - 1, -(1 << 31)]
    return pb.Scope(
        cpus=chance.choice(["", "", "", chance.choice(_CPUS)]),
        pids=chance.choices(tasks, k=chance.choice([0, 0, 0, 1, 2, 300])),
        tids=chance.choices(tasks, k=chance.choice([0, 0, 0, 0, 1, 2])),
        cgroups=chance.choices(_CGROUPS, k=chance.choice([0, 0, 0, 0, 1, 3])),
    )


def _stacks(chance: random.Random) -> pb.Stacks:
    depths = [0, 0, 1, 127, 128, (1 << 32) - 1]
    return pb.Stacks(
        kernel=chance.random() < 0.2,
        user=chance.random() < 0.2,
        max_depth=chance.choice(depths),
        no_kernel=chance.random() < 0.1,
        no_user=chance.random() < 0.1,
    )


def _selector(chance: random.Random) -> str:
    """What could be a selector, and sometimes is."""
    event = chance.choice(_EVENTS)
    if chance.random() < 0.25:
        kind = chance.choice(["uprobe", "uretprobe", "usdt"])
        quote = chance.choice(['"', "'", ""])
        target = chance.choice(["main", "*", "malloc+4", "0x0", "0xffffffffffffffff", "a:b", ""])
        event = f"{kind}:{target}@{quote}{chance.choice(_PATHS)}{quote}"
    parts = [event]
    if chance.random() < 0.6:
        parts.append(f"/{_filter(chance)}/")
        parts += [f"{chance.choice(_ATTRIBUTES)}/" for _ in range(chance.choice([0, 0, 1, 2]))]
    text = "".join(parts)
    for _ in range(chance.choice([0, 0, 0, 1, 2])):
        at = chance.randrange(len(text) + 1)
        text = text[:at] + chance.choice(_NOISE) + text[at + chance.randint(0, 2) :]
    # What no client can send as a string at all is for the damaged ones.
    return text.encode(errors="replace").decode()


def _filter(chance: random.Random) -> str:
    match chance.randrange(12):
        case 0:
            return chance.choice(_C)
        case 1:
            depth = chance.choice([3, 30, 3000])
            return "(" * depth + "pid == 1" + ")" * chance.choice([depth, depth - 1])
        case 2:
            return chance.choice([" && ", " || ", " + "]).join(
                ["pid == 1"] * chance.choice([9, 90, 900])
            )
        case 3:
            return "!" * chance.choice([2, 50, 5000]) + "pid"
        case _:
            words = [chance.choice(_OPERANDS)]
            for _ in range(chance.choice([0, 1, 1, 2, 5])):
                words += [chance.choice(_OPERATORS), chance.choice(_OPERANDS)]
            return " ".join(words)


def _text(chance: random.Random) -> str:
    return "".join(chance.choices([*_NOISE, "a", "0", "f" * 16, "é" * 50], k=chance.randint(0, 12)))
