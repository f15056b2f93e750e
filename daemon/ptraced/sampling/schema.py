"""What clients are told about sampled events, beside what they are told of all events."""

from __future__ import annotations

from ptrace_formats.members import MEMBERS
from ptrace_formats.registers import host_registers
from ptrace_proto import ptrace_pb2 as pb
from ptraced.origin import Sampled
from ptraced.sampling.plan import read_format

# Names of FieldInfo.on_request.
ON_REQUEST = frozenset(member.name for member in MEMBERS if member.on_request)


def sample_info(origin: Sampled) -> pb.SampleInfo:
    """What it takes to read the columns of an event."""
    registers = host_registers().names
    return pb.SampleInfo(
        counter=origin.counter,
        read_format=read_format(group=bool(origin.group)),
        regs_user=registers,
        regs_intr=registers,
        type=origin.type,
        config=origin.config,
        config1=origin.config1,
        config2=origin.config2,
        bp_type=origin.breakpoint,
        period=origin.period,
        frequency=origin.frequency,
        flags=origin.flags,
    )
