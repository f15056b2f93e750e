"""Arguments of system calls that are read as text: the attribute str= of syscalls: events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ptrace_formats.event_format import EventFormat
from ptrace_proto import ptrace_pb2 as pb
from ptraced.diagnostics import nearest, pointed, printable
from ptraced.errors import TraceError


def with_texts(format: EventFormat, strings: Sequence[tuple[str, int]], text: str) -> EventFormat:
    """Make the fields that `strings` names texts of at most so many bytes in user memory.

    Raises TraceError that points into the selector `text` for any event but a system call's,
    whose records have the callers' own pointers, and for a name that is no pointer's.
    """
    for name, most in strings:
        field = format.field(name)
        if format.system != "syscalls":
            raise _at_string("'str=' is for arguments of probes and of system calls", name, text)
        if field is None:
            hint = nearest(name, [field.name for field in format.fields])
            message = f"{format.system}:{format.name} has no field '{printable(name)}'{hint}"
            raise _at_string(message, name, text)
        if field.kind != pb.FIELD_KIND_POINTER:
            raise _at_string(f"'{name}' is no pointer but {field.ctype}", name, text)
        read = replace(
            field,
            kind=pb.FIELD_KIND_DYNAMIC_STRING,
            signed=False,
            element_size=1,
            element_signed=False,
            pointed=most,
        )
        fields = tuple(read if other is field else other for other in format.fields)
        format = replace(format, fields=fields, print_fmt=_shown(format.print_fmt, name))
    return format


def _shown(print_fmt: str, name: str) -> str:
    """The print format with a text where an address was: __set_enter_print_fmt()."""
    shown = print_fmt.replace(f"{name}: 0x%08lx", f'{name}: \\"%s\\"')
    return shown.replace(f"((unsigned long)(REC->{name}))", f"__get_str({name})")


def _at_string(message: str, name: str, text: str) -> TraceError:
    found = re.search(rf"str\s*=\s*['\"]?({name})\b", text)
    return TraceError(pointed(message, text, *found.span(1) if found else (0, len(text))))
