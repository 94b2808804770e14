"""The small facts around an answer: model, phase, times and tokens, in words."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Sequence

from gemini_nb.api.usage import Usage
from gemini_nb.api.wire import Part
from gemini_nb.config import Auth
from gemini_nb.journal import prices
from gemini_nb.journal.prices import dollars
from gemini_nb.notebook.render.words import date, duration, one_line, quantity
from gemini_nb.redaction import scrub
from gemini_nb.streams.counts import Statistics
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.info import Waiting
from gemini_nb.streams.events.states import Phase, Status
from gemini_nb.streams.stream import Stream

_LOOKED_AT = 4_000  # characters of what was asked that are looked through for its first words
_NAMED = 8  # streams that a line names

PICTURES = {"image/png", "image/jpeg", "image/gif", "image/webp"}

STAND_INS = {Auth.SIMULATOR: "simulated", Auth.RECORDING: "recorded"}
"""What is said of an answer that no model gave now."""

_TIERS = {
    "ON_DEMAND": "standard",
    "ON_DEMAND_FLEX": "flex",
    "ON_DEMAND_PRIORITY": "priority",
    "ON_DEMAND_OFFPEAK": "off-peak",
    "PROVISIONED_THROUGHPUT": "provisioned",
}
"""Vertex AI's words for the tiers."""

_ENDINGS = {
    "MAX_TOKENS": "Cut off: token limit (--max-tokens)",
    "SAFETY": "Cut off: safety filter",
    "RECITATION": "Cut off: too close to a published text",
    "LANGUAGE": "Cut off: a language that the model does not support",
    "BLOCKLIST": "Cut off: a blocked word",
    "PROHIBITED_CONTENT": "Cut off: prohibited content",
    "SPII": "Cut off: personal data",
    "MODEL_ARMOR": "Cut off: Model Armor",
    "MALFORMED_FUNCTION_CALL": "Ended early: a tool call that cannot be parsed",
    "UNEXPECTED_TOOL_CALL": "Ended early: a call of a tool that the model was not given",
    "TOO_MANY_TOOL_CALLS": "Ended early: too many tool calls",
    "MISSING_THOUGHT_SIGNATURE": "Ended early: the history lacks a thought signature",
    "MALFORMED_RESPONSE": "Ended early: an answer that cannot be parsed",
    "IMAGE_SAFETY": "No image: safety filter",
    "IMAGE_PROHIBITED_CONTENT": "No image: prohibited content",
    "IMAGE_RECITATION": "No image: too close to a published one",
    "IMAGE_OTHER": "No image: the service gives no reason",
    "NO_IMAGE": "No image: the model made none",
    "OTHER": "Ended early: the service gives no reason",
    "FINISH_REASON_UNSPECIFIED": "Ended early: the service gives no reason",
}
"""What the service's reasons say to a user who sees the text that came before."""

WAITING = "waiting for Gemini"
THINKING = "thinking"
TOOLS = "running tools"
WRITING = "writing"
"""What a stream can be doing."""

_SILENT = 10  # seconds without a word, after which that is said


def title(stream: Stream) -> str:
    """The model's name, marked where a simulator or a recording answers."""
    return f"{stream.model} ({STAND_INS[stream.auth]})" if stream.auth in STAND_INS else stream.model


def phase_word(stream: Stream) -> str:
    """What the stream does, or how it ended, in a word or two."""
    if stream.status is not Status.ACTIVE:
        return stream.status.value
    waiting = stream.waiting
    if waiting is not None:
        return "waiting" if waiting.until is None else "retrying"
    return activity(stream)


def activity(stream: Stream) -> str:
    """What an active stream does."""
    if stream.phase is Phase.EXECUTING_TOOLS:
        return TOOLS
    return stream.activity or WAITING


def waiting_words(waiting: Waiting, now: float) -> str:
    """What a stream waits for, and for how long where that is known."""
    if waiting.until is None:
        return f"waiting for {waiting.reason}"
    return f"waiting for {waiting.reason}, {retrying_words(waiting.until, now)}"


