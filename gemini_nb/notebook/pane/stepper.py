"""The head of a pane: who answers, which step it is at, and the figures.

A word for the phase would say where a stream is, but not what comes next nor what it has behind it. So the
phases stand side by side, and the one that runs is marked.
"""

from __future__ import annotations

from gemini_nb.config import Auth
from gemini_nb.notebook.render import figures
from gemini_nb.notebook.render.markdown import escape
from gemini_nb.notebook.render.words import clock
from gemini_nb.streams.events.record import Waiting
from gemini_nb.streams.events.states import Phase, Status
from gemini_nb.streams.stream import Stream

__all__ = ["head_html", "waiting_words"]

_STEPS = ("asking", "tools", "answering")
_SERVICES = {Auth.GEMINI: "Gemini API", Auth.VERTEX_AI: "Vertex AI", **figures.STAND_INS}


def head_html(stream: Stream, notice: str = "") -> str:
    """The head, live or final.

    Args:
        stream: whose.
        notice: the last one shown; a wait that it names is not shown again.
    """
    active = stream.status is Status.ACTIVE
    return (
        f'<div class="gemini-nb-head" data-stream-id="{escape(stream.stream_id)}" '
        f'data-status="{stream.status.value}" data-phase="{stream.phase.value}">'
        f'<div class="gemini-nb-title"><b>{escape(stream.model)}</b>'
        f'<span class="gemini-nb-name">{escape(stream.label)}</span>'
        f'<span class="gemini-nb-auth" data-auth="{stream.auth.value}">{_SERVICES[stream.auth]}</span>'
        f"{_kept(stream)}"
        f"{_steps(stream) if active else _badge(stream)}</div>"
        f'<div class="gemini-nb-figures">{_figures(stream)}</div>'
        f"{_remarks(stream)}{_troubles(stream, notice)}</div>"
    )


def _kept(stream: Stream) -> str:
    said = figures.kept(stream)
    return f'<span class="gemini-nb-auth" data-kept="true">{escape(said)}</span>' if said else ""


def _steps(stream: Stream) -> str:
    """The phases as steps: done, running and still to come."""
    now = _step_now(stream)
    used_tools = bool(stream.tool_calls) or stream.phase is not Phase.AWAITING_MODEL_CALL
    items = []
    for index, name in enumerate(_STEPS):
        if name == "tools" and index < now and not used_tools:
            state = "skipped"
        else:
            state = "done" if index < now else "now" if index == now else "next"
        current = ' aria-current="step"' if index == now else ""
        items.append(f'<li data-step="{state}"{current}>{name}</li>')
    turn = f'<span class="gemini-nb-turn">turn {stream.turn}</span>' if stream.turn > 1 else ""
    return f'<ol class="gemini-nb-steps" aria-label="phase">{"".join(items)}</ol>{turn}'


def _step_now(stream: Stream) -> int:
    match stream.phase:
        case Phase.EXECUTING_TOOLS:
            return 1
        case Phase.AWAITING_FINAL_RESPONSE:
            return 2
    return 2 if stream.first_output_at is not None else 0


def _badge(stream: Stream) -> str:
    word = escape(figures.phase_word(stream))
    return f'<span class="gemini-nb-badge" role="status" data-status="{stream.status.value}">{word}</span>'


def _figures(stream: Stream) -> str:
    return "".join(f"<span>{escape(fact)}</span>" for fact in figures.facts(stream))


def _remarks(stream: Stream) -> str:
    remarks = stream.remarks
    return f'<div class="gemini-nb-notice">{escape(remarks)}</div>' if remarks else ""


def _troubles(stream: Stream, notice: str) -> str:
    """What it waits for, or why it ended early."""
    waiting = stream.waiting
    if stream.status is Status.ACTIVE:
        if waiting is None or (waiting.until is not None and clock(waiting.until) in notice):
            return ""
        return f'<div class="gemini-nb-notice">{escape(waiting_words(waiting))}</div>'
    end = figures.ending(stream)
    if end in {"", "stopped"}:
        return ""
    kind = "error" if stream.error is not None else "end"
    return f'<div class="gemini-nb-notice" data-kind="{kind}" role="alert">{escape(end)}</div>'


def waiting_words(waiting: Waiting) -> str:
    """What a stream waits for, and until when where that is known."""
    if waiting.until is None:
        return f"waiting for {waiting.reason}"
    return f"waiting for {waiting.reason} until {clock(waiting.until)}"
