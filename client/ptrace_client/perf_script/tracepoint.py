"""Calls of a script's handlers with the samples of tracepoints, generated for each event.

What perf does for each sample, such as looking at the handler's code or finding out where the
fields lie, is done once here. What is left is one lookup, one unpacking and the call.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from ptrace_client.perf_data.attr import SampleType
from ptrace_client.perf_data.model import Buffer, RecordedEvent, Sample, Sink
from ptrace_client.perf_script.binding import COMMON, SAMPLE_DICT, Binding, bind, sample_dict_wanted
from ptrace_client.perf_script.defines import DefineWalk, sane_define_calls
from ptrace_client.perf_script.fields import FieldCode, field_code, padded
from ptrace_client.perf_script.sample_dict import SampleDicts
from ptrace_client.perf_script.unpacking import trimmed, with_header
from ptrace_client.printing import terminal_safe
from ptrace_formats.event_format import EventFormat

if TYPE_CHECKING:
    from ptrace_client.perf_script.context import ScriptContext
    from ptrace_client.perf_script.script import Callback, PerfScript
    from ptrace_client.perf_symbols.model import Machine

# Takes (data, start, end, misc).
ParseSample: TypeAlias = Callable[[Buffer, int, int, int], Sample]

_UNHANDLED: Final = "trace_unhandled"
# Of its dictionary, behind which the fields follow.
_UNHANDLED_KEYS: Final = (
    "common_cpu",
    "common_s",
    "common_ns",
    "common_pid",
    "common_comm",
    "common_callchain",
)
_COMMON_VALUES: Final = {
    "event_name": "name",
    "context": "context",
    "common_cpu": "cpu",
    "common_secs": "time // 1000000000",
    "common_nsecs": "time % 1000000000",
    "common_pid": "common_pid",
    "common_comm": "comms[tid]",
    "common_callchain": "chain",
    SAMPLE_DICT: "sample_dict(sample, chain)",
}
_RAW_SIZE_SIZE: Final = 4
_NO_TIME: Final = (1 << 64) - 1


class RecordedAs(NamedTuple):
    """How samples are laid out: as those of `event`, and how they are taken apart, if otherwise."""

    event: RecordedEvent
    sample: ParseSample | None = None


class Tracepoints:
    """What the sinks of all tracepoints of a run share."""

    def __init__(
        self,
        script: PerfScript,
        context: ScriptContext,
        machine: Machine,
        sample_dicts: SampleDicts,
        *,
        big_endian: bool = False,
        strict: bool = False,
        sane: bool = False,
    ) -> None:
        self.script = script
        self.context = context
        self.machine = machine
        self.sample_dicts = sample_dicts
        self.strict = strict
        self.byte_order = ">" if big_endian else "<"
        self._sane = sane
        # By the format's id: events of one tracepoint share what their arrays have become.
        self._codes: dict[int, FieldCode] = {}
        self._warned: set[str] = set()
        self._walk = DefineWalk()
        self._defined: set[int] = set()

    def sink(
        self, event: RecordedEvent, format: EventFormat, recorded_as: RecordedAs | None = None
    ) -> Sink:
        """Return what takes the samples of an event; `recorded_as` where that is another one's."""
        return _Caller(self, event, format, recorded_as or RecordedAs(event)).take

    def define(self, format: EventFormat) -> None:
        """Tell the script of the flags and symbols of an event, before its first sample."""
        if format.id in self._defined:
            return
        self._defined.add(format.id)
        calls = sane_define_calls(format) if self._sane else self._walk.calls(format)
        for name, arguments in calls:
            self.script.call(name, *arguments)

    def field_code(self, format: EventFormat) -> FieldCode:
        """Return how to read an event's fields, the same for all events of a tracepoint."""
        code = self._codes.get(format.id)
        if code is None:
            big_endian = self.byte_order == ">"
            code = field_code(
                format, big_endian=big_endian, sane=self._sane, common=("common_pid",)
            )
            self._codes[format.id] = code
        return code

    def warn(self, name: str, text: str) -> None:
        """Tell about a handler, once."""
        if name not in self._warned:
            self._warned.add(name)
            print(f"warning: {text}", file=sys.stderr)


class _Code(NamedTuple):
    """Lines that call a handler, and the layout that they unpack."""

    lines: list[str]
    layout: struct.Struct


