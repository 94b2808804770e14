"""Which request gets which fault.

Requests arrive on the server's thread while others replace the plan from theirs. So each plan counts for
itself: what is left of one that was replaced cannot strike the requests of the next.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from gemini_nb.errors import ConfigError
from gemini_nb.simulator.faults.fault import Fault, Spec, parse_fault
from gemini_nb.simulator.record import Request

__all__ = ["FaultPlan", "FaultSource", "ModelFaults", "random_faults"]

FaultSource = (
    Iterable[Fault | str | None] | Mapping[int, Fault | None] | Callable[[int, Request], Fault | None] | None
)
"""One fault (or spec, or None) for each request in order, or by number from 0, or what says it."""

_MOST_MODELS = 10_000


class FaultPlan:
    """Gives each request to the model its fault.

    Args:
        source: what the faults come from; None for no faults.

    Raises:
        ConfigError: a spec in a list cannot be read, or something in it is no fault.
    """

    def __init__(self, source: FaultSource = None) -> None:
        self.source = source
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._faults: Iterator[Fault | None] = iter(())
        if isinstance(source, str | Fault):
            raise ConfigError(
                "faults is one fault for each request, not a single one.", hint=f"Write faults=[{source!r}]."
            )
        if isinstance(source, Sequence):
            self._faults = itertools.chain.from_iterable([_repeated(item) for item in source])
        elif source is not None and not isinstance(source, Mapping) and not callable(source):
            self._faults = itertools.chain.from_iterable(map(_repeated, source))

    def next(self, request: Request) -> Fault | None:
        """Give the fault of the next request.

        Raises:
            ConfigError: the source gave something that is no fault.
        """
        source = self.source
        if source is None:
            return None
        with self._lock:
            number = next(self._numbers)
            if not isinstance(source, Mapping) and not callable(source):
                return next(self._faults, None)
        found = source.get(number) if isinstance(source, Mapping) else source(number, request)
        return _checked(found)


class ModelFaults:
    """Counts the requests to each model id with a fault in it, which strikes only so often."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: OrderedDict[tuple[str, str], int] = OrderedDict()

    def next(self, spec: Spec, model: str, caller: str) -> Fault | None:
        """Give the fault of the caller's next request to this model id; None when it has struck often."""
        if spec.times is None:
            return spec.fault
        with self._lock:
            count = self._counts.pop((model, caller), 0)
            self._counts[model, caller] = min(count + 1, spec.times)
            if len(self._counts) > _MOST_MODELS:
                self._counts.popitem(last=False)
        return spec.fault if count < spec.times else None


_RECOVERABLE = """
    reset close wait=0.05~reset 408 429~retry-info=0.05~quota=10 429~retry-after=0~body=array 500
    502~body=html 503~body=empty 503~retry-after=0 504 error=503 error=429~error-form=raw
    error=500~error-form=array error=503~error-after=4 error=429~error-after=7~error-form=raw
    cut=0 cut=1~how=rst cut=3 cut=5~how=end cut=6~how=length cut=2~inside=character cut=4~inside=json~how=rst
    cut=4~inside=event~how=end
    cut-bytes=700~gzip no-finish continuation=3 checkpoint=3~cut=5~how=rst finish-twice
    checkpoint=2~error=503~error-after=6 stall=3~stall-for=0.1 drip=16~drip-pause=0.0005
    sse=comments,cr,nospace,fields,bom,done,multiline sse=lf,comments~gzip~drip=32~drip-pause=0.0005
"""


def random_faults(
    seed: int = 0, rate: float = 0.2, *, choices: Sequence[Fault] | None = None
) -> Callable[[int, Request], Fault | None]:
    """Make a plan of random faults: the same seed gives the same fault to the request of the same number.

    Args:
        seed: decides which requests are struck, and by what.
        rate: how many are, from 0 (none) to 1 (all).
        choices: what they are struck by. None is everything after which a client can still get the
            whole answer, without a wait of more than a tenth of a second.

    Raises:
        ConfigError: the rate is not from 0 to 1, or there is nothing to choose from.
    """
    recoverable = [fault for spec in _RECOVERABLE.split() if (fault := parse_fault(spec).fault)]
    faults = tuple(recoverable if choices is None else choices)
    if not 0 <= rate <= 1 or not faults:
        raise ConfigError(
            f"random_faults cannot work with a rate of {rate!r} and {len(faults)} faults.",
            hint="Give a rate from 0 to 1, and at least one fault.",
        )

    def pick(number: int, request: Request) -> Fault | None:  # noqa: ARG001 - the form of every plan
        rng = random.Random(f"{seed}|{number}")
        return rng.choice(faults) if rng.random() < rate else None

    return pick


def _repeated(item: object) -> Iterator[Fault | None]:
    if not isinstance(item, str):
        return iter((_checked(item),))
    spec = parse_fault(item)
    return itertools.repeat(spec.fault) if spec.times is None else itertools.repeat(spec.fault, spec.times)


def _checked(found: object) -> Fault | None:
    if found is None or isinstance(found, Fault):
        return found
    raise ConfigError(f"{found!r} is not a fault.", hint="Give a Fault, or None for no fault.")
