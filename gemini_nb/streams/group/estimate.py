"""What a run will cost, before anything is asked."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gemini_nb.api.resources.counting import count_tokens
from gemini_nb.api.usage import Usage
from gemini_nb.errors import ArgumentError, NotAskedError
from gemini_nb.journal import prices
from gemini_nb.streams.events.record import StreamRecord
from gemini_nb.streams.group.asked_frame import OF_THE_RUN, contents_of
from gemini_nb.streams.group.frame import records_of
from gemini_nb.streams.manager import StreamManager, get_manager
from gemini_nb.streams.request.request import StreamRequest, build_request
from gemini_nb.streams.request.uploads import uploads_of

__all__ = ["Estimate", "estimate"]

_SAMPLE = 10  # rows whose tokens are counted
_LONG_ANSWER = 2000  # tokens of a long answer with its thoughts, where the request sets no limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What many rows will cost, more or less.

    Attributes:
        requests: how many there will be.
        input_tokens: of all of them together, from the mean of a sample.
        low: US dollars for what is sent alone; None where no price is known.
        high: the same with every answer as long as `max_output_tokens` allows, or 2,000 tokens where that
            is not set.
    """

    requests: int
    input_tokens: int
    low: Decimal | None
    high: Decimal | None


def estimate(
    rows: Any, prompt: str, *, manager: StreamManager | None = None, schema: object = None, **options: Any
) -> Estimate:
    """Say what a run would cost. A few rows are sent to be counted, which is free; nothing is generated.

    Large files among them are uploaded, as the run itself would do it.

    Args:
        rows: a list or a frame.
        prompt: what to ask, with `{item}` or `{item.column}` for the row's own.
        manager: who would run them; by default the kernel's.
        schema: the form of the answers.
        **options: as `gemini_nb.map` takes them.

    Raises:
        ArgumentError: the rows have no length, or none of the sample has what the prompt names.
        ConfigError: an option does not fit.
        GeminiError: the service does not count.
    """
    items = _listed(rows)
    chosen = manager or get_manager()
    for name in OF_THE_RUN:
        options.pop(name, None)
    sample, requests = items[:: max(1, -(-len(items) // _SAMPLE))], []
    misfit: ArgumentError | None = None
    for item in sample:
        try:
            requests.append(
                build_request(chosen.runtime, contents_of(prompt, item), schema=schema, **options)
            )
        except NotAskedError:
            pass  # a row with nothing to ask about
        except ArgumentError as error:  # in the run it would fail alone
            misfit = misfit or error
    if not requests:
        if misfit is not None:
            raise misfit
        return Estimate(requests=0, input_tokens=0, low=Decimal(), high=Decimal())
    chosen.runtime.check_may_block()
    counts = chosen.runtime.loop.submit(_count(chosen, requests)).result()
    mean = sum(counts) / len(counts)
    asked = round(len(items) * len(requests) / len(sample))
    request = requests[0]
    limit = (request.body.get("generationConfig") or {}).get("maxOutputTokens")
    return Estimate(
        requests=asked,
        input_tokens=round(mean * asked),
        low=_price(request, mean, 0, asked),
        high=_price(request, mean, limit if isinstance(limit, int) else _LONG_ANSWER, asked),
    )


def _listed(rows: Any) -> Sequence[Any]:
    records = records_of(rows)
    if records is not None:
        return records
    if isinstance(rows, (str, bytes)) or not isinstance(rows, Iterable) or not isinstance(rows, Sized):
        raise ArgumentError(
            f"estimate takes a list or a frame, not a {type(rows).__name__}.",
            hint="An iterator has no length, and would be used up: list(rows).",
        )
    return list(rows)


async def _count(manager: StreamManager, requests: list[StreamRequest]) -> list[int]:
    clients = await manager.runtime.ready()
    uploads, counts = uploads_of(manager.runtime), []
    for one in requests:
        contents = await uploads.put_up(clients, one, StreamRecord("estimate"), one.contents)
        counts.append(await count_tokens(clients, one.endpoint, one.body_for(contents)))
    return counts


def _price(request: StreamRequest, sent: float, got: int, rows: int) -> Decimal | None:
    tokens = max(1, round(sent))
    usage = Usage(prompt_token_count=tokens, candidates_token_count=got, total_token_count=tokens + got)
    one = prices.price([request.endpoint.model], [usage], at=time.time())
    return None if one is None else one * rows
