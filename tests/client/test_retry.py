"""When a call is tried again, and after how long: without a server or a clock."""

from __future__ import annotations

import pytest
from featsvc_client.errors import Failure, InvalidRequest, Overloaded, Unavailable
from featsvc_client.retry import Attempts, RetryPolicy

BUSY = Failure("RESOURCE_EXHAUSTED", "queue full")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_delays_double_up_to_the_largest() -> None:
    policy = RetryPolicy(first_delay_s=0.1, max_delay_s=1.0)
    assert [policy.delay_s(failed, BUSY, 0.0) for failed in range(1, 7)] == pytest.approx(
        [0.1, 0.2, 0.4, 0.8, 1, 1]
    )


def test_chance_shortens_a_delay_by_the_jitter_at_most() -> None:
    policy = RetryPolicy(first_delay_s=1.0, jitter=0.25)
    assert policy.delay_s(1, BUSY, 0.999999) == pytest.approx(0.75, abs=1e-5)


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_a_delay_is_never_less_than_the_server_asks(chance: float) -> None:
    policy = RetryPolicy(first_delay_s=0.1)
    assert policy.delay_s(1, Failure(BUSY.code, "", retry_after_s=2.0), chance) >= 2.0
    assert policy.delay_s(1, Failure(BUSY.code, "", retry_after_s=0.0), chance) > 0.0


def test_callers_refused_together_do_not_come_back_together() -> None:
    policy, asked = RetryPolicy(), Failure(BUSY.code, "", retry_after_s=2.0)
    assert policy.delay_s(1, asked, 0.1) != policy.delay_s(1, asked, 0.9)


def test_the_last_attempt_raises_what_went_wrong() -> None:
    attempts = Attempts(RetryPolicy(attempts=3), None)
    attempts.pause_s(BUSY)
    attempts.pause_s(BUSY)
    with pytest.raises(Overloaded):
        attempts.pause_s(BUSY)


def test_one_attempt_never_tries_again() -> None:
    with pytest.raises(Unavailable):
        Attempts(RetryPolicy(attempts=1), None).pause_s(Failure("UNAVAILABLE", "gone"))


def test_what_another_try_will_not_mend_is_raised_at_once() -> None:
    with pytest.raises(InvalidRequest):
        Attempts(RetryPolicy(), None).pause_s(Failure("INVALID_ARGUMENT", "bad"))


def test_time_runs_over_all_attempts() -> None:
    clock = Clock()
    attempts = Attempts(RetryPolicy(), 10.0, clock)
    clock.now += 4
    assert attempts.time_left_s() == 6.0
    attempts.pause_s(BUSY)
    clock.now += 7
    assert attempts.time_left_s() == 0.0
    with pytest.raises(Overloaded):
        attempts.pause_s(BUSY)


def test_a_pause_that_would_outlast_the_time_is_not_waited_for() -> None:
    with pytest.raises(Overloaded) as caught:
        Attempts(RetryPolicy(), 5.0, Clock()).pause_s(Failure(BUSY.code, "", retry_after_s=5.0))
    assert caught.value.retry_after == 5.0
