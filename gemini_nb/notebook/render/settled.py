"""What stays of a stream in the notebook: Markdown that survives saving, re-opening and exporting.

A front end does not sanitise the Markdown of a cell that was just run, so everything the model or a tool
wrote goes through `markdown.settle` or into a code block before it stands here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import assert_never

from gemini_nb.api.wire import Part
from gemini_nb.notebook.render import figures
from gemini_nb.notebook.render.blocks.blocks import (
    AudioBlock,
    Block,
    CallBlock,
    NoticeBlock,
    PartBlock,
    StruckBlock,
    TextBlock,
)
from gemini_nb.notebook.render.blocks.displays import shown_markdown
from gemini_nb.notebook.render.blocks.parts import DRAFT, METADATA, part_markdown, part_text, written_file
from gemini_nb.notebook.render.blocks.sound import audio_html, audio_words
from gemini_nb.notebook.render.markdown import escape, finished, marked, plain, settle
from gemini_nb.notebook.render.transcript import Transcript
from gemini_nb.notebook.render.words import cut, cut_counted, duration
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.states import Status
from gemini_nb.streams.stream import Stream
from gemini_nb.tools.fences import is_fence
from gemini_nb.tools.printed import end_of

_ROOM = '<div style="margin: 1em 0">\n\n{}\n\n</div>'
_FENCED = re.compile(r"^(`{3,})[^`\n]*\n(?:.*\n)*?\1$", re.MULTILINE)
_LONG = 4000
_RULES = {"whole": "#9e9e9e", "cut": "#ef8a00", "stopped": "#ef8a00", "error": "#d32f2f"}
_MARKS = frozenset("&<>*_~`[]!#$\\|")


def mimebundle(stream: Stream, transcript: Transcript | None = None) -> dict[str, str]:
    """The settled output of a stream, as Markdown and as plain text."""
    return {"text/markdown": to_markdown(stream, transcript), "text/plain": to_text(stream, transcript)}


def transcript_of(stream: Stream) -> Transcript:
    """All events of a stream so far, folded into blocks."""
    transcript = Transcript(is_json=stream.is_structured)
    transcript.apply_all(list(stream.events))
    transcript.refresh(stream.tool_calls)
    return transcript


def render(transcript: Transcript) -> Iterator[None]:
    """Render the texts of a stream that has ended, in steps of some milliseconds each.

    What is made of the transcript afterwards, Markdown or HTML, is there at once.
    """
    for block in transcript.blocks:
        if isinstance(block, TextBlock):
            yield from block.draft.finish(source_of(block))
    yield from transcript.thoughts_draft.finish(transcript.thoughts)


def source_of(block: TextBlock) -> str:
    """A block's text as Markdown; a structured answer is code, whole or not, and may bring its own fence."""
    if _is_bare_json(block):
        return code_block(block.text.strip("\n"), "json", limit=None)
    return marked(block.text, block.marks) if block.marks else block.text


def _is_bare_json(block: TextBlock) -> bool:
    return block.is_json and bool(block.text.strip()) and not is_fence(block.text)


def to_markdown(stream: Stream, transcript: Transcript | None = None) -> str:
    """The answer with its tool calls folded, and a line of figures.

    Args:
        stream: the stream.
        transcript: the stream's events as blocks, some of them rendered; by default read from the stream.
    """
    if transcript is None:
        transcript = transcript_of(stream)
    pieces = [block_markdown(block) for block in transcript.blocks if not isinstance(block, NoticeBlock)]
    if transcript.thoughts:
        pieces.insert(0, fold("Thoughts", finished(transcript.thoughts_draft, transcript.thoughts).markdown))
    if stream.remarks:
        pieces.insert(0, f"> {_inline(stream.remarks)}")
    kind = figures.ending_kind(stream)
    if end := figures.ending(stream):
        how, _, message = ("Error:", "", end) if stream.error is not None else end.partition(". ")
        pieces.append(f"> **{_inline(how)}** {_inline(message)}".rstrip())
    if stream.status is Status.ACTIVE:
        pieces.append(f"> Still running; %gemini\\_show {literal(stream.entry_id)} shows more.")
    facts = " · ".join([stream.status.value, *figures.short(stream)])
    pieces.append(f'<sub title="{figures.details(stream)}">{literal(facts)}</sub>')
    return framed(figures.named(stream), pieces, kind)


