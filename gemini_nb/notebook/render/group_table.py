"""A group of many rows as one line and as a table: failures first, and no more than can be read."""

from __future__ import annotations

import collections
import itertools
import re
import time
from collections.abc import Mapping
from typing import Any

from gemini_nb.journal.prices import dollars
from gemini_nb.notebook.render.figures import waiting_words
from gemini_nb.notebook.render.markdown import escape, plain, words_of
from gemini_nb.notebook.render.settled import literal
from gemini_nb.notebook.render.table import aligned
from gemini_nb.notebook.render.words import cut, duration, one_line
from gemini_nb.redaction import partial_secret, scrub
from gemini_nb.streams.events.info import Waiting
from gemini_nb.streams.events.states import Status
from gemini_nb.streams.group.frame import fields_of, result_of
from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.group.rows import Counts, Row
from gemini_nb.streams.stream import Stream

ROWS = 100
"""Rows of a settled table."""
_LIVE_ROWS = 20
_RATE_SECONDS = 30.0
_FOLDS = 20  # answers that are shown whole, each in a fold; more are a table
_FIELDS = 8  # columns of an answer
_WORDS = 160  # of an answer
_FIELD_WORDS = 60
_REASON_WORDS = 120
_NOTE_WORDS = 400
_LOOKED_AT = 2_000  # characters of an item
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")


def is_table(group: StreamGroup) -> bool:
    """Whether a group has too many rows for each answer to be shown whole."""
    return group.has_items and len(group) > _FOLDS


def notes_of(group: StreamGroup) -> list[str]:
    """What is to be known of all: why no more rows are asked; of a table, what its streams say beside."""
    run = group.run
    notes = list(run.remarks) if is_table(group) else [str(run.error)] if run.error is not None else []
    return [one_line(scrub(note), _NOTE_WORDS) for note in notes]


def item_words(group: StreamGroup, index: int) -> str:
    """What a stream of the group was asked about, in a few words; its model where they have several."""
    rows = group.run.rows
    model = model_of(rows[index])
    if not group.has_items:
        return model
    words = one_line(plain(_ADDRESS.sub("", scrub(_beginning(rows[index].item)))), 80)
    ends = {model_of(rows[0]), model_of(rows[-1])}
    return f"{words} · {model}" if len(ends) > 1 and "" not in {model, *ends} else words


def _beginning(item: object) -> str:
    """The beginning of an item's text: more of a long one would be read at every painting."""
    if isinstance(item, Stream):
        item = item.text or item.stream_id
    try:
        values = list(item.values()) if isinstance(item, Mapping) else [item]
        text = ", ".join(str(value).lstrip()[:_LOOKED_AT] for value in values)[:_LOOKED_AT]
    except Exception:  # noqa: BLE001 - the user's own words for an object
        return f"<{type(item).__name__}>"
    return text[: len(text) - partial_secret(text)] if len(text) == _LOOKED_AT else text


def model_of(row: Row) -> str:
    """The model that a row asks; nothing where its stream is still to come and it asks the group's."""
    return row.model or (row.stream.model if row.stream is not None else "")


class Rate:
    """How many rows end in a second, in the last half minute."""

    def __init__(self) -> None:
        self._ended: collections.deque[tuple[float, int]] = collections.deque()

    def of(self, done: int) -> float | None:
        """Take how many have ended by now, and return the rate; None as long as it is too early to tell."""
        now = time.monotonic()
        self._ended.append((now, done))
        while now - self._ended[0][0] > _RATE_SECONDS and len(self._ended) > 2:
            self._ended.popleft()
        since, before = self._ended[0]
        return (done - before) / (now - since) if now - since > 1 else None


def progress_line(group: StreamGroup, per_second: float | None) -> str:
    """How far a group has come: 612/1,000 · 14/s · 28 s left · 2 failed · 388 kept · $0.41.

    Args:
        group: the group.
        per_second: rows that have ended a second of late, None where that is not known.
    """
    now = group.counts
    done = now.completed + now.stopped + now.failed
    total = "…" if now.total is None else f"{now.total:,}"
    parts = [f"{done:,}/{total}"]
    if per_second:
        parts.append(f"{per_second:.0f}/s" if per_second >= 0.95 else f"{60 * per_second:.0f}/min")
        if now.total is not None and now.total > done:
            parts.append(f"{duration(round((now.total - done) / per_second))} left")
    counted = ("failed", "stopped", "kept")
    parts += [f"{count:,} {name}" for name in counted if (count := getattr(now, name))]
    parts += [dollars(cost)] if (cost := group.cost) else []
    parts += [f"{now.running:,} running"] if now.running else []
    parts += [f"{now.waiting:,} waiting{_pause_words(group, now)}"] if now.waiting else []
    return " · ".join(parts)


def _pause_words(group: StreamGroup, now: Counts) -> str:
    """What all of them wait for where none runs: for quota of gemini-3.8-flash, retrying in 2 h."""
    waits = [] if now.running else [stream.waiting for stream in group.run.active]
    pauses = [wait for wait in waits if wait is not None and wait.until is not None]
    return f" {_pause(min(pauses, key=lambda wait: wait.until or 0.0))}" if pauses else ""


def _pause(waiting: Waiting) -> str:
    return waiting_words(waiting, time.time()).removeprefix("waiting ")


