"""No user has more connections than its share, and root always finds a place."""

from __future__ import annotations

from ptraced.connection_limits import ROOT_RESERVE, ConnectionLimits, Connections


def test_a_user_has_a_share_and_gets_it_back() -> None:
    connections = Connections(ConnectionLimits(total=10, per_user=2))
    assert [connections.enter(5) for _ in range(3)] == [
        "",
        "",
        "too many connections of uid 5 (limit 2)",
    ]
    assert connections.enter(6) == ""
    connections.leave(5)
    assert connections.enter(5) == ""


def test_root_finds_a_place_where_all_others_are_taken() -> None:
    connections = Connections(ConnectionLimits(total=3, per_user=2))
    assert [connections.enter(uid) for uid in (5, 5, 6)] == ["", "", ""]
    full = "too many connections of all users together (limit 3)"
    assert connections.enter(7) == full
    assert [connections.enter(0) for _ in range(ROOT_RESERVE + 1)] == [
        "" for _ in range(ROOT_RESERVE)
    ] + [full]
