"""The small facts around an answer: model, phase, times and tokens, in words."""

from __future__ import annotations

import time

from gemini_nb.config import Auth
from gemini_nb.streams.calls import ToolCall
from gemini_nb.streams.states import Phase, Status
from gemini_nb.streams.stream import Stream

__all__ = ["ending", "phase_word", "pictures", "summary", "title"]

_PICTURES = {"image/png", "image/jpeg", "image/gif", "image/webp"}

_PHASES = {
    Phase.AWAITING_MODEL_CALL: "asking",
    Phase.EXECUTING_TOOLS: "running tools",
    Phase.AWAITING_FINAL_RESPONSE: "answering",
}


def title(stream: Stream) -> str:
    """The model, and that it is a simulated one where it is."""
    return f"{stream.model} (simulated)" if stream.auth is Auth.SIMULATOR else stream.model


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
    facts = [f"{elapsed(stream):.1f} s"]
    if record.first_output_at is not None:
        facts.append(f"first text after {record.first_output_at - record.started_at:.1f} s")
    if usage.total_token_count:
        thought = f" + {usage.thoughts_token_count} thought" if usage.thoughts_token_count else ""
        facts.append(f"{usage.prompt_token_count} → {usage.candidates_token_count}{thought} tokens")
    if usage.candidates_token_count and record.first_output_at is not None:
        seconds = (record.ended_at or time.time()) - record.first_output_at
        if seconds > 0.05:
            facts.append(f"{usage.candidates_token_count / seconds:.0f} tokens/s")
    if stream.retries:
        facts.append(f"{stream.retries} {'retry' if stream.retries == 1 else 'retries'}")
    return facts


def pictures(call: ToolCall) -> list[tuple[str, str, str]]:
    """Name, type and base64 of the images that a tool returned."""
    found = [part["inlineData"] for part in call.parts]
    return [
        (str(one.get("displayName") or "image"), one["mimeType"], one["data"])
        for one in found
        if one["mimeType"] in _PICTURES
    ]
