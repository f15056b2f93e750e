"""Whose dialect a script is in: told by the script, or by the user where it does not tell."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from ptrace_client.errors import ClientError
from ptrace_client.perf_script.dialect import choose_dialect, dialect_of

EXAMPLES = sorted(Path(__file__).parents[2].joinpath("examples").glob("*.py"))
PERF_SCRIPTS = {
    "handler of many arguments": """
        def irq__softirq_entry(name, context, cpu, sec, nsec, pid, comm, callchain, vec): pass
        """,
    "man page's handler": """
        def syscalls__sys_exit(event_name, context, common_cpu, common_secs, common_nsecs,
                               common_pid, common_comm, nr, ret): pass
        """,
    "callback": "def trace_end(): pass",
    "handlers made from methods": """
        class Cli:
            def run(self, event): pass
        if __name__ == "__main__":
            cli = Cli()
            process_event = cli.run
        """,
    "statistics": "def stat__cycles(cpu, thread, time, val, ena, run): pass",
    "export": "perf_db_export_mode = True\ndef sched__sched_switch(*x): pass",
    "imports": "try:\n    from perf_trace_context import *\nexcept ImportError: pass",
    "path": "import os, sys\nsys.path.append(os.environ['PERF_EXEC_PATH'] + '/lib')",
    "any arguments": "def sched__sched_switch(*args): print(args)",
    "a lambda": "irq__softirq_entry = lambda n, x, c, s, ns, p, cm, ch, vec: print(vec)",
    "losses, which both dialects have": "def __lost__(start, end): pass\ndef trace_end(): pass",
    "Python 2": """
        import Util
        def irq__softirq_entry(name, context, cpu, sec, nsec, pid, comm, vec):
            print "vec", vec
        """,
    "Python 2 without imports": """
        def trace_begin():
            print "begin"
        """,
}
PROF_SCRIPTS = {
    "handler of one event": "def sched__sched_switch(event): pass",
    "callback": "def __exit__(): pass",
    "any event": "def __sample__(event): pass",
    "batches": "def sched__sched_switch__batch(batch): pass",
    "import": "from perf_prof import PerfEvent\ndef first(a, b): pass",
    "sampled event": "def profile(event): print(event)",
    "annotated": "def malloc(each: object): print(each)",
    "a lambda": "sched__sched_switch = lambda event: print(event)",
    "any arguments": "def sched__sched_switch(*args): print(args)\ndef __exit__(): pass",
    "methods called alike": """
        class Clock:
            def trace_begin(self): pass
        def sched__sched_switch(event): pass
        """,
    "Python 2": "def sched__sched_switch(event):\n    print 'x'",
}


@pytest.mark.parametrize("source", PERF_SCRIPTS.values(), ids=PERF_SCRIPTS)
def test_perf_scripts_are_told_by_their_text(source: str) -> None:
    assert dialect_of(textwrap.dedent(source).encode(), "x.py") == "perf-script"


@pytest.mark.parametrize("source", PROF_SCRIPTS.values(), ids=PROF_SCRIPTS)
def test_perf_profs_scripts_are_told_by_their_text(source: str) -> None:
    assert dialect_of(textwrap.dedent(source).encode(), "x.py") == "perf-prof"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_perf_profs(path: Path) -> None:
    assert choose_dialect(str(path)) == "perf-prof"


def test_a_script_without_handlers_needs_the_users_word(tmp_path: Path) -> None:
    path = tmp_path / "empty.py"
    path.write_text("import os\n\ndef helper(a, b): pass\n")
    with pytest.raises(ClientError) as error:
        choose_dialect(str(path))
    assert str(error.value) == (
        f"cannot tell whose dialect {path} is in: it defines no handler, neither "
        "sys__event(event) nor sys__event(event_name, context, ...); "
        "say --dialect perf-prof or --dialect perf-script"
    )
    assert choose_dialect(str(path), "perf-script") == "perf-script"


def test_a_script_of_both_needs_the_users_word() -> None:
    with pytest.raises(ClientError) as error:
        dialect_of(b"def trace_end(): pass\ndef __exit__(): pass", "both.py")
    assert str(error.value) == (
        "cannot tell whose dialect both.py is in: trace_end is perf script's, __exit__ is "
        "perf-prof's; say --dialect perf-prof or --dialect perf-script"
    )


def test_a_script_is_not_run_to_tell_its_dialect(tmp_path: Path) -> None:
    path = tmp_path / "loud.py"
    path.write_text("raise SystemExit(3)\ndef trace_end(): pass\n")
    assert choose_dialect(str(path)) == "perf-script"


def test_modules_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ends.py").write_text("def trace_end(): pass\n")
    monkeypatch.chdir(tmp_path)
    assert choose_dialect("ends") == "perf-script"
    # Their loader says what is wrong.
    assert choose_dialect("missing") == "perf-prof"
    assert choose_dialect("./missing.py") == "perf-prof"


@pytest.mark.parametrize("source", [b"", b"\0\0", b"\xff\xfe" * 100, b"(" * 10_000])
def test_any_bytes_are_answered(source: bytes) -> None:
    with pytest.raises(ClientError, match="cannot tell whose dialect"):
        dialect_of(source, "x.py")
