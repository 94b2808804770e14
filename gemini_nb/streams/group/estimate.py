"""What a run will cost, before anything is asked."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gemini_nb.api.resources.counting import count_tokens
from gemini_nb.api.usage import Usage
from gemini_nb.errors import ArgumentError, GeminiError, NotAskedError, kind_of
from gemini_nb.journal import prices
from gemini_nb.sealing import sealed
from gemini_nb.streams.conversation.dependencies import Deferred, growing
from gemini_nb.streams.events.record import StreamRecord
from gemini_nb.streams.group.asked_frame import OF_THE_RUN, check_prompt, checked_prompt, contents_of
from gemini_nb.streams.group.frame import names_in, records_of, why_no_rows
from gemini_nb.streams.group.mapping import map_prompts
from gemini_nb.streams.manager import StreamManager, manager_of
from gemini_nb.streams.request.options import for_several, takes_options_of
from gemini_nb.streams.request.request import StreamRequest, build_request
from gemini_nb.streams.request.uploads import uploads_of

_SAMPLE = 10  # rows whose tokens are counted
_LOOKED_AT = 1000  # rows of which is found out how many can be asked
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


@takes_options_of(map_prompts, "items")
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
        ArgumentError: the rows have no length, the prompt is no text or has braces that stand for nothing,
            none of the sample has what it names, or a stream in it still runs.
        ConfigError: an option does not fit.
        GeminiError: the service does not count.
    """
    options = sealed(options)  # before anything can fail and show them
    check_prompt(prompt, "estimate")
    items = _listed(rows)
    prompt = checked_prompt(prompt, names_in(items[0]) if items else ())
    chosen = manager_of(manager)
    settings = {name: value for name, value in for_several(options).items() if name not in OF_THE_RUN}
    looked_at = _spread(items, _LOOKED_AT)
    asked, misfits = _asked_about(prompt, looked_at)
    requests: list[StreamRequest] = []
    sample = _spread(asked, _SAMPLE)
    for contents in sample:
        try:
            requests.append(build_request(chosen.runtime, contents, schema=schema, **settings))
        except ArgumentError as error:  # in the run it would fail alone
            misfits.append(error)
    if not requests:
        if misfits:
            why = misfits[0].message.removeprefix("Not asked: ")
            raise ArgumentError(f"None of these rows can be asked: {why}", hint=misfits[0].hint)
        return Estimate(requests=0, input_tokens=0, low=Decimal(), high=Decimal())
    chosen.runtime.check_may_block()
    counts = chosen.runtime.loop.run(_count(chosen, requests))
    mean = sum(counts) / len(counts)
    count = round(len(items) * len(asked) / len(looked_at) * len(requests) / len(sample))
    request = requests[0]
    limit = (request.body.get("generationConfig") or {}).get("maxOutputTokens")
    return Estimate(
        requests=count,
        input_tokens=round(mean * count),
        low=_price(request, mean, 0, count),
        high=_price(request, mean, limit if isinstance(limit, int) else _LONG_ANSWER, count),
    )


def _spread(items: Sequence[Any], most: int) -> Sequence[Any]:
    """Return so many of them, one from each stretch: every n-th of a list that alternates are all alike.

    Lists of the same length are sampled at the same places, so that equal questions have equal answers.
    """
    count = len(items)
    if count <= most:
        return items
    chance = random.Random(count)  # noqa: S311 - it chooses a sample
    return [items[chance.randrange(at * count // most, (at + 1) * count // most)] for at in range(most)]


def _asked_about(prompt: str, items: Iterable[Any]) -> tuple[list[Any], list[GeminiError]]:
    """Return what is asked about those rows that can be asked, and what is wrong with others.

    Raises:
        ArgumentError: a row holds a stream that still runs.
    """
    asked: list[Any] = []
    misfits: list[GeminiError] = []
    deferred: list[Deferred] = []
    for item in items:
        try:
            contents = contents_of(prompt, item)
        except (NotAskedError, ArgumentError) as error:  # in the run it would fail alone
            misfits.append(error)
            continue
        (deferred if isinstance(contents, Deferred) else asked).append(contents)
    for contents in deferred:
        _check_ended(contents)
    for contents in deferred:  # where a stream failed, the row is not asked
        try:
            for need in contents.needs:
                need.check()
            asked.append(contents.complete())
        except NotAskedError as error:
            misfits.append(error)
    return asked, misfits


def _check_ended(contents: Deferred) -> None:
    for need in contents.needs:
        if need.pending or growing(need.target):
            raise ArgumentError(
                f"The tokens cannot be counted yet, since {need.words} still runs.",
                hint="Wait until it has ended, as with wait(), and estimate then.",
            )


def _listed(rows: Any) -> list[Any]:
    records = records_of(rows)
    if records is not None:
        return records
    if (why := why_no_rows(rows, "rows")) is not None:
        raise ArgumentError(f"estimate takes a list or a frame, not {why}.")
    if hasattr(rows, "__len__"):
        return list(rows)
    raise ArgumentError(
        f"estimate takes a list or a frame, not {kind_of(rows)}.",
        hint="An iterator has no length, and would be used up: list(rows).",
    )


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
