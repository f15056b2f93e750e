"""A script to start from, in perf script's dialect: a handler for each event that prints it.

Its code is laid out as that of `perf script -g python` is, so that scripts which were started with
either look alike (python_generate_script in perf's trace-event-python.c). Where that makes what
Python does not take (a field named "from"), names get an underscore.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ptrace_client.perf_script.defines import handler_name
from ptrace_client.perf_script.print_args import Pending, parse
from ptrace_formats.event_format import EventFormat, FormatField
from ptrace_formats.field_info import format_of
from ptrace_proto import ptrace_pb2 as pb

_HEAD: Final = """\
# A script in perf script's dialect, to start from: it prints every event.

# It runs with `ptrace-client run`, live or with -i FILE, and with `perf script -s`.
# Arguments named common_* are the same for all events. What else the kernel notes of each is told
# by common_pc(context), common_flags(context) and common_lock_depth(context).

from __future__ import print_function

import os
import sys

sys.path.append(os.environ['PERF_EXEC_PATH'] + \\
	'/scripts/python/Perf-Trace-Util/lib/Perf/Trace')

from perf_trace_context import *
from Core import *


def trace_begin():
	print("in trace_begin")

def trace_end():
	print("in trace_end")

"""

_PARAMETERS: Final = """\
(event_name, context, common_cpu,
	common_secs, common_nsecs, common_pid, common_comm,
	common_callchain, """

_PRINT_HEADER: Final = """\
		print_header(event_name, common_cpu, common_secs, common_nsecs,
			common_pid, common_comm)

"""

_PRINT_REST: Final = """\
		print('Sample: {'+get_dict_as_string(perf_sample_dict['sample'], ', ')+'}')

		for node in common_callchain:
			if 'sym' in node:
				print("	[%x] %s%s%s%s" % (
					node['ip'], node['sym']['name'],
					"+0x{:x}".format(node['sym_off']) if 'sym_off' in node else "",
					" ({})".format(node['dso'])  if 'dso' in node else "",
					" " + node['sym_srcline'] if 'sym_srcline' in node else ""))
			else:
				print("	[%x]" % (node['ip']))

		print()

"""

_PROCESS_EVENT: Final = """\
def process_event(param_dict):
		print('%s: {' % param_dict['ev_name']+ \\
		get_dict_as_string(param_dict['sample'], ', ')+'}')

"""

_TAIL: Final = """\
def trace_unhandled(event_name, context, event_fields_dict, perf_sample_dict):
		print(get_dict_as_string(event_fields_dict))
		print('Sample: {'+get_dict_as_string(perf_sample_dict['sample'], ', ')+'}')

def print_header(event_name, cpu, secs, nsecs, pid, comm):
	print("%-20s %5u %05u.%09u %8u %-20s " % \\
	(event_name, cpu, secs, nsecs, pid, comm), end="")

def get_dict_as_string(a_dict, delimiter=' '):
	return delimiter.join(['%s=%s'%(k,str(v))for k,v in sorted(a_dict.items())])
"""

# Names that a handler's code needs for itself.
_TAKEN: Final = frozenset(
    (
        *("event_name", "context", "common_cpu", "common_secs", "common_nsecs", "common_pid"),
        *("common_comm", "common_callchain", "perf_sample_dict", "print", "print_header"),
        *("get_dict_as_string", "flag_str", "symbol_str", "None", "True", "False"),
    )
)
_A_LINE: Final = 5
_A_FORMAT_LINE: Final = 3


def schema_formats(schemas: Iterable[pb.EventSchema]) -> list[EventFormat]:
    """Return the formats of those events of a daemon that are no sampled ones."""
    return [format_of(schema) for schema in schemas if schema.source != pb.EVENT_SOURCE_SAMPLE]


def starter_script(formats: Sequence[EventFormat], sampled: bool = False) -> str:
    """Return a script with a handler for each event, in the order of their ids.

    `formats` stand in the order in which their formats are read. `sampled` adds a handler for
    events that are no tracepoints.
    """
    pending = Pending()
    handlers = {}
    for format in formats:
        parsed = parse(format.print_fmt, {field.name for field in format.fields}, pending)
        handlers[format.id, format.title] = _handler(format, parsed.flags, parsed.symbols)
    made = [handlers[key] for key in sorted(handlers)]
    return "".join([_HEAD, *made, _PROCESS_EVENT if sampled else "", _TAIL])


@dataclass(frozen=True, slots=True)
class _Printed:
    """A field as the handler prints it."""

    # As in the format, and as an argument.
    name: str
    argument: str
    letter: str
    # Function of Core that gives the text of its value, or "".
    text_by: str


def _handler(format: EventFormat, flags: set[str], symbols: set[str]) -> str:
    printed = list(_printed(format.fields, flags, symbols))
    event = handler_name(format)
    name = event if event.isidentifier() else _identifier(event)
    # perf looks handlers up by the event's own name.
    bound = "" if name == event else f"globals()[{event!r}] = {name}\n\n"
    return (
        f"def {name}{_PARAMETERS}{_parameters(printed)}):\n{_PRINT_HEADER}"
        f'\t\tprint("{_format(printed)}" % \\\n\t\t({_values(event, printed)}))\n\n'
        f"{_PRINT_REST}{bound}"
    )


def _identifier(event: str) -> str:
    return "".join(it if f"_{it}".isidentifier() else "_" for it in f"_{event}")


def _printed(
    fields: Sequence[FormatField], flags: set[str], symbols: set[str]
) -> Iterable[_Printed]:
    taken = set(_TAKEN)
    for field in fields:
        argument = field.name
        while argument in taken or keyword.iskeyword(argument):
            argument += "_"
        taken.add(argument)
        by = "flag_str" if field.name in flags else "symbol_str" if field.name in symbols else ""
        letter = "s" if by or "[" in field.ctype else "d" if field.signed else "u"
        yield _Printed(field.name, argument, letter, by)


def _parameters(printed: Sequence[_Printed]) -> str:
    parts = []
    for number, each in enumerate(printed, start=1):
        parts.append(("\n\t" if number % _A_LINE == 0 else "") + each.argument)
    last = "\n\t\t" if (len(printed) + 1) % _A_LINE == 0 else ""
    return ", ".join([*parts, f"{last}perf_sample_dict"])


def _format(printed: Sequence[_Printed]) -> str:
    parts = []
    for number, each in enumerate(printed):
        broken = '" \\\n\t\t"' if number and number % _A_FORMAT_LINE == 0 else ""
        parts.append(f"{broken}{each.name}=%{each.letter}")
    return ", ".join(parts)


def _values(event: str, printed: Sequence[_Printed]) -> str:
    """Return the values to print; each that Core gives the text of starts a line.

    A line goes on behind it as if it were its fourth.
    """
    parts = []
    count = 0
    for each in printed:
        count += 1
        line = "\n\t\t" if count % _A_LINE == 0 else ""
        if each.text_by:
            if (count - 1) % _A_LINE:
                line += "\n\t\t"
                count = _A_LINE - 1
            quoted = f'"{event}"' if event.isidentifier() else repr(event)
            parts.append(f'{line}{each.text_by}({quoted}, "{each.name}", {each.argument})')
        else:
            parts.append(f"{line}{each.argument}")
    return ", ".join(parts)
