"""Selectors of sampled events that are wrong: what is said, and where it points."""

from __future__ import annotations

import pytest
from sampledselectors import refused

pytestmark = pytest.mark.usefixtures("sampling_kernel")


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