class _Caller:
    """Hands an event's samples to its handler by code that is made anew for another handler."""

    def __init__(
        self, all: Tracepoints, event: RecordedEvent, format: EventFormat, recorded_as: RecordedAs
    ) -> None:
        self._all = all
        self._event = event
        self._format = format
        self._layout = recorded_as.event.layout
        self._sample_type = recorded_as.event.attr.sample_type
        self._parse = recorded_as.sample or self._layout.sample
        self._name = f"{format.system}__{format.name}"
        self._code = all.field_code(format)
        self._has_chain = bool(self._sample_type & SampleType.CALLCHAIN)
        self._is_direct = recorded_as.event is event
        self._sink: Sink = self.first

    def take(self, data: Buffer, start: int, end: int, misc: int, time: int) -> None:
        """Take a sample."""
        self._sink(data, start, end, misc, time)

    def first(self, data: Buffer, start: int, end: int, misc: int, time: int) -> None:
        """Take a sample for which there is no code yet, or no longer."""
        self._all.define(self._format)
        self._sink = self._build()
        if self._is_direct:
            self._event.sink = self._sink
        self._sink(data, start, end, misc, time)

    def _build(self) -> Sink:
        scope: dict[str, object] = {}
        code = _Code([], self._code.layout)
        handler = self._all.script.handler(self._name)
        if handler is not None:
            guards = [self._same_handler(self._name)]
            code = self._own_call(handler, scope)
        else:
            guards = [self._still_none(self._name, scope)]
            handler = self._all.script.handler(_UNHANDLED)
            if handler is not None:
                guards.append(self._same_handler(_UNHANDLED))
                code = self._unhandled_call(handler)
            else:
                guards.append(self._still_none(_UNHANDLED, scope))
        body = "".join(f"    {line}\n" for line in [*guards, *code.lines])
        source = f"def sink(data, start, end, misc, time):\n{body}"
        scope |= self._scope(handler, code.layout)
        # A recording's name may have characters that no name of a file has.
        exec(compile(source, f"<ptrace-client {terminal_safe(self._name)}>", "exec"), scope)
        sink: Sink = scope["sink"]  # type: ignore[assignment]
        return sink

    @staticmethod
    def _same_handler(name: str) -> str:
        return (
            f"try: found = namespace[{name!r}]\n"
            "    except KeyError: found = None\n"
            "    if found is not handler: return first(data, start, end, misc, time)"
        )

    def _still_none(self, name: str, scope: dict[str, object]) -> str:
        known = f"none{len(scope)}"
        # Something that cannot be called is as good as nothing.
        scope[known] = self._all.script.namespace.get(name)
        return (
            f"if namespace.get({name!r}) is not {known}: return first(data, start, end, misc, time)"
        )

    def _own_call(self, handler: Callback, scope: dict[str, object]) -> _Code:
        fields = [field.name for field in self._code.fields]
        binding = bind(handler, self._name, fields, strict=self._all.strict)
        if binding.warning:
            self._all.warn(self._name, binding.warning)
        unread = self._unread(handler, binding)
        call = binding.call(_COMMON_VALUES, self._code.values, scope, unread)
        return self._call(call, takes_dict=binding.takes_dict)

    def _unread(self, handler: Callback, binding: Binding) -> Collection[int]:
        """Return the positions of arguments that the handler does not look at.

        Text is read in any case: what it has been decides what it is from then on.
        """
        # This imports what most runs do not need.
        from ptrace_client.perf_live.reads import parameters

        known = parameters(handler)
        if known is None:
            return ()
        fields = self._code.fields
        return {
            position
            for position, argument in enumerate(binding.arguments)
            if not known.reads(position)
            and argument != SAMPLE_DICT
            and not (isinstance(argument, int) and fields[argument].text)
        }

    def _unhandled_call(self, handler: Callback) -> _Code:
        keys = [*_UNHANDLED_KEYS, *(field.name for field in self._code.fields)]
        common = [_COMMON_VALUES[name] for name in COMMON[2:]]
        items = [
            f"{key!r}: {value}"
            for key, value in zip(keys, [*common, *self._code.values], strict=True)
        ]
        takes_dict = sample_dict_wanted(handler, 3)
        more = f", {_COMMON_VALUES[SAMPLE_DICT]}" if takes_dict else ""
        call = f"handler(name, context, {{{', '.join(items)}}}{more})"
        return self._call(call, takes_dict=takes_dict)

    def _call(self, call: str, *, takes_dict: bool) -> _Code:
        """Return the code of a call and of what comes before it."""
        used = set(re.findall(r"\w+", call))
        lines = []
        if takes_dict or (self._has_chain and "chain" in used):
            lines.append("sample = parse(data, start, end, misc)")
        if "chain" in used:
            lines.append("chain = callchain(sample)" if self._has_chain else "chain = []")
        if "time" in used and not self._sample_type & SampleType.TIME:
            lines.append(f"time = {_NO_TIME}")
        layout, unpacking = self._unpacking(used)
        return _Code([*lines, *unpacking, call], layout)

    def _unpacking(self, used: Collection[str]) -> tuple[struct.Struct, list[str]]:
        """Return what to unpack, and the lines that set those variables that are used."""
        members = {name: offset for name, offset, _ in self._layout.fixed}
        lines = [
            f"{name} = {missing}"
            for name, missing in (("cpu", -1), ("tid", (1 << 32) - 1))
            if name not in members and name in used
        ]
        place = self._raw_place()
        if place is not None:
            layout, names = trimmed(*with_header(self._layout, place, self._code), used)
            lines.append("if end - start < size: data, start, end = padded(data, start, end, size)")
            if names:
                lines.append(f"{_targets(names)} = unpack(data, start)")
            if "at" in used:
                lines.append(f"at = start + {place}")
            return layout, lines
        layout, names = trimmed(self._code.layout, self._code.names, used)
        lines += [
            f"{name}, = unpack_u32(data, start + {members[name]})"
            for name in ("cpu", "tid")
            if name in members and name in used
        ]
        lines += [
            "at, end = find_raw(data, start, end)",
            "end += at",
            "if end - at < size: data, at, end = padded(data, at, end, size)",
        ]
        if names:
            lines.append(f"{_targets(names)} = unpack(data, at)")
        return layout, lines

    def _raw_place(self) -> int | None:
        """Return where in a sample its raw record begins; None where that differs."""
        place = self._layout.raw_place
        return place + _RAW_SIZE_SIZE if place >= 0 else None

    def _scope(self, handler: Callback | None, layout: struct.Struct) -> dict[str, object]:
        all = self._all
        return {
            **self._code.scope,
            "handler": handler,
            "namespace": all.script.namespace,
            "first": self.first,
            "name": self._name,
            "context": all.context,
            "comms": all.machine.comms,
            "callchain": all.machine.callchain,
            "sample_dict": all.sample_dicts.of_event(self._event),
            "parse": self._parse,
            "find_raw": self._layout.raw,
            "unpack": layout.unpack_from,
            "size": layout.size,
            "unpack_u32": struct.Struct(all.byte_order + "I").unpack_from,
            "padded": padded,
        }


def _targets(names: Sequence[str]) -> str:
    return "".join(f"{name}, " for name in names)
