"""The streams as a table of plain text, for terminals and headless runs."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gemini_nb.notebook.render import figures
from gemini_nb.notebook.render.markdown import plain
from gemini_nb.notebook.render.words import dollars, duration, quantity
from gemini_nb.streams.events.states import Status
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.stream import Stream

__all__ = ["aligned", "table"]

_HEAD = ("stream", "status", "phase", "model", "tokens", "tools", "time", "prompt")


def table(manager: StreamManager, *, limit: int | None = None) -> str:
    """Return one line for each listed stream, and the totals.

    Args:
        manager: whose streams.
        limit: the most lines, the newest streams; None for all.
    """
    totals, streams = manager.statistics(), manager.list_streams(all=True)
    if not totals.total:
        return "No stream was started yet."
    shown = streams if limit is None else streams[-limit:]
    lines = aligned([_HEAD, *(_row(stream) for stream in shown)])
    if (earlier := totals.total - len(shown)) > 0:
        lines.insert(1, f"… {quantity(earlier, 'earlier stream')}")
    counts = [f"{number:,} {word}" for _, number, word in figures.counted(totals)]
    price = [dollars(totals.cost)] if totals.cost else []
    lines.append(" · ".join([*counts, quantity(totals.tokens, "token"), *price]))
    return "\n".join(lines)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of plain text as lines with their columns beneath each other."""
    rows = [[" ".join(plain(cell).split()) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)) for row in rows
    ]


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
