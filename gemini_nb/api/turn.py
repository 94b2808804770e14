"""One model turn, folded from the chunks of one model call."""

from __future__ import annotations

import json

from gemini_nb.api.contents.content import is_answer, is_plain_text, sendable
from gemini_nb.api.functions import FunctionCall, read_calls
from gemini_nb.api.usage import NO_USAGE, Usage
from gemini_nb.api.wire import JSON, Content, Part, objects, parts_of
from gemini_nb.redaction import excerpt, scrub

_METADATA = ("citationMetadata", "groundingMetadata", "urlContextMetadata")
_FIELDS = {"candidates", "createTime", "modelStatus", "modelVersion", "promptFeedback", "responseId"}
_FIELDS |= {"usageMetadata"}
_PLAIN = {"content", "index"}
_CALL = {"functionCall", "function_call"}
# Servers that write enums as numbers: beyond these, the two services count differently.
_FINISH = ["FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER"]
_BLOCK = ["BLOCK_REASON_UNSPECIFIED", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT"]
_RATED = ("HIGH", "MEDIUM")  # what a service may block for when it marks no category as blocked


class ModelTurn:
    """The parts of a model's turn as they came, and what the server said about them.

    Attributes:
        finish_reason: Gemini's word for why the turn ended, None while it has not.
        finish_message: the server's explanation of it.
        block_reason: why the prompt was blocked; then there are no parts.
        categories: the harm categories that blocked the prompt, or ended the turn.
        lacks_candidates: whether the last request was answered, and nothing in its answer was a candidate.
        usage: the newest usageMetadata. Counts are running totals of the call, so they are never added up,
            and a chunk without counts (Vertex AI's middle ones) keeps those before it.
        model_version: the model that really answered.
        model_status: what the server says of the model's own state, such as that it will be retired.
        response_id: the server's name for the answer.
        is_simulated: whether the simulator answered, whichever service was asked.
        metadata: citations, grounding and URL context, newest of each.
        continuation_token: where another request can go on, None where the server gave no such place.
    """

    __slots__ = (
        "_answered",
        "_counted",
        "_kept",
        "_metadata_kept",
        "_metadata_shown",
        "_open_text",
        "_parts",
        "_reading",
        "_request_start",
        "_resumed",
        "_stale",
        "_tier",
        "_usage_before",
        "block_message",
        "block_reason",
        "categories",
        "continuation_token",
        "finish_message",
        "finish_reason",
        "is_simulated",
        "lacks_candidates",
        "metadata",
        "model_status",
        "model_version",
        "response_id",
        "usage",
    )

    def __init__(self) -> None:
        self.continuation_token: str | None = None
        self.model_version: str | None = None
        self.model_status: JSON = {}
        self.response_id: str | None = None
        self.is_simulated = False
        self.metadata: JSON = {}
        self.usage: JSON = {}
        self._counted: tuple[JSON, Usage] = {}, NO_USAGE
        self._reading: tuple[list[Part], list[FunctionCall]] | None = None
        self._usage_before: list[Usage] = []
        self._parts: list[Part] = []
        self._open_text: list[str] = []
        self._kept: list[Part] = []
        self._stale: list[Part] | None = None
        self._metadata_shown = self._metadata_kept = 0  # how many citations and the like, which are no parts
        self._begin()

    def _begin(self) -> None:
        """Begin another request for this turn: forget what only the last one said."""
        if self.usage:
            self._usage_before.append(self._count())
        self.usage = {}
        self._reading = None
        self._tier: JSON = {}
        self._close_text()
        self._request_start = len(self._parts)
        self.finish_reason: str | None = None
        self.finish_message = ""
        self.block_reason: str | None = None
        self.block_message = ""
        self.categories: tuple[str, ...] = ()
        self.lacks_candidates = self._answered = False
        self._resumed = False

    def rewind(self, *, to_start: bool = False) -> None:
        """Go back to the newest continuation token, or else to the beginning, to make the call again.

        What had arrived after that stays in `parts` until something new takes its place, so that a second
        failure loses nothing that the user has seen.

        Args:
            to_start: forget the token, too.
        """
        self._close_text()
        shown = self._shown()
        if to_start:
            self.continuation_token, self._kept, self._metadata_kept = None, [], 0
            self.metadata = {}
        more = self._metadata_shown > self._metadata_kept or _joined(shown) != _joined(self._kept)
        self._stale = shown if more else None
        self._parts = self._kept.copy()
        self._begin()

    def go_on(self) -> None:
        """Let the next request continue the turn, where the server ended the request only."""
        if len(self._parts) > len(self._kept) or self._metadata_shown > self._metadata_kept:
            self.rewind()  # its token is an older one, after which the rest comes again
        else:
            self._begin()

    def _shown(self) -> list[Part]:
        return self._parts if self._stale is None else self._stale

    def add(self, chunk: JSON) -> list[Part]:
        """Add one GenerateContentResponse and return its new parts.

        Citations and grounding are returned as parts, too, named by their own field, so that they can be
        shown where they came; they do not become part of the history.
        """
        self._reading = None
        self._add_response(chunk)
        candidate = self._candidate(chunk)
        if candidate is None:
            return []
        parts = self._add_parts(candidate)
        if self._stale is None and candidate.keys() <= _PLAIN:
            return parts  # nearly every chunk of an answer ends here
        metadata = {name: candidate[name] for name in _METADATA if isinstance(candidate.get(name), dict)}
        reason = _read_finish_reason(candidate.get("finishReason"))
        if self._stale is not None and (self.has_output or metadata or reason):
            self._stale, self._metadata_shown = None, self._metadata_kept
        self._metadata_shown += len(metadata)
        self.metadata |= metadata
        if reason:
            self.finish_reason = reason
            self.finish_message = scrub(str(candidate.get("finishMessage") or ""))
            self.categories = _rated_categories(candidate, reason)
        self._keep_place(candidate.get("continuationToken"))
        return parts + [{name: value} for name, value in metadata.items()]

    def _add_parts(self, candidate: JSON) -> list[Part]:
        parts = list(map(_camel, parts_of(candidate)))
        if self.finish_reason is not None and not all(map(_is_empty, parts)):
            self._resumed = True
        for part in parts:
            self._append(part)
        return parts

    def _keep_place(self, token: object) -> None:
        """Note what has arrived where the answer can go on; the same token again is the same place."""
        if not isinstance(token, str) or token == self.continuation_token:
            return
        self.continuation_token = token
        self._close_text()
        self._kept = self._parts.copy()
        if self._stale is None:
            self._metadata_kept = self._metadata_shown

    def set_tier(self, tier: str) -> None:
        """Note which tier serves this request, by its header; the counts do not always say."""
        self._tier = {"serviceTier": tier}
        self.usage = {**self.usage, **self._tier}

    def _candidate(self, chunk: JSON) -> JSON | None:
        """Return the first of the alternatives (candidateCount > 1), which is the turn."""
        candidates = chunk.get("candidates")
        if candidates:
            self._answered, self.lacks_candidates = True, False
        else:
            self.lacks_candidates = not self._answered
            if self.lacks_candidates and (strange := {name: chunk[name] for name in chunk.keys() - _FIELDS}):
                self.finish_message = excerpt(json.dumps(strange, ensure_ascii=False))
        for candidate in objects(candidates):
            index = candidate.get("index")
            if not index or str(index).strip() == "0":
                return candidate
        return None

    def _add_response(self, chunk: JSON) -> None:
        usage = chunk.get("usageMetadata")
        if isinstance(usage, dict):
            self.usage = {**self.usage, **usage, **self._tier}
        self.model_version = _text(chunk.get("modelVersion")) or self.model_version
        self.response_id = _text(chunk.get("responseId")) or self.response_id
        if isinstance(status := chunk.get("modelStatus"), dict):
            self.model_status = status
        feedback = chunk.get("promptFeedback")
        if isinstance(feedback, dict) and (reason := _read_block_reason(feedback.get("blockReason"))):
            self.block_reason = reason
            self.categories = _rated_categories(feedback, reason)
            self.block_message = scrub(str(feedback.get("blockReasonMessage") or ""))

    def _append(self, part: Part) -> None:
        if is_plain_text(part):
            last = self._parts[-1] if self._open_text else None
            if last is not None and last.get("thought") == part.get("thought"):
                self._open_text.append(part["text"])
                return
            self._close_text()
            self._parts.append(dict(part))
            self._open_text.append(part["text"])
        else:
            self._close_text()
            self._parts.append(part)

    def _close_text(self) -> None:
        if self._open_text:
            self._parts[-1]["text"] = "".join(self._open_text)
            self._open_text.clear()

    @property
    def parts(self) -> list[Part]:
        """The parts so far, adjacent unsigned text joined, without empty text."""
        if self._open_text:
            self._parts[-1]["text"] = "".join(self._open_text)
            self._open_text[:] = [self._parts[-1]["text"]]
        return _joined(self._shown())

    @property
    def content(self) -> Content:
        """The turn as it goes into the history."""
        return {"role": "model", "parts": sendable(self._read()[0])}

    @property
    def has_answer(self) -> bool:
        """Whether there is an answer for the user; thoughts, white space and signatures are none."""
        back, _ = self._read()
        return any(map(is_answer, back))

    @property
    def function_calls(self) -> list[FunctionCall]:
        """The functions that the model asks for, in its order; each id once."""
        return self._read()[1]

    def _read(self) -> tuple[list[Part], list[FunctionCall]]:
        if self._reading is None:
            self._reading = read_calls(self.parts, is_whole=self.finish_reason == "STOP")
        return self._reading

    @property
    def has_output(self) -> bool:
        """Whether the last request brought anything of the answer; empty unsigned text is nothing."""
        return any(not _is_empty(part) for part in self._parts[self._request_start :]) or any(self._open_text)

    @property
    def is_stale(self) -> bool:
        """Whether `parts` still holds what the next output will replace."""
        return self._stale is not None

    @property
    def is_continued(self) -> bool:
        """Whether the server ended the request because it was long, and offers to go on."""
        return self.finish_reason == "CONTINUATION" and self.continuation_token is not None

    @property
    def total_usage(self) -> Usage:
        """The tokens of all requests for this turn, those that were cut and made again, too."""
        return sum(self.requests, NO_USAGE)

    @property
    def requests(self) -> tuple[Usage, ...]:
        """The tokens of each of these requests, as far as its answer said how many."""
        before = tuple(self._usage_before)
        return (*before, self._count()) if self.usage else before

    def _count(self) -> Usage:
        """Read the newest counts, once."""
        if self._counted[0] is not self.usage:
            self._counted = self.usage, Usage.from_wire(self.usage)
        return self._counted[1]

    @property
    def searches(self) -> int:
        """How many queries the model searched the web with."""
        queries = self.metadata.get("groundingMetadata", {}).get("webSearchQueries")
        return len({str(query) for query in queries}) if isinstance(queries, list) else 0

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


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _camel(part: Part) -> Part:
    """Return a call under its name on the wire, where a server spells it as Python does."""
    if "function_call" not in part:
        return part
    call = part.get("functionCall") or part["function_call"]
    return {"functionCall": call, **{name: part[name] for name in part if name not in _CALL}}


def _joined(parts: list[Part]) -> list[Part]:
    joined: list[Part] = []
    for part in parts:
        if _is_empty(part):
            continue
        last = joined[-1] if joined else {}
        if is_plain_text(part) and is_plain_text(last) and last.get("thought") == part.get("thought"):
            joined[-1] = {**last, "text": last["text"] + part["text"]}
        else:
            joined.append(part)
    return joined


def _is_empty(part: Part) -> bool:
    return is_plain_text(part) and not part["text"]


def _read_finish_reason(value: object) -> str | None:
    """Return why a turn ended, None where `value` does not say."""
    return _read_word(value, _FINISH)


def _read_block_reason(value: object) -> str | None:
    """Return why a prompt was blocked, None where `value` does not say."""
    return _read_word(value, _BLOCK)


def _read_word(value: object, names: list[str]) -> str | None:
    if (isinstance(value, float) and value.is_integer()) or (isinstance(value, str) and value.isdecimal()):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = names[value] if 0 <= value < len(names) else str(value)
    # Some servers send the default of each field that is not set.
    if not isinstance(value, str) or not value.strip() or value.endswith("_UNSPECIFIED"):
        return None
    return scrub(value.strip())


def is_model_mistake(reason: str | None) -> bool:
    """Whether the model made a mistake that its next sample is likely not to make."""
    return reason == "UNEXPECTED_TOOL_CALL" or (reason or "").startswith("MALFORMED_")


def _rated_categories(said: JSON, reason: str | None) -> tuple[str, ...]:
    """Return the harm categories that blocked a prompt or an answer.

    The Developer API may mark none of them as blocked; then those count that were rated highest.
    """
    ratings = objects(said.get("safetyRatings"))
    blamed = [rating for rating in ratings if rating.get("blocked") is True]
    if not blamed and reason == "SAFETY":
        found = [[rating for rating in ratings if rating.get("probability") == level] for level in _RATED]
        blamed = found[0] or found[1]
    return tuple(scrub(str(rating.get("category") or "an unnamed category")) for rating in blamed)