def framed(names: Sequence[str], pieces: Iterable[str], kind: str) -> str:
    """An answer set off from the notebook's own text by a thin rule, with who answered on top.

    Where styles are taken away, as on GitHub, the first line tells it from the text around it.

    Args:
        names: who answered, first the model.
        pieces: its Markdown.
        kind: how it ended, as in `figures.ending_kind`: the colour of the rule.
    """
    model, *rest = map(literal, names)
    inside = [" · ".join([f"**{model}**", *rest]), *map(_with_room, pieces)]
    style = f"border-left: 3px solid {_RULES[kind]}; padding: 8px 0 1px 12px; overflow-wrap: break-word"
    body = "\n\n".join(piece for piece in inside if piece.strip())
    return f'<div style="{style}">\n\n{body}\n\n</div>'


def to_text(stream: Stream, transcript: Transcript | None = None) -> str:
    """The same as plain text."""
    if transcript is None:
        transcript = transcript_of(stream)
    facts = " · ".join([*figures.named(stream), stream.status.value, *figures.short(stream)])
    ending = figures.ending(stream)
    pieces = [stream.remarks, *map(_block_text, transcript.blocks), ending, f"({facts})"]
    if stream.status is Status.ACTIVE:
        pieces.append(f"Still running; %gemini_show {stream.entry_id} shows more.")
    return plain("\n".join(piece for piece in pieces if piece))


def blocks_markdown(transcript: Transcript) -> str:
    """The blocks alone as Markdown, without a stream's figures."""
    return "\n\n".join(piece for piece in map(block_markdown, transcript.blocks) if piece.strip())


def blocks_text(transcript: Transcript) -> str:
    """The same as plain text."""
    return plain("\n".join(piece for piece in map(_block_text, transcript.blocks) if piece))


def _block_text(block: Block) -> str:
    match block:
        case TextBlock():
            return block.text.strip("\n")
        case CallBlock():
            return f"[{call_line(block.call)}]"
        case PartBlock():
            is_shown = not block.gone and block.part.get("thought") is not True
            return part_text(block.part) if is_shown else ""
        case AudioBlock():
            return f"[{audio_words(block)}]" if block.pieces else ""
        case StruckBlock() | NoticeBlock():
            return ""
        case _:
            assert_never(block)


def source_lists(transcript: Transcript) -> Iterator[str]:
    """The sources by their numbers as plain text, with the words that each stands behind.

    A terminal cannot put a number into text that it has printed.
    """
    for block in transcript.blocks:
        if isinstance(block, PartBlock) and not block.gone and any(map(block.part.get, METADATA)):
            quotes = transcript.sources.quotes if "groundingMetadata" in block.part else {}
            yield "\n".join(_quoted(line, quotes) for line in part_text(block.part).split("\n"))


def _quoted(line: str, quotes: Mapping[int, str]) -> str:
    number = line.partition(".")[0]
    quote = quotes.get(int(number)) if number.isdecimal() else None
    return f"{line}: \u201c{cut(' '.join(quote.split()), 80)}\u201d" if quote else line


def called(call: ToolCall, longest: int = 20_000) -> str:
    """What is called with what: pay(amount=20).

    Args:
        call: the call.
        longest: characters of an argument that are shown.
    """
    args = (
        f"{name}={cut(json.dumps(value, ensure_ascii=False), longest)}" for name, value in call.args.items()
    )
    return f"{call.name}({', '.join(args)})"


def call_line(call: ToolCall) -> str:
    """One tool call in one line."""
    return _line_of(call, called(call, 60), 200)


def _title_of(call: ToolCall) -> str:
    """The same for a fold, so short that a page of some width does not break it."""
    return _line_of(call, cut(called(call, 60), 70), 60)


