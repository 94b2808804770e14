"""What the notebook calls its streams, so that every view calls them the same: `trip · s1`."""

from __future__ import annotations

from collections.abc import Mapping

from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.stream import Stream


def name_made(made: object, name: str) -> None:
    """Give a stream, or each of a group or list of streams, this name; the first one that it got stays."""
    if isinstance(made, Stream):
        made.record.name = made.record.name or name
    elif isinstance(made, StreamGroup):
        made.run.name = made.run.name or name
    elif isinstance(made, list | tuple) and made and isinstance(made[0], Stream):
        for index, one in enumerate(made):
            name_made(one, f"{name}[{index}]")


def name_streams(namespace: Mapping[str, object]) -> None:
    """Name the streams that the notebook has bound to names by itself."""
    for name, value in list(namespace.items()):
        if not name.startswith("_"):
            name_made(value, name)
