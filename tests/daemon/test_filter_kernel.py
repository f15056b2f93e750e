"""Filters in the real kernel: that programs load, and which events they let through."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from ptraced import bpf_maps, perf_event
from ptraced.bpf_maps import Map
from ptraced.bpf_object import BpfObject
from ptraced.compiler import Compiler
from ptraced.filter_c import emit
from ptraced.headers import find_headers
from ptraced.scope import online_cpus
from ptraced.selector import SelectedEvent, resolve
from ptraced.tracefs import Tracefs

pytestmark = pytest.mark.needs_kernel("tracefs", "BPF programs", "BCC", "kernel headers")

BPF = Path(__file__).parents[2] / "bpf"
GETPPID = {"x86_64": 110, "aarch64": 173}[platform.machine()]
MAPS = """
BPF_F_TABLE("array", u32, u64, hits, {count}, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, u64, traced, 1, BPF_F_MMAPABLE);

static __always_inline bool is_traced(void)
{{
	u32 zero = 0;
	u64 *process = traced.lookup(&zero);

	return process && *process == bpf_get_current_pid_tgid() >> 32;
}}

static __always_inline void hit(u32 slot)
{{
	u64 *count = hits.lookup(&slot);

	if (count)
		__sync_fetch_and_add(count, 1);
}}
"""
# Searches in one program together must not be more than the verifier follows.
FILTERS_PER_PROGRAM = 4


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compiler]:
    state = tmp_path_factory.mktemp("state")
    running = Compiler(lambda: find_headers(state))
    yield running
    running.close()


@pytest.fixture(scope="module")
def tracefs() -> Tracefs:
    return Tracefs.find()


def module_text(events: Sequence[SelectedEvent]) -> tuple[str, list[SelectedEvent]]:
    """A module that counts what each filter lets through, and the events of its programs."""
    parts = [MAPS.format(count=len(events)), (BPF / "filter.h").read_text()]
    of_programs = []
    numbered = enumerate(events)
    for _, same in groupby(numbered, key=lambda pair: pair[1].format.name):
        members = list(same)
        for start in range(0, len(members), FILTERS_PER_PROGRAM):
            calls = ""
            for slot, event in members[start : start + FILTERS_PER_PROGRAM]:
                assert event.filter is not None
                parts.append(emit(event.filter, event.format, f"filter_{slot}"))
                calls += f"\tif (filter_{slot}(ctx))\n\t\thit({slot});\n"
            head = (
                f"int event_{len(of_programs)}(void *ctx)\n{{\n\tif (!is_traced())\n\t\treturn 0;\n"
            )
            parts.append(f"{head}{calls}\treturn 0;\n}}\n")
            of_programs.append(members[start][1])
    return "\n".join(parts), of_programs


class Counting:
    """Loaded and attached programs; `counts` has one number per filter."""

    def __init__(self, compiled: BpfObject, events: Sequence[SelectedEvent]) -> None:
        self._resources = contextlib.ExitStack()
        maps = {name: Map(name, spec) for name, spec in compiled.maps.items()}
        for made in maps.values():
            self._resources.callback(made.close)
        self._hits = maps["hits"].mapped()
        self._traced = maps["traced"].mapped()
        self._size = maps["hits"].spec.max_entries
        descriptors = {name: made.fd for name, made in maps.items()}
        for number, event in enumerate(events):
            code = compiled.programs[f"event_{number}"].linked(descriptors)
            program = bpf_maps.load_program(bpf_maps.PROG_TRACEPOINT, f"event_{number}", code)
            self._resources.callback(os.close, program)
            fd = perf_event.attach_tracepoint(event.format.id, program, online_cpus()[0])
            self._resources.callback(os.close, fd)

    def trace(self, pid: int) -> None:
        self._traced[:8] = pid.to_bytes(8, "little")

    def counts(self) -> list[int]:
        return [int(count) for count in np.frombuffer(self._hits[: 8 * self._size], np.uint64)]

    def close(self) -> None:
        self._resources.close()


# Says when it runs and reads a line, so that its parent can prepare; then does what the
# cases below count.
WORKLOAD = """
import os, sys
directory, tool = sys.argv[1:]
names = [b"zq-alpha.txt", b"zq-beta.log", b"zq-beta.log.1", b"zq-" + b"n" * 120 + b".txt"]
paths = [os.path.join(directory.encode(), name) for name in names]
print("runs", flush=True)
sys.stdin.readline()
for count, path in enumerate(paths, 1):
    for _ in range(count):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o640))
