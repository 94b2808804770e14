"""The small facts around an answer: model, phase, times and tokens, in words."""

from __future__ import annotations

import base64
import time

from gemini_nb.api.content import Part
from gemini_nb.config import Auth
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.states import Phase, Status
from gemini_nb.streams.stream import Stream

__all__ = [
    "PICTURES",
    "STAND_INS",
    "elapsed",
    "ending",
    "facts",
    "phase_word",
    "picture_of",
    "pictures",
    "summary",
    "title",
    "tokens_per_second",
]

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

_PHASES = {
    Phase.AWAITING_MODEL_CALL: "asking",
    Phase.EXECUTING_TOOLS: "running tools",
    Phase.AWAITING_FINAL_RESPONSE: "answering",
}


def title(stream: Stream) -> str:
    """The model, and that it is not the model itself that answers, where it is not."""
    return f"{stream.model} ({STAND_INS[stream.auth]})" if stream.auth in STAND_INS else stream.model


def phase_word(stream: Stream) -> str:
    """What the stream does, or how it ended, in a word or two."""
    if stream.status is not Status.ACTIVE:
        return stream.status.value
    if stream.phase is Phase.AWAITING_MODEL_CALL and stream.record.first_output_at is not None:
        return "answering"
    return _PHASES[stream.phase]


def ending(stream: Stream) -> str:
    """Why the stream ended as it did, empty where there is nothing to say."""
    if stream.error is not None:
        return str(stream.error)
    if stream.status is Status.STOPPED:
        return "stopped"
    if stream.status is Status.COMPLETED and stream.finish_reason not in {"STOP", None}:
        message = stream.record.finish_message
        return f"The answer ended with {stream.finish_reason}. {message}".rstrip()
    return ""


def elapsed(stream: Stream) -> float:
    """Seconds the stream ran so far, or in all."""
    record = stream.record
    return (record.ended_at or time.time()) - record.started_at


def summary(stream: Stream) -> list[str]:
    """Times and tokens, each a few words; what is not known yet is left out."""
    record, usage = stream.record, stream.usage
    found = [f"{elapsed(stream):.1f} s"]
    if record.first_output_at is not None:
        found.append(f"first text after {record.first_output_at - record.started_at:.1f} s")
    if usage.total_token_count:
        thought = f" + {usage.thoughts_token_count} thought" if usage.thoughts_token_count else ""
        found.append(f"{usage.prompt_token_count} → {usage.candidates_token_count}{thought} tokens")
    if pace := tokens_per_second(stream):
        found.append(f"{pace:.0f} tokens/s")
    if stream.retries:
        found.append(f"{stream.retries} {'retry' if stream.retries == 1 else 'retries'}")
    return found + _tier(stream)


def facts(stream: Stream) -> list[str]:
    """The figures of a pane's head, in the order of `summary`, each with its own word."""
    record, usage = stream.record, stream.usage
    ran = elapsed(stream)
    found = [_duration(ran) if record.ended_at is not None else _duration(float(int(ran)))]
    if record.first_output_at is not None:
        found.append(f"first text after {record.first_output_at - record.started_at:.1f} s")
    counts = {
        "in": usage.prompt_token_count,
        "out": usage.candidates_token_count,
        "thought": usage.thoughts_token_count,
    }
    known = [f"{count:,} {word}" for word, count in counts.items() if count]
    if known:
        found.append(f"tokens: {', '.join(known)}")
    if pace := tokens_per_second(stream):
        found.append(f"{pace:.0f} tokens/s")
    if stream.retries:
        found.append(f"{stream.retries} {'retry' if stream.retries == 1 else 'retries'}")
    return found + _tier(stream)


def _tier(stream: Stream) -> list[str]:
    """The tier that served the answer, where it is not the usual one, or not the one that was asked for."""
    usage = stream.usage
    served = usage.service_tier or _TIERS.get(usage.traffic_type or "")
    asked = str(stream.request.body.get("serviceTier") or "unspecified").lower()
    if (
        served is None
        or served == "unspecified"
        or (served == "standard" and asked in {served, "unspecified"})
    ):
        return []
    return [f"{served} tier" + (f", not {asked}" if asked not in {served, "unspecified"} else "")]


def tokens_per_second(stream: Stream) -> float | None:
    """Tokens of the answer for each second since its first text; None while nobody can tell."""
    first = stream.record.first_output_at
    if first is None or not stream.usage.candidates_token_count:
        return None
    seconds = (stream.record.ended_at or time.time()) - first
    return stream.usage.candidates_token_count / seconds if seconds > 0.05 else None


def _duration(seconds: float) -> str:
    """A time in words: 7 s, 7.3 s, 2 min 05 s."""
    if seconds >= 60:
        return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
    return f"{seconds:.0f} s" if seconds == int(seconds) else f"{seconds:.1f} s"


def is_structured(stream: Stream) -> bool:
    """Whether the answer is to be JSON."""
    config = stream.request.body.get("generationConfig", {})
    return bool(config.get("responseMimeType", config.get("response_mime_type")) == "application/json")


def picture_of(part: Part) -> tuple[str, str] | None:
    """Type and base64 of a picture that the model sent, None for any other part."""
    data = part.get("inlineData")
    if not isinstance(data, dict) or data.get("mimeType") not in PICTURES:
        return None
    content = data.get("data")
    if not isinstance(content, str):
        return None
    try:
        base64.b64decode(content, validate=True)
    except ValueError:
        return None
    return str(data["mimeType"]), content


def pictures(call: ToolCall) -> list[tuple[str, str, str]]:
    """Name, type and base64 of the images that a tool returned."""
    found = [part["inlineData"] for part in call.parts]
    return [
        (str(one.get("displayName") or "image"), one["mimeType"], one["data"])
        for one in found
        if one["mimeType"] in PICTURES
    ]
