"""What model calls cost, held against prices worked out by hand from the published list."""

from __future__ import annotations

import re
import socket
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from answers import rig, run_python
from gemini_nb.api.usage import Usage
from gemini_nb.journal import prices
from gemini_nb.journal.prices import dollars
from gemini_nb.notebook.dashboard.look import line_html, totals_html
from gemini_nb.notebook.dashboard.trace import Trace
from gemini_nb.notebook.render import figures
from gemini_nb.notebook.render.group_settled import markdown_of, text_of
from gemini_nb.notebook.render.settled import to_text
from gemini_nb.streams.group.mapping import map_prompts
from gemini_nb.streams.manager import StreamManager
from scripted import Close, sse_answer, text

NOVEMBER = datetime(2026, 11, 27, tzinfo=UTC).timestamp()
FLASH = "gemini-3.8-flash"  # 0.75 $ in, 0.075 cached, 3.75 out for a million tokens, 14 for 1,000 queries


def cost(model: str, *requests: Usage, searches: tuple[int, ...] = ()) -> Decimal | None:
    return prices.price([model], requests, searches, at=NOVEMBER)


def usage(sent: int, got: int, **more: Any) -> Usage:
    return Usage(prompt_token_count=sent, candidates_token_count=got, total_token_count=sent + got, **more)


@pytest.mark.parametrize(
    ("model", "spent", "expected"),
    [
        (FLASH, usage(1_000_000, 0), "0.75"),
        (FLASH, usage(0, 1_000_000), "3.75"),
        (FLASH, usage(1000, 100, thoughts_token_count=0), "0.001125"),
        (FLASH, usage(1_000_000, 0, cached_content_token_count=600_000), "0.345"),
        ("gemini-2.5-flash", usage(1_000_000, 0, prompt_tokens_details={"AUDIO": 500_000}), "0.65"),
        (
            "gemini-2.5-flash",
            usage(
                1_000_000,
                0,
                cached_content_token_count=500_000,
                prompt_tokens_details={"AUDIO": 500_000},
                cache_tokens_details={"AUDIO": 500_000},
            ),
            "0.2",
        ),
        (
            "gemini-3-pro-image-preview",
            usage(0, 1_000_000, candidates_tokens_details={"IMAGE": 10**6}),
            "120",
        ),
        ("models/gemini-3.8-flash", usage(1_000_000, 0), "0.75"),
        ("publishers/google/models/gemini-3.8-flash", usage(1_000_000, 0), "0.75"),
        ("gemini-2.5-pro", usage(200_000, 0), "0.25"),
        ("gemini-2.5-pro", usage(300_000, 0), "0.75"),  # a long prompt is dearer, all of it
        (FLASH, usage(1_000_000, 0, service_tier="flex"), "0.375"),
        (FLASH, usage(1_000_000, 0, traffic_type="ON_DEMAND_FLEX"), "0.375"),
        (FLASH, usage(1_000_000, 0, service_tier="standard", traffic_type="ON_DEMAND"), "0.75"),
        (FLASH, usage(1_000_000, 0, traffic_type="ON_DEMAND"), "0.75"),
        ("gemini-3.8-flash-tts", usage(1_000_000, 0, service_tier="priority"), "0.9"),
        (FLASH, usage(1_000_000, 0, service_tier="priority"), None),
        (FLASH, usage(1_000_000, 0, traffic_type="PROVISIONED_THROUGHPUT"), None),
        (FLASH, Usage(total_token_count=7), None),
        (FLASH, usage(10, 0, cached_content_token_count=20), None),
        ("gemini-4-neon", usage(10, 10), None),
        ("tunedModels/gemini-3.8-flash", usage(10, 10), None),
        ("", usage(10, 10), None),
    ],
)
def test_one_request(model: str, spent: Usage, expected: str | None) -> None:
    found = cost(model, spent)
    assert found == (None if expected is None else Decimal(expected))


def test_thoughts_and_what_built_in_tools_read_are_paid_for() -> None:
    spent = Usage(
        prompt_token_count=0,
        tool_use_prompt_token_count=1_000_000,
        thoughts_token_count=1_000_000,
        total_token_count=2_000_000,
    )
    assert cost(FLASH, spent) == Decimal("4.5")


def test_each_request_is_as_long_as_it_is() -> None:
    two = (usage(150_000, 0), usage(150_000, 0))
    assert cost("gemini-2.5-pro", *two) == Decimal("0.375")


def test_searches_cost_by_query_and_before_gemini_3_by_prompt() -> None:
    assert cost(FLASH, searches=(3,)) == Decimal("0.042")
    assert cost("gemini-2.5-flash", searches=(3,)) == Decimal("0.035")


