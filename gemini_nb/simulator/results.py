"""What the tools returned, told in Markdown: one table of calls, and a sentence for each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gemini_nb.simulator.history import Exchange

__all__ = ["tell_results"]

_LONGEST = 300


def tell_results(rounds: Sequence[Sequence[Exchange]]) -> str:
    """Write the part of an answer that rests on tool results.

    Args:
        rounds: the calls with their results, round by round.
    """
    exchanges = [exchange for exchanges in rounds for exchange in exchanges]
    failed = [exchange for exchange in exchanges if _error(exchange) is not None]
    lines = ["Here is what I found.", ""]
    lines += [_sentence(exchange) for exchange in exchanges]
    if len(exchanges) > 1:
        lines += ["", "| Tool | Asked with | Answer |", "| --- | --- | --- |"]
        lines += [_row(exchange) for exchange in exchanges]
    lines.append("")
    if failed and len(failed) == len(exchanges):
        lines.append("So I cannot give you a full answer now; the messages above say what went wrong.")
    elif failed:
        lines.append("I used what did arrive, and left out what failed.")
    elif len(rounds) > 1:
        lines.append(
            f"The {len(rounds)} steps were taken one after the other, each after the last had answered."
        )
    else:
        lines.append("These values come from the tools as they are; nothing was added to them.")
    return "\n".join(lines)


def _row(exchange: Exchange) -> str:
    asked = ", ".join(f"{name} = {_short(value)}" for name, value in exchange.args.items()) or "nothing"
    return f"| `{exchange.name}` | {_cell(asked)} | {_cell(_answer(exchange))} |"


def _sentence(exchange: Exchange) -> str:
    subject = next((value for value in exchange.args.values() if isinstance(value, str) and value), "")
    about = f" ({_inline(subject)})" if subject else ""
    if (error := _error(exchange)) is not None:
        return f"- **{exchange.name}**{about} failed: {_inline(error)}"
    return f"- **{exchange.name}**{about}: {_inline(_answer(exchange))}"


def _error(exchange: Exchange) -> str | None:
    if "error" not in exchange.response:
        return None
    error = exchange.response["error"]
    if isinstance(error, Mapping) and isinstance(error.get("message"), str):
        return str(error["message"])
    return _short(error)


def _answer(exchange: Exchange) -> str:
    if (error := _error(exchange)) is not None:
        return f"error: {error}"
    response: Any = exchange.response
    for key in ("output", "result"):
        if set(response) == {key}:
            response = response[key]
            break
    if response in ({}, None, "", []):
        return "done, without a value"
    if isinstance(response, Mapping):
        return ", ".join(f"{key}: {_short(value)}" for key, value in response.items())
    if isinstance(response, list) and all(not isinstance(item, Mapping | list) for item in response):
        return ", ".join(_short(item) for item in response)
    return _short(response)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1].rstrip() + "…"


def _inline(text: str) -> str:
    return " ".join(text.split())[: 2 * _LONGEST]


def _cell(text: str) -> str:
    return _inline(text).replace("|", "\\|")
