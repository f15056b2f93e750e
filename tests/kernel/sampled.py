"""Sampled events, and a program that does what they count a known number of times."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from streams import Total, events, read_to_end

from ptrace_client.event_decoder import EventDecoder
from ptrace_client.host import Host
from ptrace_client.stream import Stream
from ptrace_proto import ptrace_pb2 as pb

PAGE = 4096
# Pages of the program's region.
PAGES = 65536

Event = dict[str, Any]


class Program:
    """The program of samples.c, behind the words of `prefix`."""

    def __init__(self, binary: Path, prefix: Sequence[str] = ()) -> None:
        self.process = subprocess.Popen(
            [*prefix, binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        numbers = map(int, self.process.stdout.readline().split())
        self.pid, self.watched, self.bump, self.spin, self.region = numbers

    def do(self, command: str, count: int) -> None:
        """Have it do something `count` times, and return when it has."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command} {count}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def end(self) -> None:
        self.process.communicate()


def sampled(
    host: Host,
    selector: str,
    work: Callable[[], object],
    *fields: str,
    pid: int = 0,
    **options: Any,
) -> tuple[list[Event], Total]:
    """The samples of an event while something is done, by time; all usual members or `fields`."""
    name = selector.split("/")[0]
    projection = pb.Projection(event=name, fields=fields, all_fields=not fields)
    request = pb.TraceRequest(selectors=[selector], projections=[projection], **options)
    if pid:
        request.scope.pids.append(pid)
    with host.open(request) as stream:
        work()
        stream.stop()
        total = read_to_end(stream)
        return taken(stream, total, fields), total


def taken(stream: Stream, total: Total, fields: tuple[str, ...]) -> list[Event]:
    """The events of a session of one, by time; all of their fields, or these."""
    if not fields:
        return events(stream, total)
    (schema,) = stream.started.schemas
    decoder = EventDecoder(schema, stream.started.realtime_offset)
    found = [event for batch in total.batches for event in decoder.decode(batch)]
    names = ("_time", "_cpu", *fields)
    return sorted(({n: e[n] for n in names} for e in found), key=lambda event: event["_time"])


def faults_in_region(program: Program, found: list[Event]) -> list[int]:
    """Page numbers of the faults in the program's region."""
    pages = [(event["addr"] - program.region) // PAGE for event in found]
    return [page for page in pages if 0 <= page < PAGES]
