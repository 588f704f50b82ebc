"""Whose turn a GPU is: captures go first, and a long computation lets them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from featsvc.engines.running.turns import GpuTurns

PATIENCE_S = 10
"""For threads that have nothing to wait for."""


def until(is_so: Callable[[], bool]) -> None:
    """Returns when another thread has come so far."""
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end


def test_a_long_computation_gives_way_to_a_capture_and_goes_on() -> None:
    turns, captured = GpuTurns(), threading.Event()

    def capture() -> None:
        with turns.capturing(), turns.computing():
            captured.set()

    thread = threading.Thread(target=capture)
    with turns.computing(), turns.computing():
        turns.give_way()  # nobody waits
        thread.start()
        until(lambda: turns.has_captures)
        turns.give_way()
        assert captured.is_set()
        # It is this thread's turn again.
        other = threading.Thread(target=capture)
        captured.clear()
        other.start()
        until(lambda: turns.has_captures)
        assert not captured.is_set()
    for each in (thread, other):
        each.join(PATIENCE_S)
    assert captured.is_set()


def test_a_capture_goes_before_the_next_computation() -> None:
    turns, order = GpuTurns(), list[str]()

    def compute() -> None:
        with turns.computing():
            order.append("computed")

    def capture() -> None:
        with turns.capturing():
            order.append("captured")

    threads = [threading.Thread(target=each) for each in (capture, compute)]
    with turns.computing():
        threads[0].start()
        until(lambda: turns.has_captures)
        threads[1].start()
    for each in threads:
        each.join(PATIENCE_S)
    assert order == ["captured", "computed"]


def test_what_fails_leaves_its_turn() -> None:
    turns = GpuTurns()
    for block in (turns.computing, turns.capturing):
        try:
            with block():
                raise ValueError
        except ValueError:
            pass
    taken = threading.Event()

    def compute() -> None:
        with turns.computing():
            taken.set()

    thread = threading.Thread(target=compute)
    thread.start()
    thread.join(PATIENCE_S)
    assert taken.is_set()
