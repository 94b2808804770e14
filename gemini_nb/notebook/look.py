"""The HTML of panes and dashboards, apart from what has a module of its own."""

from __future__ import annotations

from gemini_nb.notebook import figures
from gemini_nb.notebook.card import call_html
from gemini_nb.notebook.markdown import code_css, escape
from gemini_nb.notebook.sheet import SHEET
from gemini_nb.notebook.stepper import head_html
from gemini_nb.streams.states import Status, ToolStatus
from gemini_nb.streams.stream import Stream

__all__ = [
    "call_html",
    "dashboard_row",
    "head_html",
    "notice_html",
    "pre_html",
    "prompt_words",
    "style",
    "totals_html",
]

_MARKS = {
    ToolStatus.PENDING: "○",
    ToolStatus.AWAITING_APPROVAL: "?",
    ToolStatus.RUNNING: "◌",
    ToolStatus.DONE: "✓",
    ToolStatus.FAILED: "✗",
    ToolStatus.CANCELLED: "■",
}


def style() -> str:
    """The style sheet, once for each pane: it is its own widget, so it is sent once."""
    return f"<style>{SHEET}{code_css()}</style>"


def _data(stream: Stream) -> str:
    return (
        f'data-stream-id="{escape(stream.stream_id)}" data-status="{stream.status.value}" '
        f'data-phase="{stream.phase.value}"'
    )


def _badge(stream: Stream) -> str:
    word = escape(figures.phase_word(stream))
    return f'<span class="gemini-nb-badge" role="status" data-status="{stream.status.value}">{word}</span>'


def pre_html(text: str) -> str:
    """Text of a tool's or a server's, as it is."""
    return f"<pre>{escape(_cut(text, 2000))}</pre>"


def notice_html(text: str) -> str:
    """Something that happened on the way."""
    return f'<div class="gemini-nb-notice">{escape(text)}</div>'


def dashboard_row(stream: Stream) -> str:
    """One stream in one line of the dashboard."""
    words = escape(_cut(prompt_words(stream), 60))
    facts = " · ".join(escape(fact) for fact in figures.summary(stream))
    calls = ", ".join(f"{_MARKS[call.status]} {escape(call.name)}" for call in stream.tool_calls[-6:])
    shown = f'<div class="gemini-nb-facts">{calls}</div>' if calls else ""
    error = notice_html(_cut(str(stream.error), 200)) if stream.error is not None else ""
    return (
        f"<div {_data(stream)}><b>{escape(stream.stream_id)}</b> {words} {_badge(stream)}"
        f'<div class="gemini-nb-facts">{escape(figures.title(stream))} · {facts}</div>{shown}{error}</div>'
    )


def totals_html(streams: list[Stream]) -> str:
    """The line above the dashboard's rows: counts over all streams, those without a row, too."""
    counts = {status: sum(stream.status is status for stream in streams) for status in Status}
    tokens = sum(stream.usage.total_token_count for stream in streams)
    facts = " · ".join(f"{count} {status.value}" for status, count in counts.items())
    return f'<div class="gemini-nb-facts"><b>Gemini streams</b> {facts} · {tokens:,} tokens</div>'


def prompt_words(stream: Stream) -> str:
    """The first text of the newest turn that was asked."""
    for part in stream.request.contents[-1]["parts"]:
        if isinstance(part.get("text"), str):
            return " ".join(part["text"].split())
    return ""


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
