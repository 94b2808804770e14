"""What model calls cost, by the price list of `genai-prices`, where it is installed and knows the model.

The list is part of the library; nothing is fetched. Importing it takes most of a second, so that a thread of
its own does it; until then prices are not known on other threads than the main one.
"""

from __future__ import annotations

import functools
import importlib
import logging
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from gemini_nb.api.usage import Usage
from gemini_nb.daemon import importing

logger = logging.getLogger("gemini_nb")

_TIERS = {"ON_DEMAND_FLEX": "flex", "ON_DEMAND_PRIORITY": "priority", "PROVISIONED_THROUGHPUT": "provisioned"}
# Google bills both alike: half of the standard price.
_FLEX = ({"service_tier": "flex"}, {"processing": "batch"})
_CONTEXTS = {"flex": _FLEX, "priority": ({"service_tier": "priority"},)}
_STANDARD = {None, "standard", "unspecified"}

_library: list[Any] = []
_loading: list[threading.Thread] = []


def load() -> None:
    """Import the price list, once; without it no price is known."""
    if _library:
        return
    try:
        with importing():
            _library.append(importlib.import_module("genai_prices"))
    except ImportError:
        _library.append(None)
    except Exception as error:  # noqa: BLE001 - a broken installation of it must cost no stream
        _library.append(None)
        logger.warning(
            "genai-prices cannot be imported: %s: %s. Prices are unknown until it is installed again.",
            type(error).__name__,
            error,
        )


def load_soon() -> None:
    """Begin to import the price list on a thread of its own."""
    if not _library and not any(thread.is_alive() for thread in _loading):  # in a fork the parent's is not
        thread = threading.Thread(target=load, name="gemini_nb-import", daemon=True)
        _loading[:] = [thread]
        thread.start()


def are_loaded() -> bool:
    """Whether the import is over, with a price list or without."""
    return bool(_library)


def are_known() -> bool:
    """Whether there is a price list."""
    if not _library and threading.current_thread() is threading.main_thread():
        load()
    return bool(_library and _library[0])


def price(
    models: Sequence[str | None], requests: Iterable[Usage], searches: Iterable[int] = (), *, at: float
) -> Decimal | None:
    """Return the price of a stream's model calls in US dollars; None where it is not known.

    Args:
        models: names of the model, the one that it is billed by first; the first that has a price counts.
        requests: the tokens of each request, those that were cut and made again too: prices of long prompts
            are those of one request.
        searches: of each model call the queries that the model searched with.
        at: when, in seconds since the epoch.
    """
    if not are_known():
        return None
    day = datetime.fromtimestamp(at, UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    for model in models:
        name = _bare(model)
        if name is not None and (found := _sum(name, tuple(requests), tuple(searches), day)) is not None:
            return found
    return None


def total(prices: Iterable[Decimal | None]) -> Decimal | None:
    """The sum; None where one of them is not known."""
    known = list(prices)
    return None if None in known else sum((one for one in known if one is not None), Decimal())


def dollars(amount: Decimal) -> str:
    """A sum of money: $1.23, $0.0045; small ones with two digits that say something."""
    if not amount or amount >= Decimal("0.1"):
        return f"${amount:,.2f}"
    return f"${amount:.{1 - amount.adjusted()}f}"


def _bare(model: str | None) -> str | None:
    """A model's name without its prefix; None for a tuned or deployed model, which no list has."""
    if not model or "tunedModels/" in model or "endpoints/" in model:
        return None
    return model.rpartition("/")[2]


def _sum(model: str, requests: tuple[Usage, ...], searches: tuple[int, ...], day: datetime) -> Decimal | None:
    queries = len(searches) if model.startswith("gemini-2") else sum(searches)  # before 3 a prompt is billed
    paid = [usage for usage in requests if usage.total_token_count or usage.prompt_token_count]
    costs = [_of_request(model, usage, 0, day) for usage in paid]
    if queries:
        costs.append(_of_request(model, Usage(), queries, day))
    return total(costs)


@functools.lru_cache(maxsize=4096)
def _of_request(model: str, usage: Usage, queries: int, day: datetime) -> Decimal | None:
    served = usage.service_tier or _TIERS.get(usage.traffic_type or "")
    if served in _STANDARD:
        return _calculate(model, _units(usage, queries), day, None)
    for context in _CONTEXTS.get(str(served), ()):
        if _has_variant(model, context, day):
            return _calculate(model, _units(usage, queries), day, context)
    return None


def _units(usage: Usage, queries: int) -> dict[str, int] | None:
    """What is billed; None where the server counted tokens without saying whose they are."""
    sent, cached, got = (
        usage.prompt_tokens_details,
        usage.cache_tokens_details,
        usage.candidates_tokens_details,
    )
    units = {
        "input_tokens": usage.prompt_token_count + usage.tool_use_prompt_token_count,
        "cache_read_tokens": usage.cached_content_token_count,
        "output_tokens": usage.candidates_token_count + usage.thoughts_token_count,
        "input_audio_tokens": sent.get("AUDIO", 0),
        "cache_audio_read_tokens": cached.get("AUDIO", 0),
        "output_image_tokens": got.get("IMAGE", 0),
        "output_audio_tokens": got.get("AUDIO", 0),
        "web_searches": queries,
    }
    if usage.total_token_count > units["input_tokens"] + units["output_tokens"]:
        return None
    return {name: count for name, count in units.items() if count}


def _has_variant(model: str, context: dict[str, str], day: datetime) -> bool:
    found = _calculate(model, {"input_tokens": 1_000_000}, day, context)
    return found is not None and found != _calculate(model, {"input_tokens": 1_000_000}, day, None)


def _calculate(
    model: str, units: dict[str, int] | None, day: datetime, context: dict[str, str] | None
) -> Decimal | None:
    library = _library[0]
    if units is None:
        return None
    try:
        found = library.calc_price(
            library.Usage(**units),
            model,
            provider_id="google",
            genai_request_timestamp=day,
            price_context=context,
        )
    except (LookupError, ValueError, TypeError, ArithmeticError):  # an unknown model, counts that contradict
        return None
    return Decimal(found.total_price)
