"""What users hold is reserved before it is made, limited by user and in total, and given back."""

from __future__ import annotations

import threading

import pytest

from ptraced.errors import LimitExceeded
from ptraced.policy.grant import Quota
from ptraced.quotas.accounts import Account, Accounts, Holding

ANN, BEN = 1000, 1001


def refusal(accounts: Accounts, uid: int, quota: Quota) -> str:
    with pytest.raises(LimitExceeded) as caught:
        accounts.open(uid, quota)
    return str(caught.value)


def test_the_next_session_of_a_user_is_refused_and_others_get_theirs() -> None:
    accounts, quota = Accounts(), Quota(sessions=2)
    opened = [accounts.open(ANN, quota) for _ in range(2)]

    assert refusal(accounts, ANN, quota) == (
        "error: 1 session more would be over your limit of 2 sessions, of which 2 are in use; "
        "end one first"
    )
    accounts.open(BEN, quota)

    opened[0].close()
    accounts.open(ANN, quota)
    assert accounts.used(ANN).sessions == 2


def test_the_host_has_limits_of_its_own() -> None:
    accounts = Accounts(Quota(sessions=2))
    accounts.open(ANN, Quota())
    accounts.open(BEN, Quota())

    assert refusal(accounts, BEN, Quota()) == (
        "error: 1 session more would be over the host's limit of 2 sessions, of which 2 are in "
        "use; end one first"
    )


@pytest.mark.parametrize(
    ("quota", "message"),
    [
        (
            Quota(programs=5),
            "error: 4 programs more would be over your limit of 5 programs, of which 4 are in use; "
            "select fewer events",
        ),
        (
            Quota(probes=1),
            "error: 1 place of probes more would be over your limit of 1 place of probes, of which "
            "1 is in use; select fewer probes",
        ),
        (
            Quota(buffer_bytes=10000),
            "error: 8192 bytes of kernel buffers more would be over your limit of 10000 bytes of "
            "kernel buffers, of which 8192 are in use; ask for smaller buffers, or select fewer "
            "events",
        ),
        (
            Quota(events_per_second=1500),
            "error: 1000 samples per second more would be over your limit of 1500 samples per "
            "second, of which 1000 are in use; sample less often, or on fewer CPUs",
        ),
    ],
)
def test_what_sessions_hold_adds_up(quota: Quota, message: str) -> None:
    accounts = Accounts()
    holding = Holding(programs=4, probes=1, buffer_bytes=8192, samples=1000)
    first, second = accounts.open(ANN, quota), accounts.open(ANN, quota)
    first.reserve(holding)

    with pytest.raises(LimitExceeded) as caught:
        second.reserve(holding)

    assert str(caught.value) == message
    first.close()
    second.reserve(holding)


def test_a_refusal_reserves_nothing() -> None:
    accounts = Accounts(Quota(buffer_bytes=10))
    account = accounts.open(ANN, Quota())

    with pytest.raises(LimitExceeded):
        account.reserve(Holding(programs=4, buffer_bytes=11))

    used = accounts.used(ANN)
    assert (used.sessions, used.programs, used.buffer_bytes) == (1, 0, 0)
    account.close()
    account.close()
    assert accounts.used(ANN).sessions == 0
    assert accounts._users == {}


def test_users_who_come_all_at_once_get_no_more() -> None:
    accounts, quota = Accounts(), Quota(sessions=3)
    opened: list[Account] = []

    def open_one() -> None:
        try:
            opened.append(accounts.open(ANN, quota))
        except LimitExceeded:
            pass

    threads = [threading.Thread(target=open_one) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(opened) == 3
