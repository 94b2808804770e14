"""The HTML of a stream's timeline: its lanes above one time axis.

Bars are elements placed by percentages, so they follow the width of the page without being sent again. What
stands in a style is a number of ours; names, reasons and errors go through `escape`.
"""

from __future__ import annotations

import math

from gemini_nb.notebook.dashboard.trace import Bar, Lane, Trace
from gemini_nb.notebook.render import figures
from gemini_nb.notebook.render.markdown import escape
from gemini_nb.notebook.render.words import cut, duration
from gemini_nb.streams.stream import Stream

_LANES = 24
_MOMENT = 0.02
_STEPS = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
_TICKS = 6


def timeline_html(stream: Stream, trace: Trace, now: float) -> str:
    """The lanes of a stream above one time axis, and its figures."""
    until = stream.ended_at or now
    step, span = _axis(until - stream.started_at)
    lanes = trace.lanes[-_LANES:]
    hidden = len(trace.lanes) - len(lanes)
    shown = "".join(_lane(lane, stream.started_at, until, span) for lane in lanes)
    ticks = "".join(
        f'<span style="left:{100 * index * step / span:.2f}%">{index * step:g} s</span>'
        for index in range(math.floor(span / step) + 1)
    )
    earlier = f'<div class="gemini-nb-more">{hidden} earlier calls</div>' if hidden else ""
    kinds = dict.fromkeys(bar.kind for lane in lanes for bar in _visible(lane, until))
    legend = "".join(
        f'<span><i class="gemini-nb-bar" data-kind="{kind}"></i>{kind.replace("_", " ")}</span>'
        for kind in kinds
    )
    facts = " · ".join(map(escape, filter(None, [*figures.short(stream), figures.details(stream)])))
    end = figures.ending(stream)
    ending = f'<div class="gemini-nb-end">{escape(cut(end, 600))}</div>' if end else ""
    return (
        f'<div class="gemini-nb-timeline" style="--gemini-nb-step:{100 * step / span:.3f}%">{earlier}{shown}'
        f'<div class="gemini-nb-lane gemini-nb-axis" aria-hidden="true"><span></span><div>{ticks}</div></div>'
        f'<div class="gemini-nb-legend"><span>{facts}</span>{legend}</div>{ending}</div>'
    )


def _axis(seconds: float) -> tuple[float, float]:
    """The distance of two marks, and the length of the axis: whole marks, so that bars seldom shrink."""
    wanted = max(seconds, 1.0)
    step = next((step for step in _STEPS if wanted / step <= _TICKS), wanted / _TICKS)
    return step, math.ceil(wanted / step) * step


def _lane(lane: Lane, start: float, until: float, span: float) -> str:
    bars = _visible(lane, until)
    shown = "".join(_bar(bar, start, until, span) for bar in bars)
    took = (min(bars[-1].end or until, until) - bars[0].start) if bars else 0.0
    kinds = ", ".join(dict.fromkeys(bar.kind.replace("_", " ") for bar in bars))
    name = escape(cut(lane.label, 60))
    kind = "tool" if lane.is_tool else "model"
    return (
        f'<div class="gemini-nb-lane" data-lane="{kind}"><bdi title="{name}">{name}</bdi>'
        f'<div role="img" aria-label="{kinds}, {duration(took)}">{shown}</div>'
        f"<span>{duration(took)}</span></div>"
    )


def _visible(lane: Lane, until: float) -> list[Bar]:
    """Without what is still to come, and without moments between two states that no eye can see."""
    begun = [bar for bar in lane.bars if bar.start <= until]
    return [bar for bar in begun if bar is begun[-1] or bar.end is None or bar.end - bar.start > _MOMENT]


def _bar(bar: Bar, start: float, until: float, span: float) -> str:
    end = min(bar.end if bar.end is not None else until, until)
    note = f": {cut(bar.note, 300)}" if bar.note else ""
    title = escape(f"{bar.kind.replace('_', ' ')} {duration(end - bar.start)}{note}")
    left, width = 100 * (bar.start - start) / span, 100 * (end - bar.start) / span
    return (
        f'<i class="gemini-nb-bar" data-kind="{bar.kind}" title="{title}" '
        f'style="left:{max(0.0, left):.2f}%;width:{max(0.0, width):.2f}%"></i>'
    )
