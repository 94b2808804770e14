from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from answers import join
from gemini_nb.errors import InternalError
from gemini_nb.streams.events.log import Cursor, EventLog
from gemini_nb.streams.events.record import StreamRecord


@pytest.fixture
def record() -> StreamRecord:
    record = StreamRecord("s1")
    record.start()
    return record


def test_a_late_cursor_replays_from_the_first_event(record: StreamRecord) -> None:
    record.add_text("a")
    record.complete()
    cursor = Cursor(record.log, lambda: None)
    taken = cursor.take()
    assert [event.seq for event in taken] == [0, 1, 2, 3]
    assert cursor.at_end
    assert cursor.take() == []


def test_a_cursor_without_replay_sees_only_what_comes(record: StreamRecord) -> None:
    cursor = Cursor(record.log, lambda: None, replay=False)
    assert not cursor.has_more
    record.add_text("new")
    assert [event.kind for event in cursor.take()] == ["text_delta"]
    assert not cursor.at_end


def test_readers_are_told_of_every_event_until_they_leave(record: StreamRecord) -> None:
    heard: list[int] = []
    cursor = Cursor(record.log, lambda: heard.append(len(record.log)))
    record.add_text("a")
    record.add_text("b")
    cursor.close()
    record.add_text("c")
    assert heard == [3, 4]
    assert record.log.reader_count == 0


def test_nothing_follows_the_end(record: StreamRecord) -> None:
    record.complete()
    last = record.log[len(record.log) - 1]
    with pytest.raises(InternalError, match="cannot follow"):
        record.log.append(last)
    changes: list[Callable[[], object]] = [
        lambda: record.add_text("x"),
        lambda: record.add_thought("x"),
        lambda: record.retry(2, 0.1, "x"),
        lambda: record.set_usage(record.usage),
        record.complete,
        record.stop,
    ]
    for change in changes:
        with pytest.raises(InternalError):
            change()
    assert (record.text, record.thoughts, record.retries) == ("", "", 0)
    assert [event.kind for event in record.log.since(0)][-1] == "stream_completed"
    assert len(record.log) == 3


def test_a_failing_reader_harms_only_itself(record: StreamRecord, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError

    Cursor(record.log, fail)
    Cursor(record.log, lambda: heard.append("second"))
    record.add_text("a")
    record.complete()
    assert heard == ["second"] * 2
    assert "ZeroDivisionError" in caplog.text


def test_a_reader_may_leave_or_come_while_it_is_told(record: StreamRecord) -> None:
    heard: list[str] = []

    def leave() -> None:
        heard.append("first")
        first.close()
        Cursor(record.log, lambda: heard.append("newcomer"))

    first = Cursor(record.log, leave)
    second = Cursor(record.log, lambda: heard.append("second"))
    record.add_text("a")
    assert heard == ["first", "second"]
    record.add_text("b")
    assert heard == ["first", "second", "second", "newcomer"]
    second.close()
    assert record.log.reader_count == 1


def test_a_finalizer_that_leaves_inside_the_log_does_not_deadlock() -> None:
    log = EventLog()
    staying = Cursor(log, lambda: None)
    going = Cursor(log, lambda: None)
    with log._lock:  # as when the garbage collector runs in the middle of `attach`
        going.close()
    assert log.reader_count == 1
    staying.close()
    assert log.reader_count == 0


def test_whoever_comes_at_whatever_moment_reads_everything_in_order() -> None:
    record = StreamRecord("s1")
    count = 2000
    failures: list[object] = []
    began = threading.Event()

    def read() -> None:
        woken = threading.Event()
        began.wait()
        cursor = Cursor(record.log, woken.set)
        seen: list[int] = []
        while not cursor.at_end:
            woken.clear()
            seen += [event.seq for event in cursor.take()]
            if not cursor.has_more and not cursor.at_end and not woken.wait(10):
                break
        cursor.close()
        if seen != list(range(count + 3)):
            failures.append(seen[-3:])

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    record.start()
    began.set()
    for number in range(count):
        record.add_text(str(number))
    record.complete()
    join(*threads)
    assert failures == []
    assert record.log.reader_count == 0
