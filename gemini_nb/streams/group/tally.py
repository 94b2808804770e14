"""What the ended rows of a group came to: how they ended, their tokens, what they cost, what refused them."""

from __future__ import annotations

import collections
from decimal import Decimal

from gemini_nb.api.usage import Usage
from gemini_nb.errors import ConnectError, GeminiError, NotAskedError
from gemini_nb.streams.events.states import Status
from gemini_nb.streams.stream import Stream

_ALIKE = 5  # refusals of a key, a model or an account with which a run ends
_ALIKE_ROWS = 50  # refusals that may be the rows' own, or that follow answers
_REMARKS = 3
_REFUSALS = frozenset({400, 401, 403, 404, 412})


class Tally:
    """Counts of the rows that have ended.

    Attributes:
        by_status: how many ended how; a row that is asked again is taken out.
        kept: how many of the answers were kept ones.
        asked: how often the service was asked a row, those too that are asked again.
        remarks: the first of what their streams say beside the answers, such as why these are not kept.
        usage: their tokens.
        spent: what they cost in US dollars, as far as it is known.
        of_unknown_cost: of how many it is not.
    """

    def __init__(self) -> None:
        self.by_status: collections.Counter[Status] = collections.Counter()
        self.kept = self.asked = 0
        self.remarks: dict[str, bool] = {}  # with whether a wait has warned of it
        self._warned_of: Exception | None = None  # the last one
        self.usage = Usage()
        self.spent = Decimal()
        self.of_unknown_cost = 0

    @property
    def cost(self) -> Decimal | None:
        """What all of them cost, None where that is unknown of one."""
        return None if self.of_unknown_cost else self.spent

    def add(self, stream: Stream) -> None:
        """Count a row that has ended."""
        self.by_status[stream.status] += 1
        self.usage += stream.usage
        cost = stream.cost
        if cost is None:
            self.of_unknown_cost += 1
        else:
            self.spent += cost
        is_kept = stream.status is Status.COMPLETED and stream.kept is not None
        self.kept += is_kept
        is_unasked = isinstance(stream.error, NotAskedError) or (
            stream.status is Status.STOPPED and cost == 0
        )
        self.asked += not is_kept and not is_unasked
        if stream.remarks and len(self.remarks) < _REMARKS:
            self.remarks.setdefault(stream.remarks, False)

    def take_remarks(self, error: Exception | None) -> list[str]:
        """Return the remarks that were not returned before, after the words of this error if it was not."""
        new = [text for text, is_known in self.remarks.items() if not is_known]
        self.remarks.update(dict.fromkeys(new, True))
        if error is None or error is self._warned_of:
            return new
        self._warned_of = error
        return [str(error), *new]


class Refusals:
    """Finds out whether rows are refused for the same reason, which is not theirs."""

    def __init__(self) -> None:
        self._alike: collections.Counter[tuple[object, ...]] = collections.Counter()
        self._answering: set[str | None] = set()  # models that have answered: the key and the model were good

    def clear(self) -> None:
        """Forget them: the rows are asked again."""
        self._alike.clear()
        self._answering.clear()

    def note(self, model: str | None, stream: Stream) -> GeminiError | None:
        """Note how a row ended.

        Args:
            model: the row's own model, None for the group's.
            stream: the row's stream.

        Returns:
            Why asking more rows of this model makes no sense, None where it does.
        """
        error = stream.error
        if stream.status is Status.COMPLETED and stream.kept is None:  # one that was kept needs no key
            self._answering.add(model)
            for kind in [kind for kind in self._alike if kind[0] == model]:
                del self._alike[kind]
        if error is None or isinstance(error, NotAskedError):
            return None
        if error.status_code == 429 and (error.is_permanent or "limit: 0" in error.message):
            return error
        if (refusal := _refusal_in(error)) is None:
            return None
        reason, enough = refusal
        if model in self._answering:  # a key is revoked, a cache expires, also in the middle of a night
            if enough == _ALIKE_ROWS:
                return None
            enough = _ALIKE_ROWS
        kind = (model, error.status_code, reason)
        self._alike[kind] += 1
        alike = self._alike[kind]
        if alike < enough:
            return None
        summary = type(error)(f"{alike} rows failed alike: {error.message}")
        summary.hint = error.hint
        return summary


def _refusal_in(error: GeminiError) -> tuple[object, int] | None:
    """Return what refusals of one kind share, and how many of them end a run; None where it is no refusal."""
    if error.is_foreign:  # what a login page says may differ each time
        return type(error), _ALIKE
    if error.is_of_tools:  # its log may differ, and to start it takes a minute each time
        return "tools", _ALIKE
    if error.status_code not in _REFUSALS and not isinstance(error, ConnectError):
        return None
    return error.message, _ALIKE if _is_of_the_account(error) else _ALIKE_ROWS


def _is_of_the_account(error: GeminiError) -> bool:
    """Whether a refusal is about the key, the model or the account, and not about what a row asks."""
    if error.status_code == 400:
        return "API key" in error.message or getattr(error, "api_status", None) == "FAILED_PRECONDITION"
    return "file" not in error.message.lower()
