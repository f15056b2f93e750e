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
        "script without handlers",
        wakeup("empty.py"),
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
]
