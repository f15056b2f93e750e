"""Rates hold on average, allow for bursts of a second, and are divided fairly."""

from __future__ import annotations

import math

import pytest

from ptraced.policy.grant import Quota
from ptraced.quotas.bucket import Bucket
from ptraced.quotas.rates import Amount, Rates, fair_share

ANN, BEN = 1000, 1001
MS = 1_000_000
SECOND = 1000 * MS


class Kernel:
    """A source whose programs are hit; `hits` is what they were told they may submit."""

    def __init__(self) -> None:
        self.credit = 0
        self.submitted = 0

    def set_credit(self, hits: int) -> None:
        self.credit = hits

    def hit(self, count: int) -> tuple[int, int]:
        """(submitted, throttled) of so many hits."""
        submitted = min(count, self.credit)
        self.credit -= submitted
        self.submitted += submitted
        return submitted, count - submitted


class Host:
    """Rounds of 20 ms, in which sources are hit at a rate."""

    def __init__(self, total: Quota) -> None:
        self.total = total
        self.rates = Rates(lambda: self.total)
        self.now = SECOND

    def source(self, uid: int, quota: Quota) -> Kernel:
        source = Kernel()
        self.rates.allow(uid, quota)
        self.rates.add(uid, source, self.now)
        return source

    def run(self, seconds: float, *hits: tuple[int, Kernel, int], row_bytes: int = 10) -> None:
        for _ in range(round(seconds * 50)):
            self.now += 20 * MS
            for uid, source, rate in hits:
                submitted, throttled = source.hit(rate // 50)
                read = Amount(submitted, submitted * row_bytes)
                self.rates.charge(uid, source, read, throttled, self.now)
            self.rates.settle(self.now)


def test_a_bucket_holds_a_second_and_may_be_in_debt() -> None:
    bucket = Bucket(100, now=0)
    bucket.take(250)
    bucket.refill(100, SECOND)
    assert bucket.tokens == -50
    bucket.refill(100, 10 * SECOND)
    assert bucket.tokens == 100
    bucket.refill(10, 10 * SECOND)
    assert bucket.tokens == 10
    bucket.refill(10, 5 * SECOND)
    assert bucket.tokens == 10


def test_a_user_gets_its_rate_over_all_of_its_sources() -> None:
    host = Host(Quota())
    sources = [host.source(ANN, Quota(events_per_second=1000)) for _ in range(3)]

    host.run(10, *((ANN, source, 5000) for source in sources))

    # What the bucket held at first, then the rate.
    submitted = sum(source.submitted for source in sources)
    assert 10_000 <= submitted <= 12_100
    assert min(source.submitted for source in sources) > submitted / 4


def test_bytes_are_limited_as_events_are() -> None:
    host = Host(Quota())
    source = host.source(ANN, Quota(bytes_per_second=10_000))

    host.run(10, (ANN, source, 50_000), row_bytes=10)

    assert 10_000 <= source.submitted <= 14_000
    assert host.rates.reason(ANN) == (
        "your limit is 10000 bytes per second, over all of your sessions"
    )


def test_who_stays_below_its_rate_is_never_held_back() -> None:
    host = Host(Quota())
    source = host.source(ANN, Quota(events_per_second=1000))

    host.run(10, (ANN, source, 950))

    assert source.submitted == 950 * 10


def test_only_those_above_their_fair_share_of_the_host_are_held_back() -> None:
    host = Host(Quota(events_per_second=10_000))
    light, heavy = host.source(ANN, Quota()), host.source(BEN, Quota())

    host.run(10, (ANN, light, 1000), (BEN, heavy, 100_000))

    assert light.submitted == 10_000
    assert heavy.submitted < 110_000
    assert host.rates.reason(BEN) == (
        "the host's limit is 10000 events per second for all users, of which your share is 9000"
    )
    before = heavy.submitted
    host.run(10, (BEN, heavy, 100_000))
    assert heavy.submitted - before == pytest.approx(100_000, rel=0.1)


def test_a_debt_outlives_the_session_that_made_it() -> None:
    host = Host(Quota())
    quota = Quota(events_per_second=100)
    source = host.source(ANN, quota)
    host.rates.charge(ANN, source, Amount(1000, 10), 0, host.now)
    host.rates.remove(ANN, source)
    host.run(1)

    assert host.source(ANN, quota).credit == 0

    host.run(20)
    assert host.source(ANN, quota).credit == 100


def test_users_who_left_and_owe_nothing_are_forgotten_but_not_their_limits() -> None:
    host = Host(Quota())
    source = host.source(ANN, Quota(events_per_second=10))
    host.rates.remove(ANN, source)
    host.run(2)
    assert host.rates._users == {}

    # A session that was allowed before begins only now.
    host.rates.add(ANN, source, host.now)
    assert source.credit == 10


@pytest.mark.parametrize(
    ("limit", "demands", "share"),
    [
        (None, [5, 9], math.inf),
        (14, [5, 9], math.inf),
        (10, [2, 9], 8),
        (10, [2, 9, 9], 4),
        (9, [9, 9, 9], 3),
        (9, [], math.inf),
    ],
)
def test_fair_shares_are_max_min(limit: float | None, demands: list[float], share: float) -> None:
    assert fair_share(limit, demands) == share
