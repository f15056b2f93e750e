"""How scripts begin and end: what perf prints, and with which status it ends, is what we do."""

from __future__ import annotations

import re
import subprocess
import textwrap
import time
from pathlib import Path

import pytest
from recordings import Recorder, clean_environment
from sidebyside import CLIENT, TIMEOUT, run_both

pytestmark = pytest.mark.needs_kernel("tracefs", "perf events", "uprobes")

PERFS_RULES = ("--strict", "--dialect", "perf-script")

# Scripts for the recording "few", by what they show.
SCRIPTS = {
    "exception in a handler": """
        def trace_begin(): print("begin")
        def trace_end(): print("end")
        def inner(number): raise ValueError(number)
        def raw_syscalls__sys_enter(*args):
            print(len(args))
            inner(args[8])
        """,
    "exception in trace_begin": """
        def trace_begin(): raise KeyError("x")
        def trace_end(): print("end")
        """,
    "exception in trace_end": """
        def trace_end():
            print("end")
            raise KeyError("x")
        """,
    "exception in trace_unhandled": """
        def trace_unhandled(event_name, context, fields): fields["missing"]
        """,
    "exception in define_": """
        def define_flag_value(*args):
            raise KeyError(args)
        def define_symbolic_value(*args):
            raise KeyError(args)
        def sched__sched_switch(*args): print(len(args))
        """,
    "exception while loading": """
        print("loading")
        1 / 0
        def trace_begin(): print("begin")
        """,
    "exception with a cause": """
        def raw_syscalls__sys_enter(*args):
            try:
                {}["x"]
            except KeyError as error:
                raise ValueError("y") from error
        """,
    "SyntaxError": """
        def trace_begin(): return return
        """,
    "missing module": """
        import no_such_module
        def trace_begin(): print("begin")
        """,
    "sys.exit while loading": """
        import sys
        print("loading")
        sys.exit(7)
        def trace_end(): print("end")
        """,
    "sys.exit in a handler": """
        import sys
        def raw_syscalls__sys_enter(*args):
            print("handler")
            sys.exit(3)
        def trace_end(): print("end")
        """,
    "sys.exit with a text": """
        import sys
        def raw_syscalls__sys_enter(*args): sys.exit("no more")
        def trace_end(): print("end")
        """,
    "sys.exit without anything": """
        def raw_syscalls__sys_enter(*args): raise SystemExit
        def trace_end(): print("end")
        """,
    "sys.exit in trace_begin": """
        def trace_begin(): quit()
        def trace_end(): print("end")
        """,
    "sys.exit in trace_end": """
        import sys
        def trace_end():
            print("end")
            sys.exit(9)
        """,
    "an unknown exit status": """
        def raw_syscalls__sys_enter(*args): raise SystemExit(300)
        """,
    "KeyboardInterrupt while loading": """
        def trace_begin(): print("begin")
        raise KeyboardInterrupt
        """,
    "SIGINT": """
        import os, signal
        count = 0
        def raw_syscalls__sys_enter(*args):
            global count
            count += 1
            os.kill(os.getpid(), signal.SIGINT)
            print("goes on")
        def trace_end(): print("end", count)
        """,
    "a thread that never ends": """
        import _thread
        locked = _thread.allocate_lock()
        def trace_begin():
            locked.acquire()
            _thread.start_new_thread(locked.acquire, ())
        def trace_end(): print("end")
        """,
    "a thread that outlives a failure": """
        import threading
        def trace_begin():
            threading.Thread(target=threading.Event().wait).start()
        def raw_syscalls__sys_enter(*args): raise ValueError
        """,
    "a stdout that is not flushed": """
        import sys
        def trace_end():
            sys.stdout.write("no end of line")
        """,
    "namespace": """
        import sys
        print(__name__, sys.argv, perf_script_context if "perf_script_context" in globals() else 0)
        def trace_begin():
            import __main__, perf_trace_context
            print(__main__.perf_script_context is perf_trace_context.perf_script_context)
            print(__main__.trace_begin is trace_begin, sys.modules["__main__"] is __main__)
            print(sys.path[0], __main__.__dict__ is globals())
        def trace_end(): print("end")
        """,
    "a pickled class of the script": """
        import pickle
        class Row:
            pass
        def trace_end():
            print(pickle.loads(pickle.dumps(Row())).__class__ is Row)
        """,
    "names that are no functions": """
        trace_begin = 5
        trace_end = None
        raw_syscalls__sys_enter = "text"
        def trace_unhandled(name, context, fields): print(name)
        """,
    "handlers that come and go": """
        seen = []
        def first(*args):
            seen.append(("first", args[0], len(args)))
            globals()["raw_syscalls__sys_enter"] = second
        def second(*args):
            seen.append(("second", args[0], len(args)))
            globals()["raw_syscalls__sys_enter"] = 5
        def trace_unhandled(name, context, fields):
            if len(seen) < 40:
                seen.append(("unhandled", name, len(fields)))
            if len(seen) == 30:
                del globals()["trace_unhandled"]
                globals()["raw_syscalls__sys_enter"] = third
        def third(*args):
            seen.append(("third", args[0], len(args)))
            if len(seen) == 35:
                del globals()["raw_syscalls__sys_enter"]
        raw_syscalls__sys_enter = first
        def trace_end():
            for each in seen: print(each)
        """,
    "callables of all kinds": """
        import functools
        class Methods:
            def taking(self, *args): print("method", len(args))
            def exact(self, n, c, cpu, s, ns, pid, comm, chain, id): print("exact", id)
        class Called:
            def __call__(self, *args): print("called", len(args))
        def outer(one, *args): print("partial", one, len(args))
        def named(n, c, cpu, s, ns, pid, comm, chain, id, a, more=4): print(type(more).__name__)
        kinds = [Methods().taking, Methods().exact, Called(), functools.partial(outer, 5), named,
                 lambda *args, more=5: print("keyword", len(args), more), print and len]
        kinds.pop()
        def trace_unhandled(name, context, fields, sample): pass
        def turn(*args):
            print("turn", len(args))
            globals()["raw_syscalls__sys_enter"] = kinds.pop()
            if kinds:
                globals()["raw_syscalls__sys_exit"] = turn
            else:
                del globals()["raw_syscalls__sys_exit"], globals()["raw_syscalls__sys_enter"]
        raw_syscalls__sys_exit = turn
        """,
    "callbacks of four arguments and three": """
        def trace_unhandled(name, context, fields, more=None):
            print(name, type(more).__name__, list(fields)[:7])
        """,
    "perf's module": """
        import perf_trace_context as module
        names = "common_pc common_flags common_lock_depth perf_sample_insn perf_sample_srcline"
        def wrong(function, *args):
            try:
                print(function(*args))
            except Exception as error:
                print(type(error).__name__)
        for name in [*names.split(), "perf_sample_srccode", "perf_set_itrace_options"]:
            wrong(getattr(module, name))
            wrong(getattr(module, name), 5)
        def raw_syscalls__sys_enter(event_name, context, *args):
            print(module.common_pc(context), module.common_flags(context))
            print(module.common_lock_depth(context))
            print(module.perf_set_itrace_options(context, "i1ms"))
            print(module.perf_set_itrace_options(perf_script_context, "i1ms"))
            raise SystemExit
        """,
}


