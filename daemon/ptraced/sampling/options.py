"""The options of a sampled event: what stands between its first two slashes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ptraced.diagnostics import nearest, pointed, printable
from ptraced.errors import TraceError
from ptraced.program import STACK_DEPTH_MAX
from ptraced.sampling import attr

# Bytes of a user's stack: the kernel wants a multiple of 8 below 64 KiB.
_STACK_BYTES_MAX = 65528
_PERIOD_MAX = (1 << 63) - 1
_UNITS = {"": 1, "ns": 1, "us": 1000, "ms": 1000_000, "s": 1000_000_000}
_CPUS = re.compile(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*")
_TASKS = re.compile(r"[0-9]{1,7}(,[0-9]{1,7})*")


@dataclass(slots=True)
class Options:
    """Options as typed. `words` are what is no option; `filter` is text[slice(*filter)], and so is
    `group`.

    `period_unit` is "" where the period is a plain number. None is for what was not said.
    """

    frequency: int | None = None
    period: int | None = None
    period_unit: str = ""
    rate_place: tuple[int, int] = (0, 0)
    flags: int = 0
    call_graph: bool = False
    user_callchain: bool | None = None
    kernel_callchain: bool | None = None
    max_stack: int | None = None
    cpus: str = ""
    pids: tuple[int, ...] = ()
    tids: tuple[int, ...] = ()
    filter: tuple[int, int] | None = None
    group: tuple[int, int] | None = None
    user_stack_bytes: int | None = None
    words: list[tuple[int, int]] = field(default_factory=list)


class _OptionError(Exception):
    """Why a value, or an option as a whole, is refused."""


def parse_options(text: str, start: int, end: int) -> Options:
    """Parse text[start:end]; raises TraceError that points at what is wrong."""
    options = Options()
    tokens = _tokens(text, start, end)
    for first, last in tokens:
        if text[first] != "-" or last - first == 1:
            options.words.append((first, last))
            continue
        name, value = _split(text, first, last)
        try:
            action, takes_value = _find(name)
            if takes_value and value is None:
                value = next(tokens, None)
            if takes_value and value is None:
                raise _OptionError(f"'{name}' takes a value")
            if not takes_value and value is not None:
                raise _OptionError(f"'{name}' takes no value")
        except _OptionError as error:
            raise TraceError(pointed(str(error), text, first, last)) from None
        _apply(action, options, text, value or (first, last))
    return options


def set_rate(options: Options, text: str, term: str, value: int, place: tuple[int, int]) -> None:
    """Take a PMU's term freq= or period=, as the option of that name; errors point at `place`."""
    action = _frequency if term == "freq" else _period
    try:
        action(options, str(value), place)
    except _OptionError as error:
        raise TraceError(pointed(str(error), text, *place)) from None


def _apply(action: _Action, options: Options, text: str, place: tuple[int, int]) -> None:
    first, last = place
    if last - first > 1 and text[first] in "\"'" and text[first] == text[last - 1]:
        first, last = first + 1, last - 1
    try:
        action(options, text[first:last], (first, last))
    except _OptionError as error:
        raise TraceError(pointed(str(error), text, first, max(last, first + 1))) from None


