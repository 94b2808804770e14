"""What kept answers saved of a stream's cost."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gemini_nb.api.usage import Usage


@dataclass(frozen=True, slots=True)
class Saved:
    """What kept answers stood for, which was not spent now.

    Attributes:
        tokens: their tokens.
        requests: the tokens of each request that would have been paid for.
        searches: of each of its model calls that searched the web, the queries.
    """

    tokens: int = 0
    requests: tuple[Usage, ...] = ()
    searches: tuple[int, ...] = ()

    def plus(self, requests: tuple[Usage, ...], queries: int, *, is_billed: bool) -> Saved:
        """Return this with what one more kept answer saved.

        Args:
            requests: the tokens of each of its requests.
            queries: how often it searched the web.
            is_billed: whether the service that answered asks for money.
        """
        tokens = self.tokens + sum(usage.total_token_count for usage in requests)
        if not is_billed:
            return replace(self, tokens=tokens)
        searches = (*self.searches, queries) if queries else self.searches
        return Saved(tokens, self.requests + requests, searches)
