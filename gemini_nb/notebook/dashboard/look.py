"""The HTML of a dashboard's totals and lines.

Everything that a model, a tool, a server or the user wrote goes through `escape`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from gemini_nb.journal.prices import dollars
from gemini_nb.notebook.dashboard.sparkline import sparkline
from gemini_nb.notebook.dashboard.trace import Trace
from gemini_nb.notebook.render import figures
from gemini_nb.notebook.render.markdown import escape
from gemini_nb.notebook.render.words import cut, duration, quantity
from gemini_nb.streams.counts import Statistics
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.states import Status, ToolStatus
from gemini_nb.streams.stream import Stream

_MARKS = {
    ToolStatus.PENDING: "…",
    ToolStatus.AWAITING_APPROVAL: "?",
    ToolStatus.RUNNING: "…",
    ToolStatus.DONE: "✓",
    ToolStatus.FAILED: "✗",
    ToolStatus.CANCELLED: "■",
}
_EMPTY = "No stream was started yet. A <code>%%gemini_stream</code> cell starts one."
_TIMES = "\u00d7"
_CHIPS = 6


def totals_html(totals: Statistics) -> str:
    """The line above the rows."""
    shown = [
        f'<span class="gemini-nb-total" data-total="{kind}" data-count="{number}">'
        f"<b>{number:,}</b> {word}</span>"
        for kind, number, word in figures.counted(totals)
    ]
    if totals.cost:
        shown.append(f'<span class="gemini-nb-total" data-total="cost"><b>{dollars(totals.cost)}</b></span>')
    title = f"{quantity(totals.total, 'stream')}, {quantity(totals.tokens, 'token')}"
    return (
        f'<div class="gemini-nb-totals" title="{title}"><strong>Gemini streams</strong>'
        f"<div>{' · '.join(shown)}</div></div>"
    )


def more_html(active: int, finished: int, *, shown: int) -> str:
    """How many streams have no row, or that there are no streams."""
    if not shown and not active + finished:
        return f'<div class="gemini-nb-more">{_EMPTY}</div>'
    if not active + finished:
        return ""
    parts = [f"{number:,} {word}" for number, word in ((active, "active"), (finished, "finished")) if number]
    return f'<div class="gemini-nb-more">… and {active + finished:,} more: {", ".join(parts)}</div>'


def line_html(stream: Stream, trace: Trace, words: str, now: float) -> str:
    """One stream in one line."""
    waiting = stream.waiting if stream.status is Status.ACTIVE else None
    again = trace.again_at(now) if waiting is None else None
    phase = "retrying" if again else figures.phase_word(stream)
    mark = ' data-waiting=""' if waiting is not None or again is not None else ""
    return (
        f'<div class="gemini-nb-line" data-stream-id="{escape(stream.stream_id)}" '
        f'data-status="{stream.status.value}" data-phase="{stream.phase.value}"{mark}>'
        f'<div class="gemini-nb-what"><div class="gemini-nb-asked">'
        f"<b>{escape(cut(stream.label, 40))}</b> "
        f'<bdi title="{escape(words)}">{escape(words)}</bdi></div><div class="gemini-nb-facts">'
        f"{_model(stream)}{_chips(stream.tool_calls)}{_troubles(stream, trace, again, now)}</div></div>"
        f'<span class="gemini-nb-badge" data-status="{stream.status.value}">{escape(phase)}</span>'
        f"{_pace(stream, trace, now)}{_figures(stream)}</div>"
    )


def _model(stream: Stream) -> str:
    name = escape(cut(stream.model, 60))
    said = [word for word in (figures.STAND_INS.get(stream.auth, ""), figures.kept(stream)) if word]
    marks = "".join(f'<span class="gemini-nb-simulated">{escape(word)}</span>' for word in said)
    return f'<span class="gemini-nb-model">{name}</span>{marks}'


def _chips(calls: Sequence[ToolCall]) -> str:
    alike = itertools.groupby(calls, key=lambda call: (call.name, call.status, call.still_running))
    groups = [list(same) for _, same in alike]
    hidden = sum(len(group) for group in groups[:-_CHIPS])
    chips = [f'<span class="gemini-nb-chip">{hidden} more</span>'] if hidden else []
    for group in groups[-_CHIPS:]:
        call = group[-1]
        status, mark = call.status.value.replace("_", " "), _MARKS[call.status]
        if call.still_running:  # after a stop or its timeout: nothing can end a function in a thread
            status, mark = f"still running, {status}", "… still running"
        took = f" after {duration(call.duration)}" if call.duration is not None else ""
        note = f": {cut(call.error, 200)}" if call.error else ""
        times = f" {_TIMES}{len(group)}" if len(group) > 1 else ""
        chips.append(
            f'<span class="gemini-nb-chip" data-tool-status="{call.status.value}" '
            f'title="{escape(f"{status}{took}{note}")}"><bdi>{escape(cut(call.name, 40))}</bdi>{times} '
            f"{mark}</span>"
        )
    return "".join(chips)


def _troubles(stream: Stream, trace: Trace, again: float | None, now: float) -> str:
    said = []
    if stream.retries:
        times = quantity(stream.retries, "retry", "retries")
        reason = escape(cut(trace.last_retry, 300))
        then = f", {figures.retrying_words(again, now)}" if again is not None else ""
        said.append(f'<span class="gemini-nb-trouble" title="{reason}">↻ {times}{then}</span>')
    waiting = stream.waiting if stream.status is Status.ACTIVE else None
    wait = figures.waiting_words(replace(waiting, reason=cut(waiting.reason, 80)), now) if waiting else ""
    if wait or (wait := figures.silence_words(stream, now)):
        said.append(f'<span class="gemini-nb-trouble">{escape(wait)}</span>')
    end = figures.ending(stream)
    if end and end != "Stopped by you":  # its badge says the rest
        kind = "gemini-nb-error" if stream.error is not None else "gemini-nb-trouble"
        said.append(f'<span class="{kind}" title="{escape(cut(end, 600))}">{escape(cut(end, 160))}</span>')
    return "".join(said)


def _pace(stream: Stream, trace: Trace, now: float) -> str:
    pace = trace.pace
    until = stream.ended_at or now
    ratio = pace.ratio(stream.usage)
    active = stream.ended_at is None
    rate = pace.now(until, ratio) if active else pace.average(until, ratio)
    shown = f"{rate:.0f}/s" if rate >= 0.5 else ""
    label = f"{rate:.0f} tokens per second {'now' if active else 'on average'}"
    return (
        f'<span class="gemini-nb-pace" title="{label}">{sparkline(pace.series(until, ratio), label)}'
        f"<span>{shown}</span></span>"
    )


def _figures(stream: Stream) -> str:
    """The time, and beside it what a narrow page leaves out."""
    took, *rest = map(_unbroken, figures.short(stream))
    more = f'<span class="gemini-nb-tokens"> · {" · ".join(rest)}</span>' if rest else ""
    return (
        f'<span class="gemini-nb-figures" title="{figures.details(stream)}">'
        f'<span class="gemini-nb-elapsed">{took}</span>{more}</span>'
    )


def _unbroken(fact: str) -> str:
    """A figure whose number stays on the line of its word."""
    return ", ".join(f"<span>{escape(one)}</span>" for one in fact.split(", "))
