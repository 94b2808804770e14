"""What Google's own tools did inside a model call, as calls that cards show like any other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gemini_nb.api.wire import JSON
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.states import ToolStatus

_NAMES = {
    "GOOGLE_SEARCH_WEB": "Google Search",
    "GOOGLE_SEARCH_IMAGE": "Google image search",
    "GOOGLE_MAPS": "Google Maps",
    "URL_CONTEXT": "URL context",
    "FILE_SEARCH": "file search",
}
_FOR_PAGES = {"search_suggestions", "searchSuggestions"}  # HTML; the queries are shown as links
_FOR_PAGES |= {"google_maps_widget_context_token", "googleMapsWidgetContextToken"}


def asked(call: JSON, time: float) -> ToolCall:
    """Return the card of a toolCall."""
    kind, args, identity = call.get("toolType"), call.get("args"), call.get("id")
    name = _NAMES.get(str(kind)) or str(kind or "a tool of Google's").lower().replace("_", " ")
    return ToolCall(
        id=identity if isinstance(identity, str) else None,
        name=name,
        args=args if isinstance(args, dict) else {},
        status=ToolStatus.RUNNING,
        started_at=time,
        index=-1,
    )


def answered(call: ToolCall, response: JSON, time: float) -> ToolCall:
    """Return the card with what the toolResponse says."""
    said: Any = response.get("response")
    result = {name: said[name] for name in said if name not in _FOR_PAGES} if isinstance(said, dict) else said
    return replace(call, status=ToolStatus.DONE, result=result or "see the sources", ended_at=time)


def ended(call: ToolCall, time: float) -> ToolCall:
    """Return the card of a tool whose model call ended before a toolResponse."""
    return replace(
        call,
        status=ToolStatus.CANCELLED,
        error="the model call ended before this tool answered",
        ended_at=time,
    )
