"""What sampled events are made of: a name, and options, to what the kernel is asked for."""

from __future__ import annotations

import functools
import re
from dataclasses import replace

from ptraced.diagnostics import nearest, pointed, printable
from ptraced.errors import NotFound, TraceError, Unavailable
from ptraced.origin import Sampled
from ptraced.sampling import attr, counters, pmu
from ptraced.sampling.breakpoint import BreakpointError, parse_breakpoint
from ptraced.sampling.options import Options, set_rate

# Samples a second of what is counted by time or by a PMU, unless said otherwise.
FREQUENCY = 99
PROFILE, BREAKPOINT, MEM = "profile", "breakpoint", "mem:"
_RAW = re.compile(r"r([0-9a-fA-F]{1,16})")
_SECOND = 1_000_000_000


def is_event(name: str) -> bool:
    """Whether an event or PMU has this name, on this host or another."""
    return (
        name in (PROFILE, BREAKPOINT)
        or name in _named()
        or name.startswith(MEM)
        or bool(_RAW.fullmatch(name))
        or pmu.is_known(name)
    )


@functools.cache
def _named() -> dict[str, tuple[int, int]]:
    """Type and config of all events that have names, whether this host has them or not."""
    found = {
        name: (type_, config)
        for type_, events in (
            (counters.SOFTWARE, counters.SOFTWARE_EVENTS),
            (counters.HARDWARE, counters.HARDWARE_EVENTS),
            (counters.HW_CACHE, counters.CACHE_EVENTS),
        )
        for name, config in events.items()
    }
    return found | {alias: found[name] for alias, name in counters.ALIASES.items()}


def hardware_names() -> list[str]:
    """The hardware events with names that this host has."""
    return _hardware_names() if attr.has_hardware() else []


@functools.cache
def _hardware_names() -> list[str]:
    return [
        name
        for name in (*counters.HARDWARE_EVENTS, *counters.CACHE_EVENTS)
        if attr.can_open(Sampled(*_named()[name], name, period=1 << 20))
    ]


def find_origin(name: str, event: str, options: Options, text: str) -> tuple[str, Sampled]:
    """What the event is called, and what it samples."""
    if name == BREAKPOINT:
        return _breakpoint(name, options, text)
    if name.startswith(MEM):
        _check_no_words(options, text)
        spec = name[len(MEM) :]
        return event, _at_breakpoint(spec, len(MEM), text, length=4, access="rw")
    if name not in _named() and name != PROFILE and not _RAW.fullmatch(name):
        return _pmu_event(name, options, text)
    _check_no_words(options, text)
    if name == PROFILE:
        return event, _profile()
    if raw := _RAW.fullmatch(name):
        return event, Sampled(counters.RAW, int(raw[1], 16), name)
    return event, Sampled(*_named()[name], counters.ALIASES.get(name, name))


def find_counter(name: str, text: str, start: int, end: int) -> Sampled:
    """What an event is that only counts: text[start:end], one with a name, or of a PMU."""
    if name in _named():
        return Sampled(*_named()[name], counters.ALIASES.get(name, name))
    if raw := _RAW.fullmatch(name):
        return Sampled(counters.RAW, int(raw[1], 16), name)
    device, slash, terms = name.partition("/")
    if slash and terms.endswith("/") and pmu.is_known(device):
        _check_has_pmu(device, text, start)
        return _of_pmu(device, terms[:-1], text, start + len(device) + 1)[0]
    message = f"no counter '{printable(name)}'{nearest(name, [*_named(), *pmu.pmu_events()])}"
    raise NotFound(pointed(message, text, start, end))


def _profile() -> Sampled:
    """Cycles where they are counted; else time, but for that of idle CPUs, as with cycles."""
    if attr.has_hardware():
        return Sampled(counters.HARDWARE, counters.HW_CPU_CYCLES, "cpu-cycles")
    return Sampled(counters.SOFTWARE, counters.SW_CPU_CLOCK, "cpu-clock", flags=attr.EXCLUDE_IDLE)


