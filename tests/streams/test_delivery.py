from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from answers import PATIENCE, Recorder, join, until
from gemini_nb.redaction import Secret
from gemini_nb.streams.events.events import StreamEvent
from gemini_nb.streams.events.log import EventLog, Reader
from gemini_nb.streams.events.record import StreamRecord
from gemini_nb.streams.runtime import delivery as delivery_module
from gemini_nb.streams.runtime.delivery import Delivery, Subscription
from gemini_nb.streams.runtime.loop import BackgroundLoop


class Desk:
    """A stream without a model, written on a background loop as streams are."""

    def __init__(self) -> None:
        self.loop = BackgroundLoop("test-loop", lambda: None)
        self.delivery = Delivery(self.loop)
        self.record = StreamRecord("s1")
        self.loop.call(self.record.start)

    def write(self, *texts: str) -> None:
        for text in texts:
            self.loop.call(self.record.add_text, text)

    def end(self) -> None:
        self.loop.call(self.record.complete)

    def subscribe(self, callback: Callable[[StreamEvent], object], *, replay: bool = True) -> Subscription:
        return Subscription(self.record.log, callback, self.delivery, replay=replay)

    def settle(self) -> None:
        """Wait until everything written so far is in the log and on its way to the threads.

        What is due at once goes out in the next turn of the loop, behind the first calls of that turn.
        """
        for _ in range(3):
            done = threading.Event()
            self.loop.call(done.set)
            assert done.wait(PATIENCE)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.loop.close(PATIENCE)
    desk.delivery.close(PATIENCE)
    assert not desk.delivery._threads


def texts(recorder: Recorder) -> list[str]:
    return [event.text for event in recorder.events if event.kind == "text_delta"]


def test_everything_arrives_in_order_on_a_thread_of_its_own_kind(desk: Desk) -> None:
    words = [str(number) for number in range(500)]
    recorder = Recorder()
    subscription = desk.subscribe(recorder)
    desk.write(*words)
    desk.end()
    assert subscription.delivered.wait(PATIENCE)
    assert texts(recorder) == words
    assert [event.seq for event in recorder.events] == list(range(503))
    assert all(thread.name == "gemini_nb-delivery" for thread in recorder.threads)
    assert all(thread.daemon for thread in recorder.threads)


def test_text_that_goes_on_is_handed_over_with_what_comes_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "_TICK", 3600.0)
    recorder = Recorder()
    subscription = desk.subscribe(recorder)
    desk.write("a")
    recorder.wait("text_delta", 1)  # a first text does not wait
    desk.settle()
    until(lambda: not subscription._queued)  # the thread that called it takes along what is there
    desk.delivery._flushed_at = time.monotonic()  # a thread that was at it may have taken the first text, too
    desk.write("b", "c")
    desk.settle()
    assert texts(recorder) == ["a"]
    desk.end()
    assert subscription.delivered.wait(PATIENCE)
    assert texts(recorder) == ["a", "b", "c"]


def test_a_late_subscriber_gets_everything_and_one_without_replay_only_what_comes(desk: Desk) -> None:
    desk.write("a")
    desk.settle()
    late, new = Recorder(), Recorder()
    desk.subscribe(late)
    desk.subscribe(new, replay=False)
    desk.write("b")
    desk.end()
    late.wait("stream_completed")
    new.wait("stream_completed")
    assert texts(late) == ["a", "b"]
    assert new.kinds == ["text_delta", "stream_completed"]
    again = Recorder()
    desk.subscribe(again)
    again.wait("stream_completed")
    assert again.events == late.events


def test_one_that_stands_still_lags_and_delays_nobody(desk: Desk) -> None:
    go_on = threading.Event()
    slow, quick = Recorder("text_delta", go_on), Recorder()
    subscription = desk.subscribe(slow)
    desk.subscribe(quick)
    desk.write("a", "b", "c")
    desk.end()
    quick.wait("stream_completed")
    slow.wait("text_delta")
    assert texts(slow) == ["a"]
    assert not subscription.delivered.is_set()
    go_on.set()
    assert subscription.delivered.wait(PATIENCE)
    assert slow.events == quick.events


def test_two_that_wake_together_do_not_wait_for_each_other(desk: Desk) -> None:
    """One idle thread is not enough for two: the second must not be forgotten in the queue."""
    go_on = threading.Event()
    warm = Recorder()
    desk.subscribe(warm)
    warm.wait("phase_changed")
    slow, quick = Recorder("", go_on), Recorder()
    desk.loop.call(lambda: (desk.subscribe(slow, replay=False), desk.subscribe(quick, replay=False)))
    desk.settle()
    desk.write("a")
    slow.wait("text_delta")
    quick.wait("text_delta")
    go_on.set()


