"""A call that is refused shows no key, not even in a traceback with variables."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

import gemini_nb

KEY = "AIza-a-key-that-nobody-may-see"


def by_manager(contents: str, model: str) -> object:
    manager = gemini_nb.StreamManager()
    try:
        return manager.start_stream(contents, model=model, auth="gemini", credentials={"api_key": KEY})
    finally:
        manager.shutdown()


def by_orchestrator(contents: str, model: str) -> object:
    return gemini_nb.ToolOrchestrator(
        None, None, contents, "gemini", model=model, credentials={"api_key": KEY}
    )


@pytest.mark.parametrize("options", [{"tools": 7}, {"schema": "a text"}, {"timeout": -1}])
def test_refused_rows_show_no_key(options: dict[str, Any]) -> None:
    own: dict[str, Any] = {"auth": "gemini", **options}
    frame = pd.DataFrame({"city": ["Oslo"]})
    for ask in (
        lambda: gemini_nb.map(["a"], credentials={"api_key": KEY}, **own),
        lambda: gemini_nb.map(["a"], each=[{"credentials": {"api_key": KEY}}], **own),
        lambda: gemini_nb.ask_frame(frame, "{item.city}", credentials={"api_key": KEY}, **own),
        lambda: gemini_nb.estimate(frame, "{item.city}", credentials={"api_key": KEY}, **own),
    ):
        with pytest.raises(gemini_nb.GeminiError) as caught:
            ask()
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert KEY not in "".join(shown.format())


@pytest.mark.parametrize("start", [by_manager, by_orchestrator])
@pytest.mark.parametrize(("contents", "model"), [("", "gemini-3.8-flash"), ("Hi", "a?b")])
def test_a_refused_call_shows_no_key(start: Callable[[str, str], object], contents: str, model: str) -> None:
    with pytest.raises(gemini_nb.ConfigError) as caught:
        start(contents, model)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert KEY not in "".join(shown.format())
