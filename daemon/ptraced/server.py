"""The daemon put together: reader, hub, sessions, the gRPC server, and the front socket."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ptraced import log
from ptraced.audit import kinds
from ptraced.audit.sinks import open_sinks
from ptraced.audit.trail import Audit
from ptraced.call_limits import CallLimits
from ptraced.compiler import Compiler
from ptraced.config import Config, changed_settings
from ptraced.entrances import Entrances
from ptraced.headers import find_headers
from ptraced.hub import Hub
from ptraced.policy.load import unknown_names
from ptraced.quotas.accounts import Accounts
from ptraced.quotas.stack_rates import StackRates
from ptraced.reader import Reader
from ptraced.service import SERVICE, Service
from ptraced.sessions import Sessions
from ptraced.stacks import StackTable
from ptraced.symbols.symbolizer import Symbolizer
from ptraced.tasks import Tasks
from ptraced.tracefs import Tracefs

# Seconds that streams get to carry their end to their clients at shutdown.
_GRACE = 5.0
# Calls of one user at once besides its sessions, and of all users but root.
_CALLS_PER_USER = 32
_CALLS = 512
# Of one connection; gRPC holds some KiB for each, whatever becomes of it.
_STREAMS = 256
# The reader must not wait long for the interpreter behind threads that send; the
# default of 5 ms is a fifth of a ring at full rate. Seconds.
_SWITCH_INTERVAL = 0.001

_CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 1 << 20),
    ("grpc.max_concurrent_streams", _STREAMS),
    ("grpc.so_reuseport", 0),
    # Clients over a network ask every 20 s whether the daemon is there; gRPC would take that for
    # an attack, and end the connection, where a session has no events for minutes.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
]


class ThreadPerCall(futures.Executor):
    """Runs every call in a thread of its own that ends with it.

    A pool would keep its largest number of threads for ever.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        future: futures.Future[Any] = futures.Future()

        def run() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=run, name="call", daemon=True).start()
        return future


class Server:
    """A running daemon. Serves from the end of the constructor to `stop`.

    Raises TraceError where it cannot: another daemon on the socket, no privilege,
    no headers.
    """

    def __init__(self, config: Config) -> None:
        sys.setswitchinterval(_SWITCH_INTERVAL)
        self._undo = contextlib.ExitStack()
        with contextlib.ExitStack() as failed:
            failed.callback(self._undo.close)
            self._build(config)
            failed.pop_all()

    def _build(self, config: Config) -> None:
        audit = self._audit = Audit(open_sinks(config.audit))
        self._undo.callback(audit.close)
        self._config = config
        _warn_of_unknown(config)
        tracefs = Tracefs.find()
        headers = find_headers(config.state_dir())
        accounts = Accounts(config.quota)
        compiler = Compiler(lambda: find_headers(config.state_dir()), lambda: accounts.total)
        self._undo.callback(compiler.close)
        symbolizer = Symbolizer(
            lambda found: stacks.resolve(found),
            lambda process, file: stacks.note_silent_python(process, file),
            lambda given_up: stacks.give_up(given_up),
        )
        self._undo.callback(symbolizer.close)
        stacks = StackTable(symbolizer, rates=StackRates(lambda: accounts.total))
        tasks = Tasks(symbolizer.task_records, stacks.forget_process, stacks.forget_processes)
        reader = Reader(config.reader.interval_ms / 1000, stacks, tasks, lambda: accounts.total)
        self._undo.callback(reader.close)
        self._reader = reader
        hub = Hub(tracefs, compiler, reader, stacks, tasks.comm)
        self._undo.callback(hub.close)
        self._sessions = Sessions(
            config, tracefs, headers.path, hub, reader, stacks, accounts, audit
        )
        entrances = self._entrances = Entrances(config, audit.front_event)
        self._undo.callback(entrances.stop)
        service = Service(config, tracefs, self._sessions, entrances.caller, audit)
        self._grpc = self._start_grpc(service, config, entrances)
        entrances.start()
        if config.metrics.listen:
            # Takes its time and memory only where it is wanted.
            from ptraced.metrics.collector import DaemonCollector
            from ptraced.metrics.http import MetricsServer
            from ptraced.metrics.parts import DaemonParts

            parts = DaemonParts(self._sessions, accounts, audit, hub, compiler)
            metrics = MetricsServer(config.metrics.listen, DaemonCollector(parts))
            self._undo.callback(metrics.close)
        threading.Thread(target=compiler.warm_up, name="warm-up", daemon=True).start()
        log.event(
            "serving",
            socket=config.server.socket,
            headers=headers.source,
            release=headers.release,
        )

    def _start_grpc(self, service: Service, config: Config, entrances: Entrances) -> grpc.Server:
        limits = CallLimits(
            lambda peer: entrances.caller(peer).uid,
            _CALLS_PER_USER,
            _CALLS,
            frozenset([f"/{SERVICE}/Trace"]),
        )
        server = grpc.server(
            ThreadPerCall(),
            options=_CHANNEL_OPTIONS,
            interceptors=[limits],
        )
        server.add_generic_rpc_handlers((service.handler(),))
        checks = health.HealthServicer(experimental_non_blocking=False)
        for name in ("", SERVICE):
            checks.set(name, health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        reflection.enable_server_reflection(
            (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server
        )
        entrances.listen(server)
        server.start()
        return server

    def responds(self, seconds: float) -> bool:
        """Whether events are still read, as found out within some seconds."""
        return self._reader.responds(seconds)

    def reload(self, config: Config) -> None:
        """Take rules, quotas, users of certificates and log level; the rest needs a restart.

        Sessions that the new rules do not allow end, all others go on untouched.
        """
        for setting in changed_settings(self._config, config):
            log.event("setting needs a restart", logging.WARNING, setting=setting)
        logging.getLogger().setLevel(config.log.level.upper())
        _warn_of_unknown(config)
        self._entrances.caller.forget()
        self._sessions.reload(config)
        self._entrances.set_tls_users(config.tls.users)
        rules = [rule.name for rule in config.policy.rules]
        self._audit.record(kinds.POLICY_RELOAD, None, rules=rules)
        log.event("reloaded", rules=len(config.policy.rules))

    def reload_failed(self, mistakes: str) -> None:
        """Note that a configuration had mistakes, and was not taken."""
        self._audit.record(kinds.POLICY_RELOAD, None, reason=mistakes)

    def reopen_files(self) -> None:
        """Go on in a new file where one that is written was moved away (logrotate(8))."""
        self._audit.reopen()

    def stop(self) -> None:
        """End all streams with their reason, then release everything."""
        self._sessions.shut_down()
        self._grpc.stop(_GRACE).wait()
        self._undo.close()


def _warn_of_unknown(config: Config) -> None:
    for text in unknown_names(config.policy):
        log.event(text, logging.WARNING)
