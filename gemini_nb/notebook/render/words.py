"""Numbers, durations, dates and cut texts, as every view writes them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

__all__ = [
    "cut",
    "cut_counted",
    "cut_middle",
    "cut_start",
    "data_progress",
    "data_size",
    "date",
    "dollars",
    "duration",
    "one_line",
    "quantity",
]


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def duration(seconds: float) -> str:
    """Seconds in words: 7.3 s, 42 s, 2 min 05 s, 1 h 02 min. An int, which still counts up, has no tenths."""
    if isinstance(seconds, float) and seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole // 60 % 60:02d} min"


def date(when: datetime) -> str:
    """The day and the time of day here: 24 Nov 14:03, with the year where it is another than now."""
    local, now = when.astimezone(), datetime.now().astimezone()
    year = "" if local.year == now.year else f" {local.year}"
    return f"{local.day} {_MONTHS[local.month - 1]}{year} {local:%H:%M}"


def dollars(amount: Decimal) -> str:
    """A sum of money: $1.23, $0.0045; small ones with two digits that say something."""
    if not amount or amount >= Decimal("0.1"):
        return f"${amount:,.2f}"
    return f"${amount:.{1 - amount.adjusted()}f}"


def data_size(size: int) -> str:
    """A number of bytes: 512 bytes, 1.4 MB, 300 MB."""
    if size < 1_000:
        return quantity(size, "byte")
    number, unit = (
        (size / 1e3, "KB") if size < 1e6 else (size / 1e6, "MB") if size < 1e9 else (size / 1e9, "GB")
    )
    return f"{number:.1f} {unit}" if number < 9.95 else f"{number:,.0f} {unit}"


def data_progress(done: int, size: int) -> str:
    """How much of so many bytes is done: 12 of 300 MB."""
    whole = data_size(size)
    unit = {"KB": 1e3, "MB": 1e6, "GB": 1e9}.get(whole.rpartition(" ")[2], 1)
    part = done / unit
    return f"{part:.1f} of {whole}" if unit > 1 and size / unit < 99.5 else f"{part:,.0f} of {whole}"


def quantity(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: 1 answer, 1,200 answers; the plural is given where it is not noun + s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def one_line(text: str, limit: int) -> str:
    """The beginning of a text, on one line."""
    return cut(" ".join(text.lstrip()[: 4 * limit].split()), limit)


def cut(text: str, limit: int) -> str:
    """The beginning of a text that is longer than `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def cut_counted(text: str, limit: int) -> str:
    """The first `limit` characters of a text, and a line that says how many more there are."""
    return text if len(text) <= limit else f"{text[:limit]}\n… {len(text) - limit:,} characters more"


def cut_start(text: str, limit: int) -> str:
    """The end of a text that is longer than `limit` characters."""
    return text if len(text) <= limit else f"…{text[1 - limit :]}"


def cut_middle(text: str, limit: int) -> str:
    """Beginning and end of a long text, which say most, and between them how much is left out."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters more …\n{text[-half:]}"