def test_the_model_that_answered_counts() -> None:
    requests = [usage(1_000_000, 0)]
    assert prices.price([FLASH, "gemini-2.5-pro"], requests, at=NOVEMBER) == Decimal("0.75")
    assert prices.price([None, FLASH], requests, at=NOVEMBER) == Decimal("0.75")
    assert prices.price(["gemini-9-unheard-of", FLASH], requests, at=NOVEMBER) == Decimal("0.75")


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("it reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert cost(FLASH, usage(3, 4)) is not None


@pytest.mark.slow
def test_without_the_price_list_no_price_is_known_and_all_else_goes_on() -> None:
    done = run_python(
        "import sys; sys.modules['genai_prices'] = None\n"
        "import gemini_nb\n"
        "from gemini_nb.simulator import Simulator\n"
        "with Simulator(pace=0, api_key='k' * 20) as server:\n"
        "    where = {'credentials': {'api_key': 'k' * 20}, 'base_url': server.base_url}\n"
        "    s = gemini_nb.get_manager().start_stream('Hi', auth='gemini', **where)\n"
        "    s.result()\n"
        "    print(s.cost, gemini_nb.get_manager().statistics().cost)\n"
        "    print(gemini_nb.journal().streams()[0].cost)\n"
    )
    assert (done.stdout, done.stderr) == ("None None\nNone\n", "")


def test_a_price_list_that_cannot_be_imported_is_said_once_and_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "genai_prices.py").write_text("raise AttributeError('half installed')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "genai_prices", raising=False)
    monkeypatch.setattr(prices, "_library", [])
    assert cost(FLASH, usage(3, 4)) is None
    assert cost(FLASH, usage(3, 4)) is None
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(
        "genai-prices cannot be imported: AttributeError: half installed. Prices are unknown"
    )


def counts(sent: int, got: int) -> dict[str, Any]:
    return {
        "usageMetadata": {
            "promptTokenCount": sent,
            "candidatesTokenCount": got,
            "totalTokenCount": sent + got,
        }
    }


def test_a_cut_or_repeated_call_counts_what_it_cost() -> None:
    cut = [*sse_answer({**text("Half"), **counts(1_000_000, 0)})[:-1], Close()]
    whole = sse_answer({**text("Whole.", finish="STOP"), **counts(1_000_000, 100_000)})
    with rig([cut, whole]) as made:
        stream = made.start()
        stream.wait()
        assert stream.text == "Whole."
        assert stream.cost == Decimal("0.75") + Decimal("1.125")
        assert made.manager.statistics().cost == stream.cost


def test_a_stream_that_is_stopped_costs_what_it_had_cost() -> None:
    from scripted import Wait

    begun = [*sse_answer({**text("Half"), **counts(1_000_000, 0)})[:-1], Wait()]
    with rig([begun]) as made:
        stream = made.start()
        next(event for event in stream if event.kind == "text_delta")
        stream.stop()
        assert stream.cost == Decimal("0.75")


def test_an_unknown_price_is_unknown_for_the_group_too() -> None:
    answer = sse_answer({**text("Yes.", finish="STOP"), **counts(1_000_000, 0)})
    with rig([answer] * 3) as made:
        group = map_prompts(
            ["a", "b"],
            manager=made.manager,
            each=[{"model": FLASH}, {"model": "gemini-4-neon"}],
            **made.options,
        ).wait()
        assert {stream.cost for stream in group.streams} == {Decimal("0.75"), None}
        assert group.cost is None
        assert map_prompts(["c"], manager=made.manager, **made.options).wait().cost == Decimal("0.75")


def test_the_price_is_shown_wherever_figures_are() -> None:
    answer = sse_answer({**text("Yes.", finish="STOP"), **counts(1_000_000, 0)})
    with rig([answer] * 3) as made:
        stream, unknown = made.start().wait(), made.start(model="gemini-4-neon").wait()
        group = map_prompts(["a"], manager=made.manager, **made.options).wait()
        assert "$0.75" in figures.short(stream)
        assert "price unknown" in figures.short(unknown)
        assert "· $0.75" in to_text(stream)
        assert "$0.75" in markdown_of(group)
        assert "$0.75" in text_of(group)
        assert "<b>$1.50</b>" in totals_html(made.manager.statistics())
        row = line_html(stream, Trace(stream.log), "Hi", time.time())
        assert re.search(r'"gemini-nb-tokens">.* · <span>\$0\.75<', row) is not None


def test_simulated_answers_are_not_called_free_money() -> None:
    manager = StreamManager()
    try:
        stream = manager.start_stream("Hi", auth="simulator")
        stream.wait()
        shown = [*figures.short(stream), figures.details(stream), to_text(stream)]
        shown += [totals_html(manager.statistics()), line_html(stream, Trace(stream.log), "Hi", time.time())]
        assert not any("$" in one or "price" in one for one in shown)
    finally:
        manager.shutdown()


def test_simulated_answers_cost_nothing() -> None:
    manager = StreamManager()
    try:
        stream = manager.start_stream("Hi", auth="simulator")
        stream.wait()
        assert stream.cost == 0
        assert manager.statistics().cost == 0
    finally:
        manager.shutdown()


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        ("0", "$0.00"),
        ("1234.5", "$1,234.50"),
        ("0.1", "$0.10"),
        ("0.099", "$0.099"),
        ("0.0045", "$0.0045"),
        ("0.00078751", "$0.00079"),
        ("0.0000001", "$0.00000010"),
        ("0.05", "$0.050"),
    ],
)
def test_sums_of_money_are_written_so_that_they_say_something(amount: str, expected: str) -> None:
    assert dollars(Decimal(amount)) == expected