def retrying_words(until: float, now: float) -> str:
    """When a request is made again: retrying in 50 s."""
    return f"retrying in {duration(max(1, math.ceil(until - now)))}"


def silence_words(stream: Stream, now: float) -> str:
    """That nothing has come for long, empty otherwise: no text for 12 s."""
    silent = stream.silent_for(now)
    return f"no text for {duration(int(silent))}" if silent >= _SILENT else ""


def ending(stream: Stream) -> str:
    """Why the stream ended as it did, empty where there is nothing to say."""
    if stream.error is not None:
        return str(stream.error)
    if stream.status is Status.STOPPED:
        return _stopped_by(stream)
    if stream.status is Status.COMPLETED and stream.finish_reason not in {"STOP", None}:
        said = _ENDINGS.get(stream.finish_reason, f"Ended early: {one_line(stream.finish_reason, 60)}")
        message = stream.finish_message
        return f"{said}. {message}" if message else said
    return ""


def counted(totals: Statistics) -> list[tuple[str, int, str]]:
    """How many streams there are of each kind that there is, which add up to all: key, number and word."""
    kinds = [
        ("running", totals.active - totals.waiting, "running"),
        ("waiting", totals.waiting, "waiting"),
        ("error", totals.error, "failed"),
        ("stopped", totals.stopped, "stopped"),
        ("completed", totals.completed, "completed"),
    ]
    return [one for one in kinds if one[1]]


def _stopped_by(stream: Stream) -> str:
    """Who or what stopped a stream: the kernel stops those that run when it ends."""
    if stream.is_replaced:
        return "Stopped: its question was asked again"
    return "Stopped by you" if stream.stop_asked else "Stopped"


def ending_kind(stream: Stream) -> str:
    """How its end looks: "error", "stopped", "cut" or, where there is nothing to say, "whole"."""
    if stream.error is not None:
        return "error"
    if stream.status is Status.STOPPED:
        return "stopped"
    return "cut" if ending(stream) else "whole"


def elapsed(stream: Stream) -> float:
    """Seconds the stream ran so far, or in all."""
    return (stream.ended_at or time.time()) - stream.started_at


def kept(stream: Stream) -> str:
    """That the answer was not asked for now, and when it was; empty for any other."""
    return f"kept, {date(stream.kept)}" if stream.kept is not None else ""


def named(stream: Stream) -> list[str]:
    """Who answers, under which name, and whether that was now: gemini-3.8-flash, trip · s1, kept, 24 Nov."""
    return [fact for fact in (title(stream), stream.label, kept(stream)) if fact]


def short(stream: Stream) -> list[str]:
    """The figures that every view shows: 4.2 s, 272 in, 213 out, 62 thinking, $0.0012.

    What is not known yet is left out. While the stream runs seconds are whole ones that count up, and the
    tokens of the answer are estimated until the service counts them.
    """
    ran = elapsed(stream)
    live = stream.status is Status.ACTIVE
    tokens = tokens_words(stream.usage)
    if not tokens and live and (guess := round(stream.length / 4)):
        tokens = f"≈{guess:,} out"
    found = [duration(int(ran) if live else ran), tokens, price_words(stream), _tier(stream)]
    return [fact for fact in found if fact]


def tokens_words(usage: Usage) -> str:
    """Tokens of each kind that there are: 272 in (200 cached), 213 out, 62 thinking."""
    cached = usage.cached_content_token_count
    kinds = {
        f"in ({cached:,} cached)" if cached else "in": usage.prompt_token_count,
        "out": usage.candidates_token_count,
        "thinking": usage.thoughts_token_count,
    }
    return ", ".join(f"{number:,} {word}" for word, number in kinds.items() if number)


def details(stream: Stream) -> str:
    """The figures of which a tooltip is enough; empty where there are none."""
    pace, first = tokens_per_second(stream), stream.first_output_at
    asked = stream.asked_at or stream.started_at
    found = [
        "" if first is None else f"first text after {duration(first - asked)}",
        f"{pace:.0f} tokens/s" if pace else "",
        quantity(stream.retries, "retry", "retries") if stream.retries else "",
    ]
    return " · ".join(fact for fact in found if fact)


