"""A tool call as a card: what is called with what, how far it is, and what came of it.

The arguments and the result of a call can be long and are seldom read, so they are folded; what the user
waits for is not: seconds, progress, the last lines that the tool printed, and pictures it returned.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from gemini_nb.notebook.pane.detail import detail, detail_html
from gemini_nb.notebook.pane.widgetry import box, button, close_tree, piece, set_value
from gemini_nb.notebook.render import figures
from gemini_nb.notebook.render.blocks.displays import shown_html
from gemini_nb.notebook.render.markdown import escape, plain, scrollable
from gemini_nb.notebook.render.settled import called
from gemini_nb.notebook.render.words import cut, cut_middle, duration
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.states import ToolStatus

if TYPE_CHECKING:
    import ipywidgets as widgets

_LONGEST = 20_000
_WHOLE = sys.maxsize
_LEAST = 40  # characters that are shown of each argument of a question
_NAME = 200  # of its name
_LINES, _LINE = 4, 200  # of what a running tool printed last
_PAUSE = 1.0  # seconds between two refreshes of a folded body


class CallView:
    """The live card of one call."""

    def __init__(self, call: ToolCall) -> None:
        self._brief = piece(_brief(call), "gemini-nb-brief")
        self._inside = piece(_inside(call), "gemini-nb-inside")
        self._displays: Any = None
        self._displayed: object = ()
        self._buttons: Any = None
        self._due = 0.0
        label = f"Details of the call of {plain(call.name)}"
        self.widget = detail(label, self._brief, self._inside, "gemini-nb-call")
        self._show(call)
        self._ask(call)

    @property
    def widgets(self) -> list[widgets.Widget]:
        """What stands in the pane."""
        return [self.widget]

    def draw(self, call: ToolCall) -> None:
        """Draw what changed."""
        set_value(self._brief, _brief(call))
        self._show(call)
        now = time.monotonic()
        if call.ended_at is not None or now >= self._due:
            self._due = now + _PAUSE
            set_value(self._inside, _inside(call))
        self._ask(call)

    def close(self) -> None:
        """Close the widgets."""
        close_tree(self.widget)

    def _show(self, call: ToolCall) -> None:
        """Show what the tool displayed, sent again only when it is another."""
        if call.shown == self._displayed:
            return
        self._displayed = call.shown
        if self._displays is None:
            self._displays = piece("", "gemini-nb-displayed")
            self.widget.children = (*self.widget.children[:3], self._displays, *self.widget.children[3:])
        set_value(self._displays, shown_html(call.shown))

    def _ask(self, call: ToolCall) -> None:
        """Show the buttons while the call waits for approval."""
        asking = call.status is ToolStatus.AWAITING_APPROVAL
        if asking and self._buttons is None:
            approve = button("Approve", call.approve, tooltip=f"Let {plain(call.name)} run")
            approve.button_style = "primary"
            deny = button("Deny", call.deny, tooltip=f"Do not let {plain(call.name)} run")
            self._buttons = box([approve, deny], "gemini-nb-buttons")
            self.widget.children = (*self.widget.children, self._buttons)
        elif not asking and self._buttons is not None:
            old, self._buttons = self._buttons, None
            self.widget.children = self.widget.children[:-1]
            close_tree(old)


def call_html(call: ToolCall) -> str:
    """The card of a call that changes no more."""
    displayed = shown_html(call.shown)
    card = detail_html(_brief(call), _inside(call), "gemini-nb-call")
    return f'{card}<div class="gemini-nb-displayed">{displayed}</div>' if displayed else card


def _brief(call: ToolCall) -> str:
    """The line that is always shown, and what belongs right beneath it."""
    below = ""
    if call.ended_at is None:
        below = _progress(call) + _last_lines(call)
    elif call.error is None:
        below = _pictures(call)
    arguments = f"<code>{escape(cut(_arguments(call), 160))}</code>" if call.args else ""
    if call.error is not None and call.ended_at is not None:  # in one line, as in the settled answer
        said = escape(cut(_first_line(call.error), 300))
        arguments = f'<span class="gemini-nb-error" title="{said}">{said}</span>'
    if call.status is ToolStatus.AWAITING_APPROVAL:
        below, arguments = f"{below}{_question(call)}", ""
    return (
        f'<div class="gemini-nb-card" data-status="{call.status.value}" data-tool="{escape(call.name)}">'
        f'<div class="gemini-nb-called"><span class="gemini-nb-mark" aria-hidden="true"></span>'
        f"<b>{escape(call.name)}</b>{arguments}"
        f'<span class="gemini-nb-state">{_state(call)}</span></div>{below}</div>'
    )


def _question(call: ToolCall) -> str:
    """What the user is asked, with all arguments.

    Of long ones beginning and end are shown, each under its name. Were the whole text cut instead, arguments
    after a very long one would be approved unseen.
    """
    words, hidden = called(call, _WHOLE), 0
    if len(words) > _LONGEST:
        values = [
            (cut(name, _NAME), json.dumps(value, ensure_ascii=False)) for name, value in call.args.items()
        ]
        share = max(_LEAST, _LONGEST // len(values))
        hidden = sum(max(0, len(name) - _NAME) for name in call.args)
        hidden += sum(max(0, len(value) - share) for _, value in values)
        words = f"{call.name}({', '.join(f'{name}={cut_middle(value, share)}' for name, value in values)})"
        hidden += max(0, len(words) - 2 * _LONGEST)
        words = cut_middle(words, 2 * _LONGEST)
    warning = f"<p>Not shown: {hidden:,} characters. stream.tool_calls has all.</p>" if hidden else ""
    return f'<div class="gemini-nb-question">Run {escape(words)}?{warning}</div>'


def _arguments(call: ToolCall) -> str:
    return ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in call.args.items())


def _state(call: ToolCall) -> str:
    """What a call does, and for how long."""
    if call.ended_at is None and call.waits_for is not None:
        return f"waiting for {escape(call.waits_for)}"
    if call.status is ToolStatus.AWAITING_APPROVAL:
        return "waiting for you"
    if call.still_running:
        return f"{call.status.value}, still running"
    if call.duration is not None:
        return f"{call.status.value} · {duration(call.duration)}"
    return (
        f"{call.status.value} · {duration(int(time.time() - call.started_at))}"
        if call.started_at
        else call.status.value
    )


def _progress(call: ToolCall) -> str:
    """How far a running call says it is."""
    if call.progress is None and not call.progress_text:
        return ""
    bar = ""
    if call.progress is not None:
        percent = f"{100 * call.progress:.0f}"
        bar = (
            f'<progress max="100" value="{percent}" aria-label="progress of {escape(call.name)}"></progress>'
            f"<span>{percent} %</span>"
        )
    return f'<div class="gemini-nb-progress">{bar}<span>{escape(cut(call.progress_text, 200))}</span></div>'


def _last_lines(call: ToolCall) -> str:
    lines = plain(call.output[-2000:]).rstrip("\n").split("\n")[-_LINES:]
    shown = "\n".join(cut(line, _LINE) for line in lines)
    return f'<pre class="gemini-nb-printed">{escape(shown)}</pre>' if shown.strip() else ""


def _inside(call: ToolCall) -> str:
    """Arguments, output and result, each under a heading."""
    found = [("arguments", json.dumps(call.args, ensure_ascii=False, indent=2))] if call.args else []
    if call.output:
        found.append(("printed", call.output))
    if call.error is not None:
        found.append(("error", call.error))
    elif call.status is ToolStatus.DONE:
        found.append(("result", _result(call.result)))
    return "".join(
        f'<div class="gemini-nb-what">{name}</div>'
        f"<pre{scrollable(name)}>{escape(cut_middle(text, _LONGEST))}</pre>"
        for name, text in found
    )


def _result(result: Any) -> str:
    return (
        result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, indent=2, default=str)
    )


def _pictures(call: ToolCall) -> str:
    """The images a tool returned; other media are named only."""
    return "".join(
        f'<img class="gemini-nb-picture" alt="{escape(name)}" src="data:{kind};base64,{escape(data)}">'
        for name, kind, data in figures.pictures(call)
    )


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]
