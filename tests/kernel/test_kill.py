"""Sessions that are ended at once: by whom, and what their clients are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commandline import Ended, open_folder, ptrace_client, run_script, wait_for_session
from leftovers import programs_of, wait_until, wait_until_none
from processes import Calls, Daemon
from strangers import ANN, BEN, connected_as, rule
from streams import GETPPID, read_to_end
from users import AS_NOBODY, start_daemon

from ptrace_client.errors import ClientError
from ptrace_proto import ptrace_pb2 as pb


def test_a_killed_run_says_by_whom_and_ends_with_its_own_status(
    daemon: Daemon, tmp_path: Path
) -> None:
    script = tmp_path / "killed.py"
    script.write_text("def __sample__(event): pass\ndef __exit__(): print('exit')\n")
    with daemon.connect() as host, run_script(daemon, script, "-q", "-e", GETPPID) as run:
        session = wait_for_session(host, "killed.py", run)
        assert ptrace_client("kill", "--socket", daemon.socket, session) == Ended(0, "", "")
        assert run.end() == Ended(3, "exit\n", "warning: the session was killed: killed by root\n")
        again = ptrace_client("kill", "--socket", daemon.socket, session)
        assert again == Ended(2, "", f"error: no session {session}\n")


def test_the_session_of_another_user_is_not_there() -> None:
    with (
        open_folder() as folder,
        started(folder) as daemon,
        daemon.connect() as host,
        host.open(pb.TraceRequest(selectors=[GETPPID])) as stream,
    ):
        roots = stream.started.session_id
        # An id says nothing of the next one.
        assert len(roots) == 16
        for call in (("kill",), ("sessions", "stop")):
            for foreign in (roots, "0123456789abcdef"):
                ended = ptrace_client(*call, "--socket", daemon.socket, foreign, prefix=AS_NOBODY)
                assert ended == Ended(2, "", f"error: no session {foreign}\n")
        assert [session.session_id for session in host.sessions()] == [roots]


@contextmanager
def started(folder: Path) -> Iterator[Daemon]:
    daemon = start_daemon(folder)
    try:
        yield daemon
    finally:
        daemon.stop()


def test_an_administrator_sees_and_kills_the_sessions_of_others_and_nobody_else_does() -> None:
    with open_folder() as folder:
        audit = folder / "audit.jsonl"
        admin = '[[rule]]\nname = "admin"\nusers = ["root"]\nevents = ["*"]\nadmin = true\n'
        config = f'[audit]\nfile = "{audit}"\n{admin}{rule(ANN)}{rule(BEN)}'
        daemon = Daemon(folder, config=config)
        try:
            with (
                daemon.connect() as root,
                connected_as(ANN, daemon) as ann,
                connected_as(BEN, daemon) as ben,
                ann.open(pb.TraceRequest(selectors=[GETPPID], label="ann's")) as stream,
            ):
                session = stream.started.session_id
                (listed,) = root.sessions()
                assert (listed.session_id, listed.caller.uid, listed.caller.via) == (
                    *(session, ANN),
                    "local",
                )
                assert ben.sessions() == []
                for call in (ben.kill, ben.stop):
                    with pytest.raises(ClientError, match=f"^error: no session {session}$"):
                        call(session)
                root.kill(session)
                total = read_to_end(stream)
            assert (total.end.reason, total.end.text) == (pb.END_REASON_KILLED, "killed by root")
        finally:
            assert daemon.stop() == 0
        lines = [json.loads(line) for line in audit.read_text().splitlines()]
    denied = [line for line in lines if line["event"] == "denied"]
    assert [(line["uid"], line["session"], line["reason"]) for line in denied] == [
        (BEN, session, f"session of uid {ANN}")
    ] * 2
    (kill,) = (line for line in lines if line["event"] == "kill")
    assert (kill["uid"], kill["of_uid"], kill["session"]) == (0, ANN, session)


def test_what_waits_for_the_client_counts_as_lost(
    own_daemon: Callable[..., Daemon], calls: Callable[..., Calls]
) -> None:
    daemon, program = own_daemon(), calls(200_000)
    request = pb.TraceRequest(selectors=[GETPPID], scope=pb.Scope(pids=[program.pid]))
    with daemon.connect() as host, host.open(request) as stream:
        program.make()
        host.kill(stream.started.session_id)
        total = read_to_end(stream)
    assert total.end.reason == pb.END_REASON_KILLED
    assert total.produced == 200_000
    (totals,) = total.end.totals
    assert (totals.delivered, totals.lost) == (total.delivered[1], total.lost[1])
    assert totals.lost


def test_a_client_that_reads_not_even_its_end_is_cut_off(
    own_daemon: Callable[..., Daemon], calls: Callable[..., Calls]
) -> None:
    daemon, program = own_daemon(), calls(200_000)
    request = pb.TraceRequest(selectors=[GETPPID], scope=pb.Scope(pids=[program.pid]))
    with daemon.connect() as host, daemon.connect() as control, host.open(request) as stream:
        program.make()
        wait_until(lambda: control.sessions()[0].queued_bytes > 0, "the stream is full")
        control.kill(stream.started.session_id)
        wait_until_none(control.sessions, "sessions of a client that does not read")
        wait_until_none(lambda: programs_of(daemon), "programs")
        with pytest.raises(ClientError):
            read_to_end(stream)
