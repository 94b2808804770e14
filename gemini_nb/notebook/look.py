"""The HTML and CSS of panes and dashboards. Colours are JupyterLab's variables, so every theme fits."""

from __future__ import annotations

import json
import time

from gemini_nb.notebook import figures
from gemini_nb.notebook.markdown import code_css, escape
from gemini_nb.streams.calls import ToolCall
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

_CSS = """
.gemini-nb-pane, .gemini-nb-dashboard { border: 1px solid var(--jp-border-color2, #ddd); border-radius: 6px;
  padding: 6px 10px; color: var(--jp-content-font-color1, inherit); overflow: hidden; }
.gemini-nb-pane .widget-html-content, .gemini-nb-dashboard .widget-html-content { line-height: 1.5;
  overflow-wrap: anywhere; font-size: var(--jp-content-font-size1, 14px); align-self: stretch; min-width: 0; }
.gemini-nb-pane .widget-html, .gemini-nb-dashboard .widget-html { height: auto; min-height: 0; margin: 0; }
.gemini-nb-facts { color: var(--jp-content-font-color2, #666); font-size: 12px; }
.gemini-nb-facts b { color: var(--jp-content-font-color1, #222); }
.gemini-nb-badge { border-radius: 9px; padding: 1px 8px; font-size: 11px; white-space: nowrap;
  background: var(--jp-layout-color2, #eee); }
.gemini-nb-badge[data-status=active] { background: var(--jp-brand-color3, #cde); color: #113; }
.gemini-nb-badge[data-status=error] { background: var(--jp-error-color3, #fcc); color: #311; }
.gemini-nb-badge[data-status=stopped] { background: var(--jp-warn-color3, #fec); color: #321; }
.gemini-nb-badge[data-status=completed] { background: var(--jp-success-color3, #cec); color: #131; }
.gemini-nb-scroll { display: flex; flex-flow: column-reverse; max-height: 480px; overflow: auto; }
.gemini-nb-body, .gemini-nb-body > * { flex: 0 0 auto; }
.gemini-nb-card { border-left: 3px solid var(--jp-brand-color2, #69c); padding: 2px 8px; margin: 4px 0;
  background: var(--jp-layout-color2, #f5f5f5); font-size: 13px; }
.gemini-nb-card[data-status=failed] { border-color: var(--jp-error-color1, #c33); }
.gemini-nb-card[data-status=done] { border-color: var(--jp-success-color1, #3a3); }
.gemini-nb-card code { background: none; }
.gemini-nb-notice { color: var(--jp-warn-color0, #850); font-size: 12px; }
.gemini-nb-pane pre { white-space: pre-wrap; background: var(--jp-layout-color2, #f5f5f5); padding: 4px 8px;
  max-height: 320px; overflow: auto; font-size: var(--jp-code-font-size, 13px); }
.gemini-nb-pane table { border-collapse: collapse; margin: 4px 0; }
.gemini-nb-pane th, .gemini-nb-pane td { border: 1px solid var(--jp-border-color2, #ddd); padding: 2px 8px; }
.gemini-nb-pane p { margin: 4px 0; }
.gemini-nb-pane h1, .gemini-nb-pane h2, .gemini-nb-pane h3 { margin: 8px 0 4px; line-height: 1.25; }
.gemini-nb-row { border-top: 1px solid var(--jp-border-color2, #ddd); }
"""


def style() -> str:
    """The style sheet, once for each pane: it is its own widget, so it is sent once."""
    return f"<style>{_CSS}{code_css()}</style>"


def head_html(stream: Stream) -> str:
    """The line above an answer: who answers, what it does, times and tokens."""
    facts = " · ".join(escape(fact) for fact in figures.summary(stream))
    turn = f" · turn {stream.turn}" if stream.turn > 1 else ""
    end = figures.ending(stream)
    shown_end = (
        "" if end in {"", "stopped"} else f'<div class="gemini-nb-notice" role="alert">{escape(end)}</div>'
    )
    return (
        f'<div class="gemini-nb-facts" {_data(stream)}><b>{escape(figures.title(stream))}</b> '
        f"{_badge(stream)} {facts}{turn}</div>{shown_end}"
    )


def _data(stream: Stream) -> str:
    return (
        f'data-stream-id="{escape(stream.stream_id)}" data-status="{stream.status.value}" '
        f'data-phase="{stream.phase.value}"'
    )


def _badge(stream: Stream) -> str:
    word = escape(figures.phase_word(stream))
    return f'<span class="gemini-nb-badge" role="status" data-status="{stream.status.value}">{word}</span>'


def call_html(call: ToolCall) -> str:
    """A tool call as a card: name, arguments, state, result."""
    args = json.dumps(call.args, ensure_ascii=False)
    mark = _MARKS[call.status]
    outcome = pre_html(call.output) if call.output else ""
    if call.error is not None:
        outcome += pre_html(call.error)
    elif call.status is ToolStatus.DONE:
        outcome += pre_html(json.dumps(call.result, ensure_ascii=False)) + _pictures(call)
    return (
        f'<div class="gemini-nb-card" data-status="{call.status.value}" data-tool="{escape(call.name)}">'
        f"<span>{mark}</span> <b>{escape(call.name)}</b> <code>{escape(_cut(args, 300))}</code> "
        f"<i>{_state(call)}</i>{_progress(call)}{outcome}</div>"
    )


def _state(call: ToolCall) -> str:
    """What a call does, and for how long."""
    if call.ended_at is None and call.waits_for is not None:
        return f"waits for {escape(call.waits_for)}"
    words = call.status.value.replace("_", " ")
    if call.duration is not None:
        return f"{words} {call.duration:.1f} s"
    return f"{words} {time.time() - call.started_at:.0f} s" if call.started_at else words


def _progress(call: ToolCall) -> str:
    """How far a running call says it is."""
    if call.ended_at is not None or (call.progress is None and not call.progress_text):
        return ""
    bar = "" if call.progress is None else f'<progress max="1" value="{call.progress:.3f}"></progress> '
    return f'<div class="gemini-nb-progress">{bar}{escape(call.progress_text)}</div>'


def _pictures(call: ToolCall) -> str:
    """The images a tool returned; other media are named only."""
    return "".join(
        f'<img alt="{escape(name)}" src="data:{kind};base64,{data}">'
        for name, kind, data in figures.pictures(call)
    )


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
