"""Sessions of any user, in this process: what the programs in the kernel let through.

What the policy says of events is left out: all of them are seen, of own tasks.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from ptrace_client.event_decoder import EventDecoder
from ptrace_proto import ptrace_pb2 as pb
from ptraced import config
from ptraced.errors import NotFound
from ptraced.identity import Caller
from ptraced.policy.exposure import Exposure
from ptraced.policy.grant import Policy, Rule, StackParts, Uprobes
from ptraced.server import Server

Event = dict[str, Any]
_RULE = Rule(name="own", users=("*",), events=("*",), stacks=StackParts.ALL, uprobes=Uprobes.ALL)


class Tracer:
    """Sessions for users by their uid; they see `own` tasks."""

    def __init__(self, folder: Path) -> None:
        where = config.Server(socket=folder / "ptraced.sock", state_dir=folder / "state")
        self._server = Server(replace(config.Config(), server=where, policy=Policy((_RULE,))))
        self.sessions = self._server._sessions

    def close(self) -> None:
        self._server.stop()

    @contextlib.contextmanager
    def tracing(
        self, uid: int | None, selectors: Sequence[str], **options: Any
    ) -> Iterator[Callable[[], list[Event]]]:
        """A session of a user; what the context gives ends it and returns the events by time.

        Each has `_event`, its name. None stands for one who sees all tasks.
        """
        caller = Caller(uid or 0, uid or 0, os.getpid())
        request = pb.TraceRequest(selectors=selectors, **options)
        shown = Exposure(_RULE, owner=uid)
        with mock.patch("ptraced.policy.exposure.View.expose", return_value=shown):
            session, started = self.sessions.open(request, caller)
        messages: list[bytes] = []
        reading = threading.Thread(target=lambda: messages.extend(session.messages()))
        reading.start()

        def end() -> list[Event]:
            # It may have ended by itself: its processes are gone.
            with contextlib.suppress(NotFound):
                self.sessions.stop(session.id, caller)
            reading.join()
            return _events(started, messages)

        try:
            yield end
        finally:
            session.cancel()
            reading.join()
            self.sessions.close(session)


def _events(started: pb.Started, messages: Sequence[bytes]) -> list[Event]:
    schemas = {schema.id: schema for schema in started.schemas}
    found = []
    for message in map(pb.TraceResponse.FromString, messages):
        for batch in message.batches:
            schema = schemas[batch.schema_id]
            decoder = EventDecoder(schema, started.realtime_offset)
            name = f"{schema.system}:{schema.name}" if schema.system else schema.name
            found += [event.to_dict() | {"_event": name} for event in decoder.decode(batch)]
    return sorted(found, key=lambda event: event["_time"])