def test_two_hundred_that_stand_still_do_not_hold_up_the_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    check = Delivery._check

    def counted(delivery: Delivery, *args: Any) -> None:
        if delivery is desk.delivery:
            looks.append(args)
        check(delivery, *args)

    monkeypatch.setattr(Delivery, "_check", counted)
    go_on = threading.Event()
    stuck = [Recorder("", go_on) for _ in range(200)]
    for recorder in stuck:
        desk.subscribe(recorder)
    quick = Recorder()
    desk.subscribe(quick)
    desk.write("a")
    desk.end()
    quick.wait("stream_completed")
    assert len(looks) < 100  # one new thread at a time would take 200
    go_on.set()
    for recorder in stuck:
        recorder.wait("stream_completed")
        assert recorder.events == quick.events


def test_a_failing_callback_harms_only_itself_and_shows_no_secret(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    secret = Secret("a-very-secret-key")
    calls: list[str] = []

    def fail(event: StreamEvent) -> None:
        calls.append(event.kind)
        raise RuntimeError(f"request with {secret.reveal()} failed")

    with caplog.at_level(logging.DEBUG, "gemini_nb"):
        failing = desk.subscribe(fail)
        quick = Recorder()
        desk.subscribe(quick)
        desk.write("a", "b")
        desk.end()
        quick.wait("stream_completed")
        assert failing.delivered.wait(PATIENCE)
    assert calls == quick.kinds
    assert "subscriber fail failed on stream_started of s1: RuntimeError" in caplog.text
    assert secret.reveal() not in caplog.text
    levels = [entry.levelno for entry in caplog.records]
    assert levels == [logging.WARNING] + [logging.DEBUG] * (len(calls) - 1)


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), UnspeakableError(), GeneratorExit()])
def test_no_exception_ends_a_delivery_thread(desk: Desk, error: BaseException) -> None:
    def fail(_: StreamEvent) -> None:
        raise error

    failing = desk.subscribe(fail)
    desk.write("a")
    desk.end()
    assert failing.delivered.wait(PATIENCE)
    quick = Recorder()
    desk.subscribe(quick)
    quick.wait("stream_completed")
    assert len(desk.delivery._threads) <= 2


