"""The head of a pane: who answers, which step it is at, and the figures.

A word for the phase would say where a stream is, but not what comes next nor what it has behind it. So the
phases stand side by side, and the one that runs is marked.
"""

from __future__ import annotations

import time

from gemini_nb.config import Auth
from gemini_nb.notebook.render import figures
from gemini_nb.notebook.render.markdown import escape
from gemini_nb.streams.events.states import Status
from gemini_nb.streams.stream import Stream

_SERVICES = {Auth.GEMINI: "Gemini API", Auth.VERTEX_AI: "Vertex AI", **figures.STAND_INS}


def head_html(stream: Stream, *, is_live: bool = False) -> str:
    """The head.

    Args:
        stream: whose.
        is_live: whether the settled answer takes its place, which says why a stream ended early. Said here,
            too, for a moment, it would move the text.
    """
    active = stream.status is Status.ACTIVE
    return (
        f'<div class="gemini-nb-head" data-stream-id="{escape(stream.stream_id)}" '
        f'data-status="{stream.status.value}" data-phase="{stream.phase.value}"{_end(stream)}>'
        f'<div class="gemini-nb-title"><b>{escape(stream.model)}</b>'
        f'<span class="gemini-nb-name">{escape(stream.label)}</span>'
        f'<span class="gemini-nb-auth" data-auth="{stream.auth.value}">{_SERVICES[stream.auth]}</span>'
        f"{_kept(stream)}"
        f"{_steps(stream) if active else _badge(stream)}</div>"
        f'<div class="gemini-nb-figures" title="{figures.details(stream)}">{_figures(stream)}</div>'
        f"{_remarks(stream)}{'' if is_live and not active else _troubles(stream)}</div>"
    )


def _end(stream: Stream) -> str:
    return "" if stream.status is Status.ACTIVE else f' data-end="{figures.ending_kind(stream)}"'


def _kept(stream: Stream) -> str:
    said = figures.kept(stream)
    return f'<span class="gemini-nb-auth" data-kept="true">{escape(said)}</span>' if said else ""


def _steps(stream: Stream) -> str:
    """The steps of this stream: done, running and still to come."""
    now, steps = figures.activity(stream), _steps_of(stream)
    place = list(steps).index(now)
    items = []
    for index, (name, has_been) in enumerate(steps.items()):
        state = "now" if index == place else "next" if index > place else "done" if has_been else "skipped"
        current = ' aria-current="step"' if index == place else ""
        items.append(
            f'<li data-step="{state}"{current}>{figures.phase_word(stream) if index == place else name}</li>'
        )
    turn = f'<span class="gemini-nb-turn">turn {stream.turn}</span>' if stream.turn > 1 else ""
    silence = figures.silence_words(stream, time.time())
    silent = f'<span class="gemini-nb-silent">{silence}</span>' if silence else ""
    return f'<ol class="gemini-nb-steps" aria-label="phase">{"".join(items)}</ol>{turn}{silent}'


def _steps_of(stream: Stream) -> dict[str, bool]:
    """Its steps in their order, each with whether it has been there; those that cannot come are left out."""
    thought, called = bool(stream.thoughts), bool(stream.tool_calls)
    steps = {figures.WAITING: True}
    if thought or stream.shows_thoughts:
        steps[figures.THINKING] = thought
    if called or stream.has_functions:
        steps[figures.TOOLS] = called
    return {**steps, figures.WRITING: True}


def _badge(stream: Stream) -> str:
    word = escape(figures.phase_word(stream))
    return f'<span class="gemini-nb-badge" role="status" data-status="{stream.status.value}">{word}</span>'


def _figures(stream: Stream) -> str:
    """Facts that go with the mark before them: what finds no room goes whole, and the first one has it."""
    first, *others = map(escape, figures.short(stream))
    more = "".join(f"<span><i> · </i>{fact}</span>" for fact in others)
    return f'<span>{first}</span><div class="gemini-nb-more">{more}</div>'


def _remarks(stream: Stream) -> str:
    remarks = stream.remarks
    return f'<div class="gemini-nb-notice">{escape(remarks)}</div>' if remarks else ""


def _troubles(stream: Stream) -> str:
    """What it waits for, or why it ended early."""
    if stream.status is Status.ACTIVE:
        waiting = stream.waiting
        if waiting is None or stream.is_uploading:
            return ""
        said = figures.waiting_words(waiting, time.time())
        return f'<div class="gemini-nb-notice" data-kind="wait">{escape(said)}</div>'
    end, kind = figures.ending(stream), figures.ending_kind(stream)
    if not end:
        return ""
    return f'<div class="gemini-nb-notice" data-kind="{kind}" role="alert">{escape(end)}</div>'
