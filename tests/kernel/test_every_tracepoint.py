"""All tracepoints of this kernel describe, compile, load, attach and go away again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby, islice

import pytest
from leftovers import holdings, programs_of, wait_until
from processes import Daemon
from streams import read_to_end

from ptrace_proto import ptrace_pb2 as pb
from ptraced.scope import online_cpus
from ptraced.tracefs import Tracefs

# Each in a program of its own, so many at a time: detaching them takes tens of ms each.
_AT_ONCE = 200
_DYNAMIC = {pb.FIELD_KIND_DYNAMIC_STRING, pb.FIELD_KIND_DYNAMIC_BYTES}

NAMES = Tracefs.find().names()


def batches() -> Iterator[list[str]]:
    """All events, a system's together as far as they fit."""
    for _, names in groupby(NAMES, key=lambda name: name.partition(":")[0] == "syscalls"):
        while part := list(islice(names, _AT_ONCE)):
            yield part


BATCHES = list(batches())


def test_there_are_more_than_a_thousand() -> None:
    assert len(NAMES) > 1000


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("walk"))
    yield daemon
    wait_until(lambda: not programs_of(daemon), "all programs are gone")
    assert daemon.stop() == 0


@pytest.mark.parametrize("number", range(len(BATCHES)), ids=lambda n: BATCHES[n][0])
def test_every_event_loads_and_unloads(walked: Daemon, number: int) -> None:
    request = pb.TraceRequest(selectors=[",".join(BATCHES[number])], buffer_pages=16)
    with walked.connect() as host, host.open(request) as stream:
        stream.stop()
        total = read_to_end(stream)
        schemas = stream.started.schemas

    assert [f"{schema.system}:{schema.name}" for schema in schemas] == BATCHES[number]
    assert total.end.reason == pb.END_REASON_STOPPED


def test_every_schema_is_whole(walked: Daemon) -> None:
    with walked.connect() as host:
        schemas = host.describe([",".join(NAMES)])

    assert len(schemas) == len(NAMES)
    for schema in schemas:
        end = 0
        for field in schema.fields:
            assert field.offset == end, schema.name
            assert field.kind != pb.FIELD_KIND_UNSPECIFIED
            end += field.size
        assert end == schema.row_size
        assert schema.fields[0].name == "_time"
        assert schema.has_dynamic == any(field.kind in _DYNAMIC for field in schema.fields)


def test_many_syscalls_hang_on_two_programs(own_daemon: Callable[..., Daemon]) -> None:
    daemon = own_daemon()
    request = pb.TraceRequest(selectors=["syscalls:sys_enter_*,syscalls:sys_exit_*"])
    with daemon.connect() as host, host.open(request) as stream:
        attached = attachments(daemon)
        schemas = len(stream.started.schemas)

    assert schemas > 600
    assert attached == 2
    wait_until(lambda: not programs_of(daemon), "all programs are gone")


def attachments(daemon: Daemon) -> int:
    """Perf events of tracepoints that a daemon holds: those that are no ring of a CPU."""
    events = holdings(daemon)["anon_inode:[perf_event]"]
    # Python's mmap keeps a descriptor of its own.
    return events - 2 * len(online_cpus())