def test_a_callback_that_turns_out_asynchronous_is_told_and_nothing_is_left_unawaited(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    async def later(event: StreamEvent) -> None:
        pass

    subscription = desk.subscribe(functools.partial(later))
    desk.end()
    assert subscription.delivered.wait(PATIENCE)
    assert "asynchronous" in caplog.text


def test_leaving_stops_the_calls_and_nothing_else(desk: Desk) -> None:
    leaving, staying = Recorder(), Recorder()
    subscription = desk.subscribe(leaving)
    desk.subscribe(staying)
    desk.write("a")
    leaving.wait("text_delta")
    subscription.close()
    desk.write("b")
    desk.end()
    staying.wait("stream_completed")
    assert subscription.delivered.is_set()
    assert texts(leaving) == ["a"]


def test_leaving_inside_the_callback(desk: Desk) -> None:
    seen: list[str] = []

    subscribed = threading.Event()

    def once(event: StreamEvent) -> None:
        seen.append(event.kind)
        subscribed.wait(PATIENCE)
        subscription.close()

    subscription = desk.subscribe(once)
    subscribed.set()
    quick = Recorder()
    desk.subscribe(quick)
    desk.write("a")
    desk.end()
    quick.wait("stream_completed")
    assert seen == ["stream_started"]


def test_threads_that_are_not_needed_end_and_the_last_stays(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "_IDLE", 0.02)
    go_on = threading.Event()
    stuck = [Recorder("", go_on) for _ in range(10)]
    for recorder in stuck:
        desk.subscribe(recorder)
    for recorder in stuck:
        recorder.wait("stream_started")
    threads = set(desk.delivery._threads)
    assert len(threads) >= 10
    go_on.set()
    desk.end()
    deadline = time.monotonic() + PATIENCE
    while len(desk.delivery._threads) > 1 and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert len(desk.delivery._threads) == 1
    quick = Recorder()
    desk.subscribe(quick)
    quick.wait("stream_completed")


def test_closing_delivers_what_is_there_and_refuses_the_rest(desk: Desk) -> None:
    recorder = Recorder()
    desk.subscribe(recorder)
    desk.end()
    desk.settle()
    desk.delivery.close(PATIENCE)
    assert recorder.kinds[-1] == "stream_completed"
    late = Recorder()
    subscription = desk.subscribe(late)
    assert subscription.delivered.is_set()
    assert late.events == []


def test_a_new_loop_watches_where_the_old_one_died(desk: Desk) -> None:
    go_on = threading.Event()
    stuck = Recorder("", go_on)
    desk.subscribe(stuck)
    stuck.wait("stream_started")
    thread = desk.loop._thread
    assert thread is not None
    desk.delivery._start_watch()
    desk.loop.loop.call_soon_threadsafe(desk.loop.loop.stop)
    join(thread)
    second, third = Recorder("", go_on), Recorder()
    desk.subscribe(second)
    desk.subscribe(third)
    second.wait("stream_started")
    third.wait("phase_changed")
    go_on.set()


def test_many_subscriptions_coming_and_going_while_it_is_written(desk: Desk) -> None:
    recorders = [Recorder() for _ in range(40)]

    def come(mine: list[Recorder]) -> None:
        for recorder in mine:
            desk.subscribe(recorder)
            desk.subscribe(Recorder()).close()

    threads = [threading.Thread(target=come, args=(recorders[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    words = [str(number) for number in range(300)]
    desk.write(*words)
    desk.end()
    join(*threads)
    for recorder in recorders:
        recorder.wait("stream_completed")
        assert texts(recorder) == words


def test_an_event_that_comes_while_one_subscribes_is_delivered_as_any_other(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def attach(log: EventLog, reader: Reader) -> None:
        attach_only(log, reader)
        desk.write("a")
        desk.settle()

    attach_only = EventLog.attach
    monkeypatch.setattr(EventLog, "attach", attach)
    recorder = Recorder()
    desk.subscribe(recorder, replay=False)
    desk.end()
    recorder.wait("stream_completed")
    assert texts(recorder) == ["a"]
    assert [record for record in caplog.records if record.name == "gemini_nb"] == []


def test_a_thread_that_starts_while_it_closes_ends_with_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins, closed = threading.Event(), threading.Event()
    start = Delivery._start_threads

    def start_late(delivery: Delivery, count: int) -> None:
        begins.set()
        assert closed.wait(PATIENCE)
        start(delivery, count)

    monkeypatch.setattr(Delivery, "_start_threads", start_late)
    desk.end()
    desk.settle()
    recorder = Recorder()
    subscribing = threading.Thread(target=desk.subscribe, args=(recorder,))
    subscribing.start()
    assert begins.wait(PATIENCE)
    desk.delivery.close(PATIENCE)
    closed.set()
    join(subscribing)
    recorder.wait("stream_completed")
    until(lambda: not desk.delivery._threads)


def test_closing_joins_no_thread_that_has_not_begun(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    begins, go_on = threading.Event(), threading.Event()
    start = threading.Thread.start

    def start_late(thread: threading.Thread) -> None:
        if vars(thread)["_target"] == desk.delivery._work:
            begins.set()
            go_on.wait(PATIENCE)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_late)
    subscribing = threading.Thread(target=desk.subscribe, args=(Recorder(),))
    closing = threading.Thread(target=desk.delivery.close, args=(PATIENCE,))
    subscribing.start()
    assert begins.wait(PATIENCE)
    closing.start()
    closing.join(0.05)  # where it does not wait it has raised
    go_on.set()
    join(subscribing, closing)
    until(lambda: not desk.delivery._threads)


def test_a_loop_that_is_closed_while_it_is_to_watch_refuses_no_subscriber(desk: Desk) -> None:
    go_on = threading.Event()
    stuck = Recorder("", go_on)
    desk.subscribe(stuck)
    stuck.wait("stream_started")
    loop = desk.loop.loop
    desk.loop.close(PATIENCE)
    # What a thread sees that asked for the loop just before it closed.
    desk.loop._loop, desk.loop._closed = loop, False
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(BackgroundLoop, "is_alive", True)
        desk.subscribe(Recorder())
    go_on.set()


def test_is_own_thread(desk: Desk) -> None:
    found: list[Any] = []
    subscription = desk.subscribe(lambda _: found.append(desk.delivery.is_own_thread()))
    desk.end()
    assert subscription.delivered.wait(PATIENCE)
    assert found == [True] * 3
    assert not desk.delivery.is_own_thread()
