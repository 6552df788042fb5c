"""What is given once, and heard by whoever waits."""

import threading

from resilient_foundry.signal import Signal


def test_who_listens_is_called_once_when_it_is_given() -> None:
    """However often it is given."""
    signal, heard = Signal(), list[str]()
    signal.hear(lambda: heard.append("one"))
    signal.hear(lambda: heard.append("two"))
    assert (signal.is_given, heard) == (False, [])
    signal.give()
    signal.give()
    assert (signal.is_given, heard) == (True, ["one", "two"])


def test_who_comes_late_is_called_at_once() -> None:
    signal, heard = Signal(), list[str]()
    signal.give()
    signal.hear(lambda: heard.append("late"))
    assert heard == ["late"]


def test_who_is_forgotten_is_not_called() -> None:
    """And may be forgotten twice, or after it was called."""
    signal, heard = Signal(), list[str]()

    def listener() -> None:
        heard.append("no")

    signal.hear(listener)
    signal.forget(listener)
    signal.forget(listener)
    signal.give()
    assert heard == []


def test_it_may_be_given_by_a_listener_of_another_and_of_itself() -> None:
    """Listeners are called without a lock."""
    one, other, heard = Signal(), Signal(), list[str]()
    one.hear(other.give)
    one.hear(one.give)
    other.hear(lambda: heard.append("heard"))
    one.give()
    assert heard == ["heard"]


def test_no_listener_is_missed_between_threads() -> None:
    """Whether it comes just before or just after the signal is given."""
    for _ in range(200):
        signal, heard = Signal(), threading.Semaphore(0)
        start = threading.Barrier(3)

        def hear(signal: Signal = signal, heard: threading.Semaphore = heard, start: threading.Barrier = start) -> None:
            start.wait()
            signal.hear(heard.release)

        def give(signal: Signal = signal, start: threading.Barrier = start) -> None:
            start.wait()
            signal.give()

        threads = [threading.Thread(target=hear), threading.Thread(target=hear), threading.Thread(target=give)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert heard.acquire(timeout=5)
        assert heard.acquire(timeout=5)
