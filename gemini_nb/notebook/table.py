"""The streams as a table of plain text, for terminals and headless runs."""

from __future__ import annotations

from gemini_nb.notebook import look
from gemini_nb.notebook.markdown import plain
from gemini_nb.streams.manager import StreamManager

__all__ = ["table"]


def table(manager: StreamManager) -> str:
    """Return one line for each listed stream."""
    rows = [("id", "status", "phase", "model", "tokens", "prompt")]
    for stream in manager.list_streams(all=True):
        tokens = str(stream.usage.total_token_count)
        prompt = look.prompt_words(stream)[:50]
        rows.append((stream.stream_id, stream.status, stream.phase, stream.model, tokens, prompt))
    if len(rows) == 1:
        return "No stream was started yet."
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)) for row in rows
    ]
    return plain("\n".join(lines))