def _line_of(call: ToolCall, named: str, longest: int) -> str:
    outcome = call.error if call.error is not None else call.status.value
    if call.still_running:
        outcome = f"still running, {outcome}"
    took = f", {duration(call.duration)}" if call.duration is not None else ""
    return f"{named}: {cut(outcome, longest)}{took}"


def block_markdown(block: Block) -> str:
    """A block as Markdown, empty where there is nothing to see."""
    match block:
        case TextBlock():
            if _is_bare_json(block):
                return source_of(block)
            return finished(block.draft, source_of(block)).markdown
        case CallBlock():
            return call_markdown(block.call)
        case PartBlock():
            return "" if block.gone else part_of_answer(block.part)
        case AudioBlock():
            return audio_html(block)
        case StruckBlock():
            return fold("Text of an attempt that broke", settle(block.text)) if block.text else ""
        case NoticeBlock():
            return _inline(block.text)
        case _:
            assert_never(block)


def call_markdown(call: ToolCall) -> str:
    """A tool call, folded, with what it was given, printed and returned; beneath the fold what it showed."""
    found = [("arguments", json.dumps(call.args, ensure_ascii=False, indent=2), "json")] if call.args else []
    if call.output:
        found.append(("printed", end_of(plain(call.output), _LONG), ""))
    if call.error is not None:
        found.append(("error", call.error, ""))
    elif call.result is not None:
        found.append(("result", json.dumps(call.result, ensure_ascii=False, indent=2), "json"))
    body = "\n\n".join(f"*{name}*\n\n{code_block(text, language)}" for name, text, language in found)
    shown = [f"![{_inline(name)}](data:{kind};base64,{data})" for name, kind, data in figures.pictures(call)]
    return "\n\n".join([fold(f"tool {_title_of(call)}", body), *shown, shown_markdown(call.shown)]).rstrip()


def part_of_answer(part: Part) -> str:
    """A part that is neither text nor a function call: code, a picture, sources."""
    code, outcome = part.get("executableCode"), part.get("codeExecutionResult")
    if isinstance(code, dict):
        return code_block(str(code.get("code") or ""), "python")
    if isinstance(outcome, dict):
        return code_block(str(outcome.get("output") or outcome.get("outcome") or ""), "")
    if (file := written_file(part)) is not None:
        return fold(f"file {file[0]}", code_block(file[1], ""))
    if (picture := figures.picture_of(part)) is not None:
        shown = f"![an image from the model](data:{picture[0]};base64,{picture[1]})"
        return fold(DRAFT, shown) if part.get("thought") is True else shown
    return settle(part_markdown(part))


def _with_room(piece: str) -> str:
    """Put space around blocks of code and folds, which JupyterLab gives to those on the top level only."""
    if piece.startswith("<details>"):
        return _ROOM.format(piece)
    return _FENCED.sub(lambda found: _ROOM.format(found[0]), piece)


def fold(summary: str, body: str) -> str:
    """A fold with this title."""
    return f"<details><summary>{title_html(summary)}</summary>\n\n{body}\n\n</details>"


def code_block(text: str, language: str, *, limit: int | None = _LONG) -> str:
    """A fenced block that nothing in the text can close.

    Args:
        text: what stands in it.
        language: for its colours.
        limit: characters shown of it, None for all.
    """
    text = plain(text)
    if limit is not None:
        text = cut_counted(text, limit)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _inline(text: str) -> str:
    return settle(" ".join(text.split())).strip()


def title_html(text: str) -> str:
    """One line of text inside an HTML block, where Markdown is not parsed.

    MathJax looks there, too, and sees characters where there are entities, but a formula never reaches from
    one element into another.
    """
    shown = escape(" ".join(text.split()))
    return re.sub(r"[$\\]", lambda found: f"<span>&#{ord(found[0])};</span>", shown)


def literal(text: str) -> str:
    """Escape text for Markdown: a model's id such as `m~503~times=2` would be half struck out."""
    return "".join(f"&#{ord(mark)};" if mark in _MARKS else mark for mark in " ".join(plain(text).split()))
