"""Sampled events in the terms of formats: what they have instead of a record."""

from __future__ import annotations

from ptrace_formats.event_format import EventFormat, FormatField
from ptrace_formats.members import MEMBERS
from ptrace_proto import ptrace_pb2 as pb


def sample_format(name: str) -> EventFormat:
    """The event as clients are told of it: its fields are the members of samples."""
    fields = tuple(
        FormatField(
            name=member.name,
            ctype=member.ctype,
            kind=member.kind,
            offset=0,
            size=member.size,
            signed=member.kind == pb.FIELD_KIND_SIGNED,
            element_size=member.element or member.size,
            element_signed=False,
            relative=False,
        )
        for member in MEMBERS
    )
    return EventFormat("", name, 0, (), fields, "")