def without_dump(stderr: str) -> str:
    """What perf and its Python print, without the state of the interpreter that aborts."""
    head, fatal, _ = stderr.partition("Fatal Python error")
    line = "Fatal Python error: handler_call_die: problem in Python trace event handler\n"
    return head + (line if fatal else "")


@pytest.mark.parametrize("source", SCRIPTS.values(), ids=SCRIPTS)
def test_it_ends_as_with_perf(recording: Recorder, tmp_path: Path, source: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(source))
    arguments = ("one", "--two", "--", "three")
    perfs, ours = run_both(recording("few"), script, *arguments, own_options=PERFS_RULES)
    assert ours.stdout == perfs.stdout
    assert ours.shell_status == perfs.shell_status
    # Our own warnings are left out.
    stderr = re.sub(r"^warning: .* gets no events: .*\n", "", ours.stderr)
    assert stderr == without_dump(perfs.stderr)


# Handlers with which perf aborts, and what it takes for: its own rule.
UNFIT = {
    "man page": "n, c, cpu, s, ns, pid, comm, id, args",
    "one field less": "n, c, cpu, s, ns, pid, comm, chain, id",
    "too many": "n, c, cpu, s, ns, pid, comm, chain, a, b, d, e",
    "none": "",
}


@pytest.mark.parametrize("parameters", UNFIT.values(), ids=UNFIT)
def test_strict_aborts_where_perf_does(
    recording: Recorder, tmp_path: Path, parameters: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"def raw_syscalls__sys_enter({parameters}): print('called')\n")
    perfs, ours = run_both(recording("few"), script, own_options=PERFS_RULES)
    assert perfs.shell_status == 134
    assert ours.shell_status == 134
    assert ours.stdout == perfs.stdout == ""
    assert ours.stderr == without_dump(perfs.stderr)
    assert re.match(r"TypeError: raw_syscalls__sys_enter\(\) ", ours.stderr)


def test_a_closed_pipe_ends_scripts_that_want_that(recording: Recorder, tmp_path: Path) -> None:
    """As compaction-times does: SIGPIPE by its default action."""
    script = tmp_path / "script.py"
    script.write_text(
        "import signal\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
        "def raw_syscalls__sys_enter(*args):\n    print('x' * 10_000, flush=True)\n"
    )
    command = [CLIENT, "run", "--input", str(recording("few")), str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=clean_environment()) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"x"
        process.stdout.close()
        assert process.wait(TIMEOUT) == -13


def test_sigint_ends_the_wait_for_a_pipe(recording: Recorder, tmp_path: Path) -> None:
    """The writer keeps the pipe open; the script itself says when it has all there is."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal, threading\n"
        "def trace_begin():\n"
        "    print('begin', flush=True)\n"
        "def trace_end(): print('end')\n"
    )
    content = recording("piped").read_bytes()
    command = [CLIENT, "run", "-i", "-", str(script)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment(), text=False
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(content[: len(content) // 2])
        process.stdin.flush()
        assert process.stdout.readline() == b"begin\n"
        wait_until_reading(process.pid)
        process.send_signal(2)
        assert process.stdout.readline() == b"end\n"
        assert process.wait(TIMEOUT) == 0


def wait_until_reading(pid: int) -> None:
    """Return when a process waits in read(2)."""
    path, deadline = Path(f"/proc/{pid}/syscall"), time.monotonic() + TIMEOUT
    while not path.read_text().startswith("0 "):
        assert time.monotonic() < deadline
