"""Who a call comes from, by the name of its peer."""

from __future__ import annotations

import os
import pwd
from dataclasses import replace

import pytest

from ptraced.callers import Callers
from ptraced.errors import Unavailable
from ptraced.identity import Via, groups_of, local_caller
from ptraced.peer import Credentials, abstract_name, parse_peer

ME = pwd.getpwuid(os.getuid())


def peer_of(who: Credentials) -> str:
    """As gRPC has it."""
    return "unix-abstract:" + abstract_name(who)[1:]


@pytest.mark.parametrize(
    "address", ["192.0.2.7:50312", "[2001:db8::7]:1", "[::1]:65535", "127.0.0.1:0"]
)
def test_a_remote_caller_comes_whole_through_the_name_of_a_socket(address: str) -> None:
    who = Credentials(4294967294, 4294967294, 0, address, "x" * 24 + "_.-@" + "y" * 8)
    name = abstract_name(who)
    # sun_path of unix(7) has 108 bytes.
    assert len(name) <= 108
    assert parse_peer(f"unix-abstract:{name[1:]}") == who
    assert parse_peer(f"unix-abstract:{name[1:].replace('@', '%40')}") == who
    assert abstract_name(who) != name


def test_callers_know_their_groups_from_this_hosts_database() -> None:
    local = Callers()(peer_of(Credentials(ME.pw_uid, 4711, 12)))
    assert local == local_caller(ME.pw_uid, 4711, 12)
    assert local.groups == groups_of(ME.pw_name) != frozenset()
    who = Credentials(ME.pw_uid, ME.pw_gid, 0, "192.0.2.7:5", "alice")
    remote = Callers()(peer_of(who))
    same = local_caller(ME.pw_uid, ME.pw_gid, 0)
    assert remote == replace(same, via=Via.TLS, address="192.0.2.7:5", certificate="alice")


def test_groups_are_asked_for_once_until_they_are_to_be_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    groups = [frozenset({"before"}), frozenset({"after"})]
    monkeypatch.setattr("ptraced.identity.groups_of", lambda user: groups.pop(0))
    callers, peer = Callers(), peer_of(Credentials(ME.pw_uid, ME.pw_gid, 12))
    assert [callers(peer).groups for _ in range(2)] == [{"before"}] * 2
    callers.forget()
    assert callers(peer).groups == {"after"}


def test_plain_tcp_is_one_user() -> None:
    caller = Callers(ME.pw_name)("ipv4:127.0.0.1:4711")
    same = local_caller(ME.pw_uid, ME.pw_gid, 0)
    assert caller == replace(same, via=Via.INSECURE, address="127.0.0.1:4711")
    assert Callers(ME.pw_name)("ipv6:%5B::1%5D:4711").address == "[::1]:4711"
    with pytest.raises(Unavailable, match="this host has no user no-such-user"):
        Callers("no-such-user")


@pytest.mark.parametrize("peer", ["ipv4:127.0.0.1:4711", "unix:", "unix-abstract:ptraced-0-0-1"])
def test_any_other_peer_is_nobody(peer: str) -> None:
    caller = Callers()(peer)
    assert (caller.uid, caller.groups, caller.is_remote) == (65534, frozenset(), True)
