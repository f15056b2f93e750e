"""Selectors, what -e takes: sys:name[/filter/ATTR/ATTR/.../], separated by commas.

In place of sys:name stands a probe (probes/selector.py), or an event that samples, which
has options in place of the filter (sampling/selector.py).

A comma or slash in quotes, parentheses, brackets or braces is an ordinary character, and so
is a comma between two slashes, and the slash before the length of a breakpoint. Every other
slash has its closing one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise

from ptrace_formats.event_format import EventFormat
from ptraced.attributes import Attributes, parse_attributes
from ptraced.diagnostics import nearest, pointed, printable
from ptraced.errors import LimitExceeded, NotFound, TraceError
from ptraced.filter import Filter, check_filter, parse_filter
from ptraced.origin import Origin, Tracepoint
from ptraced.policy.grant import Grant
from ptraced.probes.kernel_functions import read_once
from ptraced.probes.selector import KINDS, find_probes
from ptraced.sampling.breakpoint import is_length
from ptraced.sampling.selector import SampledOptions, find_sampled, is_sampled
from ptraced.sampling.selector import names as sampled_names
from ptraced.syscall_texts import with_texts
from ptraced.tracefs import Tracefs

_CLOSING = {"(": ")", "[": "]", "{": "}"}
# Characters of an event's name; Python keeps compiled globs.
_EVENT_MAX = 256
_UNQUOTED = re.compile(r"\s*(?:uprobe|uretprobe|usdt):[^@,\"']*@\s*(/[^,\s]*)")
_SDT = re.compile(r"%?sdt_(\w+):(\w+)", re.A)
_GLOB = re.compile(r"[*?[]")


@dataclass(frozen=True, slots=True)
class Selector:
    """A selector as typed.

    `event` is its "system:name", which may be a glob; its filter, if it has one, is
    text[slice(*filter)]. Events that sample have options there.
    """

    text: str
    event: str
    filter: tuple[int, int] | None
    attributes: Attributes


@dataclass(frozen=True)
class SelectedEvent:
    """An event that a selector asks for.

    `index` is the position of the selector over all texts, counted from 0. `cpus` is a CPU
    list or "", `max_stack` frames or None for the default, `text` the selector as typed.
    """

    index: int
    format: EventFormat
    alias: str
    filter: Filter | None
    stack: bool
    max_stack: int | None
    cpus: str
    text: str
    origin: Origin = field(default_factory=Tracepoint)
    # Of events that sample.
    options: SampledOptions = field(default_factory=SampledOptions)

    @property
    def name(self) -> str:
        """What policies call it: "system:name", or "name" of events that sample."""
        system, name = self.format.system, self.format.name
        return f"{system}:{name}" if system else name


def parse_selectors(text: str) -> list[Selector]:
    """Parse the text of one -e; raises TraceError that points at what is wrong."""
    selectors = []
    start = 0
    while True:
        _check_quotes(text, start)
        end = _selector_end(text, start)
        selectors.append(_parse(text[start:end].strip(), text, start, end))
        if end == len(text):
            return selectors
        start = end + 1


@read_once()
def resolve(
    texts: Sequence[str],
    tracefs: Tracefs,
    most: int = sys.maxsize,
    pids: Sequence[int] = (),
    grant: Grant | None = None,
) -> list[SelectedEvent]:
    """Return the events that the texts of all -e ask for, in their order.

    Wildcards become an entry per event. An event that is asked for twice is there twice. Files
    of probes are those that the first of `pids` sees, and that `grant` allows: none without one.
    Raises NotFound, PermissionRefused or TraceError that points at what is wrong, LimitExceeded
    for more than `most` events.
    """
    names = tracefs.names()
    selectors = (selector for text in texts for selector in parse_selectors(text))
    events: list[SelectedEvent] = []
    for index, selector in enumerate(selectors):
        for event in _select(index, selector, names, tracefs, most, pids, grant):
            if len(events) == most:
                raise LimitExceeded(f"error: more than {most} events are selected")
            events.append(event)
    return events


def _select(
    index: int,
    selector: Selector,
    names: Sequence[str],
    tracefs: Tracefs,
    most: int,
    pids: Sequence[int],
    grant: Grant | None,
) -> Iterator[SelectedEvent]:
    if is_sampled(selector.event):
        yield _sampled(index, selector)
        return
    attributes = selector.attributes
    found: list[tuple[EventFormat, Origin]]
    if selector.event.partition(":")[0] in KINDS:
        strings = dict(attributes.strings)
        found = [
            *find_probes(
                selector.event,
                selector.text,
                strings,
                tracefs=tracefs,
                most=most,
                pids=pids,
                grant=grant,
            )
        ]
    else:
        found = [
            (
                with_texts(tracefs.format(*name.split(":", 1)), attributes.strings, selector.text),
                Tracepoint(),
            )
            for name in _matching(selector, names)
        ]
    filter_text = parse_filter(selector.text, *selector.filter) if selector.filter else None
    for format, origin in found:
        yield SelectedEvent(
            index=index,
            format=format,
            alias=attributes.alias,
            filter=check_filter(filter_text, format) if filter_text else None,
            stack=attributes.stack,
            max_stack=attributes.max_stack,
            cpus=attributes.cpus,
            text=selector.text,
            origin=origin,
        )


def _sampled(index: int, selector: Selector) -> SelectedEvent:
    _check_no_strings(selector)
    attributes = selector.attributes
    start, end = selector.filter or (len(selector.event), len(selector.event))
    format, origin, options = find_sampled(
        selector.event, selector.text[start:end], selector.text, start=start
    )
    return SelectedEvent(
        index=index,
        format=format,
        alias=attributes.alias,
        filter=options.filter,
        stack=attributes.stack or bool(options.kernel or options.user),
        max_stack=attributes.max_stack or options.max_stack,
        cpus=attributes.cpus or options.cpus,
        text=selector.text,
        origin=origin,
        options=options,
    )


def _check_no_strings(selector: Selector) -> None:
    if selector.attributes.strings:
        start = selector.text.rindex("str")
        message = "'str=' is for arguments of probes and of system calls"
        raise TraceError(pointed(message, selector.text, start, start + 3))


def _parse(selector: str, text: str, start: int, end: int) -> Selector:
    if not selector:
        raise TraceError(pointed("an event is missing here", text, start, max(end, start + 1)))
    slashes = list(_unprotected(selector, 0, "/"))
    if len(slashes) == 1:
        raise TraceError(pointed("this '/' is not closed", selector, slashes[0], len(selector)))
    event = selector[: slashes[0]].rstrip() if slashes else selector
    # The part behind the last slash is empty, or _selector_end would have refused it.
    parts = [(first + 1, last) for first, last in pairwise(slashes)]
    filled = parts and selector[slice(*parts[0])].strip()
    return Selector(
        selector, event, parts[0] if filled else None, parse_attributes(selector, parts[1:])
    )


def _check_quotes(text: str, start: int) -> None:
    """Refuse a path that is not in quotes: its slashes would be those of the filter."""
    path = _UNQUOTED.match(text, start)
    if path is not None:
        raise TraceError(
            pointed(f'the file stands in quotes: @"{printable(path[1])}"', text, *path.span(1))
        )


def _selector_end(text: str, start: int) -> int:
    """Where the selector that starts at text[start] ends: at a comma or the text's end."""
    slashes: list[int] = []
    for at in _unprotected(text, start, ",/"):
        if text[at] == "/":
            slashes.append(at)
        elif not slashes or (len(slashes) > 1 and not text[slashes[-1] + 1 : at].strip()):
            return at
    if len(slashes) == 1 or (slashes and text[slashes[-1] + 1 :].strip()):
        raise TraceError(
            pointed("this '/' is not closed", text[start:], slashes[-1] - start, len(text) - start)
        )
    return len(text)


