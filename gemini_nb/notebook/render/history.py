"""What the journal has, as tables and settled answers: of this kernel and of those before it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from gemini_nb.api.contents.local_file import printable
from gemini_nb.api.usage import Usage
from gemini_nb.api.wire import Part, objects
from gemini_nb.config import Auth
from gemini_nb.journal.columns import PastCall
from gemini_nb.journal.entries import Entry, UsageRow
from gemini_nb.journal.kept.call_record import CallRecord
from gemini_nb.journal.prices import dollars
from gemini_nb.journal.uploads import Uploaded
from gemini_nb.notebook.render.blocks.blocks import CallBlock, TextBlock
from gemini_nb.notebook.render.figures import STAND_INS, tokens_words
from gemini_nb.notebook.render.markdown import answer_draft, finished, plain, settle
from gemini_nb.notebook.render.settled import (
    block_markdown,
    call_line,
    call_markdown,
    code_block,
    fold,
    framed,
    literal,
)
from gemini_nb.notebook.render.table import aligned
from gemini_nb.notebook.render.transcript import Transcript
from gemini_nb.notebook.render.words import data_size, date, duration, one_line, quantity
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.events import PartReceived, StreamCompleted, TextDelta, ToolCallRequested
from gemini_nb.streams.events.states import ToolStatus

_KINDS = {"error": "error", "stopped": "stopped", "completed": "cut"}
_HEAD = ("when", "notebook", "model", "prompt", "status", "tokens", "price", "id")


def history_table(entries: Sequence[Entry]) -> str:
    """One line for each entry, in their order."""
    return "\n".join(aligned([_HEAD, *map(_row, entries)]))


def kept_table(records: Sequence[CallRecord]) -> str:
    """One line for each kept answer, in their order."""
    head = ("when", "service", "model", "prompt", "tokens")
    return "\n".join(aligned([head, *map(_kept_row, records)]))


def uploads_table(uploads: Sequence[Uploaded]) -> str:
    """One line for each file that was uploaded, in their order."""
    head = ("uploaded", "file", "type", "size", "expires", "name", "service")
    return "\n".join(aligned([head, *map(_upload_row, uploads)]))


def _upload_row(upload: Uploaded) -> tuple[str, ...]:
    return (
        date(datetime.fromtimestamp(upload.uploaded_at, UTC)),
        one_line(printable(PurePath(upload.path).name), 40),
        one_line(upload.mime_type, 40),
        data_size(upload.size),
        date(datetime.fromtimestamp(upload.expires_at, UTC)),
        upload.name,
        upload.service.partition("://")[2],
    )


def _kept_row(record: CallRecord) -> tuple[str, ...]:
    prompt = one_line(record.prompt, 40) + (f" (no. {record.number})" if record.number > 1 else "")
    tokens = Usage.from_wire(record.usage).total_token_count
    return date(record.when), record.service, one_line(record.model, 40), prompt, f"{tokens:,}"


def _row(entry: Entry) -> tuple[str, ...]:
    words = one_line(entry.prompt, 40) or ("(no longer kept)" if entry.is_pruned else "")
    return (
        date(datetime.fromtimestamp(entry.started_at, UTC)),
        PurePath(entry.notebook).name if entry.notebook else "",
        _title(entry),
        words,
        entry.status,
        f"{entry.usage.total_token_count:,}",
        _price(entry),
        entry.id,
    )


def _title(entry: Entry) -> str:
    stand_in = {str(auth): word for auth, word in STAND_INS.items()}.get(entry.auth)
    return f"{entry.model} ({stand_in})" if stand_in else entry.model


def _price(entry: Entry) -> str:
    if entry.kept is not None:
        return f"{dollars(entry.saved)} saved" if entry.saved else "kept"
    if entry.auth in set(map(str, STAND_INS)):
        return ""
    return "unknown" if entry.cost is None else dollars(entry.cost)


def usage_table(groups: Sequence[tuple[str, Sequence[UsageRow]]]) -> str:
    """Sums of what was used, in several groups.

    Args:
        groups: sums, and before them what those without a key are called.
    """
    head = ("", "streams", "tokens in", "tokens out", "price", "saved")
    rows: list[tuple[str, ...]] = [head]
    rows += [_sums(row.key or title, row) for title, found in groups for row in found]
    return "\n".join(aligned(rows))


def _sums(name: str, row: UsageRow) -> tuple[str, ...]:
    price = dollars(row.cost) if row.cost else ""  # what was simulated costs nothing
    if row.unpriced:
        price = f"{price} and {quantity(row.unpriced, 'stream')} of unknown price".removeprefix(" and ")
    saved = dollars(row.saved) if row.saved else ""
    name = f"{name} ({STAND_INS[Auth.SIMULATOR]})" if row.simulated else name
    return name, f"{row.streams:,}", f"{row.input_tokens:,}", f"{row.output_tokens:,}", price, saved


def entry_bundle(entry: Entry) -> dict[str, str]:
    """An entry as the stream that it was would be settled, as Markdown and as plain text."""
    ending = entry.error or (
        f"The answer ended with {entry.finish_reason}." if entry.finish_reason not in {"STOP", None} else ""
    )
    pruned = "Its text is no longer kept." if entry.is_pruned else ""
    names = [_title(entry), entry.stream_id]
    facts = " · ".join(_facts(entry))
    markdown = [
        fold("Thoughts", _answered(entry.thoughts)) if entry.thoughts else "",
        *_answer(entry),
        f"> **{entry.status}**: {settle(' '.join(ending.split())).strip()}" if ending else "",
        pruned,
        f"<sub>{literal(facts)}</sub>",
    ]
    calls = [f"[{call_line(_tool_call(call))}]" for call in entry.tool_calls]
    text = [entry.text.strip("\n"), *calls, ending, pruned, f"({' · '.join([*names, facts])})"]
    return {
        "text/markdown": framed(names, markdown, _KINDS.get(entry.status, "whole") if ending else "whole"),
        "text/plain": plain("\n".join(piece for piece in text if piece)),
    }


def _facts(entry: Entry) -> Iterator[str]:
    yield entry.status
    yield date(datetime.fromtimestamp(entry.started_at, UTC))
    if entry.ended_at is not None:
        yield duration(entry.ended_at - entry.started_at)
    if tokens := tokens_words(entry.usage):
        yield tokens
    if price := _price(entry):
        yield "price unknown" if price == "unknown" else price
    if entry.notebook:
        yield entry.notebook


def _answer(entry: Entry) -> Iterator[str]:
    """The parts in their order, each call with its result; a broken answer as far as it was shown."""
    calls = iter(entry.tool_calls)
    if entry.status == "completed" and entry.parts:
        for block in _transcript(entry).blocks:
            if isinstance(block, CallBlock) and block.call.index >= 0:
                if (call := next(calls, None)) is not None:
                    yield call_markdown(_tool_call(call))
            elif isinstance(block, TextBlock) and not block.marks:
                yield _text(block.text)
            else:
                yield block_markdown(block)
    else:
        yield _text(entry.text)
    for call in calls:
        yield call_markdown(_tool_call(call))


def _transcript(entry: Entry) -> Transcript:
    """The answer's parts and sources as blocks, the function calls among them empty."""
    transcript, count = Transcript(), 0
    common: dict[str, Any] = {"stream_id": entry.stream_id, "seq": 0, "time": entry.ended_at or 0.0}
    for part in entry.parts:
        if not isinstance(part, dict) or part.get("thought") is True:
            continue
        if isinstance(part.get("text"), str):
            transcript.apply(TextDelta(text=part["text"], **common))
        elif "functionCall" in part:
            call = ToolCall(id=None, name="", args={}, index=count)
            transcript.apply(ToolCallRequested(call=call, **common))
            count += 1
        else:
            transcript.apply(PartReceived(part=part, **common))
    for source in entry.sources:
        if isinstance(source, dict):
            transcript.apply(PartReceived(part=_placed(source) if count else source, **common))
    transcript.apply_all([StreamCompleted(finish_reason=None, **common)])
    return transcript


def _placed(source: Part) -> Part:
    """Sources without places that bytes alone give, since they count from another call's beginning."""
    value = source.get("groundingMetadata")
    if not isinstance(value, dict):
        return source
    sure = [
        support
        for support in objects(value.get("groundingSupports"))
        if isinstance(segment := support.get("segment"), dict) and segment.get("text")
    ]
    return {"groundingMetadata": {**value, "groundingSupports": sure}}


def _text(text: str) -> str:
    """A text as Markdown, a structured answer as code."""
    if text.strip()[:1] in {"{", "["}:
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            pass
        else:
            return code_block(text.strip("\n"), "json", limit=None)
    return _answered(text)


def _answered(text: str) -> str:
    return finished(answer_draft(), text).markdown


def _tool_call(call: PastCall) -> ToolCall:
    known = set(map(str, ToolStatus))
    return ToolCall(
        id=call.id,
        name=call.name,
        args=dict(call.args),
        status=ToolStatus(call.status if call.status in known else "cancelled"),
        result=call.result,
        error=call.error,
        output=call.output,
        started_at=None if call.duration is None else 0.0,
        ended_at=call.duration,
    )