def live_html(group: StreamGroup, *, failures: bool = False) -> str:
    """A line for each row to look at while it runs.

    Args:
        group: the group.
        failures: show those only that failed, the newest first.
    """
    if failures:
        failed = list(group.run.failed)
        shown, total = failed[::-1][:ROWS], len(failed)
    else:
        shown, total = live_rows(group), len(group)
    rows = "".join(_line_html(group, index, group[index]) for index in shown)
    more = f"<p>… and {total - len(shown):,} more</p>" if total > len(shown) else ""
    return f"<table>{rows}</table>{more}"


def _line_html(group: StreamGroup, index: int, stream: Stream) -> str:
    waiting = stream.waiting if stream.status is Status.ACTIVE else None
    state, words = "waiting" if waiting is not None else stream.status.value, row_words(stream)
    if waiting is not None and waiting.until is not None:
        words = one_line(_pause(waiting), _WORDS)
    return (
        f'<tr data-stream-id="{escape(stream.stream_id)}" data-status="{stream.status.value}">'
        f"<td>{escape(item_words(group, index))}</td><td>{state}</td><td>{escape(words)}</td></tr>"
    )


def live_rows(group: StreamGroup) -> list[int]:
    """The rows to look at while it runs: the newest failures, what is being answered, what ended last."""
    if not is_table(group):
        return list(range(len(group)))
    run = group.run
    failed = list(run.failed)[: -_LIVE_ROWS // 2 - 1 : -1]
    ended = itertools.islice(reversed(run.ended), _LIVE_ROWS * 2)
    return list(dict.fromkeys([*failed, *run.under_way[:_LIVE_ROWS], *ended]))[:_LIVE_ROWS]


def table_markdown(group: StreamGroup, head: str) -> str:
    """The settled table as Markdown, beneath a line on the whole."""
    rows = [[literal(cell) or " " for cell in row] for row in _cells(group)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, f"|{' --- |' * len(rows[0])}")
    notes = [f"> {literal(note)}" for note in notes_of(group)]
    return "\n\n".join([head, *notes, "\n".join(lines), *_rest(group)])


def table_text(group: StreamGroup, head: str) -> str:
    """The same as plain text."""
    return "\n".join([head, *notes_of(group), "", *aligned(_cells(group)), *_rest(group)])


def table_html(group: StreamGroup) -> str:
    """The same as HTML."""
    head, *rows = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in _cells(group)]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    rest = "".join(f"<p>{escape(line)}</p>" for line in _rest(group))
    return f"<table><tr>{head.replace('td>', 'th>')}</tr>{body}</table>{rest}"


def _rest(group: StreamGroup) -> list[str]:
    left = len(group) - ROWS
    return [f"… and {left:,} more; to_frame() has them all."] if left > 0 else []


def _cells(group: StreamGroup) -> list[list[str]]:
    """The table: what each row was asked about, what it answered, and ✓ or what went wrong."""
    rows = group.run.rows
    all_failed = dict.fromkeys(list(group.run.failed))  # a retry changes it
    failed = list(all_failed)[:ROWS]
    others = (index for index in range(len(rows)) if index not in all_failed)
    shown = [*failed, *itertools.islice(others, ROWS - len(failed))]
    answers = [_answer(rows[index].stream) for index in shown]
    fields = list(dict.fromkeys(name for answer in answers for name in answer))[:_FIELDS] or ["answer"]
    width = _WORDS if len(fields) == 1 else _FIELD_WORDS
    made = [["item", *map(str, fields), ""]]
    for index, answer in zip(shown, answers, strict=True):
        values = [one_line(scrub(_said(answer.get(name))), width) for name in fields]
        made.append([item_words(group, index), *values, _outcome(group, rows[index])])
    return made


def _said(value: object) -> str:
    return "" if value is None else str(value)


def _answer(stream: Stream | None) -> Mapping[Any, Any]:
    if stream is None or stream.error is not None:
        return {}
    result = result_of(stream)
    is_prose = isinstance(result, str) and not stream.is_structured
    return fields_of(result) or {"answer": words_of(result[: 4 * _WORDS]) if is_prose else result}


def _outcome(group: StreamGroup, row: Row) -> str:
    """✓ where there is an answer, else why there is none."""
    stream = row.stream
    if stream is None:
        status, reason = group.run.unmade
        return one_line(reason or ("not asked" if status != Status.ACTIVE else "waiting"), _REASON_WORDS)
    if stream.error is not None:
        return one_line(str(stream.error), _REASON_WORDS)
    if stream.status is not Status.COMPLETED:
        return stream.status.value
    is_whole = stream.finish_reason in {None, "STOP"}
    return "✓" if is_whole else cut(f"✓ {stream.finish_reason}", _REASON_WORDS)


def row_words(stream: Stream) -> str:
    """What a row of the list says of its answer: its fields, or its first line, or why it failed."""
    if stream.error is not None:
        return one_line(str(stream.error), _WORDS)
    fields = fields_of(stream.parsed) if stream.status is Status.COMPLETED else {}
    said = " · ".join(f"{name}: {value}" for name, value in fields.items()) or stream.text[: 2 * _WORDS]
    if not fields and not stream.is_structured:
        said = words_of(said, grows=stream.status is Status.ACTIVE)
    return one_line(said, _WORDS)