def _tokens(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Words between blanks; blanks in quotes or brackets do not count."""
    at = start
    while at < end:
        if text[at].isspace():
            at += 1
            continue
        first, quote, depth = at, "", 0
        while at < end and (quote or depth > 0 or not text[at].isspace()):
            char = text[at]
            if quote:
                quote = "" if char == quote else quote
            elif char in "\"'":
                quote = char
            else:
                depth += (char in "([{") - (char in ")]}")
            at += 1
        yield first, at


def _split(text: str, first: int, last: int) -> tuple[str, tuple[int, int] | None]:
    """An option's name, and its value where that is joined to it: --freq=99, -F99."""
    equals = text.find("=", first, last)
    if text.startswith("--", first):
        return (text[first:last], None) if equals < 0 else (text[first:equals], (equals + 1, last))
    if last - first == 2:
        return text[first:last], None
    return text[first : first + 2], (first + 2, last)


def _find(name: str) -> tuple[_Action, bool]:
    if name in _OPTIONS:
        return _OPTIONS[name]
    if name in _OF_COMMAND_LINE:
        raise _OptionError(f"'{name}' belongs to the command line, not to an event")
    if name in _OF_SCRIPTS:
        raise _OptionError(f"'{name}' is an analysis of perf-prof's; here it is the script's work")
    if name in _OF_PROGRAMS:
        raise _OptionError(
            f"'{name}' is not supported; --filter takes ip, addr, period, pid, tid, cpu and comm"
        )
    known = (*_OPTIONS, *_OF_COMMAND_LINE, *_OF_SCRIPTS)
    raise _OptionError(f"no option '{printable(name)}'{nearest(name, known)}")


_Action = Callable[[Options, str, tuple[int, int]], None]


def _frequency(options: Options, value: str, place: tuple[int, int]) -> None:
    limit = attr.setting("perf_event_max_sample_rate")
    frequency = limit if value == "max" else _number(value, "a frequency in Hz")
    if frequency < 1:
        raise _OptionError("a frequency is at least 1 Hz")
    if frequency > limit:
        raise _OptionError(
            f"a frequency of {frequency} Hz: at most {limit} are possible "
            "(sysctl kernel.perf_event_max_sample_rate)"
        )
    if options.period is not None:
        raise _OptionError("samples have either a frequency or a period")
    options.frequency, options.rate_place = frequency, place


def _period(options: Options, value: str, place: tuple[int, int]) -> None:
    parsed = re.fullmatch(r"([0-9]{1,20})(ns|us|ms|s|)", value)
    if parsed is None:
        raise _OptionError("a period is a number of occurrences, or a time such as 10ms")
    period = int(parsed[1]) * _UNITS[parsed[2]]
    if not 0 < period <= _PERIOD_MAX:
        raise _OptionError(f"a period is 1 to {_PERIOD_MAX}")
    if options.frequency is not None:
        raise _OptionError("samples have either a frequency or a period")
    options.period, options.period_unit, options.rate_place = period, parsed[2], place


def _max_stack(options: Options, value: str, place: tuple[int, int]) -> None:
    depth, limit = _number(value, "a number of frames"), min(STACK_DEPTH_MAX, attr.stack_limit())
    if not 0 < depth <= limit:
        raise _OptionError(
            f"stacks of {depth} frames: 1 to {limit} are possible "
            "(sysctl kernel.perf_event_max_stack)"
        )
    options.max_stack = depth


def _user_stack(options: Options, value: str, place: tuple[int, int]) -> None:
    size = _number(value, "a number of bytes")
    if not 0 < size <= _STACK_BYTES_MAX or size % 8:
        raise _OptionError(f"copies of stacks have 8 to {_STACK_BYTES_MAX} bytes, a multiple of 8")
    options.user_stack_bytes = size


def _cpus(options: Options, value: str, place: tuple[int, int]) -> None:
    if not _CPUS.fullmatch(value):
        raise _OptionError("a list of CPUs is such as 0-3,8")
    options.cpus = value


def _pids(options: Options, value: str, place: tuple[int, int]) -> None:
    options.pids += _tasks(value)


def _tids(options: Options, value: str, place: tuple[int, int]) -> None:
    options.tids += _tasks(value)


def _tasks(value: str) -> tuple[int, ...]:
    if not _TASKS.fullmatch(value):
        raise _OptionError("a list of processes or threads is such as 345,578")
    return tuple(map(int, value.split(",")))


def _filter(options: Options, value: str, place: tuple[int, int]) -> None:
    options.filter = place


def _group(options: Options, value: str, place: tuple[int, int]) -> None:
    options.group = place


def _number(text: str, what: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise _OptionError(f"'{printable(text)}' is not {what}")
    return int(text)


def _flag(bits: int) -> tuple[_Action, bool]:
    def action(options: Options, value: str, place: tuple[int, int]) -> None:
        options.flags |= bits

    return action, False


def _switch(name: str, value: bool) -> tuple[_Action, bool]:
    def action(options: Options, text: str, place: tuple[int, int]) -> None:
        setattr(options, name, value)

    return action, False


_VALUES: dict[_Action, tuple[str, ...]] = {
    _frequency: ("-F", "--freq"),
    _period: ("-c", "--count", "--period"),
    _max_stack: ("--max-stack",),
    _user_stack: ("--stack-user-size",),
    _cpus: ("-C", "--cpu", "--cpus"),
    _pids: ("-p", "--pid", "--pids"),
    _tids: ("-t", "--tid", "--tids"),
    _filter: ("--filter",),
    _group: ("--group",),
}
_OPTIONS: dict[str, tuple[_Action, bool]] = {
    **{name: (action, True) for action, names in _VALUES.items() for name in names},
    "-g": _switch("call_graph", True),
    "--call-graph": _switch("call_graph", True),
    "--user-callchain": _switch("user_callchain", True),
    "--no-user-callchain": _switch("user_callchain", False),
    "--kernel-callchain": _switch("kernel_callchain", True),
    "--no-kernel-callchain": _switch("kernel_callchain", False),
    "--exclude-user": _flag(attr.EXCLUDE_USER),
    "--all-kernel": _flag(attr.EXCLUDE_USER),
    "--kernel": _flag(attr.EXCLUDE_USER),
    "--exclude-kernel": _flag(attr.EXCLUDE_KERNEL),
    "--all-user": _flag(attr.EXCLUDE_KERNEL | attr.EXCLUDE_HV),
    "--user": _flag(attr.EXCLUDE_KERNEL | attr.EXCLUDE_HV),
    "--exclude-hv": _flag(attr.EXCLUDE_HV),
    "--exclude-idle": _flag(attr.EXCLUDE_IDLE),
    "--exclude-guest": _flag(attr.EXCLUDE_GUEST),
    "--exclude-host": _flag(attr.EXCLUDE_HOST),
    "-G": _flag(attr.EXCLUDE_HOST),
    "--guest": _flag(attr.EXCLUDE_HOST),
}
_OF_COMMAND_LINE = frozenset(
    (
        *("-e", "--event", "-i", "--interval", "-m", "--mmap-pages", "--watermark", "-o"),
        *("--output", "--output2", "-N", "--exit-N", "--order", "--cgroups", "--monotonic"),
        *("--usage-self", "-v", "--verbose", "-q", "--quiet", "-V", "--version", "-h", "--help"),
        *("--tsc", "--kvmclock", "--clock-offset", "--python-callchain"),
    )
)
_OF_SCRIPTS = frozenset(
    (
        *("--than", "--only-than", "--lower", "--flame-graph", "--heatmap", "--perins"),
        *("--detail", "-k", "--key", "--impl", "--only-comm", "--cycle", "-T", "--trigger"),
    )
)
_OF_PROGRAMS = frozenset(
    (
        *("--irqs_disabled", "--tif_need_resched", "--exclude_pid", "--nr_running_min"),
        *("--nr_running_max", "--sched_policy", "--prio"),
    )
)
