"""How durations, counts and cut texts are written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gemini_nb.notebook.render.words import (
    cut,
    cut_counted,
    cut_middle,
    cut_start,
    data_progress,
    data_size,
    duration,
    one_line,
    quantity,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (3, "3 s"),
        (59.6, "1 min 00 s"),
        (61.0, "1 min 01 s"),
        (3700.0, "1 h 01 min"),
        (-1.0, "0.0 s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("shorten", [cut, cut_start, cut_counted, cut_middle, one_line])
def test_what_fits_stays_as_it_is(shorten: Callable[[str, int], str]) -> None:
    assert shorten("0123456789", 10) == "0123456789"
    assert shorten("", 10) == ""


def test_what_does_not_fit_says_that_something_is_missing() -> None:
    text = "0123456789" * 10
    assert cut(text, 10) == "012345678…"
    assert cut_start(text, 10) == "…123456789"
    assert cut_counted(text, 10) == "0123456789\n… 90 characters more"
    assert cut_middle(text, 10) == "01234\n… 90 characters more …\n56789"
    assert one_line("  a\n\nb " + text, 6) == "a b 0…"


def test_a_number_has_the_noun_that_fits() -> None:
    assert [quantity(number, "answer") for number in (0, 1, 1200)] == [
        "0 answers",
        "1 answer",
        "1,200 answers",
    ]
    assert [quantity(number, "retry", "retries") for number in (1, 2)] == ["1 retry", "2 retries"]


def test_sizes_of_files_and_how_much_of_them_is_done() -> None:
    sizes = [1, 999, 1024, 10_500, 2**20 * 3 // 2, 300 * 2**20, 2**31]
    assert [data_size(size) for size in sizes] == [
        "1 byte",
        "999 bytes",
        "1.0 KB",
        "10 KB",
        "1.5 MB",
        "300 MB",
        "2.0 GB",
    ]
    assert data_progress(12 * 2**20, 300 * 2**20) == "12 of 300 MB"
    assert data_progress(2**20 // 2, 2**20 * 3 // 2) == "0.5 of 1.5 MB"
    assert data_progress(0, 0) == "0 of 0 bytes"
