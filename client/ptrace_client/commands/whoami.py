"""ptrace-client whoami: who the caller is to a daemon, and what its policy allows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import click
from google.protobuf.message import Message

from ptrace_client.host import connect
from ptrace_client.options import place_options, take_place
from ptrace_client.text import byte_size, columns
from ptrace_proto import ptrace_pb2 as pb

_HEAD = ("RULE", "TASKS", "EVENTS", "PROBED FILES", "STACKS", "ADDRESSES", "REMOTE", "PLACE")
_CAME = {"local": "the Unix socket", "tls": "TLS", "insecure": "loopback TCP, which is insecure"}
# A quota: what it is called. Sizes end in "bytes", or have them per second.
_QUOTAS = {
    "sessions": "sessions",
    "programs": "BPF programs",
    "probes": "places of probes",
    "buffer_bytes": "kernel buffers",
    "events_per_second": "events/s",
    "bytes_per_second": "bytes/s",
    "stack_depth": "frames of a stack",
    "stacks_per_second": "named stacks/s",
    "compile_ms": "compiling, ms/min",
    "cpu_percent": "BPF time, % of a CPU",
}


def declare() -> click.Command:
    """Declare the command's arguments."""
    return click.Command(
        "whoami",
        callback=run,
        help="Show who you are to the daemon, and what its policy allows you.",
        params=[
            *place_options(),
            click.Option(["--json", "as_json"], is_flag=True, help="Print it as JSON."),
        ],
    )


def run(**values: Any) -> int:
    """Print it; the exit status is 1 where nothing is allowed."""
    place = take_place(values)
    with connect(place.host, socket=place.socket, tls=place.tls) as host:
        answer = host.whoami()
    if values["as_json"]:
        print(json.dumps(_plain(answer), indent=2))
    else:
        print(*_lines(answer), sep="\n")
    return 0 if answer.rules else 1


def _plain(message: Message) -> dict[str, Any]:
    """A message as JSON has it; not by protobuf's own mapping, where large numbers are texts."""
    return {
        field.name: _value(getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _value(value: Any) -> Any:
    if isinstance(value, Message):
        return _plain(value)
    return (
        [*map(_value, value)] if isinstance(value, Sequence) and type(value) is not str else value
    )


def _lines(answer: pb.WhoAmIResponse) -> Iterator[str]:
    yield from columns(_caller(answer))
    if not answer.rules:
        yield "\nNo rule of this host's policy names you: you may trace nothing. Its administrator"
        yield "can add a rule, or put you into a group that has one."
        return
    yield ""
    rows = [_HEAD, *map(_rule, answer.rules)]
    # Only administrators are told where the rules stand.
    yield from columns(rows if answer.admin else [row[:-1] for row in rows])
    yield ""
    yield from columns([("QUOTA", "LIMIT", "USED"), *_quotas(answer)])


def _caller(answer: pb.WhoAmIResponse) -> Iterator[tuple[str, str]]:
    caller = answer.caller
    yield "you", f"{caller.user or 'without a name'} (uid {caller.uid}, gid {caller.gid})"
    yield "groups", ", ".join(caller.groups) or "none"
    came = _CAME.get(caller.via, caller.via)
    certificate = f", certificate {caller.certificate}" if caller.certificate else ""
    yield "through", came + (f" from {caller.address}{certificate}" if caller.address else "")
    yield "admin", "yes: you see and end sessions of all users" if answer.admin else "no"


def _rule(rule: pb.PolicyRule) -> tuple[str, ...]:
    return (
        rule.name,
        rule.scope,
        " ".join(rule.events) or "none",
        rule.uprobes,
        rule.stacks,
        "shown" if rule.kernel_addresses else "as the host",
        "yes" if rule.remote else "no",
        rule.place,
    )


def _quotas(answer: pb.WhoAmIResponse) -> Iterator[tuple[str, str, str]]:
    for field, name in _QUOTAS.items():
        limit = _amount(answer.quotas, field) or "no limit"
        yield name, limit, _amount(answer.used, field) or "-"


def _amount(quotas: pb.Quotas, field: str) -> str:
    if not quotas.HasField(field):
        return ""
    amount = getattr(quotas, field)
    return byte_size(amount) if "bytes" in field else str(amount)
