"""Events as lines of text, in perf-prof's layout and the kernel's words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from ptrace_client.decode import source_name
from ptrace_client.event_fields import chain_key
from ptrace_client.print_values import data
from ptrace_proto import ptrace_pb2 as pb

# enum trace_flag_type (include/linux/trace_events.h); bit 1 is NEED_RESCHED_LAZY
# since 6.13, before that no architecture that still exists set it.
_IRQS_OFF, _RESCHED_LAZY, _RESCHED, _HARDIRQ = 0x01, 0x02, 0x04, 0x08
_SOFTIRQ, _PREEMPT_RESCHED, _NMI, _BH_OFF = 0x10, 0x20, 0x40, 0x80

_RESCHED_LETTERS = {
    _RESCHED | _RESCHED_LAZY | _PREEMPT_RESCHED: "B",
    _RESCHED | _PREEMPT_RESCHED: "N",
    _RESCHED_LAZY | _PREEMPT_RESCHED: "L",
    _RESCHED | _RESCHED_LAZY: "b",
    _RESCHED: "n",
    _PREEMPT_RESCHED: "p",
    _RESCHED_LAZY: "l",
}

# C0 and C1 controls and DEL; what changes lines or the direction of writing, with which a name
# looks like another; and the surrogates that stand for bytes that are not UTF-8.
_CONTROLS = {*range(32), *range(127, 160)} - {ord("\n"), ord("\t")}
_DIRECTIONS = {0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)}
_UNSAFE = {
    **{code: f"\\x{code:02x}" for code in _CONTROLS},
    **{code: f"\\u{code:04x}" for code in _DIRECTIONS},
    **{0xDC00 + byte: f"\\x{byte:02x}" for byte in range(128, 256)},
}


def terminal_safe(text: str) -> str:
    """Write control characters, but newline and tab, as \\xNN or \\uNNNN.

    What the kernel reports (task names, paths) is under the control of those who are
    traced; a terminal must not obey it.
    """
    return text.translate(_UNSAFE)


@lru_cache(maxsize=256)
def latency_characters(flags: int, preempt_count: int) -> str:
    """Return the kernel's latency format (trace_print_lat_fmt() in kernel/trace/trace_output.c).

    Characters: interrupts, rescheduling, context, depth of preemption in hex and, where
    migration is disabled, the depth of that; "." for none.
    """
    irqs = {
        _IRQS_OFF | _BH_OFF: "D",
        _IRQS_OFF: "d",
        _BH_OFF: "b",
    }.get(flags & (_IRQS_OFF | _BH_OFF), ".")
    resched = _RESCHED_LETTERS.get(flags & (_RESCHED | _RESCHED_LAZY | _PREEMPT_RESCHED), ".")
    if flags & _NMI:
        context = "Z" if flags & _HARDIRQ else "z"
    elif flags & _HARDIRQ:
        context = "H" if flags & _SOFTIRQ else "h"
    else:
        context = "s" if flags & _SOFTIRQ else "."
    depth, migration = preempt_count & 15, preempt_count >> 4
    digits = (f"{depth:x}" if depth else ".") + (f"{migration:x}" if migration else "")
    return irqs + resched + context + digits


@lru_cache(maxsize=16)
def _local_second(second: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))


def local_time(realtime: int) -> str:
    """Return a CLOCK_REALTIME time, ns, as local date and time with microseconds."""
    second, rest = divmod(realtime, 1_000_000_000)
    return f"{_local_second(second)}.{rest // 1000:06d}"


def chain_lines(frames: Iterable[Mapping[str, object]]) -> list[str]:
    """Return a line for each frame of a call chain, leaf first as they come.

    A frame has `addr`, `symbol`, `offset` and `dso`; a symbol that is empty or "Unknown"
    is shown without its offset.
    """
    lines = []
    for frame in frames:
        symbol, dso = (str(frame[name] or "Unknown") for name in ("symbol", "dso"))
        offset = f"+{frame['offset']:#x}" if symbol != "Unknown" else ""
        lines.append(f"    {frame['addr']:016x} {symbol}{offset} ({dso})")
    return [*map(_on_its_line, lines)]


def _on_its_line(text: str) -> str:
    """Whoever is traced chooses names and texts: they stay where they are put."""
    return text if text.isprintable() else terminal_safe(text).replace("\n", "\\x0a")


def event_lines(
    printer: Printer, values: Mapping[str, Any], *, timestamp: bool, callchain: bool
) -> list[str]:
    """Return the lines that PerfEvent.print() prints of an event with these values."""
    schema = printer.schema
    line = printer.line(
        values,
        comm=values.get("_comm", f":{values['_tid']}"),
        tid=values["_tid"],
        cpu=values["_cpu"],
        time=values["_time"],
        realtime=values["_realtime"],
        flags=values.get("common_flags"),
        preempt_count=values.get("common_preempt_count"),
        timestamp=timestamp,
    )
    return [line, *(chain_lines(values[chain_key(schema)]) if callchain else ())]


class Printer:
    """Prints the records of one event; what its format needs is worked out once."""

    def __init__(self, schema: pb.EventSchema) -> None:
        # Only those who print events need the compiler; others import this module for less.
        from ptrace_client.print_expression import CannotPrintError
        from ptrace_client.print_format import compile_format

        self.schema = schema
        self._name = source_name(schema)
        self._raw = [
            (info.name, _raw_writer(info))
            for info in schema.all_fields
            if not info.name.startswith("common_")
        ]
        self._text: Callable[[Mapping[str, object]], str] = self._raw_text
        if schema.source == pb.EVENT_SOURCE_SAMPLE:
            self._text = self._sample_text
        elif schema.source == pb.EVENT_SOURCE_PROBE:
            self._text = self._probe_text
        elif schema.HasField("print_format"):
            fields = {info.name: info for info in schema.all_fields}
            try:
                self._text = compile_format(schema.print_format, fields)
            except CannotPrintError:
                pass

    def fields_text(self, values: Mapping[str, object]) -> str:
        """Return the event's fields as its print format writes them.

        Events whose format only the kernel can evaluate, and records that lack a field,
        come as perf prints those: "[FAILED TO PARSE] name=value ...".
        """
        try:
            return self._text(values)
        except KeyError:
            return self._raw_text(values)

    def line(
        self,
        values: Mapping[str, object],
        *,
        comm: str,
        tid: int,
        cpu: int,
        time: int,
        realtime: int,
        flags: int | None,
        preempt_count: int | None,
        timestamp: bool = True,
    ) -> str:
        """Return the line of a record, without a newline, safe for a terminal.

        `time` is CLOCK_MONOTONIC and `realtime` CLOCK_REALTIME, both in ns; `flags` and
        `preempt_count` are common_flags and common_preempt_count, None for sampled events.
        """
        second, rest = divmod(time, 1_000_000_000)
        date = f"{local_time(realtime)} " if timestamp else ""
        latency = ""
        if flags is not None and preempt_count is not None:
            latency = f"{latency_characters(flags, preempt_count)} "
        return _on_its_line(
            f"{date}{comm:>16} {tid:6d} {latency}[{cpu:03d}] "
            f"{second}.{rest // 1000:06d}: {self._name}: {self.fields_text(values)}"
        )

    def _sample_text(self, values: Mapping[str, object]) -> str:
        """Return "10008746 cpu-cycles", and the address where the event has one."""
        address = f" addr={values['addr']:#x}" if values.get("addr") else ""
        return f"{values.get('period', 1)} {self.schema.sample.counter}{address}"

    def _probe_text(self, values: Mapping[str, object]) -> str:
        """Return "(0xIP)", or "(0xIP <- 0xFUNC)" of a return, and the arguments."""
        places = [f"{values[name]:#x}" for name in ("ip", "func") if name in values]
        rest = (
            f" {name}={_quoted(values[name]) if write is str else write(values[name])}"
            for name, write in self._raw
            if name not in ("ip", "func")
        )
        return f"({' <- '.join(places)})" + "".join(rest)

    def _raw_text(self, values: Mapping[str, object]) -> str:
        fields = (f" {name}={write(values[name])}" for name, write in self._raw if name in values)
        return "[FAILED TO PARSE]" + "".join(fields)


def _raw_writer(info: pb.FieldInfo) -> Callable[[object], str]:
    """Return how perf writes a field without its print format (print_field_raw())."""
    if info.kind in (pb.FIELD_KIND_CHAR_ARRAY, pb.FIELD_KIND_DYNAMIC_STRING):
        return str
    if info.kind in (pb.FIELD_KIND_BYTES, pb.FIELD_KIND_DYNAMIC_BYTES):
        return _raw_array
    if info.kind == pb.FIELD_KIND_POINTER or (
        info.kind == pb.FIELD_KIND_UNSIGNED and "long" in info.type
    ):
        return "0x%x".__mod__
    return "%d".__mod__


def _quoted(value: object) -> str:
    return f'"{value}"'


def _raw_array(value: object) -> str:
    content = data(value) if isinstance(value, str | bytes) else b""
    return f"ARRAY[{', '.join(f'{byte:02x}' for byte in content)}]"
