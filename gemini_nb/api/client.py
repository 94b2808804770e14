"""One model call: as many requests as it takes until the model's turn is whole.

A failed request may have shown half an answer already. Asking again and appending, as a plain retry does,
would show that half twice; giving up would lose the rest. So the turn is rewound: to the newest continuation
token where the server gave one, else to its beginning, and what was shown stays until new output replaces it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from gemini_nb.api import no_answer
from gemini_nb.api.call import ChunkReceived, ModelCall, request_once
from gemini_nb.api.outages import Endurance, Outages, is_trouble
from gemini_nb.api.retry import LONGEST_WAIT, CoolingDown, RetryPolicy
from gemini_nb.api.turn import ModelTurn, is_model_mistake
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
    from gemini_nb.api.http import HTTPClients

_MAX_REPEATS = 2  # after a mistake of the model: its next sample is usually sound
_MAX_EMPTY_CONTINUATIONS = 64  # in a row; one may be all thinking, but no whole answer has so many
_COOLDOWN_STATUS = {429, 503, 529}
_SENTENCE = re.compile(r".{3,200}?\.(?= [A-Z*]|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RetryPlanned:
    """A request failed, and the call is made again.

    Attributes:
        attempt: the number of the request to come, 2 or more.
        delay: seconds until then.
        error: why.
        waits_for: what the call waits for until then, in a few words.
        message: what went wrong and when the call is made again, for the user.
        had_output: whether some of the answer was shown, which new output will replace.
        from_start: whether a continuation token was given up, so that the answer begins anew.
    """

    attempt: int
    delay: float
    error: GeminiError
    waits_for: str
    message: str
    had_output: bool = False
    from_start: bool = False


CallEvent: TypeAlias = ChunkReceived | RetryPlanned | CoolingDown


async def _at_once() -> None:
    pass


async def call_model(
    clients: HTTPClients,
    call: ModelCall,
    turn: ModelTurn,
    *,
    jitter: Callable[[], float] = random.random,
    take_place: Callable[[], Awaitable[object]] = _at_once,
) -> AsyncGenerator[CallEvent, None]:
    """Make one model call and add its answer to `turn`, with further requests where they help.

    Args:
        clients: the connection pools of the running loop.
        call: what to ask.
        turn: an empty turn, which is filled while events are yielded.
        jitter: random numbers from 0 to 1.
        take_place: waits, before each request, for a place among the streams that run.

    Raises:
        GeminiError: the call failed for good. What had arrived is in `turn`.
    """
    quota, outages = call.endpoint.quota, clients.outages
    recovery = _Recovery(call, turn, jitter, outages.endurance(quota, patient=call.retry.patient))
    while True:
        await take_place()
        if call.retry.patient or quota in clients.cooldowns:
            async with contextlib.aclosing(_pauses(clients, call)) as pauses:
                async for pause in pauses:
                    yield pause
        recovery.begin()
        is_answered = False
        try:
            requested = request_once(clients, call, turn, refresh=recovery.refresh)
            async with contextlib.aclosing(requested) as chunks:
                async for chunk in chunks:
                    if not is_answered:
                        is_answered = True
                        outages.note_answer(quota)
                    yield chunk
            failure = recovery.fault_in_answer()
        except GeminiError as error:
            failure = without_traceback(error)
        if failure is None:
            if not turn.is_continued:
                return
            turn.go_on()
            continue
        _note_failure(outages, call, failure)
        plan = recovery.plan(failure)
        if _concerns_others(failure, call.retry):
            _let_others_wait(clients, call, plan)
        yield plan
        await asyncio.sleep(plan.delay)


async def _pauses(clients: HTTPClients, call: ModelCall) -> AsyncGenerator[CoolingDown, None]:
    """Wait until the service can be asked, saying before each wait how long it is."""
    quota, policy = call.endpoint.quota, call.retry
    waits = [clients.outages.admit(quota, policy.max_delay)] if policy.patient else []
    patience = math.inf if policy.patient else policy.max_server_delay
    for wait in [*waits, clients.cooldowns.admit(quota, patience)]:
        async with contextlib.aclosing(wait) as pauses:
            async for pause in pauses:
                yield pause


def _note_failure(outages: Outages, call: ModelCall, failure: GeminiError) -> None:
    """Note whether the service is in trouble; a refusal is an answer, too."""
    quota = call.endpoint.quota
    if not is_trouble(failure):
        outages.note_answer(quota)
    elif call.retry.patient:
        outages.note_failure(quota, call.retry.max_delay, _wait_reason(failure, call.endpoint.model))


def _let_others_wait(clients: HTTPClients, call: ModelCall, plan: RetryPlanned) -> None:
    """Have other requests of this model and key wait as long as the server asks, or as this one does."""
    failure = plan.error
    pace = failure.per_minute if call.retry.patient else None  # for many rows; one stream needs none
    asked = failure.retry_after or plan.delay
    seconds = asked if asked <= LONGEST_WAIT else plan.delay
    clients.cooldowns.impose(call.endpoint.quota, seconds, plan.waits_for, pace)


def _concerns_others(failure: GeminiError, policy: RetryPolicy) -> bool:
    """Whether other requests wait, too. A server may be overloaded for a few of many rows alone."""
    if failure.status_code == 429 or failure.retry_after or not policy.patient:
        return failure.status_code in _COOLDOWN_STATUS
    return False


class _Recovery:
    """Decides whether and when a call is made again, by what has happened to it."""

    def __init__(
        self, call: ModelCall, turn: ModelTurn, jitter: Callable[[], float], endurance: Endurance
    ) -> None:
        self.attempt = 0
        self.refresh = False
        self._call = call
        self._turn = turn
        self._jitter = jitter
        self._endurance = endurance
        self._failures = 0  # in a row, without output
        self._restarts = 0  # without progress
        self._mistakes = 0
        self._refreshed = False
        self._checkpoint: str | None = None
        self._sent: str | None = None
        self._empty_continuations = 0  # in a row

    def begin(self) -> None:
        """Count another request."""
        self.attempt += 1
        self._sent = self._turn.continuation_token

    def fault_in_answer(self) -> GeminiError | None:
        """Return what is wrong with a turn that ended in order, None where nothing is."""
        turn = self._turn
        if turn.is_continued:
            self._empty_continuations = 0 if turn.has_output else self._empty_continuations + 1
            # This could go on for ever, and every request is paid for.
            if turn.continuation_token == self._sent or self._empty_continuations > _MAX_EMPTY_CONTINUATIONS:
                return StreamCutError(
                    "The server offers to go on with the answer, but came no further.",
                    hint="Ask again, or for a shorter answer.",
                )
            return None
        if turn.block_reason is not None:
            return None
        if turn.has_answer and (not is_model_mistake(turn.finish_reason) or self._mistakes >= _MAX_REPEATS):
            return None
        return no_answer.empty(turn)

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
            raise _give_up(failure, self._call.retry)
        # The server no longer knows the token, so the call begins anew.
        rejected = isinstance(failure, APIError) and failure.status_code in {400, 404}
        turn.rewind(to_start=rejected)
        model = self._call.endpoint.model
        waits_for = _wait_reason(failure, model)
        message = f"{_summary(failure, model)}; retrying."
        return RetryPlanned(
            self.attempt + 1, delay, failure, waits_for, message, had_output, from_start=rejected
        )

    def _delay(self, failure: GeminiError) -> float | None:
        """Return the seconds until the next request, None where there is to be none."""
        turn = self._turn
        self.refresh = False
        if isinstance(failure, EmptyAnswerError):
            self._mistakes += 1
            return 0.0 if self._mistakes <= _MAX_REPEATS and not failure.is_permanent else None
        if turn.has_output:
            return self._delay_of_restart(failure)
        if failure.status_code == 401 and self._can_refresh(failure):
            self._refreshed = self.refresh = True
            return 0.0
        if failure.status_code in {400, 404} and turn.continuation_token is not None:
            return 0.0
        if isinstance(failure, IdleTimeoutError) and not self._endurance.note_silence():
            return None
        return self._delay_of_retry(failure)

    def _delay_of_retry(self, failure: GeminiError) -> float | None:
        """Return the seconds until the next request, where the failed one had shown nothing."""
        policy = self._call.retry
        is_elsewhere = policy.patient and failure.is_foreign  # for a while, or its address is wrong
        if not is_elsewhere and not policy.is_retryable(failure):
            return None
        self._failures += 1
        if policy.patient and is_trouble(failure) and self._endurance.endures(failure):
            return policy.backoff(self._failures, hint=failure.retry_after, jitter=self._jitter())
        if is_elsewhere:
            return None
        return policy.delay(self._failures, hint=failure.retry_after, jitter=self._jitter())

    def _delay_of_restart(self, failure: GeminiError) -> float | None:
        """Return the seconds until the next request, where the failed one had shown some of its answer."""
        policy, token = self._call.retry, self._turn.continuation_token
        if token != self._checkpoint:
            self._checkpoint, self._restarts = token, 0
        self._failures = 0
        self._endurance.note_output()
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


def _summary(error: GeminiError, model: str) -> str:
    """Say in a few words what went wrong, and how long the server asks to wait."""
    if error.status_code == 429:
        words = f"429: quota for {model}"
    else:
        first = _SENTENCE.match(error.message)
        words = (first[0] if first else error.message).rstrip(".")
    if error.retry_after:
        words += f"; the server asks to wait {_seconds(error.retry_after)}"
    return words


def _seconds(seconds: float) -> str:
    return f"{round(seconds, 1 if seconds >= 1 else 3):.12g} s"


def _wait_reason(error: GeminiError, model: str) -> str:
    """Say in a few words what a call waits for after this error."""
    if error.status_code == 429:
        reason = f"quota of {model}"
    else:
        reason = "the server" if error.status_code is not None else "the connection"
    if error.retry_after is not None and error.retry_after > LONGEST_WAIT:
        reason += f" (the server asks to wait {_seconds(error.retry_after)})"
    return reason


def _give_up(error: GeminiError, policy: RetryPolicy) -> GeminiError:
    """Return the error, with the reason why the call is not made again."""
    wait = error.retry_after
    if wait is not None and wait > policy.max_server_delay and policy.is_retryable(error):
        error.hint = (
            f"The server asks to wait {_seconds(wait)}, longer than the {_seconds(policy.max_server_delay)} "
            f"that RetryPolicy.max_server_delay allows. {error.hint}"
        ).rstrip()
    elif error.attempts > 1:
        error.hint = f"Gave up after {error.attempts} attempts. {error.hint}".rstrip()
    return error
