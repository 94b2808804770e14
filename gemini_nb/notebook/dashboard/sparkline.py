"""How fast a stream writes, second by second: the numbers, and a picture of them the size of a word.

Token counts come late and in jumps, and some servers send them only at the end. Characters come with every
chunk. So the shape is drawn from characters, four of which make a token until counts tell better.
"""

from __future__ import annotations

import collections
import math

from gemini_nb.api.usage import Usage

SECONDS = 30
"""How far back the picture looks."""

_CHARACTERS_PER_TOKEN = 4.0
_BAR = 3  # pixels for each second, one of them a gap
_HEIGHT = 18
_FLOOR = 12.0  # tokens a second that fill the picture at least, or a trickle would look like a flood
_MIN_RATIO, _MAX_RATIO = 0.1, 1.0  # a function call is counted, too, and has no characters


class Pace:
    """Characters that arrived, by the second; only the last ones are kept."""

    __slots__ = ("_seconds", "answered", "characters", "first")

    def __init__(self) -> None:
        self.characters = self.answered = 0
        self.first: float | None = None
        self._seconds: collections.deque[tuple[int, int]] = collections.deque(maxlen=SECONDS + 1)

    def add(self, when: float, characters: int, *, is_answer: bool = True) -> None:
        """Note what arrived at a time, in seconds since the epoch, of the answer or of the thoughts."""
        if self.first is None:
            self.first = when
        self.characters += characters
        self.answered += characters if is_answer else 0
        second = int(when)
        if self._seconds and self._seconds[-1][0] >= second:  # the clock may have been set back
            last, before = self._seconds[-1]
            self._seconds[-1] = (last, before + characters)
        else:
            self._seconds.append((second, characters))

    def ratio(self, usage: Usage) -> float:
        """Tokens that one character stands for; thoughts, counted but not always shown, have no say."""
        if not usage.candidates_token_count or not self.answered:
            return 1 / _CHARACTERS_PER_TOKEN
        return min(_MAX_RATIO, max(_MIN_RATIO, usage.candidates_token_count / self.answered))

    def series(self, until: float, ratio: float) -> list[float]:
        """Tokens in each of the last seconds, the one of `until` last."""
        last = int(until)
        found = dict(self._seconds)
        return [found.get(second, 0) * ratio for second in range(last - SECONDS + 1, last + 1)]

    def now(self, until: float, ratio: float) -> float:
        """Tokens a second at this moment: of the last two full seconds, or of all while it is young."""
        if self.first is None:
            return 0.0
        age = until - self.first
        if age < 3:
            return self.characters * ratio / max(age, 0.5)
        return sum(self.series(until, ratio)[-3:-1]) / 2

    def average(self, until: float, ratio: float) -> float:
        """Tokens a second from the first character to `until`."""
        if self.first is None:
            return 0.0
        return self.characters * ratio / max(until - self.first, 0.5)


def sparkline(series: list[float], label: str) -> str:
    """Bars for numbers, as an inline SVG made of nothing but numbers.

    Args:
        series: one number for each bar, oldest first.
        label: what a screen reader says; escaped already.
    """
    top = max(_FLOOR, *series)
    width = len(series) * _BAR
    bars = "".join(
        f"M{index * _BAR} {_HEIGHT}v-{height}h2v{height}z"
        for index, value in enumerate(series)
        if (height := min(_HEIGHT, math.ceil(value / top * _HEIGHT)))
    )
    ground = f'<path class="gemini-nb-ground" d="M0 {_HEIGHT - 1}h{width - 1}v1H0z"/>'
    return (
        f'<svg class="gemini-nb-spark" viewBox="0 0 {width} {_HEIGHT}" width="{width}" height="{_HEIGHT}" '
        f'role="img" aria-label="{label}">{ground}'
        f'<path d="{bars}"/></svg>'
    )
