"""Recording: from a request to a file of perf.data's kind."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from operator import attrgetter

from ptrace_client.ends import exit_status, explain_end
from ptrace_client.host import Host, Stream
from ptrace_client.losses import Losses
from ptrace_client.options import Selection
from ptrace_client.perf_writing.output import open_output
from ptrace_client.perf_writing.recorder import Recorder, sampled_projections
from ptrace_client.printing import terminal_safe
from ptrace_client.request import trace_request
from ptrace_client.run_signals import RunSignals
from ptrace_client.text import print_error
from ptrace_client.traced_command import TracedCommand
from ptrace_proto import ptrace_pb2 as pb

# At least so often the file is brought up to date, ns.
_ROUND = 250_000_000
_text = attrgetter("text")


def record(
    host: Host,
    selection: Selection,
    output: str,
    command: TracedCommand | None = None,
    duration: float | None = None,
    *,
    all_tasks: bool = False,
    quiet: bool = False,
) -> int:
    """Record the events of `selection` into the file `output` ("-": stdout, in perf's pipe mode).

    It ends with `command`, which is traced besides, or with `all_tasks` just sets the time, after
    `duration` seconds, by SIGINT or SIGTERM. Return the exit status, the command's if there is
    one. Raise ClientError where the daemon refuses or the file cannot be written.
    """
    traced = command.pid if command is not None and not all_tasks else None
    if traced is not None:
        selection = replace(selection, pids=(*selection.pids, traced))
    request = _request(host, selection, output)
    losses = Losses(quiet)
    with contextlib.ExitStack() as undo:
        stream = undo.enter_context(host.open(request))
        file, fd = open_output(output)
        undo.callback(os.close, fd)
        recorder = Recorder(
            stream.started,
            host.info,
            file,
            local=host.endpoint.socket is not None,
            command=traced,
        )
        try:
            end = _follow(stream, recorder, losses, command, duration)
        finally:
            recorder.close()
    if not quiet:
        name = "stdout" if output == "-" else terminal_safe(output)
        lost = losses.summary() if losses.by_stage else "lost none"
        print(
            f"ptrace-client: {recorder.samples} samples, {file.size / 1e6:.3f} MB "
            f"written to {name}, {lost}",
            file=sys.stderr,
        )
        if recorder.lost_tasks:
            print(
                f"ptrace-client: warning: {recorder.lost_tasks} records of tasks are missing: "
                "some names and mappings may be",
                file=sys.stderr,
            )
    if explain_end(end):
        print_error(explain_end(end))
    if command is not None and command.status is not None:
        return command.status if command.status >= 0 else 128 - command.status
    return exit_status(end)


def _request(host: Host, selection: Selection, output: str) -> pb.TraceRequest:
    schemas = selection.described(host)
    request = trace_request(
        selection.events,
        projections=sampled_projections(schemas),
        mark_interval=_ROUND,
        label=f"record {os.path.basename(output)}",
        **selection.scope(),
    )
    request.print_formats = False
    request.format_texts = request.task_records = True
    return request


def _follow(
    stream: Stream,
    recorder: Recorder,
    losses: Losses,
    command: TracedCommand | None,
    duration: float | None,
) -> pb.End:
    """Write what the stream carries until its end."""
    signals = RunSignals()
    signals.stream = stream
    with signals.installed():
        if command is not None:
            command.start(stream.stop)
        for message in _messages(stream, duration):
            for text in map(_text, message.warnings):
                print(f"ptrace-client: warning: {terminal_safe(text)}", file=sys.stderr)
            for loss in message.losses:
                losses.add(loss)
            for throttle in message.throttles:
                losses.throttle(throttle)
            recorder.take(message)
    return message.end


def _messages(stream: Stream, duration: float | None) -> Iterator[pb.TraceResponse]:
    """Yield the messages of a stream, which is stopped after `duration` seconds."""
    deadline = None if duration is None else time.monotonic() + duration
    while True:
        message = stream.next(None if deadline is None else deadline - time.monotonic())
        if deadline is not None and time.monotonic() >= deadline:
            deadline = None
            stream.stop()
        if message is not None:
            yield message
            if message.HasField("end"):
                return
