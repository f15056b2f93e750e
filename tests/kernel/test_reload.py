"""A policy that changes under a daemon: running sessions that stay allowed do not notice."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import PTRACE_CLIENT, Ended, Run, open_folder, ptrace_client, wait_for_session
from leftovers import wait_until
from processes import Calls, Daemon
from streams import GETPPID, read_to_end
from users import AS_NOBODY

from ptrace_client.host import Host
from ptrace_proto import ptrace_pb2 as pb

ROOT = '[[rule]]\nname = "root"\nusers = ["root"]\nevents = ["*"]\ntasks = "all"\nadmin = true\n'
OTHERS = '[[rule]]\nname = "others"\nusers = ["*"]\n'
SWITCHES = "sched:sched_switch"


class Changing:
    """A daemon whose drop-in is written anew."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self._drop_in = daemon.socket.parent / "ptraced.d/others.toml"
        self._drop_in.parent.mkdir()

    def reload(self, text: str, said: str = "reloaded") -> list[str]:
        """Reload with this drop-in, and return what the log says of it, without the time."""
        before = len(self._lines())
        self._drop_in.write_text(text)
        self.daemon.process.send_signal(signal.SIGHUP)
        told: list[str] = []

        def is_told() -> bool:
            told[:] = [line.partition(" ")[2] for line in self._lines()[before:]]
            return any(f" {said}" in line for line in told)

        wait_until(is_told, "the daemon has reloaded")
        # Sessions of before, and connections, may be over only now.
        return [line for line in told if not line.startswith("info audit ")]

    def _lines(self) -> list[str]:
        return self.daemon.log.read_text().splitlines()

    def run_as_nobody(self, *selectors: str) -> Run:
        """Trace in the background; the session's label is "trace"."""
        command = [*AS_NOBODY, PTRACE_CLIENT, "trace", "--socket", self.daemon.socket]
        return Run([*command, *(word for each in selectors for word in ("-e", each))], Path("/"))


@pytest.fixture(scope="module")
def changing() -> Iterator[Changing]:
    with open_folder() as folder:
        daemon = Daemon(folder, config=ROOT)
        yield Changing(daemon)
        daemon.stop()


@pytest.fixture(scope="module")
def host(changing: Changing) -> Iterator[Host]:
    with changing.daemon.connect() as host:
        yield host


def test_one_session_ends_with_what_it_lacks_and_another_loses_nothing(
    changing: Changing, host: Host, calls: Callable[..., Calls]
) -> None:
    changing.reload(f'{OTHERS}events = ["{SWITCHES}"]\ntasks = "all"\n')
    first, second = calls(10_000), calls(10_000)
    request = pb.TraceRequest(selectors=[GETPPID], scope=pb.Scope(pids=[first.pid, second.pid]))
    with host.open(request) as stream, changing.run_as_nobody(f"{SWITCHES}/prev_pid<0/") as run:
        foreign = wait_for_session(host, "trace", run)
        first.make()
        changing.reload(f'{OTHERS}events = ["irq:*"]\n', "session not allowed")
        assert run.end() == Ended(
            3,
            "",
            "warning: the policy does not allow the session any more: the policy does not allow "
            f'you {SWITCHES}: your rules ("others") are not about it; ask this host\'s '
            "administrator for one that is\n",
        )
        assert foreign not in [session.session_id for session in host.sessions()]
        second.make()
        stream.stop()
        total = read_to_end(stream)
    assert total.end.reason == pb.END_REASON_STOPPED
    assert (total.delivered[1], total.lost[1]) == (20_000, 0)


@pytest.mark.parametrize(
    ("before", "after", "selector", "missing"),
    [
        (
            'tasks = "all"',
            'tasks = "own"',
            f"{GETPPID}/common_pid<0/",
            f'rule "others" allows you {GETPPID} only of your own tasks',
        ),
        (
            'tasks = "all"\nstacks = "all"',
            'tasks = "all"\nstacks = "user"',
            f"{GETPPID}/common_pid<0/stack/",
            f'rule "others" does not allow you kernel stacks of {GETPPID}',
        ),
    ],
)
def test_each_right_that_is_taken_away_ends_the_session(
    before: str, after: str, selector: str, missing: str, changing: Changing, host: Host
) -> None:
    changing.reload(f'{OTHERS}events = ["*"]\n{before}\n')
    with changing.run_as_nobody(selector) as run:
        wait_for_session(host, "trace", run)
        changing.reload(f'{OTHERS}events = ["*"]\n{after}\n', "session not allowed")
        ended = run.end()
    assert ended.status == 3
    assert ended.err.endswith(f"does not allow the session any more: {missing}\n")


def test_rights_that_a_session_does_not_use_may_go(changing: Changing, host: Host) -> None:
    changing.reload(f'{OTHERS}events = ["*"]\ntasks = "all"\nstacks = "all"\nuprobes = "all"\n')
    with changing.run_as_nobody(f"{SWITCHES}/prev_pid<0/") as run:
        session = wait_for_session(host, "trace", run)
        changing.reload(
            f'[[rule]]\nname = "new"\nusers = ["*"]\nevents = ["{SWITCHES}"]\ntasks = "all"\n'
        )
        assert [each.session_id for each in host.sessions()] == [session]
        run.signal(signal.SIGINT)
        assert run.end().status == 0


def test_mistakes_are_logged_and_the_old_policy_stays(changing: Changing, host: Host) -> None:
    folder = changing.daemon.socket.parent
    changing.reload("")
    told = changing.reload(
        f'{OTHERS}events = ["irq:*"]\ntasks = "mine"\n[limits]\nsession = 3\n', "not reloaded"
    )
    place = f"{folder}/ptraced.d/others.toml"
    assert told == [
        f'error {place}:5: rule "others": tasks must be one of "own", "all", not "mine"',
        f"error {place}:7: limits.session is not a setting (did you mean 'sessions'?)",
        "error not reloaded: the configuration of before stays",
    ]
    refused = ptrace_client(
        "trace", "--socket", changing.daemon.socket, "-e", SWITCHES, prefix=AS_NOBODY
    )
    assert refused == Ended(
        2,
        "",
        "error: no rule of this host's policy names you, nobody (groups: nogroup); ask its "
        "administrator for one, or for a group that may trace\n",
    )
    with host.open(pb.TraceRequest(selectors=[f"{SWITCHES}/prev_pid<0/"])):
        pass


def test_what_needs_a_restart_and_who_is_unknown_is_logged(changing: Changing) -> None:
    told = changing.reload(
        '[limits]\nsessions = 3\n[log]\nlevel = "debug"\n'
        '[[rule]]\nname = "others"\nusers = ["no-such-user"]\nevents = ["irq:*"]\n'
    )
    place = f"{changing.daemon.socket.parent}/ptraced.d/others.toml:5"
    assert told == [
        "warning setting needs a restart setting=limits.sessions",
        f'warning {place}: rule "others": this host has no user "no-such-user"',
        "info reloaded rules=2",
    ]


def test_quotas_of_all_users_change_with_the_rules(changing: Changing, host: Host) -> None:
    changing.reload("[quota]\nsessions = 1\n")
    request = pb.TraceRequest(selectors=[f"{SWITCHES}/prev_pid<0/"])
    with host.open(request):
        with pytest.raises(Exception, match="the host's limit of 1 session"):
            host.open(request)
        changing.reload("[quota]\nsessions = 2\n")
        with host.open(request):
            assert len(host.sessions()) == 2
