"""What stays of a group of streams in the notebook: the answers, one beneath the other, folded if many."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gemini_nb.notebook.render.markdown import escape, plain
from gemini_nb.notebook.render.settled import literal, title_html, to_markdown, to_text
from gemini_nb.streams.group import StreamGroup
from gemini_nb.streams.states import Status
from gemini_nb.streams.stream import Stream

__all__ = ["bundle_of", "counts", "item_words", "markdown_of", "text_of"]

_MOST = 200
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")


def bundle_of(made: Stream | StreamGroup) -> dict[str, str]:
    """The settled output of a stream or a group, as Markdown and as plain text."""
    return {"text/markdown": markdown_of(made), "text/plain": text_of(made)}


def markdown_of(made: Stream | StreamGroup) -> str:
    """The same as Markdown alone."""
    return to_markdown(made) if isinstance(made, Stream) else _to_markdown(made)


def text_of(made: Stream | StreamGroup) -> str:
    """The same as plain text alone."""
    return to_text(made) if isinstance(made, Stream) else _to_text(made)


def counts(group: StreamGroup) -> str:
    """How many there are of each kind, and what they cost."""
    by_status = {status: sum(stream.status is status for stream in group) for status in Status}
    parts = [f"{count:,} {status.value}" for status, count in by_status.items() if count]
    tokens = sum(stream.usage.total_token_count for stream in group)
    return " · ".join([*parts, f"{tokens:,} tokens"])


def item_words(group: StreamGroup, index: int) -> str:
    """What a stream of the group was asked about, in a few words; its model where they have several."""
    if group.items is None:
        return group[index].model
    item = group.items[index]
    shown = ", ".join(map(str, item.values())) if isinstance(item, Mapping) else str(item)
    words = " ".join(plain(_ADDRESS.sub("", shown)).split())
    words = words if len(words) <= 80 else words[:79] + "…"
    model = group[index].model
    return words if model == group[0].model == group[-1].model else f"{words} · {model}"


def _to_markdown(group: StreamGroup) -> str:
    if group.items is None:
        pieces = [f"#### {literal(stream.model)}\n\n{to_markdown(stream)}" for stream in group]
        return "\n\n".join(pieces)
    folds = [_fold(group, index, stream) for index, stream in enumerate(group[:_MOST])]
    if len(group) > _MOST:
        folds.append(f"… and {len(group) - _MOST:,} more; `to_frame()` has them all.")
    return "\n\n".join([f"**{_answers(group)}**: {escape(counts(group))}", *folds])


def _fold(group: StreamGroup, index: int, stream: Stream) -> str:
    words = title_html(item_words(group, index))
    state = "" if stream.status is Status.COMPLETED else f" ({stream.status.value})"
    return f"<details><summary>{words}{state}</summary>\n\n{to_markdown(stream)}\n\n</details>"


def _to_text(group: StreamGroup) -> str:
    pieces = [
        f"[{item_words(group, index)}]\n{to_text(stream)}" for index, stream in enumerate(group[:_MOST])
    ]
    return "\n\n".join([f"{_answers(group)}: {counts(group)}", *pieces])


def _answers(group: StreamGroup) -> str:
    return f"{len(group):,} answer{'s' if len(group) != 1 else ''}"
