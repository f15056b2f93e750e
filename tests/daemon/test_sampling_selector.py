"""Selectors of sampled events: what they mean, and what is said of those that are wrong."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ptraced.errors import LimitExceeded, NotFound, TraceError, Unavailable
from ptraced.origin import Sampled
from ptraced.sampling import attr, breakpoint, origins
from ptraced.sampling.refusal import explain_refusal
from ptraced.sampling.selector import SampledOptions, find_sampled, is_sampled, names
from ptraced.selector import parse_selectors

SETTINGS = {"perf_event_max_sample_rate": 100_000, "perf_event_max_stack": 100}


class Kernel:
    """Stands in for the kernel: has a PMU or none, and may refuse events."""

    def __init__(self) -> None:
        self.hardware = False
        self.refusal = 0
        self.count_refusal = 0

    def try_open(self, origin: Sampled, sample_type: int = 0) -> None:
        if self.refusal:
            raise OSError(self.refusal, os.strerror(self.refusal))

    def try_count(self, origin: Sampled) -> None:
        if self.count_refusal:
            raise OSError(self.count_refusal, os.strerror(self.count_refusal))


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(attr, "try_open", made.try_open)
    monkeypatch.setattr(attr, "try_count", made.try_count)
    monkeypatch.setattr(attr, "has_hardware", lambda: made.hardware)
    monkeypatch.setattr(attr, "setting", SETTINGS.__getitem__)
    return made


def find(event: str, options: str = "") -> tuple[str, Sampled, SampledOptions]:
    text = f"{event}/{options}/" if options else event
    format, origin, found = find_sampled(event, options, text, start=len(event) + 1)
    assert format.system == ""
    return format.name, origin, found


def refused(event: str, options: str = "", error: type[TraceError] = TraceError) -> str:
    with pytest.raises(TraceError) as caught:
        find(event, options)
    assert type(caught.value) is error
    return str(caught.value)


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


def test_profile_samples_cycles_where_they_are_counted(kernel: Kernel) -> None:
    kernel.hardware = True

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


REFUSED = [
    (
        "profile",
        "-F 100001",
        "error: a frequency of 100001 Hz: at most 100000 are possible "
        "(sysctl kernel.perf_event_max_sample_rate)\n"
        "  profile/-F 100001/\n"
        "             ^~~~~~",
    ),
    (
        "profile",
        "-F 0",
        "error: a frequency is at least 1 Hz\n  profile/-F 0/\n             ^",
    ),
    (
        "profile",
        "--freq=ten",
        "error: 'ten' is not a frequency in Hz\n  profile/--freq=ten/\n                 ^~~",
    ),
    ("profile", "-g -F", "error: '-F' takes a value\n  profile/-g -F/\n             ^~"),
    ("profile", "-g=1", "error: '-g' takes no value\n  profile/-g=1/\n          ^~~~"),
    (
        "profile",
        "-F 99 -c 5",
        "error: samples have either a frequency or a period\n"
        "  profile/-F 99 -c 5/\n"
        "                   ^",
    ),
    (
        "cpu-clock",
        "-c 9999",
        "error: a period of 9999 ns: at least 10000 are possible "
        "(sysctl kernel.perf_event_max_sample_rate)\n"
        "  cpu-clock/-c 9999/\n"
        "               ^~~~",
    ),
    (
        "page-faults",
        "--period 5ms",
        "error: a period of page-faults is a number of occurrences, not a time\n"
        "  page-faults/--period 5ms/\n"
        "                       ^~~",
    ),
    (
        "page-faults",
        "-c 0",
        "error: a period is 1 to 9223372036854775807\n  page-faults/-c 0/\n                 ^",
    ),
    (
        "profile",
        "--max-stack 101",
        "error: stacks of 101 frames: 1 to 100 are possible (sysctl kernel.perf_event_max_stack)\n"
        "  profile/--max-stack 101/\n"
        "                      ^~~",
    ),
    (
        "profile",
        "--stack-user-size 65536",
        "error: copies of stacks have 8 to 65528 bytes, a multiple of 8\n"
        "  profile/--stack-user-size 65536/\n"
        "                            ^~~~~",
    ),
    (
        "profile",
        "-i 1000",
        "error: '-i' belongs to the command line, not to an event\n"
        "  profile/-i 1000/\n"
        "          ^~",
    ),
    (
        "profile",
        "--order",
        "error: '--order' belongs to the command line, not to an event\n"
        "  profile/--order/\n"
        "          ^~~~~~~",
    ),
    (
        "profile",
        "--than 30",
        "error: '--than' is an analysis of perf-prof's; here it is the script's work\n"
        "  profile/--than 30/\n"
        "          ^~~~~~",
    ),
    (
        "profile",
        "--prio 1",
        "error: '--prio' is not supported; --filter takes ip, addr, period, pid, tid, cpu and "
        "comm\n"
        "  profile/--prio 1/\n"
        "          ^~~~~~",
    ),
    (
        "profile",
        "--exclude-usr",
        "error: no option '--exclude-usr' (did you mean '--exclude-user'?)\n"
        "  profile/--exclude-usr/\n"
        "          ^~~~~~~~~~~~~",
    ),
    (
        "profile",
        "997",
        "error: '997' is no option; options begin with '-'\n  profile/997/\n          ^~~",
    ),
    (
        "profile",
        "-C 0;1",
        "error: a list of CPUs is such as 0-3,8\n  profile/-C 0;1/\n             ^~~",
    ),
    (
        "profile",
        "-p x",
        "error: a list of processes or threads is such as 345,578\n  profile/-p x/\n             ^",
    ),
    (
        "page-faults",
        "--filter 'ipp > 5'",
        "error: page-faults has no field 'ipp' (did you mean 'ip'?)\n"
        "  page-faults/--filter 'ipp > 5'/\n"
        "                        ^~~",
    ),
    (
        "page-faults",
        "--filter 'cgroup==1'",
        "error: 'cgroup' of page-faults is not known before the sample is taken; filters on "
        "samples take ip, addr, period, pid, tid, cpu and comm\n"
        "  page-faults/--filter 'cgroup==1'/\n"
        "                        ^~~~~~",
    ),
    (
        "breakpoint",
        "-g",
        "error: a breakpoint takes an address: breakpoint/0x404040/8:w/\n"
        "  breakpoint/-g/\n"
        "  ^~~~~~~~~~~~~~",
    ),
    (
        "breakpoint",
        "0x404040/3:w",
        "error: a breakpoint has 1, 2, 4 or 8 bytes\n"
        "  breakpoint/0x404040/3:w/\n"
        "                      ^",
    ),
    (
        "breakpoint",
        "0x404044/8:w",
        "error: a breakpoint of 8 bytes starts at a multiple of 8\n"
        "  breakpoint/0x404044/8:w/\n"
        "             ^~~~~~~~",
    ),
    (
        "breakpoint",
        "0x404040/4:x",
        "error: a breakpoint on execution has 8 bytes, sizeof(long)\n"
        "  breakpoint/0x404040/4:x/\n"
        "                      ^",
    ),
    (
        "breakpoint",
        "0x404040:wx",
        "error: x stands alone: code is executed, not read\n"
        "  breakpoint/0x404040:wx/\n"
        "                      ^~",
    ),
    (
        "breakpoint",
        "0x404040:q",
        "error: a breakpoint is for r (reads and writes), w (writes) or x (execution)\n"
        "  breakpoint/0x404040:q/\n"
        "                      ^",
    ),
    (
        "breakpoint",
        "0x10000000000000000",
        "error: an address has 64 bits\n"
        "  breakpoint/0x10000000000000000/\n"
        "             ^~~~~~~~~~~~~~~~~~~",
    ),
    (
        "breakpoint",
        "*p",
        "error: a breakpoint is ADDRESS[/LENGTH][:rwx], such as 0x404040/8:w\n"
        "  breakpoint/*p/\n"
        "             ^~",
    ),
    (
        "mem:0x1001/8",
        "",
        "error: a breakpoint of 8 bytes starts at a multiple of 8\n  mem:0x1001/8\n      ^~~~~~",
    ),
]


@pytest.mark.parametrize(("event", "options", "message"), REFUSED)
def test_mistakes_are_pointed_at(event: str, options: str, message: str) -> None:
    assert refused(event, options) == message


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
def test_an_event_that_needs_a_pmu_where_there_is_none(kernel: Kernel, event: str) -> None:
    kernel.refusal = errno.ENOENT

    assert refused(event, error=Unavailable) == (
        f"error: {event} needs a PMU (hardware counters) that has it, and this host has none; "
        "cpu-clock samples by a timer instead\n"
        f"  {event}\n"
        f"  ^{'~' * (len(event) - 1)}"
    )


def test_a_breakpoint_may_be_there_already_where_no_more_are_free(kernel: Kernel) -> None:
    kernel.refusal = errno.ENOSPC

    _, origin, _ = find("breakpoint", "0x404040")

    # Where it is not, the kernel is asked once more, and this is what is said.
    error = explain_refusal("breakpoint", origin, OSError(errno.ENOSPC, ""))
    assert type(error) is LimitExceeded
    assert str(error) == (
        "error: all hardware breakpoints of this machine are in use; it has few, usually 4"
    )


def test_breakpoints_on_kernel_addresses_need_a_capability(kernel: Kernel) -> None:
    kernel.refusal = errno.EPERM

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


@pytest.fixture
def pmus(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """A host with a PMU called cpu, as sysfs describes it, and one that is not ours."""
    files = {
        "cpu/type": "4\n",
        "cpu/format/event": "config:0-7,32-35\n",
        "cpu/format/umask": "config:8-15\n",
        "cpu/format/edge": "config:18\n",
        "cpu/format/ldlat": "config1:0-15\n",
        "cpu/format/strange": "config9:0-7\n",
        "cpu/events/mem-loads": "event=0xcd,umask=0x1,ldlat=3\n",
        "cpu/events/mem-loads.unit": "Bytes\n",
        "uprobe/type": "8\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(origins.pmu, "DEVICES", tmp_path)


@pytest.mark.usefixtures("pmus")
@pytest.mark.parametrize(
    ("terms", "config", "config1"),
    [
        ("event=0x3c,umask=1", 0x13C, 0),
        # Twelve bits in two places.
        ("event=0xabc", 0xA_0000_00BC, 0),
        ("event=0x3c,edge", 0x4003C, 0),
        ("mem-loads", 0x1CD, 3),
        ("mem-loads,ldlat=30", 0x1CD, 31),
        ("config=0x1a8,config1=7", 0x1A8, 7),
        ("r1a8", 0x1A8, 0),
    ],
)
def test_events_of_pmus_by_the_terms_of_sysfs(terms: str, config: int, config1: int) -> None:
    name, origin, _ = find("cpu", terms)

    assert name == f"cpu/{terms}/"
    assert (origin.type, origin.config, origin.config1) == (4, config, config1)
    assert origin.frequency == 99


@pytest.mark.usefixtures("pmus")
def test_options_behind_a_pmus_terms() -> None:
    name, origin, options = find("cpu", "event=0x3c,period=1000 -g")

    assert (name, origin.period, origin.frequency) == ("cpu/event=0x3c,period=1000/", 1000, 0)
    assert options.user


@pytest.mark.usefixtures("pmus")
@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (
            "evnt=1",
            "error: cpu has no event or term 'evnt' (did you mean 'event'?)\n"
            "  cpu/evnt=1/\n"
            "      ^~~~~~",
        ),
        (
            "event=1, umask=1",
            "error: 'umask=1' is no option; options begin with '-'\n"
            "  cpu/event=1, umask=1/\n"
            "               ^~~~~~~",
        ),
        (
            "event=1,umask=0x100",
            "error: 0x100 does not fit into 'umask' (config:8-15)\n"
            "  cpu/event=1,umask=0x100/\n"
            "              ^~~~~~~~~~~",
        ),
        (
            "event=?",
            "error: '?' is no number; 0x3c and 60 are\n  cpu/event=?/\n      ^~~~~~~",
        ),
        (
            "config=99999999999999999999",
            "error: 99999999999999999999 has more than 64 bits\n"
            "  cpu/config=99999999999999999999/\n"
            "      ^~~~~~~~~~~~~~~~~~~~~~~~~~~",
        ),
        (
            "strange=1",
            "error: sysfs describes 'strange' in an unknown way: config9:0-7\n"
            "  cpu/strange=1/\n"
            "      ^~~~~~~~~",
        ),
        (
            "../type",
            "error: cpu/.../ takes terms such as event=0x3c\n  cpu/../type/\n      ^~~~~~~",
        ),
        (
            "event=1,freq=200000",
            "error: a frequency of 200000 Hz: at most 100000 are possible "
            "(sysctl kernel.perf_event_max_sample_rate)\n"
            "  cpu/event=1,freq=200000/\n"
            "      ^~~~~~~~~~~~~~~~~~~",
        ),
    ],
)
def test_wrong_terms(terms: str, message: str) -> None:
    assert refused("cpu", terms) == message


@pytest.mark.usefixtures("pmus")
def test_counters_that_are_read_along() -> None:
    origin = find("profile", "--group (cs,cpu/event=1,umask=2/,r1a8, faults) -g")[1]

    assert [(counter.type, counter.config, counter.counter) for counter in origin.group] == [
        (1, 3, "context-switches"),
        (4, 0x201, "cpu/event=1,umask=2/"),
        (4, 0x1A8, "r1a8"),
        (1, 2, "page-faults"),
    ]


@pytest.mark.usefixtures("pmus")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "--group page-faults,cycels",
            "error: no counter 'cycels' (did you mean 'cycles'?)\n"
            "  profile/--group page-faults,cycels/\n"
            "                              ^~~~~~",
        ),
        (
            "--group (cpu/evnt=1/)",
            "error: cpu has no event or term 'evnt' (did you mean 'event'?)\n"
            "  profile/--group (cpu/evnt=1/)/\n"
            "                       ^~~~~~",
        ),
        (
            "--group ()",
            "error: a group counts 1 to 16 other events: --group page-faults,cpu-clock\n"
            "  profile/--group ()/\n"
            "                   ^",
        ),
    ],
)
def test_wrong_counters(options: str, message: str) -> None:
    with pytest.raises(TraceError) as error:
        find("profile", options)

    assert str(error.value) == message


def test_a_counter_that_this_host_does_not_have(kernel: Kernel) -> None:
    kernel.count_refusal = errno.ENOENT

    assert refused("profile", "--group instructions", Unavailable) == (
        "error: instructions needs a PMU (hardware counters) that has it, and this host has none; "
        "cpu-clock samples by a timer instead\n"
        "  profile/--group instructions/\n"
        "                  ^~~~~~~~~~~~"
    )


@pytest.mark.parametrize("name", ["cpu", "cpu_core", "intel_pt", "uncore_imc_0", "power"])
def test_a_pmu_that_other_hosts_have(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setattr(origins.pmu, "DEVICES", tmp_path)
    message = (
        f"error: this host has no PMU '{name}' (hardware counters); cpu-clock samples by a timer "
        "instead\n"
    )

    assert is_sampled(name)
    assert refused(name, "event=0x3c", Unavailable) == (
        f"{message}  {name}/event=0x3c/\n  ^{'~' * (len(name) - 1)}"
    )
    assert refused("profile", f"--group ({name}/event=0x3c/)", Unavailable) == (
        f"{message}  profile/--group ({name}/event=0x3c/)/\n  {' ' * 17}^{'~' * (len(name) - 1)}"
    )


def test_what_the_kernel_does_not_permit() -> None:
    error = explain_refusal("cpu-clock", find("cpu-clock")[1], PermissionError(errno.EACCES, ""))

    assert str(error) == (
        "error: the kernel does not permit cpu-clock: ptraced needs CAP_PERFMON, to lock memory "
        "for its buffers (ulimit -l), and kernel.perf_event_paranoid at most 2"
    )


@pytest.mark.usefixtures("pmus")
def test_a_pmu_alone_is_no_event() -> None:
    assert refused("cpu", error=NotFound) == (
        "error: 'cpu' is a PMU: it takes an event, such as cpu/mem-loads/\n  cpu\n  ^~~"
    )


def test_a_pmu_that_cannot_sample(kernel: Kernel, pmus: None) -> None:
    kernel.refusal = errno.EINVAL
    (origins.pmu.DEVICES / "cpu" / "type").write_text("9\n")

    assert refused("cpu", "event=1", Unavailable) == (
        "error: cpu/event=1/ counts but cannot sample: its PMU has no interrupt, or not this "
        "event; profile/--group (cpu/event=1/)/ reads it with each sample\n"
        "  cpu/event=1/\n"
        "  ^~~"
    )


@pytest.mark.usefixtures("pmus")
def test_names_for_suggestions() -> None:
    found = names()

    assert found == sorted(found)
    assert {"profile", "breakpoint", "page-faults", "cpu/mem-loads/"} <= set(found)
    assert "cpu/mem-loads.unit/" not in found
    assert "cpu-cycles" not in found
