"""What clients are told about events: EventSchema messages."""

from __future__ import annotations

from functools import lru_cache

from ptrace_formats import print_fmt
from ptrace_formats.event_format import EventFormat
from ptrace_formats.field_info import field_info
from ptrace_proto import ptrace_pb2 as pb
from ptraced.enumerators import value_in_kernel
from ptraced.layout import Blank, RowLayout
from ptraced.origin import Probe, Sampled, Tracepoint
from ptraced.sampling.schema import ON_REQUEST, sample_info
from ptraced.selector import SelectedEvent

_SOURCES = {
    Tracepoint: pb.EVENT_SOURCE_TRACEPOINT,
    Probe: pb.EVENT_SOURCE_PROBE,
    Sampled: pb.EVENT_SOURCE_SAMPLE,
}


def event_schema(
    schema_id: int,
    event: SelectedEvent,
    layout: RowLayout,
    print_format: bool,
    stack: bool,
    text: bool = False,
) -> pb.EventSchema:
    """The schema of an event whose rows have `layout`; `stack` says whether it has stacks.

    With `text` it has that of the format.
    """
    format = event.format
    parsed = parsed_print_format(format)
    named = print_fmt.named_values(parsed) if parsed is not None else {}
    schema = pb.EventSchema(
        id=schema_id,
        system=format.system,
        name=format.name,
        alias=event.alias,
        common_type=format.id,
        fields=[
            pb.Field(
                name=column.name,
                kind=column.kind,
                offset=column.offset,
                size=column.size,
                blank=column.blank is Blank.ALL,
                no_kernel_addresses=column.blank is Blank.KERNEL_ADDRESSES,
            )
            for column in layout.columns
        ],
        row_size=layout.row_size,
        has_dynamic=layout.has_dynamic,
        all_fields=[field_info(field, named.get(field.name)) for field in format.fields],
        print_fmt=format.print_fmt,
        selector=event.index,
        stack=stack,
        source=_SOURCES[type(event.origin)],
        format_text=format.text if text else "",
    )
    if print_format and parsed is not None:
        schema.print_format.CopyFrom(parsed)
    if isinstance(event.origin, Sampled):
        schema.sample.CopyFrom(sample_info(event.origin))
        for info in schema.all_fields:
            info.on_request = info.name in ON_REQUEST
    return schema


@lru_cache(maxsize=4096)
def parsed_print_format(format: EventFormat) -> pb.PrintFormat | None:
    """The print format of an event; None for one that only the kernel can evaluate."""
    return print_fmt.parse(
        format.print_fmt, [field.name for field in format.fields], value_in_kernel
    )