def _breakpoint(name: str, options: Options, text: str) -> tuple[str, Sampled]:
    if not options.words:
        message = "a breakpoint takes an address: breakpoint/0x404040/8:w/"
        raise TraceError(pointed(message, text, 0, len(text)))
    first, last = options.words.pop(0)
    _check_no_words(options, text)
    if text[first] == "(" and text[last - 1] == ")":
        first, last = first + 1, last - 1
    return name, _at_breakpoint(text[first:last], first, text, length=1, access="w")


def _at_breakpoint(spec: str, start: int, text: str, *, length: int, access: str) -> Sampled:
    try:
        found = parse_breakpoint(spec, length, access)
    except BreakpointError as error:
        first, last = start + error.start, start + error.end
        raise TraceError(pointed(str(error), text, first, max(last, first + 1))) from None
    return Sampled(
        counters.BREAKPOINT,
        0,
        found.name,
        config1=found.address,
        config2=found.length,
        breakpoint=found.access,
    )


def _check_has_pmu(name: str, text: str, start: int) -> None:
    if not pmu.is_pmu(name):
        message = (
            f"this host has no PMU '{name}' (hardware counters); cpu-clock samples by a timer "
            "instead"
        )
        raise Unavailable(pointed(message, text, start, start + len(name)))


def _pmu_event(name: str, options: Options, text: str) -> tuple[str, Sampled]:
    _check_has_pmu(name, text, 0)
    if not options.words:
        known = [event for event in pmu.pmu_events() if event.startswith(f"{name}/")]
        example = known[0] if known else f"{name}/event=0x3c/"
        message = f"'{name}' is a PMU: it takes an event, such as {example}"
        raise NotFound(pointed(message, text, 0, len(name)))
    first, last = options.words.pop(0)
    _check_no_words(options, text)
    origin, sampling = _of_pmu(name, text[first:last], text, first)
    for term, value in sampling.items():
        set_rate(options, text, term, value, (first, last))
    return origin.counter, origin


def _of_pmu(name: str, terms: str, text: str, start: int) -> tuple[Sampled, dict[str, int]]:
    """The event that terms at text[start:] mean, and what they say of how often it samples."""
    try:
        found = pmu.parse_terms(name, terms)
    except pmu.PmuError as error:
        place = start + error.start, min(start + error.end, len(text))
        raise TraceError(pointed(str(error), text, *place)) from None
    words, title = found.words, f"{name}/{terms}/"
    origin = Sampled(
        found.type, words["config"], title, config1=words["config1"], config2=words["config2"]
    )
    return origin, found.sampling


def _check_no_words(options: Options, text: str) -> None:
    for first, last in options.words:
        message = f"'{printable(text[first:last])}' is no option; options begin with '-'"
        raise TraceError(pointed(message, text, first, last))


def with_rate(origin: Sampled, options: Options, text: str) -> Sampled:
    """The event with a frequency or period, as typed or as it has by default."""
    timed = origin.type == counters.SOFTWARE and origin.counter in counters.CLOCKS
    counted = origin.type in (counters.SOFTWARE, counters.BREAKPOINT) and not timed
    if options.period is not None:
        least = -(-_SECOND // attr.setting("perf_event_max_sample_rate")) if timed else 1
        message = ""
        if options.period_unit and not timed:
            message = f"a period of {origin.counter} is a number of occurrences, not a time"
        elif options.period < least:
            message = (
                f"a period of {options.period} ns: at least {least} are possible "
                "(sysctl kernel.perf_event_max_sample_rate)"
            )
        if message:
            raise TraceError(pointed(message, text, *options.rate_place))
        return replace(origin, period=options.period)
    if options.frequency is None and counted:
        return replace(origin, period=1)
    return replace(origin, frequency=options.frequency or FREQUENCY)