def _unprotected(text: str, start: int, separators: str) -> Iterator[int]:
    """Positions of separators outside of quotes and brackets, from text[start] on."""
    expected: list[tuple[str, int]] = []
    quote = -1
    for at in range(start, len(text)):
        char = text[at]
        if quote >= 0:
            quote = -1 if char == text[quote] else quote
        elif char in "\"'":
            quote = at
        elif char in _CLOSING:
            expected.append((_CLOSING[char], at))
        elif expected and char == expected[-1][0]:
            expected.pop()
        elif char in separators and not expected and not (char == "/" and is_length(text, at)):
            yield at
    if quote >= 0:
        raise TraceError(
            pointed("this quote is not closed", text[start:], quote - start, len(text) - start)
        )
    if expected:
        closing, at = expected[-1]
        message = f"this '{text[at]}' has no '{closing}'"
        raise TraceError(pointed(message, text[start:], at - start, at - start + 1))


def _matching(selector: Selector, names: Sequence[str]) -> list[str]:
    """The events that a selector means; raises NotFound if there are none."""
    event = selector.event
    if len(event) > _EVENT_MAX:
        message = f"no event's name has more than {_EVENT_MAX} characters"
        raise TraceError(pointed(message, selector.text, 0, len(event)))
    if _GLOB.search(event) and ":" in event:
        found = [name for name in names if fnmatchcase(name, event)]
        if found:
            return found
        message = f"no events match '{printable(event)}'"
    elif event in names:
        return [event]
    else:
        message = f"no event '{printable(event)}'{_suggestion(event, names)}"
    # The caret goes under the name as a whole where there is no system.
    start = event.find(":") + 1 if _system_exists(event, names) else 0
    raise NotFound(pointed(message, selector.text, start, len(event)))


def _system_exists(event: str, names: Sequence[str]) -> bool:
    system = event.partition(":")[0] + ":"
    return any(name.startswith(system) for name in names)


def _suggestion(event: str, names: Sequence[str]) -> str:
    if sdt := _SDT.fullmatch(event):
        return f': perf\'s SDT events are USDT probes here: usdt:{sdt[1]}:{sdt[2]}@"file"'
    if ":" not in event:
        complete = [name for name in names if name.endswith(f":{event}")]
        if complete:
            return f" (did you mean '{complete[0]}'?)"
        return nearest(event, [*names, *sampled_names()])
    return nearest(event, names)
