"""What a script can ask about the sample of a recording that its handler was called with."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ptrace_client.perf_data.model import Record, Recording, Sample
from ptrace_client.perf_script.context import ScriptContext, SourceCode, SourceLine
from ptrace_client.perf_script.x86_length import instruction_length

if TYPE_CHECKING:
    from ptrace_client.perf_symbols.model import Location, Machine

_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


class RecordedContext(ScriptContext):
    """The context of a run on a recording; `record` is the sample at hand."""

    __slots__ = ("_itrace_options", "_machine", "_recording", "record")

    def __init__(self, recording: Recording, machine: Machine) -> None:
        self._itrace_options: str | None = None
        self._recording = recording
        self._machine = machine
        self.record: Record | None = None

    def common_pc(self) -> int:
        """Return the event's common_preempt_count."""
        return self._common_field("common_preempt_count")

    def common_flags(self) -> int:
        """Return the event's common_flags."""
        return self._common_field("common_flags")

    def common_lock_depth(self) -> int:
        """Return the event's common_lock_depth, 0 where it has none."""
        return self._common_field("common_lock_depth")

    def insn(self) -> bytes | None:
        """Return the sampled instruction, of x86 code that lies in a file."""
        sample = self._sample()
        if sample is None or not sample.ip:
            return None
        found = self._machine.code(sample.tid, sample.ip, sample.pid)
        if found is None:
            return None
        code, is_64bit = found
        length = instruction_length(code, is_64bit)
        return None if length is None else code[:length]

    def srcline(self) -> SourceLine:
        """Return where the sampled instruction stands in its source."""
        location = self._location()
        return (None, 0) if location is None else self._machine.srcline(location)

    def srccode(self) -> SourceCode:
        """Return the same with the text of the line, None where the file is not at hand."""
        location = self._location()
        return (None, 0, None) if location is None else self._machine.srccode(location)

    def set_itrace_options(self, options: str) -> int:
        """Note how to decode hardware traces. Return 0, or 1 where that is settled already."""
        if self._itrace_options is not None:
            return 1
        self._itrace_options = options
        return 0

    def _sample(self) -> Sample | None:
        record = self.record
        if record is None or record.event is None:
            return None
        return record.event.layout.sample(record.data, record.start, record.end, record.misc)

    def _location(self) -> Location | None:
        sample = self._sample()
        if sample is None:
            return None
        return self._machine.locate(sample.tid, sample.cpumode, sample.ip, sample.pid)

    def _common_field(self, name: str) -> int:
        record = self.record
        if record is None or record.event is None or record.event.format is None:
            return 0
        for field in record.event.format.common:
            if field.name == name and field.size in _CODES:
                order = ">" if self._recording.big_endian else "<"
                at, size = record.event.layout.raw(record.data, record.start, record.end)
                if field.offset + field.size > size:
                    return 0
                code = order + _CODES[field.size]
                value: int = struct.unpack_from(code, record.data, at + field.offset)[0]
                return value
        return 0
