"""Which services do not answer at present, so that many rows wait for one of them.

Thirty rows that each ask a server five times while it is down have failed within a minute, and the next
thirty after them. So those that are patient count their failures together: after a few in a row all of them
wait, and one of them asks again from time to time until the service answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Hashable
from dataclasses import dataclass, field

from gemini_nb.api.retry import CoolingDown
from gemini_nb.errors import APIError, GeminiError, IdleTimeoutError, TransportError

_IN_A_ROW = 5  # failures of all together after which they wait for one probe
_STATUS = frozenset({429, 502, 503, 529})
# Seconds that a server may be unreachable which has never answered: its address may be wrong.
_NEVER_ANSWERED = 120.0
_OF_THE_ROW = 20  # failures of one call while others were answered, and silences: that is its own trouble
_MAX_SILENCES = 2  # of one call before its first output; of a patient one those that others did not meet


def is_trouble(error: GeminiError) -> bool:
    """Whether a failure is about the quota, the server or the connection, and not about what is asked."""
    if error.is_foreign:
        return True
    if isinstance(error, APIError):
        return error.status_code in _STATUS
    return isinstance(error, TransportError)


@dataclass(slots=True)
class _Service:
    answers: int = 0
    failures: int = 0  # in a row
    since: float = 0.0  # of the first of them
    until: float = 0.0  # when the next probe may go out
    reason: str = ""
    is_down: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Endurance:
    """Whether one model call goes on in spite of its failures.

    Args:
        service: how the service fares.
        patient: whether it waits for the service, as one of many rows.
    """

    def __init__(self, service: _Service, *, patient: bool) -> None:
        self._service = service
        self._patient = patient
        self._answers = service.answers
        self._own = 0
        self._silences = 0

    @property
    def _is_own(self) -> bool:
        """Whether others were answered since its last failure, so that this one is its own."""
        return self._service.answers != self._answers

    def note_output(self) -> None:
        """Note that an answer had begun: silences count anew."""
        self._silences = 0

    def note_silence(self) -> bool:
        """Note that nothing came for too long, before any output, and return whether to ask again."""
        self._silences += self._is_own or not self._patient
        return self._silences < _MAX_SILENCES

    def endures(self, error: GeminiError) -> bool:
        """Whether the call is made again after this failure, whatever the number of its attempts."""
        service = self._service
        if error.status_code == 429:
            return True
        if error.is_foreign and not service.answers:
            return False  # its address may be wrong; later it is the network that leads elsewhere for a while
        if not service.answers and error.status_code is None:
            return time.monotonic() - service.since < _NEVER_ANSWERED
        self._own += self._is_own or isinstance(error, IdleTimeoutError)  # each takes minutes
        self._answers = service.answers
        return self._own < _OF_THE_ROW


class Outages:
    """The services that patient calls of one event loop ask. Loop thread only."""

    def __init__(self) -> None:
        self._services: dict[Hashable, _Service] = {}

    def _service(self, quota: Hashable) -> _Service:
        service = self._services.get(quota)
        if service is None:
            service = self._services[quota] = _Service()
        return service

    def endurance(self, quota: Hashable, *, patient: bool) -> Endurance:
        """Return what decides how long one call goes on.

        Args:
            quota: what is shared: base URL, model and caller.
            patient: whether it waits for the service, as one of many rows.
        """
        return Endurance(self._service(quota), patient=patient)

    def note_answer(self, quota: Hashable) -> None:
        """Note that the service answered, so that nothing waits for it any more."""
        service = self._service(quota)
        service.answers += 1
        service.failures, service.is_down = 0, False
        service.changed.set()

    def note_failure(self, quota: Hashable, pause: float, reason: str) -> None:
        """Note that a request found the service in trouble.

        Args:
            quota: as in `endurance`.
            pause: seconds until the next probe, if there have been a few in a row.
            reason: what is waited for, in a few words.
        """
        service = self._service(quota)
        now = time.monotonic()
        if not service.failures:
            service.since = now
        service.failures += 1
        if service.failures >= _IN_A_ROW:
            service.is_down, service.reason = True, reason
            service.changed.clear()
            service.until = max(service.until, now + pause)

    async def admit(self, quota: Hashable, pause: float) -> AsyncGenerator[CoolingDown, None]:
        """Wait until the service answers or it is this call's turn to try; yield each wait as it begins.

        Args:
            quota: as in `endurance`.
            pause: seconds for which this call's try keeps others from trying.
        """
        service = self._service(quota)
        while service.is_down:
            left = service.until - time.monotonic()
            if left <= 0:
                service.until = time.monotonic() + pause
                return
            yield CoolingDown(time.time() + left, service.reason)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await service.changed.wait()
