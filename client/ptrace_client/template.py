"""A script to start from: every callback, and a handler for each selected event."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ptrace_client.decode import event_name
from ptrace_client.event_fields import chain_key, is_sample
from ptrace_client.script import handler_names
from ptrace_proto import ptrace_pb2 as pb

_KINDS = {
    pb.FIELD_KIND_CHAR_ARRAY: "str",
    pb.FIELD_KIND_DYNAMIC_STRING: "str",
    pb.FIELD_KIND_BYTES: "bytes",
    pb.FIELD_KIND_DYNAMIC_BYTES: "bytes",
    pb.FIELD_KIND_READ: "dict",
    pb.FIELD_KIND_REGS: "dict",
}
# What is in the dicts.
_CONTENTS = {
    pb.FIELD_KIND_READ: "value, time_enabled, time_running, id, lost: those that were asked for",
    pb.FIELD_KIND_REGS: "abi, and the registers by name where that is not 0",
}
# Named values that are listed of one field.
_VALUES_SHOWN = 32
# Kernel texts go into comments and docstrings: nothing in them may end those.
_UNSAFE = re.compile(r"[^\x20-\x7e]|\\|\"")

_COMMON_FIELDS = """\
# Fields of every event:
#   event._pid, event._tid   process and thread that hit the event
#   event._time              CLOCK_MONOTONIC, ns
#   event._realtime          wall clock, ns, to show only
#   event._cpu               CPU number
#   event._period            1
#   event._callchain         list of frames, [] without stacks (-g)
#   event._event             "{event}"
#   event.common_type, event.common_flags, event.common_preempt_count, event.common_pid
#
"""

_SAMPLE_FIELDS = """\
# Fields of every sampled event:
#   event._pid, event._tid   process and thread that ran
#   event._time              CLOCK_MONOTONIC, ns
#   event._realtime          wall clock, ns, to show only
#   event._cpu               CPU number
#   event._event             "{event}"
#   event.callchain          list of frames, [] without stacks (-g)
#
"""

_HEAD = '''\
# {command}
#
{fields}# Access:
#   event.field              a field (fastest)
#   event["field"]           also for names that are no attributes, such as "from"
#   event.get("field", 0)    with a default for events that lack it
#   "field" in event         whether the event has it
#   event.keys(), event.values(), event.items(), event.to_dict()
#   event.print()            the whole event, as perf-prof prints it
#
# Only fields that a handler is seen to read are sent. Passing the event on, or printing it,
# asks for all of them.

# import sys                      # sys.argv: this script's name and arguments
# from perf_prof import PerfEvent  # for annotations and isinstance()

event_count = 0
lost_count = 0


def __init__():
    """[OPTIONAL] Called before tracing starts."""
    print("tracing, Ctrl-C ends")


def __exit__():
    """[OPTIONAL] Called after the last event."""
    print(f"{{event_count}} events, {{lost_count}} times some were lost")


def __interval__():
    """[OPTIONAL] Called every -i milliseconds."""
    print(f"{{event_count}} events so far")


def __print_stat__(indent):
    """[OPTIONAL] Called on SIGUSR2; indent is a number of spaces."""
    print(f"{{' ' * indent}}{{event_count}} events")


def __lost__(lost_start, lost_end):
    """[OPTIONAL] Called when events were lost, between these times with --order (ns), else 0."""
    global lost_count
    lost_count += 1
'''

_HANDLER = '''

def {handler}(event):
    """{event}

{fields}
    """
    global event_count
    event_count += 1
    event.print()
'''

_SAMPLE = '''

def __sample__(event):
    """[OPTIONAL] Called for events without a handler of their own."""
    global event_count
    event_count += 1
    print(event)
'''


def script_template(schemas: Sequence[pb.EventSchema], command: str) -> str:
    """Return a script that handles the events of `schemas`; `command` runs it."""
    handlers = {_handler(schema): _event_handler(schema) for schema in schemas}
    head = _HEAD.format(command=_UNSAFE.sub(_escape, command), fields=_fields_of_all(schemas))
    return head + "".join(handlers.values()) + _SAMPLE


def _fields_of_all(schemas: Sequence[pb.EventSchema]) -> str:
    """Return comments on what all events have, per kind of event that there is."""
    names: dict[str, str] = {}
    for schema in schemas:
        kind = _SAMPLE_FIELDS if is_sample(schema) else _COMMON_FIELDS
        names.setdefault(kind, _UNSAFE.sub(_escape, event_name(schema)))
    return "".join(kind.format(event=name) for kind, name in names.items())


def _event_handler(schema: pb.EventSchema) -> str:
    fields = [line for info in schema.all_fields for line in _field(info)]
    if schema.stack:
        fields += [
            f"{chain_key(schema)} : list",
            "    frames, leaf first: dicts of addr, symbol, offset, kernel, dso",
        ]
    return _HANDLER.format(
        handler=_handler(schema),
        event=_UNSAFE.sub(_escape, event_name(schema)),
        fields="\n".join(f"    {line}" for line in fields or ["It has no fields of its own."]),
    )


def _handler(schema: pb.EventSchema) -> str:
    return handler_names(schema)[0]


def _field(info: pb.FieldInfo) -> Iterable[str]:
    """Yield "comm : str", a note on the C type, and the values that have names."""
    yield f"{info.name} : {_KINDS.get(info.kind, 'int')}"
    request = ", captured where a handler itself reads it" if info.on_request else ""
    yield f"    {_UNSAFE.sub(_escape, info.type)}{_note(info)}{request}"
    if info.kind in _CONTENTS:
        yield f"    {_CONTENTS[info.kind]}"
    names = info.named_values
    values = list(names.values)
    if values:
        yield "    flags, any of:" if names.flags else "    one of:"
    for named in values[:_VALUES_SHOWN]:
        number = f"{named.value:#x}" if names.flags else str(_signed(named.value, info))
        yield f"        {number} = {_UNSAFE.sub(_escape, named.name)}"
    if len(values) > _VALUES_SHOWN:
        yield f"        and {len(values) - _VALUES_SHOWN} more"


def _note(info: pb.FieldInfo) -> str:
    if info.kind == pb.FIELD_KIND_POINTER:
        return ", an address"
    if info.kind == pb.FIELD_KIND_BOOL:
        return ", 0 or 1"
    if _KINDS.get(info.kind) == "bytes" and info.element_size:
        sign = "signed" if info.element_signed else "unsigned"
        return f", elements of {info.element_size} bytes, {sign}"
    return ""


def _signed(value: int, info: pb.FieldInfo) -> int:
    """Return a 64-bit value as the field's own sign has it."""
    return value - (1 << 64) if info.kind == pb.FIELD_KIND_SIGNED and value >> 63 else value


def _escape(match: re.Match[str]) -> str:
    """Return what shows a character that would end a docstring, or a line, as text."""
    character = match.group()
    if character == '"':
        return "'"
    return r"\\" if character == "\\" else "\\" + ascii(character)[1:-1]
