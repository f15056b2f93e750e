"""What is typed wrongly at the command line, and what must be said of it: a case a paragraph."""

from __future__ import annotations

from dataclasses import dataclass

# No process has this id: PID_MAX_LIMIT of include/linux/threads.h.
NO_PID = str(4 << 20)


@dataclass(frozen=True)
class Case:
    """What is typed behind `run`, and what must be said; "{folder}" is that of the scripts."""

    name: str
    words: tuple[str, ...]
    message: str


def selector(name: str, text: str, message: str) -> Case:
    return Case(name, ("-e", text, "good.py"), message)


# Stands for a folder with files of all kinds; as long as the name of that.
FILES = "/tmp/ptraced-test-12345678"


def at(name: str, text: str, marked: str, message: str) -> Case:
    """A selector of which a part is marked in the message."""
    start = text.index(marked)
    caret = " " * start + "^" + "~" * (len(marked) - 1)
    return selector(name, text, f"error: {message}\n  {text}\n  {caret}\n")


def probed(name: str, symbol: str, file: str, marked: str, message: str) -> Case:
    """A uprobe of one of the FILES."""
    return at(name, f'uprobe:{symbol}@"{FILES}/{file}"', marked, message)


def wakeup(*words: str) -> tuple[str, ...]:
    return ("-e", "sched:sched_wakeup", *words)


