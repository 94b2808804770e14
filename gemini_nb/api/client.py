"""One model call: as many requests as it takes until the model's turn is whole.

A failed request may have shown half an answer already. Asking again and appending, as a plain retry does,
would tell that half twice; giving up would lose the rest. So the turn is rewound: to the newest continuation
token where the server gave one, else to its beginning, and what was shown stays until new output replaces it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from gemini_nb.api import failures
from gemini_nb.api.call import ChunkReceived, ModelCall, request_once
from gemini_nb.api.http import HTTPClients
from gemini_nb.api.reasons import is_slip
from gemini_nb.api.retry import CoolingDown
from gemini_nb.errors import (
    APIError,
    EmptyAnswerError,
    GeminiError,
    IdleTimeoutError,
    ProtocolError,
    StreamCutError,
    without_traceback,
)

if TYPE_CHECKING:
    from gemini_nb.api.turn import ModelTurn

__all__ = ["CallEvent", "RetryPlanned", "call_model"]

_ASKED_AGAIN = 2  # times, after a slip of the model's: its next sample is usually sound
_STALLS = 2  # requests that may fall silent before their first output
_HOPS = 64  # continuations without a word; one may be all thinking, but a whole answer has no more than these
_COOLING = {429, 503, 529}


@dataclass(frozen=True, slots=True)
class RetryPlanned:
    """A request failed, and the call is made again.

    Attributes:
        attempt: the number of the request to come, 2 or more.
        delay: seconds until then.
        error: why.
        awaited: what is waited for until then, in a few words.
        reason: the same for a person who waits, and when that is.
        had_output: whether some of the answer was shown, which new output will replace.
        from_start: whether a continuation token was given up, so that all of the answer is told anew.
    """

    attempt: int
    delay: float
    error: GeminiError
    awaited: str
    reason: str
    had_output: bool = False
    from_start: bool = False


CallEvent: TypeAlias = ChunkReceived | RetryPlanned | CoolingDown


async def call_model(
    clients: HTTPClients,
    call: ModelCall,
    turn: ModelTurn,
    *,
    jitter: Callable[[], float] = random.random,
) -> AsyncGenerator[CallEvent, None]:
    """Make one model call and fold its answer into `turn`, asking again where that is right.

    Args:
        clients: the connection pools of the running loop.
        call: what to ask.
        turn: an empty turn, filled while events are yielded.
        jitter: random numbers from 0 to 1.

    Raises:
        GeminiError: the call failed for good. What had arrived is in `turn`.
    """
    recovery = _Recovery(call, turn, jitter)
    quota = call.endpoint.quota
    while True:
        async with contextlib.aclosing(clients.cooldowns.admit(quota)) as pauses:
            async for pause in pauses:
                yield pause
        recovery.begin()
        try:
            requested = request_once(clients, call, turn, refresh=recovery.refresh)
            async with contextlib.aclosing(requested) as chunks:
                async for chunk in chunks:
                    yield chunk
            failure = recovery.slip()
        except GeminiError as error:
            failure = without_traceback(error)
        if failure is None:
            if not turn.is_continued:
                return
            turn.go_on()
            continue
        plan = recovery.plan(failure)
        if failure.status_code in _COOLING:
            clients.cooldowns.impose(quota, failure.retry_after or plan.delay, plan.awaited)
        yield plan
        await asyncio.sleep(plan.delay)


class _Recovery:
    """What a call has been through, and whether and when it is made again."""

    def __init__(self, call: ModelCall, turn: ModelTurn, jitter: Callable[[], float]) -> None:
        self.attempt = 0
        self.refresh = False
        self._call = call
        self._turn = turn
        self._jitter = jitter
        self._failures = 0  # in a row, without output
        self._restarts = 0  # without progress
        self._stalls = 0
        self._slips = 0
        self._refreshed = False
        self._checkpoint: str | None = None
        self._sent: str | None = None
        self._hops = 0  # in a row, without output

    def begin(self) -> None:
        """Another request goes out."""
        self.attempt += 1
        self._sent = self._turn.continuation_token

    def slip(self) -> GeminiError | None:
        """What is wrong with a turn that ended in order, None where nothing is."""
        turn = self._turn
        if turn.is_continued:
            self._hops = 0 if turn.has_output else self._hops + 1
            # It would go on so for ever, and every request is paid for.
            if turn.continuation_token == self._sent or self._hops > _HOPS:
                return StreamCutError(
                    "The server offers to go on with the answer, but came no further.",
                    hint="Ask again, or for a shorter answer.",
                )
            return None
        if turn.block_reason is not None:
            return None
        if turn.has_answer and (not is_slip(turn.finish_reason) or self._slips >= _ASKED_AGAIN):
            return None
        return failures.empty(turn)

    def plan(self, failure: GeminiError) -> RetryPlanned:
        """Rewind the turn for another request.

        Raises:
            GeminiError: there is to be none; the turn is left as it is.
        """
        turn = self._turn
        failure.attempts = self.attempt
        had_output = turn.has_output
        delay = self._delay(failure)
        if delay is None:
            raise failures.final(failure, self._call.retry)
        # A server that knows the token no more is asked from the beginning.
        rejected = isinstance(failure, APIError) and failure.status_code in {400, 404}
        turn.rewind(to_start=rejected)
        awaited = failures.awaited(failure, self._call.endpoint)
        reason = failures.retrying(failure, self._call.endpoint.model, delay)
        return RetryPlanned(
            self.attempt + 1, delay, failure, awaited, reason, had_output, from_start=rejected
        )

    def _delay(self, failure: GeminiError) -> float | None:
        """Seconds until the next request, None where there is to be none."""
        policy, turn = self._call.retry, self._turn
        self.refresh = False
        if isinstance(failure, EmptyAnswerError):
            self._slips += 1
            return 0.0 if self._slips <= _ASKED_AGAIN and not failure.is_permanent else None
        if turn.has_output:
            return self._delay_of_restart(failure)
        if failure.status_code == 401 and self._can_refresh(failure):
            self._refreshed = self.refresh = True
            return 0.0
        if failure.status_code in {400, 404} and turn.continuation_token is not None:
            return 0.0
        if isinstance(failure, IdleTimeoutError):
            self._stalls += 1
            if self._stalls >= _STALLS:
                return None
        if not policy.is_retryable(failure):
            return None
        self._failures += 1
        return policy.delay(self._failures, hint=failure.retry_after, jitter=self._jitter())

    def _delay_of_restart(self, failure: GeminiError) -> float | None:
        """The same for a request that had shown some of its answer."""
        policy, token = self._call.retry, self._turn.continuation_token
        if token != self._checkpoint:
            self._checkpoint, self._restarts = token, 0
        self._failures = self._stalls = 0
        is_cut = policy.is_retryable(failure) or isinstance(failure, ProtocolError)
        if policy.on_cut == "keep" or failure.is_permanent or not is_cut:
            return None
        if self._restarts >= policy.restarts:
            return None
        self._restarts += 1
        return policy.backoff(self._restarts, hint=failure.retry_after, jitter=self._jitter())

    def _can_refresh(self, failure: GeminiError) -> bool:
        # Where Google refused to make a token, there is no token to replace.
        return (
            isinstance(failure, APIError)
            and not self._refreshed
            and self._call.endpoint.authenticator.can_refresh
        )
