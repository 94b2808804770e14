"""A call that is refused shows no key, not even in a traceback with variables."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from pydantic import BaseModel

import gemini_nb
from ports import free_port

KEY = "AIza-a-key-that-nobody-may-see"


class Gateway(BaseModel):
    """What a user may keep a key in."""

    key: str


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


def refused(url: str) -> list[Callable[[], object]]:
    """Calls that are refused, or reach nobody, each with a key in another place."""
    manager = gemini_nb.get_manager()
    own: dict[str, Any] = {"auth": "gemini", "credentials": {"api_key": KEY}, "base_url": url}
    misnamed: dict[str, Any] = {"api_key": KEY, "GEMINI_TOKEN": KEY}
    odd: dict[str, Any] = {
        "api_key": KEY.encode(),
        "api_keys": [KEY],
        "service_account": {"private_key": KEY},
    }
    near: dict[str, Any] = {"credential": {"api_key": KEY}, "api_key": [KEY], "apikey": KEY}
    headers: dict[str, Any] = {"headers": {"X-Gateway": KEY}}
    listed: Any = [KEY]
    seven: Any = 7
    own_header: dict[str, Any] = {"headers": {"Authorization": f"Bearer {KEY}"}}
    frame: Any = pd.DataFrame({"city": ["Oslo"]})
    model: Any = Gateway(key=KEY)
    often: Any = "often"
    return [
        lambda: manager.start_stream("a", **misnamed),
        lambda: manager.models(**own),
        lambda: gemini_nb.models(**own),
        lambda: gemini_nb.models(**misnamed),
        lambda: gemini_nb.map(["a"], **misnamed),
        lambda: gemini_nb.map(["a"], each=[misnamed]),
        lambda: gemini_nb.ask_frame(pd.DataFrame({"city": ["Oslo"]}), "{item.city}", **misnamed),
        lambda: gemini_nb.estimate(["a"], "{item}", **misnamed),
        lambda: gemini_nb.cache("a", model="gemini-3.8-flash", **own),
        lambda: gemini_nb.cache("a", model="gemini-3.8-flash", **misnamed),
        lambda: gemini_nb.Chat(**misnamed),
        lambda: gemini_nb.Chat().send("a", **misnamed),
        lambda: gemini_nb.ToolOrchestrator(None, None, "a", **misnamed),
        lambda: gemini_nb.File("files/abc").delete(**own),
        lambda: gemini_nb.File("files/abc").delete(**misnamed),
        lambda: manager.start_stream("a", **odd),
        lambda: manager.start_stream("a", **near),
        lambda: manager.start_stream("a", credentials=KEY.encode()),
        lambda: manager.start_stream("a", credentials=listed),
        lambda: manager.start_stream("a", headers=listed),
        lambda: manager.start_stream("", **headers, **own),
        lambda: manager.start_stream("a", **own_header, **own),
        lambda: manager.start_stream("a", **headers, **own, metadata=seven),
        lambda: gemini_nb.models(**headers, **own),
        lambda: gemini_nb.map(["a"], **headers, **own, retry=seven),
        lambda: gemini_nb.map(["a"], each=[own_header], **own),
        lambda: gemini_nb.ask_frame(pd.DataFrame({"city": ["Oslo"]}), "{item.town}", **headers, **own),
        lambda: gemini_nb.estimate(["a"], "{item}", **own_header, **own),
        lambda: gemini_nb.cache("a", model="gemini-3.8-flash", ttl="soon", **headers, **own),
        lambda: gemini_nb.Chat(**headers, **odd),
        lambda: gemini_nb.Chat(**headers, **own).send(""),
        lambda: gemini_nb.ToolOrchestrator(None, None, "", "gemini", **headers),
        lambda: gemini_nb.File("files/abc").delete(**odd, **headers),
        lambda: gemini_nb.ask_frame(frame, "{item.town}", each=[{"credentials": {"api_key": KEY}}]),
        lambda: gemini_nb.ask_frame(frame, "{item.city}", each=[misnamed], **own),
        lambda: gemini_nb.estimate(["a"], "{item} {nothing}", each=[{"credentials": {"api_key": KEY}}]),
        lambda: gemini_nb.estimate(["a"], "{item}", each=deque([own_header]), rpm=seven, **own),
        lambda: gemini_nb.map(["a", "b"], each=({**own, "headers": model}, model)),
        lambda: gemini_nb.map(["a", "b"], each={"a": own, "b": own}.values(), rpm=often),
        lambda: manager.start_stream("a", headers=model),
        lambda: manager.start_stream("a", credentials=model, auth="vertex_ai"),
        lambda: gemini_nb.Chat(headers=model).send("a"),
        lambda: gemini_nb.models(credentials=model, headers=model),
    ]


COUNT = 43


@pytest.mark.parametrize("number", range(COUNT))
def test_no_way_to_ask_shows_a_key_that_it_is_given(number: int) -> None:
    calls = refused(f"http://127.0.0.1:{free_port()}")
    assert len(calls) == COUNT
    with pytest.raises((gemini_nb.GeminiError, TypeError)) as caught:
        calls[number]()
    frames = list(traceback.walk_tb(caught.value.__traceback__))
    ours = [(frame, line) for frame, line in frames if "gemini_nb" in frame.f_globals.get("__package__", "")]
    assert ours
    shown = [str(summary.locals) for summary in traceback.StackSummary.extract(ours, capture_locals=True)]
    assert not [locals_of for locals_of in shown if KEY in locals_of]


def test_where_a_key_goes_is_said() -> None:
    with pytest.raises(TypeError, match=r'A key goes into credentials=\{"api_key": ...\}'):
        gemini_nb.Chat(api_key=KEY)