LONG = "||".join(["pid == 4711"] * 5500)
CASES = [
    selector(
        "unknown event",
        "sched:sched_wakup",
        "error: no event 'sched:sched_wakup' (did you mean 'sched:sched_wakeup'?)\n"
        "  sched:sched_wakup\n"
        "        ^~~~~~~~~~~\n",
    ),
    selector(
        "unknown system",
        "shed:sched_switch",
        "error: no event 'shed:sched_switch' (did you mean 'sched:sched_switch'?)\n"
        "  shed:sched_switch\n"
        "  ^~~~~~~~~~~~~~~~~\n",
    ),
    selector(
        "event without its system",
        "sched_switch",
        "error: no event 'sched_switch' (did you mean 'sched:sched_switch'?)\n"
        "  sched_switch\n"
        "  ^~~~~~~~~~~~\n",
    ),
    selector(
        "glob without a match",
        "sched:nosuch*",
        "error: no events match 'sched:nosuch*'\n  sched:nosuch*\n        ^~~~~~~\n",
    ),
    selector(
        "second of two events",
        "sched:sched_switch,sched:sched_wakup",
        "error: no event 'sched:sched_wakup' (did you mean 'sched:sched_wakeup'?)\n"
        "  sched:sched_wakup\n"
        "        ^~~~~~~~~~~\n",
    ),
    selector(
        "unknown attribute",
        "sched:sched_wakeup//stak/",
        "error: no attribute 'stak' (did you mean 'stack'?)\n"
        "  sched:sched_wakeup//stak/\n"
        "                      ^~~~\n",
    ),
    selector(
        "filter that ends early",
        "sched:sched_wakeup/pid >/",
        "error: the filter ends too early\n"
        "  sched:sched_wakeup/pid >/\n"
        "                          ^\n",
    ),
    selector(
        "filter with two operators",
        "sched:sched_wakeup/pid > > 1/",
        "error: unexpected '>' in a filter\n"
        "  sched:sched_wakeup/pid > > 1/\n"
        "                           ^\n",
    ),
    selector(
        "filter without its slash",
        "sched:sched_wakeup/pid > 1",
        "error: this '/' is not closed\n"
        "  sched:sched_wakeup/pid > 1\n"
        "                    ^~~~~~~~\n",
    ),
    selector(
        "unknown field",
        "sched:sched_wakeup/pidd > 1/",
        "error: sched:sched_wakeup has no field 'pidd' (did you mean 'pid'?)\n"
        "  sched:sched_wakeup/pidd > 1/\n"
        "                     ^~~~\n",
    ),
    selector(
        "string against a number",
        'sched:sched_wakeup/pid == "init"/',
        "error: 'pid' is a number (pid_t); it is compared with a number, not a string\n"
        '  sched:sched_wakeup/pid == "init"/\n'
        "                            ^~~~~~\n",
    ),
    selector(
        "number against a string",
        "sched:sched_wakeup/prio > 1 && comm > 1/",
        "error: 'comm' is a string (char[16]): compare it by '==', '!=' or '~' with a quoted "
        "string\n"
        "  sched:sched_wakeup/prio > 1 && comm > 1/\n"
        "                                 ^~~~\n",
    ),
    selector(
        "filter over 64 KiB",
        f"sched:sched_wakeup/{LONG}/",
        "error: a filter of 71498 bytes, at most 65536 are possible\n"
        f"  sched:sched_wakeup/{LONG[:120]}...\n"
        f"                     ^{'~' * 119}\n",
    ),
    selector(
        "C statement in a filter",
        "sched:sched_wakeup/pid == 1; return 1/",
        "error: unexpected ';' in a filter\n"
        "  sched:sched_wakeup/pid == 1; return 1/\n"
        "                             ^\n",
    ),
    selector(
        "C call in a filter",
        'sched:sched_wakeup/bpf_trace_printk("x") == 0/',
        "error: unexpected '(' in a filter\n"
        '  sched:sched_wakeup/bpf_trace_printk("x") == 0/\n'
        "                                     ^\n",
    ),
    selector(
        "C that closes the function",
        "sched:sched_wakeup/pid == 1 } int other(void *ctx) {/",
        "error: this '{' has no '}'\n"
        "  sched:sched_wakeup/pid == 1 } int other(void *ctx) {/\n"
        "                                                     ^\n",
    ),
    Case(
        "missing script",
        wakeup("missing.py"),
        "error: no script missing.py: there is no such file\n",
    ),
    Case(
        "missing module",
        wakeup("missing"),
        "error: no script missing: no module of that name in {folder} or along sys.path\n",
    ),
    Case(
        "script with a syntax error",
        wakeup("syntax.py"),
        "error: cannot load syntax.py:\n"
        '  File "{folder}/syntax.py", line 2\n'
        "    retrun 1\n"
        "           ^\n"
        "SyntaxError: invalid syntax\n",
    ),
    Case(
        "script of no dialect",
        wakeup("empty.py"),
        "error: cannot tell whose dialect empty.py is in: it defines no handler, neither "
        "sys__event(event) nor sys__event(event_name, context, ...); "
        "say --dialect perf-prof or --dialect perf-script\n",
    ),
    Case(
        "script without handlers",
        wakeup("--dialect", "perf-prof", "empty.py"),
        "error: {folder}/empty.py has no handler for sched:sched_wakeup: "
        "define sched__sched_wakeup(event) or __sample__(event)\n",
    ),
    Case(
        "buffer not a power of two",
        wakeup("-m", "12", "good.py"),
        "error: a buffer of 12 pages is not a power of two: 8 and 16 are\n",
    ),
    Case(
        "buffer that is too large",
        wakeup("-m", "65536", "good.py"),
        "error: a buffer of 65536 pages per CPU, at most 16384 may be\n",
    ),
    Case(
        "process that does not exist",
        wakeup("-p", NO_PID, "good.py"),
        f"error: no process {NO_PID}: it may have exited, or never was\n",
    ),
    Case(
        "thread that does not exist",
        wakeup("-t", NO_PID, "good.py"),
        f"error: no thread {NO_PID}: it may have exited, or never was\n",
    ),
    Case(
        "process id that is no number",
        wakeup("-p", "init", "good.py"),
        "error: Invalid value for '-p' / '--pids': 'init' is not a process or thread id; "
        "see `ptrace-client run -h`\n",
    ),
    Case(
        "offline CPU",
        wakeup("-C", "4095", "good.py"),
        "error: CPU 4095 is not online (online: {online})\n",
    ),
    selector(
        "probe without a function",
        "kprobe:",
        "error: a function is missing here: kprobe:vfs_read\n  kprobe:\n         ^\n",
    ),
    selector(
        "probe without a file",
        "uprobe:main",
        'error: a file is missing here: uprobe:malloc@"/lib/x86_64-linux-gnu/libc.so.6"\n'
        "  uprobe:main\n             ^\n",
    ),
    probed(
        "missing file",
        "main",
        "missing",
        f"{FILES}/missing",
        f"there is no file '{FILES}/missing'",
    ),
    probed("no ELF", "main", "text", f"{FILES}/text", f"'{FILES}/text' is no ELF file"),
    probed(
        "FIFO",
        "main",
        "fifo",
        f"{FILES}/fifo",
        f"'{FILES}/fifo' is a FIFO, not a program or shared library",
    ),
    probed(
        "device",
        "main",
        "device",
        f"{FILES}/device",
        f"'{FILES}/device' is a device, not a program or shared library",
    ),
    probed(
        "symbol not in file",
        "mian",
        "program",
        "mian",
        f"no function 'mian' in '{FILES}/program' (did you mean 'main'?)",
    ),
    probed(
        "stripped file",
        "main",
        "stripped",
        "main",
        f"no function 'main' in '{FILES}/stripped': it is stripped of its symbols; an address, "
        "or its debug symbols, would do",
    ),
    probed(
        "offset beyond a function",
        "main+100000",
        "program",
        "main+100000",
        "'main' has 11 bytes, there is no +0x186a0 in it",
    ),
    probed(
        "address outside of the code",
        "0x10",
        "program",
        "0x10",
        f"0x10 is not in the code of '{FILES}/program'; addresses are those of the file, which nm "
        "and objdump show",
    ),
    at(
        "file without USDT probes",
        f'usdt:a:b@"{FILES}/program"',
        f"{FILES}/program",
        f"'{FILES}/program' has no USDT probes",
    ),
    at(
        "text argument that a function does not have",
        f'uprobe:main@"{FILES}/program"//str=nosuch/',
        "str=nosuch",
        "no argument 'nosuch' of main",
    ),
    at(
        "bad breakpoint length",
        "breakpoint/0x1000/3:w/",
        "3",
        "a breakpoint has 1, 2, 4 or 8 bytes",
    ),
    at(
        "breakpoint that is not aligned",
        "mem:0x1001/8:w",
        "0x1001",
        "a breakpoint of 8 bytes starts at a multiple of 8",
    ),
    at(
        "breakpoint without an address",
        "breakpoint",
        "breakpoint",
        "a breakpoint takes an address: breakpoint/0x404040/8:w/",
    ),
    at(
        "frequency above the kernel's limit",
        "profile/-F 1000000000/",
        "1000000000",
        "a frequency of 1000000000 Hz: at most {rate} are possible "
        "(sysctl kernel.perf_event_max_sample_rate)",
    ),
    at(
        "stack depth over the limit",
        "profile/--max-stack 500/",
        "500",
        "stacks of 500 frames: 1 to 127 are possible (sysctl kernel.perf_event_max_stack)",
    ),
    at(
        "stack depth over the limit of an attribute",
        "sched:sched_switch//max-stack=500/",
        "max-stack=500",
        "'max-stack=' takes a number of frames, 1 to 127",
    ),
    Case(
        "stack depth over the limit of the session",
        wakeup("-g", "--max-stack", "500", "good.py"),
        "error: stacks of 500 frames: at most 127 are possible "
        "(sysctl kernel.perf_event_max_stack)\n",
    ),
    at(
        "unknown option of a profile",
        "profile/--frequency 99/",
        "--frequency",
        "no option '--frequency' (did you mean '--freq'?)",
    ),
    at(
        "address that is a number without end",
        f"breakpoint/{'9' * 100}/",
        "9" * 100,
        "an address has 64 bits",
    ),
    selector(
        "name that is too long for a status of gRPC",
        f"sched:sched_wakeup/{'q' * 20000}/",
        f"error: sched:sched_wakeup has no field '{'q' * 560}...{'q' * 712}'\n"
        f"  sched:sched_wakeup/{'q' * 120}...\n"
        f"                     ^{'~' * 119}\n",
    ),
    at(
        "USDT probe as perf calls it",
        "sdt_libc:setjmp",
        "sdt_libc:setjmp",
        "no event 'sdt_libc:setjmp': perf's SDT events are USDT probes here: "
        'usdt:libc:setjmp@"file"',
    ),
    at(
        "profiler that is an analysis",
        "task-state",
        "task-state",
        "perf-prof's 'task-state' adds up times per state; a script does that with "
        "sched:sched_switch and sched:sched_wakeup",
    ),
]

# Of a host without hardware counters.
WITHOUT_PMU = [
    at(
        f"event that needs a PMU: {event}",
        event,
        event,
        f"{event} needs a PMU (hardware counters) that has it, and this host has none; cpu-clock "
        "samples by a timer instead",
    )
    for event in ("cpu-cycles", "L1-dcache-loads", "r1a8")
]
WITHOUT_PMU.append(
    at(
        "event of a PMU that this host does not have",
        "cpu/event=0x3c/",
        "cpu",
        "this host has no PMU 'cpu' (hardware counters); cpu-clock samples by a timer instead",
    )
)

# Of a kernel without kprobes.
WITHOUT_KPROBES = [
    at(
        "function of a kernel without kprobes",
        "kprobe:vfs_read",
        "kprobe",
        "this kernel has no kprobes (CONFIG_KPROBES is off); the tracepoint "
        "'syscalls:sys_enter_read' may do",
    ),
]
