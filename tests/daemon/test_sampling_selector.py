"""Selectors of sampled events: what they mean."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from sampledselectors import SamplingKernel, find, refused

from ptraced.errors import LimitExceeded, TraceError, Unavailable
from ptraced.origin import Sampled
from ptraced.sampling import attr, breakpoint
from ptraced.sampling.refusal import explain_refusal
from ptraced.sampling.selector import SampledOptions, is_sampled
from ptraced.selector import parse_selectors

pytestmark = pytest.mark.usefixtures("sampling_kernel")


@pytest.mark.parametrize(
    "event",
    [
        *("profile", "page-faults", "cs", "cycles:u", "L1-dcache-load-misses", "r1a8", "LLC-loads"),
        *("breakpoint", "mem:0x1000/8:w", "task-state", "kvm-exit", "ldlat-loads"),
        *("duration_time", "cpu-clock:ku"),
    ],
)
def test_names_of_sampled_events(event: str) -> None:
    assert is_sampled(event)


@pytest.mark.parametrize(
    "event",
    [
        *("sched:sched_wakeup", "sched_wakeup", "kprobe:vfs_read", "syscalls:*", "profiles"),
        *("software", "tracepoint", "../x", "rxyz", "", "page-faults:q"),
        *("a" * 5000, "mem", "\udce4", "cpu\0"),
    ],
)
def test_names_of_other_events(event: str) -> None:
    assert not is_sampled(event)


def test_profile_samples_time_where_there_is_no_pmu_and_leaves_idle_cpus_out() -> None:
    name, origin, options = find("profile")

    assert name == "profile"
    assert origin == Sampled(1, 0, "cpu-clock", frequency=99, flags=attr.EXCLUDE_IDLE)
    assert options == SampledOptions()


def test_profile_samples_cycles_where_they_are_counted(sampling_kernel: SamplingKernel) -> None:
    sampling_kernel.hardware = True

    assert find("profile")[1] == Sampled(0, 0, "cpu-cycles", frequency=99)


@pytest.mark.parametrize(
    ("event", "origin"),
    [
        ("page-faults", Sampled(1, 2, "page-faults", period=1)),
        ("faults", Sampled(1, 2, "page-faults", period=1)),
        ("context-switches", Sampled(1, 3, "context-switches", period=1)),
        ("cpu-migrations", Sampled(1, 4, "cpu-migrations", period=1)),
        ("cgroup-switches", Sampled(1, 11, "cgroup-switches", period=1)),
        ("cpu-clock", Sampled(1, 0, "cpu-clock", frequency=99)),
        ("task-clock", Sampled(1, 1, "task-clock", frequency=99)),
        ("branches", Sampled(0, 4, "branch-instructions", frequency=99)),
        # Cache, operation << 8, result << 16.
        ("L1-icache-prefetch-misses", Sampled(3, 0x010201, "L1-icache-prefetch-misses")),
        ("node-stores", Sampled(3, 0x000106, "node-stores")),
        ("r1a8", Sampled(4, 0x1A8, "r1a8", frequency=99)),
    ],
)
def test_what_names_stand_for(event: str, origin: Sampled) -> None:
    found = find(event)[1]

    assert (found.type, found.config, found.counter) == (origin.type, origin.config, origin.counter)
    if origin.period or origin.frequency:
        assert (found.period, found.frequency) == (origin.period, origin.frequency)


@pytest.mark.parametrize(
    ("modifiers", "flags"),
    [
        ("u", attr.EXCLUDE_KERNEL | attr.EXCLUDE_HV),
        ("k", attr.EXCLUDE_USER | attr.EXCLUDE_HV),
        ("uk", attr.EXCLUDE_HV),
        ("G", attr.EXCLUDE_HOST),
        ("H", attr.EXCLUDE_GUEST),
        ("I", attr.EXCLUDE_IDLE),
        ("pp", 2 << 15),
        ("uP", attr.EXCLUDE_KERNEL | attr.EXCLUDE_HV | 3 << 15),
    ],
)
def test_modifiers(modifiers: str, flags: int) -> None:
    assert find(f"instructions:{modifiers}")[1].flags == flags


def test_options_about_where_and_how_often() -> None:
    name, origin, options = find(
        "cpu-clock", " -F 997 --exclude-kernel -C 0-1,3 -p 12,13 --tids=14 --stack-user-size 512"
    )

    assert name == "cpu-clock"
    assert (origin.frequency, origin.flags) == (997, attr.EXCLUDE_KERNEL)
    assert origin.user_stack_bytes == 512
    assert options == SampledOptions(cpus="0-1,3", pids=(12, 13), tids=(14,))


@pytest.mark.parametrize(
    ("options", "frequency", "period"),
    [
        *(("-F99", 99, 0), ("--freq=100", 100, 0), ("-F max", 100_000, 0)),
        *(("-c 50000", 0, 50_000), ("--period 10ms", 0, 10_000_000), ("--count=20us", 0, 20_000)),
    ],
)
def test_frequencies_and_periods(options: str, frequency: int, period: int) -> None:
    origin = find("cpu-clock", options)[1]

    assert (origin.frequency, origin.period) == (frequency, period)


@pytest.mark.parametrize(
    ("options", "session", "parts"),
    [
        ("-g", (False, False), (True, True)),
        ("-g --no-user-callchain", (True, True), (True, False)),
        ("--user-callchain", (False, False), (False, True)),
        ("--user-callchain --kernel-callchain", (False, False), (True, True)),
        ("--no-kernel-callchain", (True, True), (False, True)),
        ("--no-kernel-callchain", (False, False), (False, False)),
        ("", (True, False), (True, False)),
    ],
)
def test_which_parts_of_stacks(
    options: str, session: tuple[bool, bool], parts: tuple[bool, bool]
) -> None:
    assert find("profile", options)[2].parts(*session) == parts


def test_a_filter_in_quotes() -> None:
    options = find("page-faults", "--filter 'addr > 0x1000 && comm == \"a b\"' -g")[2]

    assert options.filter is not None
    assert options.filter.fields == {"addr"}
    assert options.kernel


@pytest.mark.parametrize(
    ("options", "origin"),
    [
        ("0x404040/8:w", (0x404040, 8, 2, "mem:0x404040/8:w")),
        ("(0x404040/8:rw) -p 1", (0x404040, 8, 3, "mem:0x404040/8:rw")),
        # Processors watch reads only together with writes.
        ("0x404044/4:r", (0x404044, 4, 3, "mem:0x404044/4:rw")),
        # A byte, and writes, unless said otherwise: as perf-prof.
        ("4210752", (0x404040, 1, 2, "mem:0x404040/1:w")),
        ("0x401136:x", (0x401136, 8, 4, "mem:0x401136/8:x")),
    ],
)
def test_breakpoints(options: str, origin: tuple[int, int, int, str]) -> None:
    name, found, _ = find("breakpoint", options)

    assert name == "breakpoint"
    assert (found.config1, found.config2, found.breakpoint, found.counter) == origin
    assert (found.type, found.period) == (5, 1)


def test_a_breakpoint_as_perf_list_has_it() -> None:
    name, origin, _ = find("mem:0x404040")

    assert name == "mem:0x404040"
    assert (origin.config2, origin.breakpoint) == (4, 3)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("breakpoint/0x1000/8:w/", [("breakpoint", "0x1000/8:w", False)]),
        ("breakpoint/ 0x1000/4 -g/stack/", [("breakpoint", " 0x1000/4 -g", True)]),
        ("breakpoint/-C 0,1 0x1000/8/", [("breakpoint", "-C 0,1 0x1000/8", False)]),
        ("mem:0x1000/8:rw", [("mem:0x1000/8:rw", "", False)]),
        ("mem:0x1000/8/-g/stack/", [("mem:0x1000/8", "-g", True)]),
        (
            "profile/-g/,breakpoint/0x1000/2/,mem:16/4",
            [("profile", "-g", False), ("breakpoint", "0x1000/2", False), ("mem:16/4", "", False)],
        ),
    ],
)
def test_the_slash_before_a_length_ends_nothing(
    text: str, parts: list[tuple[str, str, bool]]
) -> None:
    assert [
        (found.event, found.text[slice(*found.filter or (0, 0))], found.attributes.stack)
        for found in parse_selectors(text)
    ] == parts


@pytest.mark.parametrize("text", ["a:b/x>1/8/", "profile/-g/8/", "xbreakpoint/0x1000/8:w/"])
def test_other_slashes_before_numbers_end_what_they_end(text: str) -> None:
    with pytest.raises(TraceError):
        parse_selectors(text)


def test_profilers_that_are_analyses_say_what_there_is_instead() -> None:
    assert refused("task-state", error=Unavailable) == (
        "error: perf-prof's 'task-state' adds up times per state; a script does that with "
        "sched:sched_switch and sched:sched_wakeup\n"
        "  task-state\n"
        "  ^~~~~~~~~~"
    )


def test_events_of_perf_stat_have_no_samples() -> None:
    assert refused("duration_time", error=Unavailable) == (
        "error: 'duration_time' is a count that perf stat makes itself; it has no samples\n"
        "  duration_time\n"
        "  ^~~~~~~~~~~~~"
    )


@pytest.mark.parametrize("event", ["cpu-cycles", "LLC-loads", "r1a8"])
def test_an_event_that_needs_a_pmu_where_there_is_none(
    sampling_kernel: SamplingKernel, event: str
) -> None:
    sampling_kernel.refusal = errno.ENOENT

    assert refused(event, error=Unavailable) == (
        f"error: {event} needs a PMU (hardware counters) that has it, and this host has none; "
        "cpu-clock samples by a timer instead\n"
        f"  {event}\n"
        f"  ^{'~' * (len(event) - 1)}"
    )


def test_a_breakpoint_may_be_there_already_where_no_more_are_free(
    sampling_kernel: SamplingKernel,
) -> None:
    sampling_kernel.refusal = errno.ENOSPC

    _, origin, _ = find("breakpoint", "0x404040")

    # Where it is not, the kernel is asked once more, and this is what is said.
    error = explain_refusal("breakpoint", origin, OSError(errno.ENOSPC, ""))
    assert type(error) is LimitExceeded
    assert str(error) == (
        "error: all hardware breakpoints of this machine are in use; it has few, usually 4"
    )


def test_breakpoints_on_kernel_addresses_need_a_capability(sampling_kernel: SamplingKernel) -> None:
    sampling_kernel.refusal = errno.EPERM

    assert refused("breakpoint", "0xffffffff81000000", Unavailable) == (
        "error: breakpoints on kernel addresses need the daemon to have CAP_SYS_ADMIN\n"
        "  breakpoint/0xffffffff81000000/\n"
        "  ^~~~~~~~~~"
    )


@pytest.mark.parametrize("digits", ["9" * 5000, "9" * 20, "0x1" + "0" * 16, "0x" + "f" * 5000])
def test_addresses_of_more_than_64_bits(digits: str) -> None:
    for event, options in (("breakpoint", digits), (f"mem:{digits}", "")):
        assert refused(event, options).startswith("error: an address has 64 bits\n")


def test_numbers_with_a_zero_in_front_are_decimal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "kallsyms").write_text("ffffffff82000000 D jiffies\n")
    monkeypatch.setattr(breakpoint, "_KALLSYMS", tmp_path / "kallsyms")

    assert find("breakpoint", "0100")[1].config1 == 100
    assert find("breakpoint", "jiffies+010")[1].config1 == 0xFFFFFFFF8200000A
    assert refused("breakpoint", f"jiffies+{'9' * 5000}").startswith(
        "error: an address has 64 bits\n"
    )


def test_no_symbol_of_the_kernel() -> None:
    assert refused("breakpoint", "no_such_variable_here+8") == (
        "error: the kernel has no symbol 'no_such_variable_here' in /proc/kallsyms; variables are "
        "there with CONFIG_KALLSYMS_ALL\n"
        "  breakpoint/no_such_variable_here+8/\n"
        "             ^~~~~~~~~~~~~~~~~~~~~"
    )


def test_what_the_kernel_does_not_permit() -> None:
    error = explain_refusal("cpu-clock", find("cpu-clock")[1], PermissionError(errno.EACCES, ""))

    assert str(error) == (
        "error: the kernel does not permit cpu-clock: ptraced needs CAP_PERFMON, to lock memory "
        "for its buffers (ulimit -l), and kernel.perf_event_paranoid at most 2"
    )
