"""A chat in words: what the user asked and what came, for its box and as the transcript that stays.

A message may be one of a stream of this kernel, or turns that a file or the user put into the history. What
the user wrote is shown as it was typed, never read as Markdown or HTML.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gemini_nb.api.wire import Content, Part, objects
from gemini_nb.notebook.render.blocks.blocks import Block, NoticeBlock, PartBlock, TextBlock
from gemini_nb.notebook.render.markdown import escape
from gemini_nb.notebook.render.settled import (
    blocks_markdown,
    blocks_text,
    literal,
    render,
    to_markdown,
    to_text,
)
from gemini_nb.notebook.render.settled import transcript_of as transcript_of_stream
from gemini_nb.notebook.render.transcript import Transcript
from gemini_nb.notebook.render.words import cut, cut_counted, quantity
from gemini_nb.redaction import scrub
from gemini_nb.streams.chat.messages import Exchange, is_message
from gemini_nb.streams.journaling import prompt_of
from gemini_nb.streams.stream import Stream

UNANSWERED = "Nothing came of this message, so it is no part of the chat."
_LONGEST = 4000


@dataclass(frozen=True, slots=True)
class Settled:
    """What stays of one message.

    Attributes:
        markdown: the question and what came of it.
        text: the same as plain text.
        is_unanswered: whether it is said to be no part of the chat.
    """

    markdown: str
    text: str
    is_unanswered: bool = False


def question_of(exchange: Exchange, stream: Stream | None) -> str:
    """What the user asked, as it was typed where that is known; empty for turns without a question."""
    if exchange.typed:
        return scrub(exchange.typed)
    turns: Sequence[Content] = exchange.turns[:1]
    if not turns and stream is not None:
        turns = [turn for turn in stream.contents if is_message(turn)][-1:]
    return scrub(prompt_of(turn for turn in turns if is_message(turn)))


def question_html(question: str) -> str:
    """The question for a page."""
    return f'<div class="gemini-nb-asked">{escape(cut_counted(question, _LONGEST))}</div>' if question else ""


def key_of(exchange: Exchange) -> object:
    """What tells a message from the others: its stream, or the first of its turns."""
    return exchange.stream_id or id(exchange.turns[0])


def transcript_of(exchange: Exchange, stream: Stream | None) -> Transcript:
    """What came of a message, as blocks."""
    return _transcript_of_turns(exchange.turns) if stream is None else transcript_of_stream(stream)


def _transcript_of_turns(turns: Iterable[Content]) -> Transcript:
    """What came, of turns whose stream is not known. Thoughts are left out."""
    blocks: list[Block] = []
    for turn in turns:
        if not is_message(turn):
            for part in objects(turn.get("parts")):
                _add(blocks, part)
    return Transcript(blocks=blocks)


def _add(blocks: list[Block], part: Part) -> None:
    text, call = part.get("text"), part.get("functionCall")
    if part.get("thought") or "functionResponse" in part:
        return
    if isinstance(text, str):
        if blocks and isinstance(last := blocks[-1], TextBlock):
            last.text += text
        elif text:
            blocks.append(TextBlock(0, text))
    elif isinstance(call, dict):
        arguments = cut(json.dumps(call.get("args") or {}, ensure_ascii=False), 200)
        blocks.append(NoticeBlock(f"called {call.get('name')} with {arguments}"))
    else:
        blocks.append(PartBlock(part))


def render_settled(exchange: Exchange, stream: Stream | None, into: dict[object, Settled]) -> Iterator[None]:
    """Put what stays of a message into a dictionary, in steps of some milliseconds each."""
    transcript = transcript_of(exchange, stream)
    yield
    if stream is None or stream.is_done:
        yield from render(transcript)
    into[key_of(exchange)] = _settled(exchange, stream, transcript)


def _settled(exchange: Exchange, stream: Stream | None, transcript: Transcript) -> Settled:
    question = cut_counted(question_of(exchange, stream), _LONGEST)
    markdown = [f"> **You:** {_verbatim(question)}"] if question else []
    text = [f"You: {question}"] if question else []
    if stream is not None:
        markdown.append(to_markdown(stream, transcript))
        text.append(to_text(stream, transcript))
    else:
        markdown.append(blocks_markdown(transcript))
        text.append(blocks_text(transcript))
    if exchange.is_unanswered:
        markdown.append(f"> {UNANSWERED}")
        text.append(UNANSWERED)
    whole, plain_text = ("\n\n".join(one for one in pieces if one.strip()) for pieces in (markdown, text))
    return Settled(whole, plain_text, exchange.is_unanswered)


def transcript(name: str, exchanges: Sequence[tuple[Exchange, Stream | None]]) -> dict[str, str]:
    """The transcript of a chat with these messages, made at once."""
    found: dict[object, Settled] = {}
    for exchange, stream in exchanges:
        for _ in render_settled(exchange, stream, found):
            pass
    return chat_bundle(name, [found[key_of(exchange)] for exchange, _ in exchanges])


def chat_bundle(name: str, said: Sequence[Settled]) -> dict[str, str]:
    """The transcript of a chat, as Markdown and as plain text."""
    count = quantity(len(said), "message")
    return {
        "text/markdown": "\n\n".join(
            [f"**Chat {literal(name)}** · {count}", *(one.markdown for one in said)]
        ),
        "text/plain": "\n\n".join([f"Chat {name}: {count}", *(one.text for one in said)]),
    }


def _verbatim(text: str) -> str:
    """Text in one line of Markdown that shows its lines and what they are indented by."""
    lines = []
    for line in text.splitlines():
        rest = line.lstrip(" ")
        lines.append("&nbsp;" * (len(line) - len(rest)) + literal(rest))
    return "<br>".join(lines)