def price_words(stream: Stream) -> str:
    """What it cost so far, or what a kept answer saved; empty where neither is known or nothing is paid."""
    if stream.kept is not None:
        return f"saved {dollars(saved)}" if (saved := stream.saved) else ""
    if stream.auth in STAND_INS or not stream.usage.total_token_count or not prices.are_known():
        return ""
    return "price unknown" if (cost := stream.cost) is None else dollars(cost)


def _tier(stream: Stream) -> str:
    """The tier that served the answer, where it is not the usual one, or not the one that was asked for."""
    usage = stream.usage
    served = usage.service_tier or _TIERS.get(usage.traffic_type or "")
    asked = stream.requested_tier
    if (
        served is None
        or served == "unspecified"
        or (served == "standard" and asked in {served, "unspecified"})
    ):
        return ""
    return f"{served} tier" + (f", not {asked}" if asked not in {served, "unspecified"} else "")


def tokens_per_second(stream: Stream) -> float | None:
    """Tokens of the answer for each second since its first text; None while it is unknown."""
    first = None if stream.kept is not None else stream.first_output_at
    if first is None or not stream.usage.candidates_token_count:
        return None
    seconds = (stream.ended_at or time.time()) - first
    return stream.usage.candidates_token_count / seconds if seconds > 0.05 else None


def picture_of(part: Part) -> tuple[str, str] | None:
    """Type and base64 of a picture that the model sent, None for any other part."""
    data = part.get("inlineData")
    if not isinstance(data, dict) or not isinstance(content := data.get("data"), str):
        return None
    kind, content = str(data.get("mimeType")).partition(";")[0].strip().lower(), "".join(content.split())
    if kind not in PICTURES:
        return None
    try:
        return (kind, content) if base64.b64decode(content, validate=True) else None
    except ValueError:
        return None


def pictures(call: ToolCall) -> list[tuple[str, str, str]]:
    """Name, type and base64 of the images that a tool returned."""
    found = [part["inlineData"] for part in call.parts]
    return [
        (str(one.get("displayName") or "image"), one["mimeType"], one["data"])
        for one in found
        if one["mimeType"] in PICTURES
    ]


def first_words(stream: Stream, limit: int = 120) -> str:
    """The beginning of what was asked last, in one line."""
    parts = stream.contents[-1].get("parts", ()) if stream.contents else ()
    for part in parts:
        if isinstance(text := part.get("text"), str):
            return one_line(scrub(text.lstrip()[:_LOOKED_AT]), limit)
    return ""


def stopped_words(streams: Sequence[Stream], asked: Sequence[Stream]) -> str:
    """What a stop stopped, and what goes on all the same.

    Args:
        streams: what was to be stopped.
        asked: those of them that ran.
    """
    stopped = [stream for stream in asked if stream.status in {Status.STOPPED, Status.ACTIVE}]
    ended = len(streams) - len(stopped)
    if not streams:
        return "No stream runs; nothing was stopped."
    if not stopped:
        was = "had ended before" if ended > 1 else f"had ended before ({streams[0].status.value})"
        return f"{_named(streams)} {was}; nothing was stopped."
    counted = f"{quantity(len(stopped), 'stream')}: " if len(stopped) > 1 else ""
    besides = f"; {ended:,} had ended before" if ended else ""
    tools = sorted({call.name for stream in asked for call in stream.tool_calls if call.still_running})
    left = f" Still running, since nothing can end a function in a thread: {', '.join(tools)}."
    return f"Stopped {counted}{_named(stopped)}{besides}.{left if tools else ''}"


def _named(streams: Sequence[Stream]) -> str:
    """What streams are called, of many the first."""
    shown = [stream.label for stream in streams[:_NAMED]]
    rest = len(streams) - len(shown)
    if rest:
        return f"{', '.join(shown)} and {rest:,} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
