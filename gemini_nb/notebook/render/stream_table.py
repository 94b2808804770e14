"""The streams as a table of plain text, for terminals and headless runs."""

from __future__ import annotations

import time

from gemini_nb.journal.prices import dollars
from gemini_nb.notebook.render import figures
from gemini_nb.notebook.render.entries import entries_of, label_of, state_of, streams_in
from gemini_nb.notebook.render.group_table import item_words, progress_line
from gemini_nb.notebook.render.table import aligned
from gemini_nb.notebook.render.words import duration, quantity
from gemini_nb.streams.events.states import Status
from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.group.run import Run
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.stream import Stream

_HEAD = ("stream", "status", "phase", "model", "tokens", "tools", "time", "prompt")


def table(manager: StreamManager, *, limit: int | None = None) -> str:
    """Return one line for each listed stream, one for a group of many rows, and the totals.

    Args:
        manager: whose streams.
        limit: the most lines, the newest streams; None for all.
    """
    totals, entries = manager.statistics(), entries_of(manager)
    if not totals.total and not entries:
        return "No stream was started yet."
    shown = entries if limit is None else entries[-limit:]
    lines = aligned([_HEAD, *(_row(one) if isinstance(one, Stream) else _row_of_run(one) for one in shown)])
    if (earlier := totals.total - sum(sum(streams_in(one)) for one in shown)) > 0:
        lines.insert(1, f"… {quantity(earlier, 'earlier stream')}")
    counts = [f"{number:,} {word}" for _, number, word in figures.counted(totals)]
    price = [dollars(totals.cost)] if totals.cost else []
    lines.append(" · ".join([*counts, quantity(totals.tokens, "token"), *price]))
    return "\n".join(lines)


def rows_table(group: StreamGroup, *, limit: int = 100) -> str:
    """Return one line for each row of a group, failures first."""
    rows = list(enumerate(group.run.rows))
    rows.sort(key=lambda pair: pair[0] not in group.run.failed)
    shown = [
        ("", group.run.unmade[1] or "waiting", *[""] * 5, item_words(group, index))
        if row.stream is None
        else (*_row(row.stream)[:-1], item_words(group, index))
        for index, row in rows[:limit]
    ]
    lines = aligned([_HEAD, *shown])
    if (more := len(rows) - len(shown)) > 0:
        lines.append(f"… and {more:,} more; to_frame() has them all.")
    return "\n".join(lines)


def _row_of_run(run: Run) -> tuple[str, ...]:
    group, streams = StreamGroup(run), [row.stream for row in run.rows if row.stream is not None]
    since = min((stream.started_at for stream in streams), default=time.time())
    return (
        label_of(run),
        state_of(run)[1],
        "",
        figures.title(streams[0]) if streams else "",
        str(group.usage.total_token_count),
        "",
        duration((run.ended_at or time.time()) - since),
        progress_line(group, None),
    )


def _row(stream: Stream) -> tuple[str, ...]:
    done = sum(call.ended_at is not None for call in stream.tool_calls)
    return (
        stream.label,
        stream.status.value,
        figures.phase_word(stream) if stream.status is Status.ACTIVE else "",
        figures.title(stream),
        str(stream.usage.total_token_count),
        f"{done}/{len(stream.tool_calls)}" if stream.tool_calls else "",
        duration((stream.ended_at or time.time()) - stream.started_at),
        figures.first_words(stream, 50),
    )
