"""Loading of a script in perf's dialect for the events of a daemon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ptrace_client.errors import ClientError
from ptrace_client.event_fields import is_sample
from ptrace_client.host import Host
from ptrace_client.options import Selection
from ptrace_client.perf_live.script import LiveScript
from ptrace_client.perf_script.options import DialectOptions
from ptrace_client.perf_script.script import load_perf_script
from ptrace_proto import ptrace_pb2 as pb


@dataclass(frozen=True)
class Live:
    """A script, and what it is run on."""

    script: LiveScript
    selection: Selection
    schemas: list[pb.EventSchema]


def load_live(
    path: str,
    arguments: Sequence[str],
    options: DialectOptions,
    host: Host,
    selection: Selection,
    schemas: list[pb.EventSchema],
) -> Live:
    """Load the script at `path` for the events of `selection`, which `schemas` describe.

    perf tells of samples in which symbol their ip lies. For that they have stacks of one frame,
    where there are to be no others. Raise what load_perf_script() raises.
    """
    script = load_perf_script(path, arguments)
    sampled = any(map(is_sample, schemas)) and script.handler("process_event") is not None
    if not sampled or any(schema.stack for schema in schemas):
        return Live(LiveScript(script, options), selection, schemas)
    if not _shows_stacks(host):
        return Live(LiveScript(script, options), selection, schemas)
    leaves = replace(selection, stacks=replace(selection.stacks, call_graph=True, max_stack=1))
    live = LiveScript(script, options, leaves_only=True)
    return Live(live, leaves, leaves.described(host))


def _shows_stacks(host: Host) -> bool:
    """Whether the policy shows the user stacks of whatever event: it refuses sessions else."""
    try:
        rules = host.whoami().rules
    except ClientError:
        return False
    return bool(rules) and all(rule.stacks != "none" for rule in rules)
