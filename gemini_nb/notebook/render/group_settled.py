"""What stays of a group of streams in the notebook: the answers, one beneath the other, folded if many."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

from gemini_nb.journal.prices import dollars
from gemini_nb.notebook.render.group_table import is_table, item_words, notes_of, table_markdown, table_text
from gemini_nb.notebook.render.markdown import escape
from gemini_nb.notebook.render.settled import literal, mimebundle, title_html, to_markdown, to_text
from gemini_nb.notebook.render.transcript import Transcript
from gemini_nb.notebook.render.words import quantity
from gemini_nb.streams.events.states import Status
from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.stream import Stream

Transcripts: TypeAlias = Mapping[int, Transcript]

SHOWN = 200
"""Answers of a group that stay in the notebook."""


def bundle_of(made: Stream | StreamGroup, transcripts: Transcripts = MappingProxyType({})) -> dict[str, str]:
    """The settled output of a stream or a group, as Markdown and as plain text.

    Args:
        made: the stream or group.
        transcripts: of the group's streams, by their place, as far as they are rendered already.
    """
    if isinstance(made, Stream):
        return mimebundle(made)
    return {"text/markdown": _to_markdown(made, transcripts), "text/plain": _to_text(made, transcripts)}


def markdown_of(made: Stream | StreamGroup) -> str:
    """The same as Markdown alone."""
    return to_markdown(made) if isinstance(made, Stream) else _to_markdown(made)


def text_of(made: Stream | StreamGroup) -> str:
    """The same as plain text alone."""
    return to_text(made) if isinstance(made, Stream) else _to_text(made)


def counts(group: StreamGroup) -> str:
    """How many there are of each kind, and what they cost."""
    how_many = group.counts
    named = ("running", "waiting", "completed", "failed", "stopped", "kept")
    parts = [f"{count:,} {name}" for name in named if (count := getattr(how_many, name))]
    price = [dollars(cost)] if (cost := group.cost) else []
    return " · ".join([*parts, f"{group.usage.total_token_count:,} tokens", *price])


def _to_markdown(group: StreamGroup, transcripts: Transcripts = MappingProxyType({})) -> str:
    if is_table(group):
        return table_markdown(group, f"**{_answers(group)}**: {escape(counts(group))}")
    made = [to_markdown(stream, transcripts.get(index)) for index, stream in enumerate(group[:SHOWN])]
    if not group.has_items:
        return "\n\n".join(made)
    folds = [_fold(group, index, text) for index, text in enumerate(made)]
    if len(group) > SHOWN:
        folds.append(f"… and {len(group) - SHOWN:,} more; `to_frame()` has them all.")
    notes = [f"> {literal(note)}" for note in notes_of(group)]
    return "\n\n".join([f"**{_answers(group)}**: {escape(counts(group))}", *notes, *folds])


def _fold(group: StreamGroup, index: int, text: str) -> str:
    words, status = title_html(item_words(group, index)), group[index].status
    state = "" if status is Status.COMPLETED else f" ({status.value})"
    return f"<details><summary>{words}{state}</summary>\n\n{text}\n\n</details>"


def _to_text(group: StreamGroup, transcripts: Transcripts = MappingProxyType({})) -> str:
    if is_table(group):
        return table_text(group, f"{_answers(group)}: {counts(group)}")
    pieces = [
        f"[{item_words(group, index)}]\n{to_text(stream, transcripts.get(index))}"
        for index, stream in enumerate(group[:SHOWN])
    ]
    return "\n\n".join([f"{_answers(group)}: {counts(group)}", *notes_of(group), *pieces])


def _answers(group: StreamGroup) -> str:
    is_used_up = group.is_over and not len(group) and group.error is None
    why = " (no row was read; an iterator that was used up has none)" if is_used_up else ""
    return f"{quantity(len(group), 'answer')}{why}"
