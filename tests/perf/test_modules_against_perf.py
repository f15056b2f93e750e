"""The modules for scripts beside those that perf ships: the same calls, the same outcomes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptrace_client

INSIDE = "scripts/python/Perf-Trace-Util/lib/Perf/Trace"
PERFS = Path("/usr/lib/perf-core") / INSIDE
OURS = Path(ptrace_client.__file__).parent / "perf_exec" / INSIDE

Call = tuple[str, str, tuple[Any, ...]]


class Caller:
    """A process that calls functions of the modules in a folder."""

    def __init__(self, folder: Path) -> None:
        program = Path(__file__).with_name("module_calls.py")
        self.process = subprocess.Popen(
            [sys.executable, program, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def outcomes(self, calls: list[Call]) -> list[Any]:
        """Return what the calls return, print or raise."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(pickle.dumps(calls).hex(), file=self.process.stdin, flush=True)
        outcomes: list[Any] = pickle.loads(bytes.fromhex(self.process.stdout.readline()))
        return outcomes


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Caller, Caller]]:
    """Callers of perf's modules and of ours."""
    callers = Caller(PERFS), Caller(OURS)
    yield callers
    for caller in callers:
        with caller.process:
            caller.process.kill()


def compare(both: tuple[Caller, Caller], calls: list[Call]) -> list[Any]:
    """Check that both do the same, and return it."""
    perfs, ours = (caller.outcomes(calls) for caller in both)
    assert ours == perfs
    return ours


FIELD = (st.sampled_from(["kmem__kmalloc", "irq__entry"]), st.sampled_from(["flags", "vec"]))
BITS = st.integers(-2, 40) | st.sampled_from([1 << 31, 1 << 32, 1 << 63, (1 << 64) - 1])
VALUES = BITS | st.integers(0, (1 << 64) - 1) | st.sampled_from([bytearray(), bytearray(b"\1"), ""])
TABLE_CALLS = st.one_of(
    st.tuples(st.just("define_flag_field"), st.tuples(*FIELD, st.sampled_from(["|", "", "+"]))),
    st.tuples(st.just("define_flag_value"), st.tuples(*FIELD, BITS, st.text("ABC", max_size=3))),
    st.tuples(st.just("define_symbolic_field"), st.tuples(*FIELD)),
    st.tuples(st.just("define_symbolic_value"), st.tuples(*FIELD, BITS, st.text("ABC"))),
    st.tuples(st.just("flag_str"), st.tuples(*FIELD, VALUES)),
    st.tuples(st.just("symbol_str"), st.tuples(*FIELD, VALUES)),
)


@settings(max_examples=300, deadline=None)
@given(calls=st.lists(TABLE_CALLS, max_size=30))
def test_flags_and_symbols(
    both: tuple[Caller, Caller], calls: list[tuple[str, tuple[Any, ...]]]
) -> None:
    core: list[Call] = [("Core", function, arguments) for function, arguments in calls]
    compare(both, [("here", "forget", ()), *core, ("here", "tables", ())])


NS = st.integers(0, (1 << 64) - 1)
FUNCTIONS: dict[tuple[str, str], st.SearchStrategy[tuple[Any, ...]]] = {
    ("Core", "trace_flag_str"): st.tuples(st.integers(-1, 300)),
    ("Core", "taskState"): st.tuples(st.integers(-1, 300) | st.sampled_from([None, "R"])),
    ("here", "headers"): st.tuples(st.integers(0, 1 << 33), st.integers(0, 999_999_999)),
    ("Util", "avg"): st.tuples(NS, st.integers(0, 1000)),
    ("Util", "nsecs"): st.tuples(NS, NS),
    ("Util", "nsecs_secs"): st.tuples(NS),
    ("Util", "nsecs_nsecs"): st.tuples(NS),
    ("Util", "nsecs_str"): st.tuples(NS | st.floats(0, 1e18) | st.integers(-1 << 63, 0)),
    ("here", "stats"): st.tuples(st.lists(NS | st.floats(0, 1e18))),
    ("Util", "clear_term"): st.just(()),
    ("Util", "strerror"): st.tuples(st.integers(-600, 600) | st.sampled_from(["x", 2.0])),
    ("here", "sample"): st.tuples(
        st.sampled_from([0, 79, 80, 143, 144, 145, 175, 176, 177]), st.integers(0, 255)
    ),
    ("Core", "autodict"): st.just(()),
}


@pytest.mark.parametrize(("module", "function"), FUNCTIONS)
def test_functions(both: tuple[Caller, Caller], module: str, function: str) -> None:
    @settings(max_examples=100, deadline=None)
    @given(arguments=FUNCTIONS[module, function])
    def check(arguments: tuple[Any, ...]) -> None:
        compare(both, [(module, function, arguments)])

    check()


def test_system_calls(both: tuple[Caller, Caller]) -> None:
    """perf's names are those of the audit library, which says None where it knows none."""
    calls: list[Call] = [("Util", "syscall_name", (number,)) for number in range(1024)]
    perfs, ours = ([name for name, _ in caller.outcomes(calls)] for caller in both)
    # The library's tables end some years before ours.
    known = {number: name for number, name in enumerate(perfs) if name is not None}
    assert len(known) > 330
    assert {number: ours[number] for number in known} == known
    assert ours[1023] == "1023"


@pytest.mark.parametrize("module", ["Core", "Util", "EventClass"])
def test_names(both: tuple[Caller, Caller], module: str) -> None:
    perfs, ours = (caller.outcomes([("here", "names", (module,))])[0][0] for caller in both)
    # What perf's own imports and its way to find the audit library leave there.
    for left in ("print_function", "audit", "machine_to_id", "machine_id", "audit_package_warned"):
        perfs.pop(left, None)
    assert ours == perfs


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("Util", "FUTEX_WAIT"),
        ("Util", "FUTEX_WAKE"),
        ("Util", "FUTEX_PRIVATE_FLAG"),
        ("Util", "FUTEX_CLOCK_REALTIME"),
        ("Util", "FUTEX_CMD_MASK"),
        ("Util", "NSECS_PER_SEC"),
        ("Core", "trace_flags"),
        ("EventClass", "EVTYPE_GENERIC"),
        ("EventClass", "EVTYPE_PEBS"),
        ("EventClass", "EVTYPE_PEBS_LL"),
        ("EventClass", "EVTYPE_IBS"),
    ],
)
def test_constants(both: tuple[Caller, Caller], module: str, name: str) -> None:
    assert compare(both, [("here", "constant", (module, name))])[0][0] is not None
