"""Filters on samples: what a BPF program can know of one before it is taken."""

from __future__ import annotations

from ptrace_formats.event_format import EventFormat, FormatField
from ptrace_formats.members import BY_NAME, CALLCHAIN_COLUMN
from ptrace_proto import ptrace_pb2 as pb
from ptraced.diagnostics import pointed
from ptraced.errors import TraceError
from ptraced.filter import Filter, FilterText, check_filter, parse_filter
from ptraced.filter_syntax import Syntax, names

# The words of the record that bpf/sample.c makes.
_WORDS = {
    "ip": ("u64", pb.FIELD_KIND_POINTER, 8),
    "addr": ("u64", pb.FIELD_KIND_POINTER, 8),
    "period": ("u64", pb.FIELD_KIND_UNSIGNED, 8),
    "pid": ("s32", pb.FIELD_KIND_SIGNED, 4),
    "tid": ("s32", pb.FIELD_KIND_SIGNED, 4),
}
FILTER_WORDS = len(_WORDS)


def filter_format(name: str) -> EventFormat:
    """The record that filters of a sampled event see."""
    fields = tuple(
        FormatField(
            name=word,
            ctype=ctype,
            kind=kind,
            offset=8 * place,
            size=size,
            signed=kind == pb.FIELD_KIND_SIGNED,
            element_size=size,
            element_signed=kind == pb.FIELD_KIND_SIGNED,
            relative=False,
        )
        for place, (word, (ctype, kind, size)) in enumerate(_WORDS.items())
    )
    return EventFormat("", name, 0, (), fields, "")


def sample_filter(event: str, text: str, start: int, end: int) -> Filter:
    """The filter text[start:end] on an event's samples; raises TraceError with a caret."""
    parsed = parse_filter(text, start, end)
    for name in names(parsed.syntax):
        _check_known(event, name, parsed)
    return check_filter(parsed, filter_format(event))


def _check_known(event: str, name: Syntax, filter: FilterText) -> None:
    known = name.text.partition(".")[0]
    if known in _WORDS or known == "cpu" or known not in (*BY_NAME, CALLCHAIN_COLUMN):
        return
    message = (
        f"'{known}' of {event} is not known before the sample is taken; filters on samples "
        f"take {', '.join(_WORDS)}, cpu and comm"
    )
    raise TraceError(
        pointed(message, filter.line, filter.start + name.start, filter.start + name.end)
    )
