"""Clients that ask for more than the policy grants, by every part of a request, get no more."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from commandline import open_folder
from processes import Daemon
from streams import GETPPID
from users import AS_NOBODY

from ptrace_proto import ptrace_pb2 as pb

POLICY = f"""
[[rule]]
name = "narrow"
users = ["nobody"]
events = ["{GETPPID}", "profile", "page-faults"]
tasks = "own"
stacks = "user"
[[rule]]
name = "wide"
users = ["root"]
events = ["*"]
tasks = "all"
stacks = "all"
uprobes = "all"
kernel_addresses = true
admin = true
"""
CALLS = 300

# Traces a request of each line while it makes calls and faults; tells what came of it.
CLIENT = f"""
import base64, json, mmap, os, sys
from ptrace_client import connect
from ptrace_client.errors import ClientError
from ptrace_client.event_decoder import EventDecoder
from ptrace_proto import ptrace_pb2 as pb

def trace(host, request):
    pids, kernel, addresses = {{}}, 0, 0
    with host.open(request) as stream:
        schemas = {{schema.id: schema for schema in stream.started.schemas}}
        for _ in range({CALLS}):
            os.getppid()
        mmap.mmap(-1, 1 << 20).write(bytes(1 << 20))
        stream.stop()
        while True:
            try:
                message = stream.next(timeout=None)
            except EOFError:
                return {{"pids": pids, "kernel": kernel, "addresses": addresses}}
            for batch in message.batches if message else ():
                decoder = EventDecoder(schemas[batch.schema_id], 0)
                for event in decoder.decode(batch):
                    pids[event._pid] = pids.get(event._pid, 0) + 1
            for sample in message.samples if message else ():
                for field in sample.fields:
                    if field.name in ("_pid", "common_pid"):
                        pids[field.signed] = pids.get(field.signed, 0) + 1
            for stack in message.stacks if message else ():
                inside = [frame for frame in stack.frames if frame.kernel]
                kernel += len(inside)
                addresses += sum(1 for frame in inside if frame.address)

print(os.getpid(), flush=True)
with connect(socket=sys.argv[1]) as host:
    for line in sys.stdin:
        try:
            answer = trace(host, pb.TraceRequest.FromString(base64.b64decode(line)))
        except ClientError as error:
            answer = {{"refused": str(error)}}
        print(json.dumps(answer), flush=True)
"""


@dataclass
class Nobody:
    """The client as the user nobody."""

    process: subprocess.Popen[str]
    pid: int
    # Another user's process, which makes the same calls all the time.
    others: int

    def trace(self, request: pb.TraceRequest) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        text = base64.b64encode(request.SerializeToString()).decode()
        print(text, file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@pytest.fixture(scope="module")
def nobody() -> Iterator[Nobody]:
    with open_folder() as folder:
        daemon = Daemon(folder, config=POLICY)
        endless = "import os\nos.nice(19)\nwhile True: os.getppid(); bytearray(1 << 20)"
        others = subprocess.Popen([sys.executable, "-c", endless])
        client = subprocess.Popen(
            [*AS_NOBODY, sys.executable, "-c", CLIENT, daemon.socket],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        assert client.stdout is not None
        yield Nobody(client, int(client.stdout.readline()), others.pid)
        client.communicate()
        others.kill()
        others.wait()
        assert daemon.stop() == 0


ALL_FIELDS = pb.Projection(event=GETPPID, all_fields=True)
COMMON = pb.Projection(event=GETPPID, fields=["common_flags", "_pid", "_tid"])


@pytest.mark.parametrize(
    "wider",
    [
        {},
        {"scope": pb.Scope(cpus="0-1")},
        {"scope": pb.Scope(cgroups=["/"])},
        {"projections": [ALL_FIELDS]},
        {"projections": [COMMON, pb.Projection(event="sched:sched_switch", all_fields=True)]},
        {"stacks": pb.Stacks(kernel=True, user=True)},
        {"stacks": pb.Stacks(kernel=True, user=True, max_depth=127, python=True)},
        {"stacks": pb.Stacks(no_user=True)},
        {"selectors": [f"{GETPPID}//stack/"]},
        {"selectors": [f"{GETPPID}//max-stack=127/"]},
        {"selectors": [f"{GETPPID}//alias=sched_switch/cpus=0-1/"]},
        {"selectors": ["profile/-F 999/", GETPPID]},
        {"selectors": ["page-faults/-c 1/"]},
        {"selectors": ["page-faults/-c 1 --user-callchain/"], "stacks": pb.Stacks(user=True)},
        {"self_describing": True},
        {"self_describing": True, "stacks": pb.Stacks(kernel=True, user=True)},
        {"wake_every_event": True, "print_formats": True, "mark_interval": 1},
        {"buffer_pages": 1, "watermark_percent": 100, "label": "root"},
    ],
    ids=str,
)
def test_requests_get_what_is_granted_and_no_more(wider: dict[str, Any], nobody: Nobody) -> None:
    answer = nobody.trace(pb.TraceRequest(**({"selectors": [GETPPID]} | wider)))
    assert "refused" not in answer
    assert set(answer["pids"]) == {str(nobody.pid)}
    assert (answer["kernel"], answer["addresses"]) == (0, 0)


@pytest.mark.parametrize(
    "wider",
    [
        {"scope": pb.Scope(pids=[0])},
        {"scope": pb.Scope(tids=[0])},
        {"stacks": pb.Stacks(kernel=True)},
        {"selectors": [GETPPID, "sched:sched_switch"]},
        {"selectors": ["sched:sched_process_exit//alias=sys_enter_getppid/"]},
        {"selectors": ["syscalls:sys_enter_getuid"]},
        {"selectors": ["raw_syscalls:sys_enter/id==110/"]},
        {"selectors": ["cpu-clock/-F 999/"]},
        {"selectors": ["context-switches/-c 1/"]},
        {"selectors": ["profile/-F 999 --kernel-callchain/"]},
        {"selectors": [f"uprobe:main@'{sys.executable}'"]},
        {"selectors": ["kprobe:do_exit"]},
    ],
    ids=str,
)
def test_requests_of_what_is_not_granted_are_refused(wider: dict[str, Any], nobody: Nobody) -> None:
    request = pb.TraceRequest(**({"selectors": [GETPPID]} | wider))
    for tasks in (request.scope.pids, request.scope.tids):
        tasks[:] = [nobody.others for _ in tasks]
    assert set(nobody.trace(request)) == {"refused"}


def test_wildcards_mean_what_is_granted_of_them(nobody: Nobody) -> None:
    answer = nobody.trace(pb.TraceRequest(selectors=["syscalls:sys_enter_get*"]))
    assert "refused" in answer or answer["pids"] == {str(nobody.pid): CALLS}
