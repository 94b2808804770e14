"""One model turn, folded from the chunks of one model call."""

from __future__ import annotations

from typing import Any

from gemini_nb.api.content import JSON, Content, Part, is_plain_text, objects

__all__ = ["ModelTurn"]

_METADATA = ("citationMetadata", "groundingMetadata", "urlContextMetadata")


class ModelTurn:
    """The parts of a model's turn as they came, and what the server said about them.

    Attributes:
        finish_reason: Gemini's word for why the turn ended, None while it has not.
        finish_message: the server's explanation of it.
        block_reason: why the prompt was blocked; then there are no parts.
        usage: the newest usageMetadata. Counts are running totals of the call, so they are never added up,
            and a chunk without counts (Vertex AI's middle ones) keeps those before it.
        model_version: the model that really answered.
        response_id: the server's name for the answer.
        metadata: citations, grounding and URL context, newest of each.
    """

    __slots__ = (
        "_parts",
        "_resumed",
        "_run",
        "block_message",
        "block_reason",
        "finish_message",
        "finish_reason",
        "metadata",
        "model_version",
        "response_id",
        "usage",
    )

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything: the call is asked again from its beginning."""
        self.finish_reason: str | None = None
        self.finish_message = ""
        self.block_reason: str | None = None
        self.block_message = ""
        self.usage: JSON = {}
        self.model_version: str | None = None
        self.response_id: str | None = None
        self.metadata: JSON = {}
        self._parts: list[Part] = []
        self._run: list[str] = []
        self._resumed = False

    def add(self, chunk: JSON) -> list[Part]:
        """Fold one GenerateContentResponse in and return its new parts.

        Citations and grounding are returned as parts, too, named by their own field, so that they can be
        shown where they came; they do not become part of the history.
        """
        self._add_facts(chunk)
        # Alternatives (candidateCount > 1) come with an index; one turn tells one of them.
        candidates = (one for one in objects(chunk.get("candidates")) if not one.get("index"))
        candidate = next(candidates, None)
        if candidate is None:
            return []
        content = candidate.get("content")
        parts = list(objects(content.get("parts"))) if isinstance(content, dict) else []
        if parts and self.finish_reason is not None:
            self._resumed = True
        for part in parts:
            self._append(part)
        for field in _METADATA:
            if isinstance(candidate.get(field), dict):
                self.metadata[field] = candidate[field]
                parts.append({field: candidate[field]})
        if isinstance(candidate.get("finishReason"), str):
            self.finish_reason = candidate["finishReason"]
            self.finish_message = str(candidate.get("finishMessage") or "")
        return parts

    def _add_facts(self, chunk: JSON) -> None:
        usage = chunk.get("usageMetadata")
        if isinstance(usage, dict):
            self.usage = {**self.usage, **usage}
        self.model_version = chunk.get("modelVersion") or self.model_version
        self.response_id = chunk.get("responseId") or self.response_id
        feedback = chunk.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            self.block_reason = str(feedback["blockReason"])
            self.block_message = str(feedback.get("blockReasonMessage") or "")

    def _append(self, part: Part) -> None:
        if is_plain_text(part):
            last = self._parts[-1] if self._run else None
            if last is not None and last.get("thought") == part.get("thought"):
                self._run.append(part["text"])
                return
            self._close_run()
            self._parts.append(dict(part))
            self._run.append(part["text"])
        else:
            self._close_run()
            self._parts.append(part)

    def _close_run(self) -> None:
        if self._run:
            self._parts[-1]["text"] = "".join(self._run)
            self._run.clear()

    @property
    def parts(self) -> list[Part]:
        """The parts so far, adjacent unsigned text joined; text that says nothing is left out."""
        if self._run:
            self._parts[-1]["text"] = "".join(self._run)
            self._run[:] = [self._parts[-1]["text"]]
        return [part for part in self._parts if not (is_plain_text(part) and not part["text"])]

    @property
    def content(self) -> Content:
        """The turn as it goes into the history."""
        return {"role": "model", "parts": self.parts}

    @property
    def function_calls(self) -> list[Part]:
        """The parts that ask for a function, in the model's order."""
        return [part for part in self._parts if isinstance(part.get("functionCall"), dict)]

    @property
    def has_output(self) -> bool:
        """Whether anything of the answer arrived; empty unsigned text is nothing."""
        return any(not (is_plain_text(part) and not part["text"]) for part in self._parts) or any(self._run)

    @property
    def is_finished(self) -> bool:
        """Whether the model said that it ended, or refused to begin."""
        return self.finish_reason is not None or self.block_reason is not None

    @property
    def is_surely_finished(self) -> bool:
        """Whether it also holds without the proper end of the body.

        Some servers send a finishReason with every chunk; one that was followed by more parts says nothing.
        """
        return self.is_finished and not self._resumed


def text_of(part: Part) -> str | None:
    """The text of a part that is text (thought or not), else None."""
    text: Any = part.get("text")
    return text if isinstance(text, str) else None