def calls(count):
    for _ in range(count):
        os.getppid()
def rename(name):
    fd = os.open("/proc/self/comm", os.O_WRONLY)
    os.write(fd, name)
    os.close(fd)
calls(5)
rename(b"zq-one")
calls(2)
rename(b"zq-two-is-longer")
calls(1)
os.execv(tool, [tool])
"""

OPENAT = "syscalls:sys_enter_openat"
ENTER = "raw_syscalls:sys_enter"
RENAME = "task:task_rename"
EXEC = "sched:sched_process_exec"
LONG = "n" * 120
# Counts are of two runs of the workload: the first becomes zq-tool, the second, behind a
# path longer than a piece of text, zq-longtool.
CASES = [
    (OPENAT, "filename.ustring ~ '*/zq-alpha.txt'", 2),
    (OPENAT, "filename.ustring ~ '*/zq-alpha.tx'", 0),
    (OPENAT, "filename.ustring ~ '*/zq-*'", 2 * (1 + 2 + 3 + 4)),
    (OPENAT, "filename.ustring ~ '*zq-*.txt'", 2 * (1 + 4)),
    (OPENAT, f"filename.ustring ~ '*{LONG[:50]}.txt'", 2 * 4),
    (OPENAT, "filename.ustring ~ '*/zq-beta.log?[0-9]'", 2 * 3),
    (OPENAT, "filename.ustring ~ '*/zq-beta.log?[!0-9]'", 0),
    (OPENAT, "filename.ustring == '/proc/self/comm'", 2 * 2),
    (OPENAT, "filename.ustring == '/proc/self/com'", 0),
    (OPENAT, "filename.ustring ~ '/proc/self/com?'", 2 * 2),
    (OPENAT, "filename.ustring == '@DIRECTORY@/zq-beta.log'", 2 * 2),
    (OPENAT, f"filename.ustring == '@DIRECTORY@/zq-{LONG}.txt'", 2 * 4),
    (OPENAT, f"filename.ustring ~ '@DIRECTORY@/zq-{LONG}*'", 2 * 4),
    (OPENAT, f"filename.ustring == '@DIRECTORY@/zq-{LONG}.tx'", 0),
    (OPENAT, "mode == 0640 && flags & 0x40", 2 * 10),
    (OPENAT, "mode == 0640 && !flags & 0x40", 0),
    (OPENAT, "mode & 0777 == 0640 && (mode & 0777) == 0640", 0),
    (OPENAT, "(mode & 0777) == 0640 && (flags % 2) == 1", 2 * 10),
    (OPENAT, "mode == 416 && filename && dfd", 2 * 10),
    (ENTER, f"id == {GETPPID}", 2 * 8),
    (ENTER, f"id == {GETPPID} && comm == 'zq-one'", 2 * 2),
    (ENTER, f"id == {GETPPID} && COMM ~ 'zq-*'", 2 * 3),
    (ENTER, f"id == {GETPPID} && comm ~ '*is*'", 2 * 1),
    (ENTER, f"id == {GETPPID} && comm != 'zq-one'", 2 * 6),
    (ENTER, f"id == {GETPPID} && comm ~ '!zq-*'", 2 * 5),
    (ENTER, f"id - {GETPPID - 2} == 2 && (id * 2 / 2 % {GETPPID}) == 0", 2 * 8),
    (ENTER, f"id == {GETPPID} && common_pid == _pid && _tid == common_pid", 2 * 8),
    (ENTER, f"id == {GETPPID} && common_pid != _pid", 0),
    (ENTER, f"id == {GETPPID} && CPU & CPUS{{0-8191}}", 2 * 8),
    (ENTER, f"id == {GETPPID} && cpu & CPUS{{8000-8191}}", 0),
    (ENTER, f"id == {GETPPID} ? comm == 'zq-one' : 0", 2 * 2),
    (ENTER, f"(-id / 2) == -{GETPPID // 2} && -id % 2 == -{GETPPID % 2} && id == {GETPPID}", 2 * 8),
    (RENAME, "newcomm == 'zq-one'", 2),
    (RENAME, "newcomm == 'zq-on'", 0),
    (RENAME, "oldcomm == 'zq-one'", 2),
    (RENAME, "newcomm ~ 'zq-t*'", 2 + 1),
    (RENAME, "newcomm ~ '*tool'", 2),
    (RENAME, "newcomm ~ '*longer*'", 0),
    (RENAME, "newcomm == 'zq-two-is-longe'", 2),
    (RENAME, "newcomm ~ '*-*-longe'", 2),
    (RENAME, "pid == common_pid && oldcomm ~ 'zq*' && newcomm ~ 'zq*'", 2 * 2),
    (RENAME, "oom_score_adj < -1000 || newcomm ~ '[!z]*'", 0),
    (EXEC, "filename ~ '*/zq-tool'", 1),
    (EXEC, "filename ~ '*zq-*tool'", 2),
    (EXEC, f"filename ~ '*/{LONG[:40]}*/zq-longtool'", 1),
    (EXEC, "filename ~ '*zq-too'", 0),
    (EXEC, "filename == '@DIRECTORY@/zq-tool'", 1),
    (EXEC, f"filename == '@DIRECTORY@/{LONG}/zq-longtool'", 1),
    (EXEC, f"filename == '@DIRECTORY@/{LONG}/zq-longtoo'", 0),
    (EXEC, "filename ~ '@DIRECTORY@/*'", 2),
    (EXEC, "filename ~ '@DIRECTORY@/zq-????'", 1),
    (EXEC, "pid == common_pid && pid == _pid && filename != '/bin/true'", 2),
    (EXEC, "((pid % 2 == 0) + (pid % 2 == 1)) == 1", 2),
]


def run_workload(counting: Counting, directory: Path, tool: Path) -> None:
    command = [sys.executable, "-c", WORKLOAD, str(directory), str(tool)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"runs\n"
        counting.trace(process.pid)
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.wait() == 0


def test_what_passes(compiler: Compiler, tracefs: Tracefs, tmp_path: Path) -> None:
    directory = tmp_path / "files"
    tools = [directory / "zq-tool", directory / LONG / "zq-longtool"]
    for tool in tools:
        tool.parent.mkdir(exist_ok=True)
        shutil.copy("/bin/true", tool)
    texts = [f"{event}/{text.replace('@DIRECTORY@', str(directory))}/" for event, text, _ in CASES]
    text, of_programs = module_text(resolve(texts, tracefs))
    counting = Counting(compiler.compile(text), of_programs)
    with contextlib.closing(counting):
        for tool in tools:
            run_workload(counting, directory, tool)

        found = counting.counts()

    expected = [count for _, _, count in CASES]
    assert list(zip(texts, found, strict=True)) == list(zip(texts, expected, strict=True))


def test_strings_behind_kernel_pointers(compiler: Compiler, tracefs: Tracefs) -> None:
    filters = [
        "s == 'Start context switch'",
        "s ~ 'Start context*'",
        "s ~ '*t context switch'",
        "s == 'Start context'",
        "s.ustring == 'Start context switch'",
    ]
    text, of_programs = module_text(
        resolve([f"rcu:rcu_utilization/{text}/" for text in filters], tracefs)
    )
    counting = Counting(compiler.compile(text), of_programs)
    with contextlib.closing(counting):
        counting.trace(os.getpid())
        for _ in range(3):
            # Waiting for another process is a context switch.
            subprocess.run(["/bin/true"], check=True)
        counting.trace(0)

        exact, start, end, prefix, user = counting.counts()

    assert exact >= 3
    assert (start, end, prefix, user) == (exact, exact, 0, 0)


LARGE = {
    "200 terms": ("sched:sched_switch", "||".join(f"prev_pid=={n}" for n in range(200))),
    "200 mixed terms": (
        "sched:sched_switch",
        "||".join(f"(prev_pid>{n}&&next_prio<{n}&&prev_comm!='a{n}')" for n in range(67)),
    ),
    "1300 terms": ("sched:sched_switch", "||".join(f"prev_pid=={n}" for n in range(1300))),
    "divisions": (
        "sched:sched_switch",
        "||".join(f"(prev_pid%{n}/{n}*3<<prev_prio>>2^7)==1" for n in range(1, 190)),
    ),
    "strings in place": (
        "sched:sched_switch",
        "||".join(f"prev_comm=='n{n}'||next_comm~'[a-f]?n{n}*'" for n in range(300)),
    ),
    "dynamic strings": (EXEC, "||".join(f"filename=='name{n}'" for n in range(800))),
    "long strings": (EXEC, "||".join(f"filename=='{n:01000}'" for n in range(23))),
    "searches in place": (
        "sched:sched_switch",
        "&&".join(f"(prev_comm~'*[a-f]{n}*'||next_comm~'*x{n}')" for n in range(20)),
    ),
    "searches": (EXEC, "||".join(f"filename~'*/name{n}*x'" for n in range(3))),
    "searches that all must match": (EXEC, "&&".join(f"filename~'*n{n}*x'" for n in range(3))),
    "longest pattern": (EXEC, f"filename~'*{'?x[a-c]' * 20}x'"),
    "many classes": (EXEC, "filename~'*[acegi]?*[!bdfhj]*x' && pid > 1"),
    "user's strings": (OPENAT, "||".join(f"filename.ustring~'*/x{n}*'" for n in range(6))),
    "comparisons as numbers": (
        "sched:sched_switch",
        "+".join(f"(prev_pid%{n}==1)" for n in range(2, 10)) + "==3",
    ),
    "choices as numbers": (
        "sched:sched_switch",
        "+".join(f"(prev_pid%{n}==1?next_pid:{n})" for n in range(2, 7)) + "==3",
    ),
    "deep nesting": ("sched:sched_switch", "~(1+" * 31 + "prev_pid" + ")" * 31),
    "either of two fields": (
        "sched:sched_switch",
        "(prev_pid>1?prev_comm=='a':next_comm=='a')&&(next_pid>1?prev_pid:prev_prio)",
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_filters_load(compiler: Compiler, tracefs: Tracefs, name: str) -> None:
    event, text = LARGE[name]
    module, of_programs = module_text(resolve([f"{event}/{text}/"], tracefs))

    Counting(compiler.compile(module), of_programs).close()


def test_clang_has_nothing_to_say(tracefs: Tracefs, tmp_path: Path) -> None:
    """GIVEN BCC's own warnings, which the daemon turns off, WHEN all cases are compiled."""
    filters = [f"{event}/{text}/" for event, text, _ in CASES]
    filters += [f"{ENTER}/{text}/" for text in ("id==id", "1", "(id)", "!id==1&&id<-id", "(id/0)")]
    text, _ = module_text(resolve(filters, tracefs))
    program = (
        "import sys\nfrom ptraced.compile_worker import compile_object\n"
        "compile_object(sys.stdin.read(), [])"
    )
    headers = find_headers(tmp_path / "state").path

    done = subprocess.run(
        [sys.executable, "-c", program],
        input=text,
        env={**os.environ, "BCC_KERNEL_SOURCE": str(headers)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
