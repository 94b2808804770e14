"""A model that calls the tools it is given the names of, and two tools of which one needs approval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gemini_nb.tools.tool import Tool
from scripted import Answer, Request, call, sse_answer, text


def asking(*names: str) -> Callable[[Request], Answer]:
    """A model that calls these tools once and is content with what comes of it."""

    def answer(request: Request) -> Answer:
        if any(content["role"] == "model" for content in request.json["contents"]):
            return sse_answer(text("done", finish="STOP"))
        return sse_answer(*(call(name) for name in names), text("", finish="STOP"))

    return answer


def approvals(**options: Any) -> tuple[list[str], Tool, Tool]:
    """Two tools, the first of which asks."""
    ran: list[str] = []

    def pay() -> str:
        """Pay."""
        ran.append("pay")
        return "paid"

    def look() -> str:
        """Look."""
        ran.append("look")
        return "seen"

    return ran, Tool(pay, **options), Tool(look)
